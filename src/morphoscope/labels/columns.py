"""Read label columns of the user's tables as text or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def texts(column: pa.ChunkedArray) -> list[str]:
    """A column as text, "" where it is empty; 3.0 reads as 3."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return ["" if np.isnan(value) else f"{value:.15g}" for value in values.tolist()]
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if isinstance(value, bytes):  # FITS and HDF5 tables keep text as bytes
        return value.decode("utf-8", errors="replace").strip()
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def numbers(column: pa.ChunkedArray, where: str, name: str) -> np.ndarray:
    """A column as float64, NaN where it is empty.

    Raises:
        UsageError: it is not numeric.
    """
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UsageError(f"{where}: column '{name}' is {kind}; vote fractions (numbers) were expected")
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def measured(column: pa.ChunkedArray, where: str, name: str) -> np.ndarray:
    """A column of numbers, or of numbers written as text, as float64; NaN where it is empty.

    Raises:
        UsageError: a cell is no number; its row is named.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return numbers(column, where, name)
    values = np.full(len(column), np.nan)
    for row, text in enumerate(texts(column)):
        try:
            values[row] = float(text) if text else np.nan
        except ValueError:
            raise UsageError(
                f"{where}: row {row + 1} of column '{name}' is '{text}'; a number was expected"
            ) from None
    return values


def is_whole_number(text: str) -> bool:
    """Whether text is an integer of 18 digits or fewer; Python refuses to read one of thousands."""
    digits = text.removeprefix("-")
    return digits.isdecimal() and len(digits) < 19
