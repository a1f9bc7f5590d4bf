"""Several runs' predictions brought into one order of galaxies, or refused if they do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError

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
