"""What choosing is worth: ``label_next_curve.py STORE OUT [--start default] [--seeds 3] [--rounds 5]``.

Starts from 50 labels drawn at random from a store of classes, and asks for 50 more in each round, chosen by
each way of ``label-next``: disagreement of five probes on resampled labels (bald), entropy, core set, and at
random. After every round a linear probe is fitted to all labels so far and tested on the same 30 % of the
galaxies, which are never asked for. All is repeated for several seeds of the test, the first labels and the
draws.

Features are computed once. Writes ``curve.json``, ``curve.md`` and ``curve.png``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from morphoscope.catalogue.active_learning import WAYS, k_centre
from morphoscope.data.splits.split import stratified_parts
from morphoscope.data.store import Store, open_store
from morphoscope.evaluation.fit_uncertainty import outputs_by_chunk
from morphoscope.inference.ensemble import mutual_information
from morphoscope.inference.head_fit import Labelled, chosen_strength, fit_head, predicted
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Scheme
from morphoscope.metrics.linear_models import LinearModel
from morphoscope.progress import note
from morphoscope.report.figures import style
from morphoscope.runs.run import open_run

HELD_OUT = 0.3
MEMBERS = 5
WORDS = {"bald": "disagreement (bald)", "entropy": "entropy", "coreset": "core set", "random": "at random"}

Point = dict[str, Any]


def features_of(store: Store, rows: np.ndarray, start: str, views: int, kept: Path) -> np.ndarray:
    """Features of the galaxies by view, (V, N, D) float32; from ``kept`` if it is there."""
    if not kept.is_file():
        predictor = Predictor(open_run(start), views=views, calibrated=False)
        chunks = outputs_by_chunk(predictor, store, rows, "features")
        np.save(kept, np.concatenate([features for _, features in chunks], axis=1))
    return np.load(kept)


class Campaign:
    """One campaign of labelling, with one way of choosing.

    Args:
        features_VND: of all galaxies, by view.
        labels_N: of all galaxies.
        scheme: of the labels.
        seed: of the test, the first labels and the draws.
    """

    def __init__(self, features_VND: np.ndarray, labels_N: np.ndarray, scheme: Scheme, seed: int) -> None:
        self.features_VND, self.labels_N, self.scheme, self.seed = features_VND, labels_N, scheme, seed
        self.random = np.random.default_rng(seed)
        parts = stratified_parts(labels_N, (1 - HELD_OUT, 0.0, HELD_OUT), seed)
        self.test = np.flatnonzero(parts == 2)
        self.pool = np.flatnonzero(parts == 0)

    def first(self, count: int) -> np.ndarray:
        """The labels to begin with: at random, at least two of each class."""
        drawn = self.random.permutation(self.pool)
        pairs = [drawn[self.labels_N[drawn] == k][:2] for k in range(self.scheme.outputs)]
        must = np.concatenate(pairs)
        return np.concatenate([must, drawn[~np.isin(drawn, must)][: count - len(must)]])

    def fitted(self, rows: np.ndarray, strength: float | None = None) -> tuple[LinearModel, float]:
        """A probe of some galaxies, and its strength."""
        labelled = Labelled(self.features_VND[:, rows], self.labels_N[rows], np.arange(len(rows)))
        strength = strength or chosen_strength(labelled, self.scheme, seed=self.seed)
        return fit_head(labelled, self.scheme, strength), strength

    def accuracy(self, model: LinearModel) -> float:
        """On the test galaxies, the mean over the views."""
        answers_NK = self.scheme.average(predicted(model, self.scheme, self.features_VND[:, self.test]))
        return float((answers_NK.argmax(axis=1) == self.labels_N[self.test]).mean())

    def chosen(
        self, by: str, rows: np.ndarray, model: LinearModel, strength: float, count: int
    ) -> np.ndarray:
        """The next galaxies to label."""
        left = self.pool[~np.isin(self.pool, rows)]
        if by == "random":
            return self.random.permutation(left)[:count]
        if by == "coreset":
            features_ND = self.features_VND.mean(axis=0)
            return left[k_centre(features_ND[left], features_ND[rows], count)[0]]
        models = [model]
        if by == "bald":
            resampled = [self.random.choice(rows, len(rows)) for _ in range(MEMBERS)]
            models = [self.fitted(some, strength)[0] for some in resampled]
        members_MNK = np.stack(
            [self.scheme.average(predicted(each, self.scheme, self.features_VND[:, left])) for each in models]
        )
        scores_N = (
            mutual_information(self.scheme, members_MNK)
            if by == "bald"
            else self.scheme.entropy(members_MNK[0])
        )
        return left[np.argsort(-scores_N, kind="stable")[:count]]

    def run(self, by: str, first: np.ndarray, rounds: int, count: int, penalty: float | None) -> list[Point]:
        """Accuracy with the first labels and after every round."""
        rows, points = first, []
        for number in range(rounds + 1):
            model, strength = self.fitted(rows, penalty)
            points.append(
                {"by": by, "seed": self.seed, "labels": len(rows), "accuracy": self.accuracy(model)}
            )
            note(f"{by}, seed {self.seed}: {len(rows)} labels, {points[-1]['accuracy']:.1%}")
            if number < rounds:
                rows = np.concatenate([rows, self.chosen(by, rows, model, strength, count)])
        return points


def labels_saved(points: list[Point], by: str) -> str:
    """How many labels at random reach what ``by`` reaches at the end, by linear interpolation."""
    at_random, chosen = means(points, "random"), means(points, by)
    reached, spent = chosen[max(chosen)], max(chosen)
    counts, values = np.array(sorted(at_random)), np.array([at_random[n] for n in sorted(at_random)])
    if reached > values.max():
        return f"more than {counts.max() - spent}" if counts.max() > spent else "beyond the curve at random"
    needed = float(np.interp(reached, np.maximum.accumulate(values), counts))
    return f"{needed - spent:+.0f}"


def means(points: list[Point], by: str) -> dict[int, float]:
    """Number of labels → mean accuracy over the seeds."""
    found: dict[int, list[float]] = {}
    for point in points:
        if point["by"] == by:
            found.setdefault(point["labels"], []).append(point["accuracy"])
    return {labels: statistics.mean(values) for labels, values in found.items()}


def table(points: list[Point], tested: int) -> str:
    """Accuracy in percent, mean ± standard deviation over seeds, as Markdown."""
    counts = sorted({point["labels"] for point in points})
    seeds = len({point["seed"] for point in points})
    lines = ["| labels | " + " | ".join(WORDS[by] for by in WAYS) + " |", "|---" * (len(WAYS) + 1) + "|"]
    for labels in counts:
        cells = []
        for by in WAYS:
            found = [p["accuracy"] for p in points if (p["by"], p["labels"]) == (by, labels)]
            spread = f" ± {100 * statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{100 * statistics.mean(found):.1f}{spread}" if found else "")
        lines.append(f"| {labels} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{seeds} seeds, n = {tested} tested in each."])


@style.styled
def figure(points: list[Point], tested: int) -> Figure:
    """Accuracy against the number of labels: means, and from the worst seed to the best."""
    drawn = style.new_figure(style.COLUMN * 1.35, 3.2)
    axes = drawn.subplots()
    for place, (colour, by) in enumerate(zip(style.SERIES, WAYS, strict=False)):
        average = means(points, by)
        counts = sorted(average)
        reach = np.array(
            [
                [100 * p["accuracy"] for p in points if (p["by"], p["labels"]) == (by, labels)]
                for labels in counts
            ]
        )
        middle = 100 * np.array([average[labels] for labels in counts])
        axes.errorbar(
            np.array(counts) + 1.5 * (place - 1.5),  # so that the bars can be told apart
            middle,
            [middle - reach.min(axis=1), reach.max(axis=1) - middle],
            fmt="-o",
            markersize=3.5,
            elinewidth=1,
            capsize=2.5,
            color=colour,
            label=WORDS[by],
        )
    seeds = len({point["seed"] for point in points})
    axes.set(xlabel="labels", ylabel=f"accuracy on {tested} galaxies, %")
    axes.legend(title=f"next labels chosen by\n(mean and range of {seeds} seeds)", loc="lower right")
    return drawn


def main() -> None:
    """Measure, then write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", default="default", help="run whose features are used")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=50, help="labels to begin with, and of each round")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--penalty", type=float, help="of every probe; left out: cross-validated each time")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    store = open_store(asked.store)
    rows = np.flatnonzero(store.labelled())
    features_VND = features_of(store, rows, asked.start, asked.views, asked.out / "features.npy")
    points: list[Point] = []
    for seed in range(asked.seeds):
        first = Campaign(features_VND, store.targets()[rows], store.need_scheme(), seed).first(asked.count)
        for by in WAYS:
            campaign = Campaign(features_VND, store.targets()[rows], store.need_scheme(), seed)
            points += campaign.run(by, first, asked.rounds, asked.count, asked.penalty)
            (asked.out / "curve.json").write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
    tested = len(Campaign(features_VND, store.targets()[rows], store.need_scheme(), 0).test)
    text = table(points, tested)
    saved = [f"{WORDS[by]}: {labels_saved(points, by)}" for by in WAYS if by != "random"]
    text += (
        "\n\nLabels at random that reach the same in the end, beside those spent: " + "; ".join(saved) + "."
    )
    (asked.out / "curve.md").write_text(text + "\n", encoding="utf-8")
    style.save(figure(points, tested), asked.out / "curve.png")
    note(f"{text}\n→ {asked.out}")


if __name__ == "__main__":
    main()
