"""Compare runs on the same galaxies: is one better, by how much, and where.

Predictions are matched by galaxy. Each difference is second − first of a pair, with paired resamples, so that
galaxies which are easy or hard for both do not widen the interval.

Shape letters: N galaxies, K classes or answers.
"""

from __future__ import annotations

from collections.abc import ItemsView, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import KINDS
from morphoscope.metrics.classification import holm

ALL_PAIRS = 4  # up to this many runs all pairs are compared; with more, each run with the first only


def compare(runs: Sequence[dict[str, Any]], *, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare runs that were measured on the same test galaxies, JSON-able.

    Args:
        runs: two or more ``{"name", "predictions": pa.Table, "metrics": dict}``; the first is the baseline.
            Rows may be in any order: galaxies are matched by ``id``. The metrics are those of a test, or a
            run's whole ``metrics.json``, which has them under "test".
        bootstrap: paired resamples of the galaxies for the intervals.
        seed: of the resampling.

    Returns:
        ``kind`` (of label), ``n``, ``baseline``, ``runs`` (name and headline scores of each), ``pairs``: of
        each pair ``first``, ``second``, ``difference`` (of the kind's metric, second − first, as ``{"value",
        "low", "high"}``) and the rest of the kind's :meth:`~morphoscope.labels.kind.Scheme.compare`.
        ``mcnemar`` also has ``p_holm``, corrected for the number of pairs after Holm 1979.

    Raises:
        UsageError: fewer than two runs.
        MorphoscopeError: the runs' schemes, test galaxies or true labels differ.
    """
    if len(runs) < 2:
        raise UsageError(f"compare takes two or more runs, not {len(runs)}")
    aligned = align([(run["name"], run["predictions"]) for run in runs])
    few = len(runs) <= ALL_PAIRS
    chosen = list(combinations(range(len(runs)), 2)) if few else [(0, k) for k in range(1, len(runs))]
    kind = KINDS[aligned.kind]
    pairs = [
        {
            "first": aligned.names[first],
            "second": aligned.names[second],
            **kind.compare(
                aligned.truth,
                aligned.predictions[first],
                aligned.predictions[second],
                aligned.outputs,
                bootstrap=bootstrap,
                seed=seed,
            ),
        }
        for first, second in chosen
    ]
    tests = [pair["mcnemar"] for pair in pairs if "mcnemar" in pair]
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = p
    return {
        "kind": aligned.kind,
        "n": aligned.count,
        "baseline": runs[0]["name"],
        "runs": [
            {
                "name": run["name"],
                **{key: value for key, value in _test_part(run["metrics"]) if key in kind.compared_scores},
            }
            for run in runs
        ],
        "pairs": pairs,
    }


def _test_part(metrics: dict[str, Any]) -> ItemsView[str, Any]:
    found = metrics.get("test", metrics)
    return found.items() if isinstance(found, dict) else {}.items()


@dataclass(frozen=True)
class Aligned:
    """Predictions of several runs for the same galaxies, row by row."""

    kind: str
    """The kind of label."""
    outputs: tuple[str, ...]
    """K class names or answers."""
    names: tuple[str, ...]
    """Of the runs."""
    ids: np.ndarray
    """(N,) galaxies, in the first run's order."""
    truth: np.ndarray
    """(N,) class indices or (N, K) fractions."""
    predictions: tuple[np.ndarray, ...]
    """Of each run, shaped as ``truth``."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.ids)


def outputs_of(table: pa.Table, name: str) -> tuple[str, tuple[str, ...]]:
    """The kind of label and the outputs of a predictions table.

    Raises:
        MorphoscopeError: the table has the columns of no known kind.
    """
    for kind, scheme in KINDS.items():
        outputs = scheme.outputs_in(table.column_names)
        if outputs is not None:
            return kind, outputs
    raise MorphoscopeError(
        f"{name}: predictions have neither 'label' and 'predicted' nor answers with their truth 't_…'"
    )


def align(runs: Sequence[tuple[str, pa.Table]]) -> Aligned:
    """Match the galaxies of all runs by ``id``, in the first run's order.

    Args:
        runs: (name, predictions table) of each.

    Raises:
        MorphoscopeError: schemes, test galaxies or true labels differ, or there is no galaxy.
    """
    (base_name, base), *others = runs
    kind, outputs = outputs_of(base, base_name)
    ids = _ids(base, base_name)
    if not len(ids):
        raise MorphoscopeError(f"{base_name}: the test set is empty; nothing can be compared")
    truth, predicted = KINDS[kind].read_predictions(base, outputs)
    predictions = [predicted]
    for name, table in others:
        _same_scheme(base_name, (kind, outputs), name, outputs_of(table, name))
        order = _order(base_name, ids, name, _ids(table, name))
        other_truth, predicted = KINDS[kind].read_predictions(table, outputs)
        differ = ~np.isclose(other_truth[order], truth, rtol=0, atol=1e-6, equal_nan=True).reshape(
            len(ids), -1
        ).all(axis=1)
        if differ.any():
            raise MorphoscopeError(
                f"{base_name} and {name} disagree on the truth of {differ.sum()} of {len(ids)} galaxies "
                f"(the first: {ids[differ.argmax()]}); only runs on the same labels can be compared"
            )
        predictions.append(predicted[order])
    return Aligned(kind, outputs, tuple(name for name, _ in runs), ids, truth, tuple(predictions))


def _ids(table: pa.Table, name: str) -> np.ndarray:
    if "id" not in table.column_names:
        raise MorphoscopeError(f"{name}: predictions have no column 'id', by which galaxies are matched")
    return np.asarray(table.column("id").to_pylist(), dtype=str)


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
        f"{base_name} and {name} have different schemes ({how}: {shown[0]} against {shown[1]}); only runs "
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
                "be matched to those of the other run"
            )
    return np.argsort(ids)[np.argsort(np.argsort(base_ids))]
