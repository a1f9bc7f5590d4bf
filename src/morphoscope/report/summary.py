"""The text of a report: headline, facts about data, network and machine, and caveats.

Caveats are what a reader should know: small samples, missing parts, unusual splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.images.planes import kind_of, shown_bands
from morphoscope.report import formatting
from morphoscope.report.figures.data import PART_NAMES, PARTS

if TYPE_CHECKING:
    from morphoscope.data.splits.split import Split
    from morphoscope.data.store import Store
    from morphoscope.runs.run import Run

FEW_GALAXIES = 200  # an accuracy of 90 % is then known to about ± 4 points
FEW_OF_A_CLASS = 20
KEEPS_TOGETHER = "sky-grouped"  # the one named split that keeps galaxies of the same sky together


def caveats(
    run: Run,
    metrics: Mapping[str, Any],
    history: Mapping[str, np.ndarray],
    environment: Mapping[str, Any],
    split: Split | None,
    store: Store | None,
) -> list[str]:
    """Sentences that apply to this run; empty if there are none."""
    test = metrics.get("test") or {}
    return [
        *_about_data(run, split, store),
        *_about_test(test),
        *_about_classes(test),
        *_about_training(run, metrics, history),
        *_about_program(environment),
    ]


def _about_data(run: Run, split: Split | None, store: Store | None) -> list[str]:
    notes = []
    if run.header.store.source == "simulator":
        notes.append(
            "The galaxies are simulated. The numbers show how well the network classifies simulated "
            "galaxies; they say nothing about real images."
        )
    name = run.recipe.data.split
    if name != KEEPS_TOGETHER and "/" not in name and not name.endswith((".json", ".yaml")):
        notes.append(
            f"The split “{name}” does not keep images of the same region of sky together, so a galaxy may "
            "be in both training and test; “morphoscope data audit” counts such pairs."
        )
    if split is not None and len(split.test) and np.isin(split.test, split.validation).any():
        notes.append(
            "Validation and test are the same galaxies, as this split was published: the best epoch was "
            "chosen on the galaxies it is judged by, so the result is too good."
        )
    if store is not None and store.meta.unreadable:
        notes.append(
            f"{formatting.plural(store.meta.unreadable, 'image')} could not be read when the store was made."
        )
    return notes


def _about_test(test: Mapping[str, Any]) -> list[str]:
    if not formatting.known(test.get("n")):
        return ["No galaxies were held out for a test, so nothing is known about how good this network is."]
    notes = [_sentence(note) for note in test.get("notes") or []]
    if test["n"] < FEW_GALAXIES:
        galaxies = formatting.plural(test["n"], "galaxy", "galaxies")
        notes.append(
            f"The test has {galaxies}: differences smaller than the interval are not evidence. "
            "Several seeds or splits would tell more."
        )
    return notes


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _about_classes(test: Mapping[str, Any]) -> list[str]:
    notes = []
    rows = test.get("per_class") or []
    rare = [row for row in rows if 0 < (row.get("support") or 0) < FEW_OF_A_CLASS]
    if rare:
        named = ", ".join(f"{row['name']} ({row['support']})" for row in rare)
        notes.append(f"Measured on fewer than {FEW_OF_A_CLASS} galaxies: {named}. Their scores are rough.")
    never = [row["name"] for row in rows if row.get("support") and row.get("predicted") == 0]
    if never:
        notes.append(f"The network predicts {', '.join(never)} for none of the galaxies it was measured on.")
    if formatting.known(formatting.value_of(test, "ece")):
        notes.append(
            "A calibration error is a sum of absolute values, so chance alone makes it positive: about 0.03 "
            "on 450 galaxies for a network that is perfectly calibrated."
        )
    return notes


def _about_training(run: Run, metrics: Mapping[str, Any], history: Mapping[str, np.ndarray]) -> list[str]:
    notes = []
    epochs = np.asarray(history.get("epoch", ()))
    training = run.recipe.training
    wanted = training.epochs - training.initial_epoch
    if len(epochs) and len(epochs) < wanted:
        notes.append(
            f"The training stopped after {formatting.plural(len(epochs), 'epoch')} of {wanted}: the "
            "validation no longer improved."
        )
    validation = np.asarray(history.get("validation_loss", ()), float)
    if folds := metrics.get("folds"):
        notes.append(
            f"The network learned from all labelled galaxies. Its scores are those of {folds['count']} "
            "others like it, each trained without the fold it is tested on: they are slightly too low, and "
            "the intervals do not include how much such networks differ."
        )
    elif len(epochs) and not np.isfinite(validation).any():
        notes.append("There was no validation split; the weights are those of the last epoch.")
    elif training.restore_best and metrics.get("validation"):
        notes.append(
            "The epoch was chosen on the validation galaxies, so their scores are slightly too good; the "
            "test galaxies were not used for any choice."
        )
    calibrated = (metrics.get("calibration") or {}).get("method", "none") != "none"
    if calibrated and not metrics.get("folds"):
        notes.append(
            "The calibration was fitted on the validation galaxies, so their calibration error and log loss "
            "are too good."
        )
    views = metrics.get("views")
    if formatting.known(views) and views > 1:
        seen = "turned, mirrored and scaled" if views > 16 else "rotated and mirrored"
        sure = metrics.get("sure")
        spared = f", or of the first alone where that is at least {100 * sure:g} % sure" if sure else ""
        notes.append(f"Every prediction is the mean over {views} {seen} views of the galaxy{spared}.")
    return notes


def _about_program(environment: Mapping[str, Any]) -> list[str]:
    revision = str(environment.get("git_revision") or "")
    if revision.endswith("-dirty"):
        return [f"The program had uncommitted changes (after {revision.removesuffix('-dirty')})."]
    return []


@dataclass(frozen=True)
class Tile:
    """One number of the headline."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """The main result: its value, its interval, and the value of a trivial baseline.

    ``low``, ``value``, ``high`` and ``baseline`` are positions between 0 and 1 on the scale drawn below
    the number; None: not drawn.
    """

    figure: str
    label: str
    interval: str = ""
    comparison: str = ""
    tiles: Sequence[Tile] = ()
    low: float | None = None
    value: float | None = None
    high: float | None = None
    baseline: float | None = None


def tile(test: Mapping[str, Any], key: str, label: str, note: str, digits: int = 3) -> Tile:
    """A score with its interval, or with a note where it has none."""
    low, high = formatting.bounds_of(test, key)
    return Tile(
        label,
        formatting.number(formatting.value_of(test, key), digits),
        formatting.interval(low, high, digits) or note,
    )


def position(value: Any) -> float | None:
    """Where a share stands on the scale below the headline, 0 to 1; None for what is not known."""
    return min(max(float(value), 0.0), 1.0) if formatting.known(value) else None


def data_facts(
    run: Run, store: Store | None, counts: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, str]]:
    """Facts about the training data, as (name, value).

    Args:
        run: the run.
        store: its store, if available; it knows how many images were unreadable.
        counts: part of the split → class → galaxies; empty if not recorded.
    """
    facts = run.header.store
    height, width, channels = facts.image_shape
    bands = formatting.plural(channels, "channel") if facts.pictures else kind_of(facts)
    listed = [
        ("Store", facts.name),
        ("Made from", facts.source or "not recorded"),
        ("Galaxies", formatting.count(facts.count)),
        ("Images", f"{width} × {height} pixels, {bands}"),
    ]
    if facts.pixel_scale:
        field = f"{width * facts.pixel_scale:.1f}″ × {height * facts.pixel_scale:.1f}″"
        listed.append(("Pixel scale", f"{facts.pixel_scale:.4g}″ per pixel, {field} in all"))
    else:
        listed.append(("Pixel scale", "unknown"))
    listed.append(("Stretch", facts.stretch))
    if facts.bands:
        listed.append(("Pictures here", f"{shown_bands(facts)}; the network takes all bands"))
    if facts.crop or facts.size:
        steps = [
            f"centre {facts.crop} pixels" if facts.crop else "",
            f"scaled to {facts.size}" if facts.size else "",
        ]
        listed.append(("At ingest", ", ".join(filter(None, steps))))
    if store is not None:
        listed.append(("Unreadable", _unreadable(store.meta.unreadable)))
    listed.append(("Labels", f"{run.scheme.name}: {formatting.count(run.scheme.outputs)} {run.scheme.noun}"))
    data = run.recipe.data
    folds = f", {data.folds} folds" if data.folds else ""
    listed.append(("Split", f"{data.split}, seed {data.split_seed}{folds}"))
    parts = [
        f"{formatting.count(sum(counts[part].values()))} {PART_NAMES[part]}"
        for part in PARTS
        if part in counts
    ]
    if parts:
        listed.append(("Parts", ", ".join(parts)))
    available = sum(counts.get("train", {}).values())
    if data.limit is not None and data.limit < available:
        words = f"{formatting.count(data.limit)} of {formatting.count(available)} (data.limit)"
        listed.append(("Trained on", words))
    return listed


def _unreadable(number: int) -> str:
    if not number:
        return "none"
    return f"{formatting.plural(number, 'image')} left out, listed in the store's unreadable.csv"


def model_facts(run: Run) -> list[tuple[str, str]]:
    """The network and the training in a few lines."""
    recipe, header = run.recipe, run.header
    facts = [
        ("Network", recipe.model.name),
        (
            "Parameters",
            f"{formatting.count(header.parameters)} trainable" if header.parameters else "not recorded",
        ),
        ("Started from", header.start or "not recorded"),
        ("Input", f"{recipe.augment.size} × {recipe.augment.size} pixels"),
        (
            "Optimiser",
            f"{recipe.optimiser.name}, learning rate {recipe.optimiser.lr:g}, {recipe.schedule.name}",
        ),
        ("Batch", f"{recipe.training.batch} galaxies"),
    ]
    best = header.best_epoch
    if best is not None:
        average = ", their moving average" if recipe.training.ema else ""
        facts.append(("Weights kept", f"those of epoch {best}{average}"))
    return facts


def environment_facts(
    environment: Mapping[str, Any], seed: int, images: int | None = None
) -> list[tuple[str, str]]:
    """Versions, hardware and cost, as far as they were recorded.

    Args:
        environment: a run's environment.json.
        seed: of the recipe, used if the file has none.
        images: total over all epochs, for the speed; None: unknown.
    """
    gpu = environment.get("gpu")
    cores = environment.get("cores")
    processor = environment.get("processor") or ""
    if cores:
        processor = f"{processor} ({formatting.plural(cores, 'core')})".strip()
    memory = environment.get("peak_memory_gib")
    rate, how = environment.get("images_per_second"), "images/s"
    if not formatting.known(rate):
        rate, how = _rate(environment, images), "images/s, validation included"
    facts = [
        ("Finished", formatting.moment(environment.get("finished"))),
        ("Duration", _if_known(environment.get("seconds"), formatting.duration)),
        ("Training alone", _if_known(environment.get("training_seconds"), formatting.duration)),
        ("Training speed", _if_known(rate, lambda value: f"{formatting.count(value)} {how}")),
        ("Largest memory", _if_known(memory, lambda value: f"{formatting.number(value, 2)} GiB")),
        (
            "Largest GPU memory",
            _if_known(
                environment.get("peak_gpu_memory_gib"), lambda value: f"{formatting.number(value, 2)} GiB"
            ),
        ),
        ("Processor", processor),
        ("GPU", str(gpu) if gpu else "none"),
        ("System", " · ".join(filter(None, [environment.get("platform"), _python(environment)]))),
        (
            "Packages",
            ", ".join(f"{name} {number}" for name, number in (environment.get("versions") or {}).items()),
        ),
        ("Program revision", str(environment.get("git_revision") or "")),
        ("Seed", str(environment.get("seed", seed))),
    ]
    return [(name, value) for name, value in facts if value]


def _rate(environment: Mapping[str, Any], images: int | None) -> float | None:
    seconds = environment.get("training_seconds")
    return images / seconds if images and formatting.known(seconds) and seconds > 0 else None


def images_seen(run: Run, counts: Mapping[str, Mapping[str, int]], epochs: int) -> int | None:
    """Training images over all epochs; None if the recipe repeats or omits galaxies."""
    data = run.recipe.data
    if data.limit is not None or data.balance in ("oversample", "square-root") or "train" not in counts:
        return None
    return sum(counts["train"].values()) * epochs


def _python(environment: Mapping[str, Any]) -> str:
    return f"Python {environment['python']}" if environment.get("python") else ""


def _if_known(value: Any, as_text: Any) -> str:
    return as_text(value) if formatting.known(value) else ""


def commands(run: Run) -> str:
    """Commands that train the same network again and compare the two."""
    name, store = run.name, run.header.store.name
    again = f"{name}-again"
    return "\n".join(
        [
            f"morphoscope train {name}/recipe.yaml --store {store} --out {again} \\",
            f"    --set data.split={name}/split.json",
            f"morphoscope compare {name} {again}",
        ]
    )
