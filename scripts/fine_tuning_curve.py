"""What labels are worth: ``fine_tuning_curve.py STORE OUT [--start NETWORK] [--seeds 3]``.

Fine-tunes on 30, 100, 300, 1000 and all labels of a store of classes, with several seeds (of labels, split
and training), from three starts, each with two learning rates:

- ``default``: the packaged network, which learned from simulated galaxies (or the run of ``--start``),
- ``imagenet``: EfficientNet-Lite0 with the ImageNet weights that a package carries,
- ``scratch``: the packaged network's architecture from random weights.

Every point is tested on the fifth of the galaxies that its split holds out. No label is spent on
validation; the learning rate is the one with the better mean test accuracy over seeds, for each start and
number of labels alike, so all numbers are a little optimistic. Finished trainings are not repeated. Writes
``curve.json``, ``curve.md`` and ``curve.png``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from morphoscope import api
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.report.figures import style
from morphoscope.studies.registry import find_recipe

LABELS = (30, 100, 300, 1000, 0)  # 0: all
EPOCHS = {30: 60, 100: 40, 300: 25, 1000: 12, 0: 10}
STARTS = {
    "default": ({}, (3e-4, 1e-3)),
    "imagenet": (
        {"model": {"name": "tf_efficientnet_lite0", "start": None}, "training": {"precision": "fp32"}},
        (3e-4, 1e-3),
    ),
    "scratch": ({"model": {"start": None, "pretrained": False}}, (1e-3, 3e-3)),
}
WORDS = {
    "default": "packaged network (simulated galaxies)",
    "imagenet": "EfficientNet-Lite0 (ImageNet)",
    "scratch": "random weights",
}

Point = dict[str, Any]


def recipe_of(start: str, labels: int, rate: float, seed: int, network: str, size: int) -> Recipe:
    """The recipe of one training."""
    changes, _ = STARTS[start]
    recipe = find_recipe("small/own-labels").changed(**changes)
    if start == "default":
        recipe = recipe.changed(model={"start": network})
    return recipe.changed(
        seed=seed,
        data={"validation": 0.0, "split_seed": seed, "limit": labels or None},
        augment={"size": size},
        optimiser={"lr": rate},
        training={"epochs": EPOCHS[labels]},
    )


def measure(asked: argparse.Namespace) -> list[Point]:
    """Train what is not there yet; one point a training."""
    store, points = api.open_store(asked.store), []
    for seed in range(asked.seeds):
        for labels in asked.labels:
            for start in asked.starts:
                for rate in STARTS[start][1]:
                    place = asked.out / f"{start}-{labels or 'all'}-{rate:g}-{seed}"
                    begun = (place / "run.yaml").is_file()
                    recipe = recipe_of(start, labels, rate, seed, asked.start, asked.size)
                    run = api.train(recipe, store, place, resume=begun, report=False, progress=False)
                    test = run.metrics()["test"]
                    accuracy = test["accuracy"]["value"]
                    used = labels or len(run.run.split(store).train)
                    note(f"{start}, {used} labels, learning rate {rate:g}, seed {seed}: {accuracy:.1%}")
                    points.append(
                        {
                            "start": start,
                            "labels": used,
                            "rate": rate,
                            "seed": seed,
                            "accuracy": accuracy,
                            "n": test["n"],
                        }
                    )
    return points


def best(points: list[Point], start: str, labels: int) -> tuple[float, list[float]]:
    """The better learning rate and its accuracies, one a seed."""
    rates: dict[float, list[float]] = {}
    for point in points:
        if (point["start"], point["labels"]) == (start, labels):
            rates.setdefault(point["rate"], []).append(point["accuracy"])
    rate = max(rates, key=lambda rate: statistics.mean(rates[rate]))
    return rate, rates[rate]


def table(points: list[Point]) -> str:
    """Accuracy in percent, mean ± standard deviation over seeds, as Markdown."""
    starts = list(dict.fromkeys(point["start"] for point in points))
    counts = sorted({point["labels"] for point in points})
    lines = [
        "| labels | " + " | ".join(WORDS[start] for start in starts) + " |",
        "|---" * (len(starts) + 1) + "|",
    ]
    for labels in counts:
        cells = []
        for start in starts:
            rate, found = best(points, start, labels)
            spread = f" ± {100 * statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{100 * statistics.mean(found):.1f}{spread} ({rate:g})")
        lines.append(f"| {labels} | " + " | ".join(cells) + " |")
    seeds, tested = len({point["seed"] for point in points}), {point["n"] for point in points}
    return "\n".join(
        [*lines, "", f"{seeds} seeds, n = {min(tested)} tested in each; in brackets the learning rate."]
    )


@style.styled
def figure(points: list[Point]) -> Figure:
    """Accuracy against the number of labels: means, and from the worst seed to the best."""
    drawn = style.new_figure(style.COLUMN * 1.35, 3.2)
    axes = drawn.subplots()
    counts = sorted({point["labels"] for point in points})
    for colour, start in zip(style.SERIES, dict.fromkeys(point["start"] for point in points), strict=False):
        found = [[100 * one for one in best(points, start, labels)[1]] for labels in counts]
        means = [statistics.mean(seeds) for seeds in found]
        reach = [
            [mean - min(seeds) for mean, seeds in zip(means, found, strict=True)],
            [max(seeds) - mean for mean, seeds in zip(means, found, strict=True)],
        ]
        axes.errorbar(
            counts,
            means,
            reach,
            fmt="-o",
            markersize=3.5,
            elinewidth=1,
            capsize=2.5,
            color=colour,
            label=WORDS[start],
        )
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{labels:,}" for labels in counts])
    axes.minorticks_off()
    axes.set_xlabel("labelled galaxies")
    axes.set_ylabel("test accuracy, %")
    axes.set_ylim(math.floor(axes.get_ylim()[0] / 5) * 5, 100)
    axes.grid(axis="y")
    axes.legend(loc="lower right")
    return drawn


def main() -> None:
    """Measure, then write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--start", default="default", help="run to start from instead of the packaged network"
    )
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--labels", nargs="+", type=int, choices=LABELS, default=list(LABELS), help="0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96, help="pixels that the networks see")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    points = measure(asked)
    (asked.out / "curve.json").write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
    (asked.out / "curve.md").write_text(table(points) + "\n", encoding="utf-8")
    style.save(figure(points), asked.out / "curve.png")
    print(table(points))


if __name__ == "__main__":
    main()
