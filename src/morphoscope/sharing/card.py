"""The model card (README.md) of a published run: what it is, how well it performs, limits, what to cite.

Every number comes from the run itself; what the run does not record is left out. The card begins with the
YAML header that model hubs read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from morphoscope.images.planes import kind_of
from morphoscope.inference.calibration import Calibration, in_words, read_calibration
from morphoscope.progress import printable
from morphoscope.report.kinds import report_of
from morphoscope.report.terminal import percent, plain
from morphoscope.report.tested import Tested
from morphoscope.studies.registry import PAPERS, published
from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.runs.run import Run

_SIMULATED = "The labels come from the simulator: performance on real galaxies was not measured."
_JUDGED = "The labels are people's judgements and carry their biases with distance, size and brightness."


@dataclass(frozen=True)
class CardDetails:
    """Statements of a card that cannot be taken from the run.

    Attributes:
        licence: of the weights, as an identifier such as ``mit`` or ``cc-by-4.0``; empty: not stated.
        authors: whom to contact; empty: not stated.
    """

    licence: str = ""
    authors: str = ""


def model_card(run: Run, *, name: str, digest: str, details: CardDetails, half: bool = False) -> str:
    """The card as Markdown with a YAML header.

    Args:
        run: the run.
        name: by which it is loaded: the folder's name, or ``hf-hub:owner/name``.
        digest: SHA-256 of the weights.
        details: licence and authors.
        half: the weights were rounded to half precision after the evaluation.
    """
    metrics = run.metrics()
    with run.reading_results():
        head = _head(run, metrics, details)
        parts = [
            f"# {run.name}",
            _about(run, details),
            _loading(name, run.scheme.outputs),
            _data(run, metrics),
            _results(run, metrics),
            _calibration(run, metrics),
            _use(run),
            _papers(run),
            _technical(run, digest, half),
        ]
    body = without_markup("\n\n".join(part for part in parts if part))
    return f"{printable(head)}\n\n{body}\n"


def without_markup(text: str) -> str:
    r"""Markdown in which names make no HTML, no links and no pictures: the card itself has none of these.

    >>> print(without_markup("a <img src=x> and ![b](c)"))
    a &lt;img src=x> and !\[b](c)
    """
    return printable(text).replace("<", "&lt;").replace("[", "\\[")


def _head(run: Run, metrics: dict[str, Any], details: CardDetails) -> str:
    classes, report = run.scheme.class_names is not None, report_of(run.scheme.kind)
    head: dict[str, Any] = {
        "library_name": "morphoscope",
        "tags": ["morphoscope", "astronomy", "galaxies", "galaxy-morphology"],
    }
    if details.licence:
        head["license"] = details.licence
    if classes:
        head["pipeline_tag"] = "image-classification"
    if metrics.get("test"):
        key, title = run.scheme.metric, report.card_title
        task = "image-classification" if classes else "other"
        result = {
            "task": {"type": task},
            "dataset": {"name": run.header.store.name, "type": run.header.store.name},
            "metrics": [{"type": key, "name": title, "value": metrics["test"][key]["value"]}],
        }
        head["model-index"] = [{"name": run.name, "results": [result]}]
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _about(run: Run, details: CardDetails) -> str:
    recipe, header = run.recipe, run.header
    kind = report_of(run.scheme.kind).card_answer
    lines = [
        f"A `{recipe.model.name}` with {header.parameters:,} parameters that predicts {kind} from an image: "
        f"{', '.join(run.scheme.output_names)}.",
        f"Trained with the recipe `{recipe.name}` of morphoscope {header.program_version or __version__}; "
        f"start: {header.start or 'not recorded'}.",
    ]
    if details.authors:
        lines.append(f"By {details.authors}.")
    return "\n".join(lines)


def _loading(name: str, outputs: int) -> str:
    return f"""## How to use it

With morphoscope installed:

```
morphoscope predict {name} new-images --out catalogue.parquet
```

```python
import morphoscope as ms

galaxies = ms.load("{name}")
probabilities = galaxies.predict(images)  # (N, H, W, 3) uint8 → (N, {outputs}) float32
```"""


def _data(run: Run, metrics: dict[str, Any]) -> str:
    facts, counts = run.header.store, metrics.get("counts", {})
    side = facts.image_shape[0]
    scale = f", {facts.pixel_scale:g} arcsec a pixel as served" if facts.pixel_scale else ""
    lines = [
        "## Data",
        "",
        f"{facts.count:,} galaxies of `{facts.name}` ({facts.source or 'source not recorded'}), images of "
        f"{side} × {side} pixels{scale}, stretch: {facts.stretch}. No image is part of this folder.",
    ]
    if not facts.pictures:
        lines.append(f"The images are {kind_of(facts)}.")
    if facts.crop:
        lines.append(f"The central {facts.crop} pixels of each original were scaled to {side}.")
    if counts:
        names = list(next(iter(counts.values())))
        lines += ["", f"| part | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        lines += [
            f"| {part} | {' | '.join(f'{count[each]:,}' for each in names)} |"
            for part, count in counts.items()
        ]
    return "\n".join(lines)


def _results(run: Run, metrics: dict[str, Any]) -> str:
    test = metrics.get("test")
    if not test:
        return "## Results\n\nNot measured: no galaxies were held out."
    views, sure = metrics.get("views", 1), metrics.get("sure")
    seen = f"{in_words(views)} of each"
    if sure:
        seen = f"one view of each, {in_words(views)} where that is less than {100 * sure:g} % sure"
    measured = Tested.of(metrics).headline(test["n"])
    lines = [
        "## Results",
        "",
        f"On {measured}, {seen}, with 95 % intervals:",
        "",
    ]
    lines += report_of(run.scheme.kind).card_results(test)
    return "\n".join(lines + [f"\n{note}" for note in test.get("notes", [])])


def _calibration(run: Run, metrics: dict[str, Any]) -> str:
    lines = ["## Calibration", ""]
    measured = metrics.get("calibration")
    if measured:
        before, after = measured["before"], measured["after"]
        lines += [
            f"{measured['words']}; applied unless told otherwise.",
            "",
            "| | before | after |",
            "|---|---|---|",
        ]
        for key, name in (("ece", "calibration error"), ("log_loss", "log loss"), ("brier", "Brier score")):
            if key in before:
                lines.append(f"| {name} | {plain(before[key])} | {plain(after[key])} |")
    else:
        fitted = _fitted(run)
        words = "; ".join(f"{in_words(views)}: {each.description}" for views, each in fitted.items())
        lines.append(words or "None: the network's probabilities are uncorrected and may be overconfident.")
    if sets := metrics.get("sets"):
        covered = sets["marginal"]
        lines += [
            "",
            f"Prediction sets for a coverage of {100 * sets['coverage']:g} % contain the true class of "
            f"{percent(covered['covered'])} of {Tested.of(metrics).them}, n = {covered['n']}; "
            f"{covered['mean_size']:.2f} classes on average.",
        ]
    return "\n".join(lines)


def _use(run: Run) -> str:
    facts = run.header.store
    scale = f" at {facts.pixel_scale:g} arcsec a pixel" if facts.pixel_scale else ""
    colours = f"in the bands {', '.join(facts.bands)}" if facts.bands else "in three colours"
    if len(facts.bands) == 1:
        colours = f"in the band {facts.bands[0]}"
    few = [row["name"] for row in run.metrics().get("test", {}).get("per_class", []) if row["support"] < 20]
    lines = [
        "## Intended use and limits",
        "",
        f"For cutouts of single galaxies like those of `{facts.name}`{scale}, centred, {colours}, with "
        "the stretch above. Evaluated only on galaxies of the same source: for another survey, depth, "
        "seeing, pixel scale or stretch, evaluate first (`morphoscope evaluate … --store other-galaxies`). "
        "Every image gets a prediction, stars and artefacts too. "
        + (_SIMULATED if facts.source == "simulator" else _JUDGED),
    ]
    if few:
        lines.append(f"Measured on fewer than 20 galaxies, so uncertain: {', '.join(few)}.")
    return "\n".join(lines)


def _papers(run: Run) -> str:
    methods = {each.correction.method for each in _fitted(run).values()}
    found = citations(run, methods)
    return "## Papers\n\n" + "\n".join(f"- {each}" for each in found) if found else ""


def _technical(run: Run, digest: str, half: bool) -> str:
    recipe, versions = run.recipe, run.environment().get("versions", {})
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "## Technical",
        "",
        f"- input: {recipe.augment.size} × {recipe.augment.size} pixels; normalisation is in the network",
        f"- seed {recipe.seed}, {recipe.training.epochs} epochs at most, best epoch {run.header.best_epoch}",
        f"- weights: SHA-256 `{digest}`",
        *(
            ["- weights rounded to half precision for this folder; the evaluation is of the original ones"]
            if half
            else []
        ),
        f"- made {run.header.created or 'at an unknown time'}" + (f" with {used}" if used else ""),
    ]
    return "\n".join(lines)


def _fitted(run: Run) -> dict[int, Calibration]:
    kept = read_calibration(run)
    return {} if kept is None else kept.views


DATA = {
    "galaxy10": (
        "Galaxy10 DECaLS: H. Leung and J. Bovy; images of the DESI Legacy Imaging Surveys (Dey et al. 2019, "
        "AJ 157, 168), labels of Galaxy Zoo (Lintott et al. 2008, MNRAS 389, 1179)",
    ),
    "galaxy-zoo": (
        "Galaxy Zoo 2: Willett et al. 2013, MNRAS 435, 2835; images of the Sloan Digital Sky Survey",
    ),
    "simulator": ("Simulated with GalSim: Rowe et al. 2015, Astronomy and Computing 10, 121",),
}
METHODS = {
    "temperature": "Temperature: Guo et al. 2017, arXiv:1706.04599",
    "beta": "Beta curves: Kull, Silva Filho and Flach 2017, AISTATS",
    "isotonic": "Isotonic curves: Zadrozny and Elkan 2002, KDD",
}
SETS = "Prediction sets: Sadinle, Lei and Wasserman 2019, JASA 114, 223"


def citations(run: Run, methods: Iterable[str]) -> list[str]:
    """One line per paper.

    Args:
        run: the run.
        methods: of its calibrations, see :data:`METHODS`.
    """
    found, study = [], run.recipe.name.partition("/")[0]
    if study in PAPERS:
        paper = published(study).paper
        about = [", ".join(paper.authors), paper.title, str(paper.year or ""), paper.identifier]
        found.append(f"The network: {', '.join(part for part in about if part)}")
    found += DATA.get(_data_set(run), ())
    found += [METHODS[method] for method in METHODS if method in set(methods)]
    if run.metrics().get("sets"):
        found.append(SETS)
    return found


def _data_set(run: Run) -> str:
    source, scheme = run.header.store.source.lower(), run.scheme.name
    if source == "simulator":
        return "simulator"
    if source.startswith("galaxy10") or scheme == "galaxy10":
        return "galaxy10"
    return "galaxy-zoo" if source.startswith("galaxy zoo") else ""
