"""explain.html: attribution maps of a run, and how faithful they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope import files
from morphoscope.data.store import Store, as_store
from morphoscope.errors import UsageError
from morphoscope.explanation.explain import Explainer, check_method, choose_galaxies
from morphoscope.explanation.score import component_masks, sanity, score_maps
from morphoscope.files import write_json
from morphoscope.inference.predictor import Predictor
from morphoscope.report import formatting
from morphoscope.report.figures.maps import (
    METHOD_NAMES,
    dead_words,
    faithfulness_bars,
    map_columns,
    map_panel,
    of_chosen_bands,
)
from morphoscope.report.html.document import Page, PageHeader, rendered
from morphoscope.report.summary import Headline, Tile
from morphoscope.report.tables import Table
from morphoscope.runs.run import Run, open_run

if TYPE_CHECKING:
    from morphoscope.explanation.explain import Maps
    from morphoscope.runs.run import Run


def explain(
    run: Path | str,
    out: Path | str,
    *,
    store: Store | Path | str | None = None,
    methods: Sequence[str] = ("saliency", "gradcam"),
    which: str = "best-f1",
    count: int = 9,
    layer: str | None = None,
    score: bool = False,
    overwrite: bool = False,
) -> Path:
    """Attribution maps of a run, as a page, figures and numbers.

    Args:
        run: folder of a finished run.
        out: the folder to make: ``explain.html``, ``figures/``, ``maps.npz`` and ``scores.json``.
        store: labelled galaxies; None: the run's own test galaxies.
        methods: of saliency, smoothgrad, integrated, gradcam, ablationcam.
        which: a class or vote column; "best-f1": the class with the highest F1 on the test split.
        count: galaxies.
        layer: for gradcam and ablationcam; None: the last feature map.
        score: also measure how faithful the maps are.
        overwrite: write into an existing folder.

    Returns:
        The page.

    Raises:
        UsageError: no such method, layer or class, or ``out`` exists.
        MorphoscopeError: the class has no galaxy.
    """
    for method in methods:
        check_method(method)
    if count < 1:
        raise UsageError(f"{count} galaxies to explain; at least one is needed")
    files.refuse_existing(Path(out), overwrite=overwrite)
    opened = open_run(run)
    galaxies = _opened(store, opened)
    rows, target = choose_galaxies(opened, galaxies, which, count)
    images = [galaxies.images[row] for row in rows]
    explainer = Explainer(Predictor(opened, views=1, engine="torch"))
    maps, scores, checks = [], {}, {}
    baselines = None
    for method in methods:
        at = layer if method.endswith("cam") else None
        maps.append(explainer(images, method=method, target=target, layer=at))
        if score:
            truth = component_masks(galaxies, rows, target, explainer)
            scores[method] = score_maps(explainer, maps[-1], truth_NHW=truth, baselines=baselines)
            baselines = scores[method]  # the same for every method
            checks[method] = sanity(explainer, images, maps[-1], layer=at)
    page = write_maps_page(opened, maps, Path(out), target=target, scores=scores, sanity=checks)
    np.savez_compressed(
        Path(out) / "maps.npz",
        rows=rows,
        images=maps[0].images,
        **{each.method: each.values for each in maps},
    )
    if score:
        write_json(Path(out) / "scores.json", {"target": target, "scores": scores, "sanity": checks})
    return page


def _opened(store: Store | Path | str | None, run: Run) -> Store:
    if store is None:
        return run.store()
    return as_store(store)


SCORES = {
    "deletion": "Deletion area",
    "insertion": "Insertion area",
    "pointing": "Pointing game",
    "energy": "Energy inside",
    "on_galaxy": "Energy on the galaxy",
    "alignment": "Along the galaxy",
    "dead": "Dead maps",
}


def write_maps_page(
    run: Run,
    maps: Sequence[Maps],
    out: Path,
    *,
    target: str,
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    sanity: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Path:
    """Write ``explain.html`` and ``figures/*.png``.

    Args:
        run: whose network.
        maps: one for each method, of the same galaxies.
        out: the folder.
        target: the explained output.
        scores: method → as from :func:`morphoscope.explanation.score.score_maps`.
        sanity: method → as from :func:`morphoscope.explanation.score.sanity`.
    """
    with files.explained_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        page = Page(out / "figures")
        maps = [of_chosen_bands(each, run.header.store) for each in maps]
        for each in maps:
            _add_maps(page, each)
        if len(maps) > 1:
            page.section("together", "Side by side")
            names = [METHOD_NAMES[each.method] for each in maps]
            figure = map_columns(maps[0].images[:5], dict(zip(names, maps, strict=True)))
            page.chart("maps_together", figure, "The same galaxies by every method.")
        for method, scored in (scores or {}).items():
            _add_scores(page, method, scored, (sanity or {}).get(method, ()))
        text = rendered(page, _header(run, maps, target), notes=_notes(maps))
        path = out / "explain.html"
        with files.atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return path


def _header(run: Run, maps: Sequence[Maps], target: str) -> PageHeader:
    from morphoscope.version import __version__

    layers = sorted({each.layer for each in maps if each.layer})
    dead = sum(int(each.dead.sum()) for each in maps)
    return PageHeader(
        kind="maps",
        eyebrow=f"run {run.name}",
        title=f"Attribution maps of {run.recipe.name}",
        about=f"{formatting.plural(len(maps[0].images), 'galaxy', 'galaxies')}, explained: {target}.",
        headline=Headline(
            figure=str(len(maps)),
            label="methods" if len(maps) > 1 else "method",
            tiles=[
                Tile("Layer", ", ".join(layers) or formatting.DASH, "of the class activation maps"),
                Tile("Dead maps", formatting.count(dead), "zero everywhere"),
            ],
        ),
        version=__version__,
    )


def _add_maps(page: Page, maps: Maps) -> None:
    name = METHOD_NAMES[maps.method]
    page.section(maps.method, name)
    where = f" at layer {maps.layer}" if maps.layer else " at the pixels"
    page.chart(
        f"maps_{maps.method}",
        map_panel(maps),
        f"{name}{where}: each galaxy as the network sees it, and its map, from zero to its own "
        f"maximum, over the galaxy in grey. The percentage is the prediction.{dead_words(maps)}",
    )


def _add_scores(
    page: Page, method: str, scored: Mapping[str, Mapping[str, Any]], sanity: Sequence[Mapping[str, Any]]
) -> None:
    name = METHOD_NAMES[method]
    page.section(f"scores-{method}", f"How faithful is {name}?")
    page.chart(
        f"scores_{method}",
        faithfulness_bars(scored),
        f"{name} beside maps that know nothing of the network; bars: 95 % bootstrap intervals over galaxies.",
    )
    keys = [key for key in SCORES if any(key in each for each in scored.values())]
    page.table(
        Table(
            headings=["Map", *(SCORES[key] for key in keys), "n"],
            rows=[
                [
                    METHOD_NAMES.get(label, label),
                    *(_with_interval(each.get(key, {})) for key in keys),
                    formatting.count(each[keys[0]]["n"]),
                ]
                for label, each in scored.items()
            ],
            caption="Means over galaxies with 95 % bootstrap intervals. Deletion: the prediction while the "
            "most important pixels become sky, lower is better; insertion: while they appear, higher is.",
        )
    )
    if sanity:
        page.table(
            Table(
                headings=["Layers made random, from the output down", "Correlation with the trained map"],
                rows=[
                    [formatting.percent(row["random"], 0), _with_interval(row["correlation"])]
                    for row in sanity
                ],
                caption="Spearman's correlation, mean over galaxies. A map that does not change when the "
                "network is randomised is not about the network (Adebayo et al. 2018).",
            )
        )


def _with_interval(score: Mapping[str, Any]) -> str:
    between = formatting.interval(score.get("low"), score.get("high"))
    return formatting.number(score.get("value")) + (f" ({between})" if between else "")


def _notes(maps: Sequence[Maps]) -> list[str]:
    return [
        "A map shows where the prediction is sensitive, not why it is right; compare it with the "
        "baselines before drawing conclusions.",
        *(
            f"{METHOD_NAMES[each.method]}: {int(each.dead.sum())} of {len(each.dead)} maps are zero."
            for each in maps
            if each.dead.any()
        ),
    ]
