"""Runs side by side on the same galaxies: is one better, by how much, and where.

Shape letters: N galaxies, K classes or answers, R resamples.

Each difference is second − first of a pair, measured on the same galaxies and resampled together, which
takes the galaxies that both find easy or hard out of the interval.

Several runs' predictions brought into one order of galaxies, or refused if they do not belong together.
"""

from __future__ import annotations

import math
from collections.abc import ItemsView, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.bootstrap import resampled_sums, with_interval
from morphoscope.evaluation.confusion import ClassCounts

ALL_PAIRS = 4  # up to this many runs every pair is compared, beyond it each run with the first alone
EXACT_BELOW = 25  # discordant galaxies


def compare(runs: Sequence[dict[str, Any]], *, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare runs that were measured on the same test galaxies, JSON-able.

    Args:
        runs: two or more ``{"name", "predictions": pa.Table, "metrics": dict}``; the first is the baseline.
            Rows may be in any order: galaxies are matched by ``id``. The metrics are those of metrics.py
            or a run's whole ``metrics.json``, which has them under "test".
        bootstrap: paired resamples of the galaxies for the intervals.
        seed: of the resampling.

    Returns:
        ``kind`` ("classes" or "votes"), ``n``, ``baseline``, ``runs`` (name and headline numbers of each),
        ``pairs``: of each pair ``first``, ``second``, ``difference`` (accuracy, or RMSE for votes, second −
        first, as ``{"value", "low", "high"}``) and, for classes, ``mcnemar`` (:func:`mcnemar`, plus
        ``p_holm``, corrected for the number of pairs after Holm 1979), ``macro_f1`` (difference) and
        ``per_class`` (differences of recall and F1); for votes, ``per_answer`` (differences of RMSE) and
        ``closer`` (share of galaxies whose own RMSE is lower in the second run).

    Raises:
        UsageError: fewer than two runs.
        MorphoscopeError: the runs' schemes, test galaxies or true labels differ.
    """
    if len(runs) < 2:
        raise UsageError(f"compare takes two runs or more; {len(runs)} given")
    aligned = align([(run["name"], run["predictions"]) for run in runs])
    few = len(runs) <= ALL_PAIRS
    chosen = list(combinations(range(len(runs)), 2)) if few else [(0, k) for k in range(1, len(runs))]
    pair = _pair_of_classes if aligned.kind == "classes" else _pair_of_votes
    pairs = [pair(aligned, first, second, bootstrap, seed) for first, second in chosen]
    if aligned.kind == "classes":
        corrected = _holm([entry["mcnemar"]["p"] for entry in pairs])
        for entry, p in zip(pairs, corrected, strict=True):
            entry["mcnemar"]["p_holm"] = p
    headline = ("accuracy", "macro_f1", "macro_recall", "ece") if aligned.kind == "classes" else ("rmse",)
    return {
        "kind": aligned.kind,
        "n": aligned.count,
        "baseline": runs[0]["name"],
        "runs": [
            {
                "name": run["name"],
                **{key: value for key, value in _test_part(run["metrics"]) if key in headline},
            }
            for run in runs
        ],
        "pairs": pairs,
    }


def _test_part(metrics: dict[str, Any]) -> ItemsView[str, Any]:
    return metrics.get("test", metrics).items()


def mcnemar(first_correct_N: np.ndarray, second_correct_N: np.ndarray) -> dict[str, Any]:
    """McNemar's test of two networks' accuracy on the same galaxies (McNemar 1947, Psychometrika 12, 153).

    Only galaxies that exactly one of the two gets right tell them apart. Fewer than 25 of them: the exact
    two-sided binomial test; else chi-square with one degree of freedom and the continuity correction of
    Edwards 1948 (Psychometrika 13, 185): (|b − c| − 1)² / (b + c).

    Returns:
        ``only_first`` (b), ``only_second`` (c), ``method`` ("exact" or "chi-square"), ``statistic`` (None for
        the exact test) and ``p`` (1 where the two never differ).
    """
    first_correct_N, second_correct_N = np.asarray(first_correct_N, bool), np.asarray(second_correct_N, bool)
    b = int((first_correct_N & ~second_correct_N).sum())
    c = int((~first_correct_N & second_correct_N).sum())
    discordant = b + c
    counts = {"only_first": b, "only_second": c}
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(b, c) + 1)) / 2**discordant
        return {**counts, "method": "exact", "statistic": None, "p": min(1.0, 2 * tail)}
    statistic = max(abs(b - c) - 1, 0) ** 2 / discordant
    return {
        **counts,
        "method": "chi-square",
        "statistic": statistic,
        "p": math.erfc(math.sqrt(statistic / 2)),
    }


def _pair_of_classes(aligned: Aligned, first: int, second: int, bootstrap: int, seed: int) -> dict[str, Any]:
    size, count = len(aligned.outputs), aligned.count
    columns = [ClassCounts.columns(aligned.truth, aligned.answers[run], size) for run in (first, second)]
    pair = np.concatenate(columns, axis=1)
    before, after = (ClassCounts.of_sums(part) for part in np.split(pair.sum(axis=0), 2))
    sums = resampled_sums(pair, bootstrap, seed)
    before_R, after_R = (ClassCounts.of_sums(part) for part in np.split(sums, 2, axis=1))
    return {
        "first": aligned.names[first],
        "second": aligned.names[second],
        "difference": with_interval(
            float(after.accuracy - before.accuracy), after_R.accuracy - before_R.accuracy, count
        ),
        "macro_f1": with_interval(
            float(after.averages()["macro_f1"] - before.averages()["macro_f1"]),
            after_R.averages()["macro_f1"] - before_R.averages()["macro_f1"],
            count,
        ),
        "mcnemar": mcnemar(*(aligned.answers[run] == aligned.truth for run in (first, second))),
        "per_class": [_class_row(name, k, before, after) for k, name in enumerate(aligned.outputs)],
    }


def _class_row(name: str, k: int, before: ClassCounts, after: ClassCounts) -> dict[str, Any]:
    support = int(before.truth[k])
    row: dict[str, Any] = {"name": name, "support": support}
    if not support:
        return {**row, "recall": None, "f1": None, "reason": "the test set has no galaxy of this class"}
    for score in ("recall", "f1"):
        row[score] = float(getattr(after, score)[k] - getattr(before, score)[k])
    return row


def _pair_of_votes(aligned: Aligned, first: int, second: int, bootstrap: int, seed: int) -> dict[str, Any]:
    size, count = len(aligned.outputs), aligned.count
    squared = [np.square(aligned.answers[run] - aligned.truth) for run in (first, second)]
    sums = resampled_sums(np.concatenate(squared, axis=1), bootstrap, seed)
    totals = np.concatenate(squared, axis=1).sum(axis=0)

    def difference(chosen: slice) -> dict[str, Any]:
        def rmse(values: np.ndarray) -> np.ndarray:
            return np.sqrt(values[..., chosen].mean(axis=-1) / count)

        value = rmse(totals[size:]) - rmse(totals[:size])
        return with_interval(float(value), rmse(sums[:, size:]) - rmse(sums[:, :size]), count)

    per_galaxy = [part.sum(axis=1) for part in squared]
    return {
        "first": aligned.names[first],
        "second": aligned.names[second],
        "difference": difference(slice(None)),
        "closer": float(np.mean(per_galaxy[1] < per_galaxy[0])),
        "per_answer": [
            {"name": name, **difference(slice(k, k + 1))} for k, name in enumerate(aligned.outputs)
        ],
    }


def _holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m − k + 1, never decreasing."""
    corrected = [1.0] * len(p)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return corrected


_TRUTH, _PROBABILITY = "t_", "p_"


@dataclass(frozen=True)
class Aligned:
    """Predictions of several runs for the same galaxies, row by row."""

    kind: str
    """"classes" or "votes"."""
    outputs: tuple[str, ...]
    """K class names or answers."""
    names: tuple[str, ...]
    """Of the runs."""
    ids: np.ndarray
    """(N,) galaxies, in the first run's order."""
    truth: np.ndarray
    """(N,) class indices or (N, K) fractions."""
    answers: tuple[np.ndarray, ...]
    """Of each run, shaped as ``truth``."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.ids)


def outputs_of(table: pa.Table, name: str) -> tuple[str, tuple[str, ...]]:
    """("classes", class names) or ("votes", answers) of a predictions table.

    Raises:
        MorphoscopeError: the table has the columns of neither.
    """
    columns = table.column_names
    if "label" in columns and "predicted" in columns:
        classes = tuple(column[len(_PROBABILITY) :] for column in columns if column.startswith(_PROBABILITY))
        if classes:
            return "classes", classes
    answers = tuple(
        column[len(_TRUTH) :]
        for column in columns
        if column.startswith(_TRUTH) and column[len(_TRUTH) :] in columns
    )
    if not answers:
        raise MorphoscopeError(
            f"{name}: predictions have neither 'label' and 'predicted' nor answers with their truth 't_…'"
        )
    return "votes", answers


def align(runs: Sequence[tuple[str, pa.Table]]) -> Aligned:
    """Bring all runs into the first one's order of galaxies, matched by ``id``.

    Args:
        runs: (name, predictions table) of each.

    Raises:
        MorphoscopeError: schemes, test galaxies or true labels differ, or there is no galaxy.
    """
    (base_name, base), *others = runs
    kind, outputs = outputs_of(base, base_name)
    ids = _ids(base, base_name)
    if not len(ids):
        raise MorphoscopeError(f"{base_name}: its test set is empty; nothing can be compared")
    truth, answer = _values(base, kind, outputs)
    answers = [answer]
    for name, table in others:
        _same_scheme(base_name, (kind, outputs), name, outputs_of(table, name))
        order = _order(base_name, ids, name, _ids(table, name))
        other_truth, answer = _values(table, kind, outputs)
        differ = ~np.isclose(other_truth[order], truth, rtol=0, atol=1e-6).reshape(len(ids), -1).all(axis=1)
        if differ.any():
            raise MorphoscopeError(
                f"{base_name} and {name} disagree on the truth of {differ.sum()} of {len(ids)} galaxies "
                f"(the first: {ids[differ.argmax()]}); runs on the same labels can be compared"
            )
        answers.append(answer[order])
    return Aligned(kind, outputs, tuple(name for name, _ in runs), ids, truth, tuple(answers))


def _ids(table: pa.Table, name: str) -> np.ndarray:
    if "id" not in table.column_names:
        raise MorphoscopeError(f"{name}: predictions have no column 'id', by which galaxies are matched")
    return np.asarray(table.column("id").to_pylist(), dtype=str)


def _values(table: pa.Table, kind: str, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    def stacked(names: list[str]) -> np.ndarray:
        return np.stack([table.column(name).to_numpy() for name in names], axis=1).astype(np.float64)

    if kind == "classes":
        return tuple(table.column(name).to_numpy().astype(np.int64) for name in ("label", "predicted"))
    return stacked([_TRUTH + answer for answer in outputs]), stacked(list(outputs))


def _same_scheme(
    base_name: str, base: tuple[str, tuple[str, ...]], name: str, other: tuple[str, tuple[str, ...]]
) -> None:
    if base == other:
        return
    shown = [
        f"{kind} {', '.join(outputs[:4])}{'…' if len(outputs) > 4 else ''}" for kind, outputs in (base, other)
    ]
    how = (
        "the same names in another order"
        if base[0] == other[0] and set(base[1]) == set(other[1])
        else "other names"
    )
    raise MorphoscopeError(
        f"{base_name} and {name} have different schemes ({how}: {shown[0]} against {shown[1]}); runs "
        "with the same classes or answers can be compared"
    )


def _order(base_name: str, base_ids: np.ndarray, name: str, ids: np.ndarray) -> np.ndarray:
    """Rows of ``ids`` in the order of ``base_ids``."""
    if np.array_equal(base_ids, ids):
        return np.arange(len(ids))
    only_base, only_other = set(base_ids) - set(ids), set(ids) - set(base_ids)
    if only_base or only_other:
        raise MorphoscopeError(
            f"{base_name} and {name} were tested on different galaxies: {len(only_base)} of {len(base_ids)} "
            f"are only in the first, {len(only_other)} of {len(ids)} only in the second; evaluate both on "
            "one store and split"
        )
    for run, values in ((base_name, base_ids), (name, ids)):
        if len(set(values)) < len(values):
            raise MorphoscopeError(
                f"{run}: {len(values) - len(set(values))} ids occur more than once, so its galaxies cannot "
                "be matched with those of the other run"
            )
    return np.argsort(ids)[np.argsort(np.argsort(base_ids))]
