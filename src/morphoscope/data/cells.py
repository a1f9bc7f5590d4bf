"""The cells of an Arrow column as numbers, coordinates or text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from morphoscope.errors import MorphoscopeError


def numbers(table: pa.Table, name: str, where: str) -> np.ndarray:
    """A column as float64, (N,); null becomes NaN.

    Raises:
        MorphoscopeError: the column holds something else; the first such row is named.
    """
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        column = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_not_a_number(column)
        raise MorphoscopeError(
            f"{where}: row {row + 1} of column '{name}' is '{value}'; a number was expected"
        ) from error
    return pc.fill_null(column, float("nan")).to_numpy()


def degrees(table: pa.Table, name: str, most: float) -> tuple[np.ndarray, list[int]]:
    """A column of coordinates as float64 degrees, (N,), and the rows that hold something else.

    Such cells — words, sexagesimal text, values beyond ±``most`` — become NaN, as empty ones do.
    """
    cells = table.column(name).to_pylist()
    values = np.full(len(cells), np.nan)
    wrong = []
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            value = float(cell)
        except (TypeError, ValueError):
            wrong.append(row)
            continue
        if abs(value) <= most:
            values[row] = value
        elif value == value:
            wrong.append(row)
    return values, wrong


def texts(table: pa.Table, name: str) -> list[str | None]:
    """A column as text without blanks around it; null or blank becomes None. Whole numbers stay whole."""
    column = table.column(name)
    if pa.types.is_floating(column.type):
        return [
            None if v is None or v != v else str(int(v) if v == int(v) else v) for v in column.to_pylist()
        ]
    return [None if v is None or not str(v).strip() else str(v).strip() for v in column.to_pylist()]


def _first_not_a_number(column: pa.ChunkedArray) -> tuple[int, Any]:
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value if value is not None else "nan")
        except (TypeError, ValueError):
            return row, value
    return 0, column[0].as_py()
