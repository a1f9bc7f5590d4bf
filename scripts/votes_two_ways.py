"""Counts or fractions: ``votes_two_ways.py STORE OUT [--recipe small/vote-counts] [--seeds 3]``.

Trains the same network on the same galaxies of a store of vote counts twice for each seed (of the split and
of the training): by the Dirichlet-multinomial likelihood of the counts, and by the squared error of the
fractions (``model.likelihood=squared-error``). Both are calibrated and measured alike on the test galaxies.
In a store of simulated galaxies, whose table has the probabilities that the votes were drawn from,
predictions are compared with these as well. ``--set FIELD=VALUE`` changes the recipe of both. Finished
trainings are not repeated. Writes ``votes.json``, ``votes.md`` and ``votes.png``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from morphoscope import api
from morphoscope.data.store import Store
from morphoscope.evaluation.compare import compare
from morphoscope.labels.scheme import VoteCounts
from morphoscope.metrics.vote_counts import LEVELS, credible_intervals, expected_fractions
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.report.figures import style
from morphoscope.runs.run import Run
from morphoscope.simulation.votes import chance_column
from morphoscope.studies.registry import find_recipe

WAYS = {
    "counts": "gaussian",
    "fractions": "squared-error",
}  # of vote counts "gaussian" is their own likelihood
WORDS = {"counts": "counts (likelihood)", "fractions": "fractions (squared error)"}
ROWS = {
    "rmse": "RMSE of the fractions, weighted by votes",
    "log_loss": "log loss, nats per question",
    "coverage": "votes within 90 % intervals, %",
    "truth_mean": "mean error of the true fractions",
    "truth_rmse": "their RMSE",
    "truth_bias": "error of their mean over the galaxies, mean over the answers",
    "truth_covered": "true fractions within 90 % intervals, %",
}

Point = dict[str, Any]


def truth_scores(run: Run, store: Store, scheme: VoteCounts) -> dict[str, float]:
    """Errors of the expected fractions from those that the votes were drawn from, where the store has them.

    Weighted by how many of the volunteers are asked the question, as expected from the truth.
    """
    columns = [chance_column(answer) for answer in scheme.output_names]
    if not set(columns) <= set(store.table.column_names):
        return {}
    table = run.predictions()
    alpha_NK = np.stack(
        [table.column(f"{name}_dirichlet").to_numpy() for name in scheme.output_names], axis=1
    )
    rows = table.column("row").to_numpy()
    true_NK = np.stack([store.column(name)[rows] for name in columns], axis=1).astype(np.float64)
    tree = scheme.decision_tree
    weight_NK = tree.expected_sums(tree.cumulative(true_NK))[:, tree.question_of]
    error_NK = expected_fractions(alpha_NK, scheme.slices) - true_NK
    low_NK, high_NK = credible_intervals(alpha_NK, scheme.slices)
    inside_NK = (low_NK <= true_NK) & (true_NK <= high_NK)
    total = weight_NK.sum()
    bias_K = (weight_NK * error_NK).sum(0)
    return {
        "truth_bias": float(np.abs(bias_K).sum() / total),
        "truth_mean": float((weight_NK * np.abs(error_NK)).sum() / total),
        "truth_rmse": float(np.sqrt((weight_NK * error_NK**2).sum() / total)),
        "truth_covered": float(100 * (weight_NK * inside_NK).sum() / total),
        "truth_mean_always": float(  # of always saying the mean
            (weight_NK * np.abs(true_NK - (weight_NK * true_NK).sum(0) / weight_NK.sum(0))).sum() / total
        ),
    }


def measured(run: Run, store: Store, scheme: VoteCounts) -> Point:
    """The scores of a run on its test galaxies."""
    test = run.metrics()["test"]
    return {
        "n": test["n"],
        "rmse": test["rmse"]["value"],
        "log_loss": test["log_loss"]["value"],
        "coverage": 100 * test["coverage_90"]["value"],
        "levels": [level["value"] for level in test["coverage"]],
        "seconds": run.environment().get("training_seconds"),
    } | truth_scores(run, store, scheme)


def study(recipe: Recipe, store: Store, out: Path, seeds: int) -> tuple[list[Point], list[dict[str, Any]]]:
    """Train what is not there yet: the scores of every run, and the differences of each pair."""
    points, differences, scheme = [], [], store.need_scheme()
    assert isinstance(scheme, VoteCounts)
    for seed in range(seeds):
        pair = []
        for way, likelihood in WAYS.items():
            place = out / f"{way}-{seed}"
            chosen = recipe.changed(seed=seed, data={"split_seed": seed}, model={"likelihood": likelihood})
            begun = (place / "run.yaml").is_file()
            run = api.train(chosen, store, place, resume=begun, report=False, progress=False).run
            points.append({"way": way, "seed": seed} | measured(run, store, scheme))
            note(
                f"{way}, seed {seed}: RMSE {points[-1]['rmse']:.4f}, coverage {points[-1]['coverage']:.1f} %"
            )
            pair.append({"name": way, "predictions": run.predictions(), "metrics": run.metrics()})
        compared = compare(pair)["pairs"][0]  # fractions minus counts
        differences.append({"seed": seed, "rmse": compared["rmse"], "log_loss": compared["difference"]})
    return points, differences


def table(points: list[Point], differences: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over the seeds, as Markdown."""
    lines = ["| | " + " | ".join(WORDS.values()) + " |", "|---" * (len(WAYS) + 1) + "|"]
    for score, words in ROWS.items():
        if score not in points[0]:
            continue
        digits = 1 if words.endswith("%") else 4
        cells = []
        for way in WAYS:
            found = [point[score] for point in points if point["way"] == way]
            spread = f" ± {statistics.stdev(found):.{digits}f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.{digits}f}{spread}")
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += ["", "Fractions minus counts on the same galaxies (95 %, bootstrap), RMSE:"]
    for one in differences:
        value = one["rmse"]
        lines.append(
            f"- seed {one['seed']}: {value['value']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})"
        )
    tested = ", ".join(map(str, sorted({point["n"] for point in points})))
    return "\n".join([*lines, "", f"{len(differences)} seeds; n = {tested} tested in each."])


@style.styled
def figure(points: list[Point]) -> Figure:
    """The share of the votes within the predicted intervals, against what these are meant to hold."""
    drawn = style.new_figure(style.COLUMN, 3.0)
    axes = drawn.subplots()
    axes.plot([0, 100], [0, 100], color=style.MUTED, linewidth=1)
    levels = 100 * np.array(LEVELS)
    for colour, way in zip(style.SERIES, WAYS, strict=False):
        held = 100 * np.array([point["levels"] for point in points if point["way"] == way])
        reach = [held.mean(axis=0) - held.min(axis=0), held.max(axis=0) - held.mean(axis=0)]
        axes.errorbar(
            levels, held.mean(axis=0), reach, fmt="-o", markersize=3.5, color=colour, label=WORDS[way]
        )
    axes.set(xlabel="intervals are meant to hold, %", ylabel="votes within them, %")
    axes.legend(loc="lower right")
    return drawn


def main() -> None:
    """Measure, then write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="small/vote-counts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="FIELD=VALUE")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    recipe = find_recipe(asked.recipe).with_settings(asked.settings)
    points, differences = study(recipe, api.open_store(asked.store), asked.out, asked.seeds)
    found = {"points": points, "differences": differences}
    (asked.out / "votes.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(points, differences)
    (asked.out / "votes.md").write_text(text + "\n", encoding="utf-8")
    style.save(figure(points), asked.out / "votes.png")
    print(text)


if __name__ == "__main__":
    main()
