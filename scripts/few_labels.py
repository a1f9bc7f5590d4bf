"""What a hundred labels give: ``few_labels.py STORE OUT [--labels 100] [--draws 5] [--tested 0]``.

Draws labels from a store of classes at random (at least two of each class), several times, trains on them
with each recipe, and tests on the other galaxies; every recipe gets the same labels. Each training is a
process of its own, as from the command line without a report, and its processor seconds are those of all of
it.

``--with NAME=RECIPE`` (repeatable) names what is compared, with settings after commas
(``probe=small/linear-probe,evaluation.views=4``); ``--build NAME=FOLDER`` trains ``small/own-labels`` with
another version of the program, whose ``src`` that is. Finished trainings are not repeated. Writes
``few.json`` and ``few.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.data.splits.file import Split, fingerprint
from morphoscope.data.store import Store, open_store
from morphoscope.progress import note

TUNED, PROBE = "small/own-labels", "small/linear-probe"


@dataclass(frozen=True)
class Way:
    """One way to learn from the labels."""

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    build: str = ""  # its src folder; empty: this program


def drawn(store: Store, count: int, tested: int, seed: int) -> Split:
    """A split that learns from ``count`` galaxies, and tests on ``tested`` others; 0: on all others."""
    labels, classes = store.targets(), len(store.need_scheme().class_names or ())
    order = np.random.default_rng(seed).permutation(np.flatnonzero(store.labelled()))
    must = np.concatenate([order[labels[order] == k][:2] for k in range(classes)])
    rest = order[~np.isin(order, must)]
    train, others = np.concatenate([must, rest[: count - len(must)]]), rest[count - len(must) :]
    return Split(
        name=f"{count} labels",
        seed=seed,
        count=len(store),
        train=np.sort(train),
        validation=np.empty(0, np.int64),
        test=np.sort(others[: tested or None]),
        fingerprint=fingerprint(store),
    )


def trained(way: Way, store: Path, split: Path, place: Path) -> dict[str, Any]:
    """Accuracy and processor seconds of one training."""
    kept = place.with_suffix(".json")
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    shutil.rmtree(place, ignore_errors=True)  # of a training that was interrupted
    settings = [f"data.split={split}", *way.settings]
    if way.recipe == PROBE:
        settings.append("data.folds=none")
    command = [sys.executable, "-m", "morphoscope", "train", way.recipe, "--store", str(store)]
    command += ["--out", str(place), "--no-report", *(word for one in settings for word in ("--set", one))]
    environment = dict(os.environ) | ({"PYTHONPATH": way.build} if way.build else {})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    test = json.loads((place / "metrics.json").read_text(encoding="utf-8"))["test"]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"accuracy": test["accuracy"]["value"], "n": test["n"], "seconds": seconds}
    kept.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def table(points: list[dict[str, Any]], labels: int) -> str:
    """One line a way, as Markdown."""
    lines = [
        f"| {labels} labels | accuracy, % | mean ± standard deviation | processor seconds |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(point["name"] for point in points):
        own = [point for point in points if point["name"] == name]
        found = [100 * point["accuracy"] for point in own]
        spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
        shares = ", ".join(f"{one:.1f}" for one in found)
        seconds = ", ".join(f"{point['seconds']:.0f}" for point in own)
        lines.append(f"| {name} | {shares} | {statistics.mean(found):.1f}{spread} | {seconds} |")
    tested = sorted({point["n"] for point in points})
    return "\n".join(
        [*lines, "", f"Tested on {' to '.join(map(str, {tested[0], tested[-1]}))} galaxies each."]
    )


def ways(asked: argparse.Namespace) -> list[Way]:
    """What is compared."""
    found = []
    for text in asked.ways or [f"linear probe={PROBE}", f"fine-tuned={TUNED}"]:
        name, _, rest = text.partition("=")
        recipe, *settings = rest.split(",")
        found.append(Way(name, recipe, tuple(settings)))
    for text in asked.builds or []:
        name, _, folder = text.partition("=")
        found.append(Way(name, TUNED, build=folder))
    return found


def main() -> None:
    """Measure, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--tested", type=int, default=0, help="galaxies to test on; 0: all others")
    parser.add_argument("--with", dest="ways", action="append", metavar="NAME=RECIPE")
    parser.add_argument("--build", dest="builds", action="append", metavar="NAME=FOLDER")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    store, points = open_store(asked.store), []
    for draw in range(asked.draws):
        split = asked.out / f"labels-{draw}.json"
        drawn(store, asked.labels, asked.tested, draw).save(split)
        for way in ways(asked):
            found = trained(way, asked.store, split, asked.out / f"{way.name.replace(' ', '-')}-{draw}")
            note(f"{way.name}, draw {draw}: {found['accuracy']:.1%}, {found['seconds']:.0f} s")
            points.append({"name": way.name, "draw": draw} | found)
            (asked.out / "few.json").write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
    text = table(points, asked.labels)
    (asked.out / "few.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
