"""What a report says in words: the headline, the facts about data and machine, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import wording
from morphoscope.report.figures_data import PART_NAMES, PARTS

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.training.run import Run


@dataclass(frozen=True)
class Tile:
    """One number of the headline."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """What was reached: the number, its interval, and what a trivial answer would reach.

    ``low``, ``value``, ``high`` and ``baseline`` are places between 0 and 1 on the scale that is drawn
    below the number; None: not drawn.
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


def headline(metrics: Mapping[str, Any]) -> Headline | None:
    """The headline of a run's ``metrics.json``; None when nothing was measured on a test split."""
    test = metrics.get("test") or {}
    if not wording.known(test.get("n")):
        return None
    galaxies = wording.plural(test["n"], "galaxy", "galaxies")
    if "rmse" in test:
        return _votes_headline(test, galaxies)
    value = wording.value_of(test, "accuracy")
    low, high = wording.bounds_of(test, "accuracy")
    supports = [row.get("support") or 0 for row in test.get("per_class") or []]
    baseline = max(supports) / sum(supports) if sum(supports) else None
    between = wording.interval(low, high, as_percent=True)
    return Headline(
        figure=wording.percent(value),
        label=f"accuracy on {galaxies} held out for the test",
        interval=f"95 % interval {between}" if between else "no interval was computed",
        comparison=f"always answering with the commonest class: {wording.percent(baseline)}"
        if baseline is not None
        else "",
        tiles=[
            _tile(test, "macro_recall", "Macro recall", "mean over the classes"),
            _tile(test, "macro_f1", "Macro F1", "mean over the classes"),
            _tile(test, "ece", "Calibration error", "0 is perfect", digits=3),
            _tile(test, "log_loss", "Log loss", "nats, 0 is perfect"),
        ],
        low=_place(low),
        value=_place(value),
        high=_place(high),
        baseline=_place(baseline),
    )


def _votes_headline(test: Mapping[str, Any], galaxies: str) -> Headline:
    value = wording.value_of(test, "rmse")
    low, high = wording.bounds_of(test, "rmse")
    answers = test.get("per_answer") or []
    spreads = [row.get("spread") for row in answers]
    mean_rmse = None
    if spreads and all(map(wording.known, spreads)):
        mean_rmse = float(np.sqrt(np.mean(np.square(spreads))))
    between = wording.interval(low, high, 4)
    explained = None
    if mean_rmse and wording.known(value):
        explained = 1 - (value / mean_rmse) ** 2
    tiles = (
        [Tile("Answers", wording.count(len(answers)), "fractions predicted per galaxy")] if answers else []
    )
    if explained is not None:
        tiles.append(Tile("Variance explained", wording.percent(explained), "of all answers together"))
    known = [row for row in answers if wording.known(row.get("rmse"))]
    if known:
        worst = max(known, key=lambda row: row["rmse"])
        best = min(known, key=lambda row: row["rmse"])
        tiles.append(Tile("Best answer", wording.number(best["rmse"], 4), f"RMSE of {best['name']}"))
        tiles.append(Tile("Worst answer", wording.number(worst["rmse"], 4), f"RMSE of {worst['name']}"))
    return Headline(
        figure=wording.number(value, 4),
        label=f"RMSE of the vote fractions of {galaxies} held out for the test",
        interval=f"95 % interval {between}" if between else "no interval was computed",
        comparison=f"always answering with the mean: {wording.number(mean_rmse, 4)}" if mean_rmse else "",
        tiles=tiles,
    )


def _tile(test: Mapping[str, Any], key: str, label: str, note: str, digits: int = 3) -> Tile:
    low, high = wording.bounds_of(test, key)
    return Tile(
        label,
        wording.number(wording.value_of(test, key), digits),
        wording.interval(low, high, digits) or note,
    )


def _place(value: Any) -> float | None:
    return min(max(float(value), 0.0), 1.0) if wording.known(value) else None


def data_facts(
    run: Run, store: Store | None, counts: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, str]]:
    """What the training data were, as (name, value).

    Args:
        run: the run.
        store: its store, if it is at hand; knows what could not be read.
        counts: part of the split → class → galaxies; empty when it was not recorded.
    """
    facts = run.header.store
    height, width, channels = facts.image_shape
    bands = wording.plural(channels, "channel")
    listed = [
        ("Store", facts.name),
        ("Made from", facts.source or "not recorded"),
        ("Galaxies", wording.count(facts.count)),
        ("Images", f"{width} × {height} pixels, {bands}"),
    ]
    if facts.pixel_scale:
        field = f"{width * facts.pixel_scale:.1f}″ × {height * facts.pixel_scale:.1f}″"
        listed.append(("Pixel scale", f"{facts.pixel_scale:.4g}″ per pixel, {field} in all"))
    else:
        listed.append(("Pixel scale", "unknown"))
    listed.append(("Stretch", facts.stretch))
    if facts.crop or facts.size:
        steps = [
            f"centre {facts.crop} pixels" if facts.crop else "",
            f"scaled to {facts.size}" if facts.size else "",
        ]
        listed.append(("At ingest", ", ".join(filter(None, steps))))
    if store is not None:
        listed.append(("Unreadable", _unreadable(store.meta.unreadable)))
    listed.append(("Labels", f"{run.scheme.name}: {_labels(run)}"))
    data = run.recipe.data
    listed.append(("Split", f"{data.split}, seed {data.split_seed}"))
    parts = [
        f"{wording.count(sum(counts[part].values()))} {PART_NAMES[part]}" for part in PARTS if part in counts
    ]
    if parts:
        listed.append(("Parts", ", ".join(parts)))
    return listed


def _unreadable(number: int) -> str:
    if not number:
        return "none"
    return f"{wording.plural(number, 'image')} left out, listed in the store's unreadable.csv"


def _labels(run: Run) -> str:
    number = wording.count(run.scheme.outputs)
    return f"{number} classes" if run.scheme.kind == "classes" else f"{number} vote fractions"


def model_facts(run: Run) -> list[tuple[str, str]]:
    """The network and the training in a few lines."""
    recipe, header = run.recipe, run.header
    facts = [
        ("Network", recipe.model.name),
        ("Weights", f"{wording.count(header.parameters)} trainable" if header.parameters else "not recorded"),
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
    """Versions, hardware and cost; what was not recorded is left out.

    Args:
        environment: a run's environment.json.
        seed: the recipe's, where the file has none.
        images: images in all epochs together, from which the speed follows; None: unknown.
    """
    gpu = environment.get("gpu")
    cores = environment.get("cores")
    processor = environment.get("processor") or ""
    if cores:
        processor = f"{processor} ({wording.plural(cores, 'core')})".strip()
    memory = environment.get("peak_memory_gib")
    rate, how = environment.get("images_per_second"), "images/s"
    if not wording.known(rate):
        rate, how = _rate(environment, images), "images/s, validation included"
    facts = [
        ("Finished", wording.moment(environment.get("finished"))),
        ("Duration", _if_known(environment.get("seconds"), wording.duration)),
        ("Training alone", _if_known(environment.get("training_seconds"), wording.duration)),
        ("Training speed", _if_known(rate, lambda value: f"{wording.count(value)} {how}")),
        ("Largest memory", _if_known(memory, lambda value: f"{wording.number(value, 2)} GiB")),
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
    return images / seconds if images and wording.known(seconds) and seconds > 0 else None


def images_seen(run: Run, counts: Mapping[str, Mapping[str, int]], epochs: int) -> int | None:
    """Training images in all epochs together; None where the recipe repeats or leaves out galaxies."""
    data = run.recipe.data
    if data.limit is not None or data.balance in ("oversample", "square-root") or "train" not in counts:
        return None
    return sum(counts["train"].values()) * epochs


def _python(environment: Mapping[str, Any]) -> str:
    return f"Python {environment['python']}" if environment.get("python") else ""


def _if_known(value: Any, words: Any) -> str:
    return words(value) if wording.known(value) else ""


def commands(run: Run) -> str:
    """What to type to train the same network again and to compare the two."""
    name, store = run.name, run.header.store.name
    again = f"{name}-again"
    return "\n".join(
        [
            f"morphoscope train {name}/recipe.yaml --store {store} --out {again} \\",
            f"    --set data.split={name}/split.json",
            f"morphoscope compare {name} {again}",
        ]
    )
