"""Which galaxies a person labels next: those of a table first, or those of a view, without the ones done."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer.labels_file import LabelFile, Standing
from morphoscope.explorer.pictures import rows_of_ids
from morphoscope.explorer.table import ROW, GalaxyTable, View
from morphoscope.images.known_columns import ID_NAMES, found_column
from morphoscope.images.tables import column_names, read_table


def queued_rows(path: Path, table: GalaxyTable) -> np.ndarray:
    """The rows of the galaxies that a table names by their ids, in its order, each once.

    Args:
        path: a table of any format with a column of ids, such as ``morphoscope label-next`` writes.
        table: the galaxies.

    Raises:
        UsageError: it has no column of ids, or names no galaxy that is here.
    """
    names = column_names(path)
    column = "id" if "id" in names else found_column(names, ID_NAMES)
    if column is None:
        raise UsageError(f"{path}: no column of ids was found; the columns are {', '.join(names[:12])}")
    wanted = read_table(path, [column], names=[column])[column]
    known = table.arrow(f"SELECT CAST(id AS VARCHAR) AS id FROM galaxies ORDER BY {ROW}")["id"]
    found = rows_of_ids(wanted, known)
    rows = np.arange(len(known)) if found is None else found
    rows = rows[rows >= 0]
    if not len(rows):
        raise UsageError(f"{path}: none of its {len(wanted):,} galaxies is in what is explored")
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


class Done:
    """The rows that each person has labelled; it follows the file, whoever writes to it."""

    def __init__(self, table: GalaxyTable, labels: LabelFile) -> None:
        self.table, self.labels = table, labels
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[int, np.ndarray]] = {}

    def rows(self, question: str, person: str) -> np.ndarray:
        """Sorted row numbers of the galaxies that the person has answered, is unsure of, or has skipped."""
        with self._lock:
            version = self.labels.version()
            known = self._known.get((question, person))
            if known is None or known[0] != version:
                standing = self.labels.of_person(question, person)
                known = version, np.unique(rows_of_standing(self.table, standing))
                self._known[question, person] = known
                while len(self._known) > 50:
                    self._known.pop(next(iter(self._known)))
            return known[1]


def rows_of_standing(table: GalaxyTable, standing: list[Standing]) -> np.ndarray:
    """The row of each, (N,) int64; −1: it is not in the table."""
    if not standing:
        return np.zeros(0, np.int64)
    asked = pa.table(
        {
            "at": np.arange(len(standing)),
            "galaxy": [each.galaxy for each in standing],
            "file": [each.source for each in standing],
        }
    )
    found = table.joined(
        asked,
        f"SELECT piece.at, min(galaxies.{ROW}) FROM piece JOIN galaxies ON CAST(galaxies.id AS VARCHAR) = "
        "piece.galaxy AND coalesce(CAST(galaxies.source AS VARCHAR), '') = piece.file GROUP BY piece.at",
    )
    rows = np.full(len(standing), -1, np.int64)
    for at, row in found:
        rows[at] = row
    return rows


def next_rows(queue: np.ndarray | None, view: View, done: np.ndarray, count: int) -> list[int]:
    """The first galaxies that are not done: of the queue, if there is one, or else of the view."""
    order = queue if queue is not None else view.order
    chosen: list[int] = []
    step = 4096
    total = len(view) if order is None else len(order)
    for start in range(0, total, step):
        stop = min(start + step, total)
        some = np.arange(start, stop) if order is None else np.asarray(order[start:stop])
        chosen += some[~np.isin(some, done)][: count - len(chosen)].tolist()
        if len(chosen) >= count:
            break
    return chosen


def how_far(queue: np.ndarray | None, view: View, done: np.ndarray) -> tuple[int, int]:
    """How many of the galaxies to label are done, and how many there are."""
    order = queue if queue is not None else view.order
    if order is None:
        return int(((done >= 0) & (done < len(view))).sum()), len(view)
    return int(np.isin(done, order).sum()), len(order)


def label_path(source: Path, given: Path | str | None) -> Path:
    """The file of the labels: the given one, or beside the source.

    Raises:
        MorphoscopeError: there is no such folder.
    """
    if given is not None:
        path = Path(given)
    elif source.is_dir():
        path = source.resolve().parent / f"{source.resolve().name}.labels.sqlite"
    else:
        path = source.with_suffix(".labels.sqlite")
    if not path.parent.is_dir():
        raise MorphoscopeError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a file for the labels was expected")
    return path
