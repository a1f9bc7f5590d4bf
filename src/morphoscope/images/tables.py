"""Tables of any kind as Arrow columns: CSV, ECSV, Parquet, FITS and VOTable.

The cells of an Arrow column as numbers, coordinates or text.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean

_KINDS = {
    ".csv": "csv",
    ".ecsv": "ascii.ecsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".fts": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}
TABLE_SUFFIXES = tuple(_KINDS)


def is_table_name(name: str) -> bool:
    """Whether a file's name says that it is a table; a FITS file may be one or an image."""
    return name.lower().endswith(TABLE_SUFFIXES)


def column_names(path: Path) -> list[str]:
    """The columns of a table, without reading its rows where the format allows it.

    Raises:
        UsageError: no such file, or a suffix that is none of :data:`TABLE_SUFFIXES`.
        MorphoscopeError: the file cannot be read as a table.
    """
    kind = _kind(path)
    with _explained(path):
        if kind == "csv":
            with pa_csv.open_csv(path) as reader:
                return reader.schema.names
        if kind == "parquet":
            return pq.read_schema(path).names
    return read_table(path).column_names


def column_types(path: Path) -> dict[str, pa.DataType]:
    """The types of a Parquet table's columns.

    Raises:
        as :func:`column_names`.
    """
    with _explained(path):
        schema = pq.read_schema(path)
    return dict(zip(schema.names, schema.types, strict=True))


def row_count(table: Path) -> int | None:
    """How many rows a table has, where that costs little; for the progress bar."""
    suffix = table.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return pq.read_metadata(table).num_rows
    return _lines(table) - 1 if suffix == ".csv" else None


def _lines(path: Path) -> int:
    """Lines of a text file; a CSV with line breaks inside its cells has fewer rows."""
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table, by its file's suffix; columns with several numbers a row are left out.

    Args:
        path: CSV, ECSV, Parquet, FITS or VOTable.
        columns: only these; none: all.

    Raises:
        UsageError: no such file, an unknown suffix, or a column is missing (the nearest one is named).
        MorphoscopeError: the file is damaged or holds no rows.
    """
    kind = _kind(path)
    if kind == "csv":
        with _explained(path):
            content = path.read_bytes()
        table = read_csv(content, str(path))
    else:
        if columns is not None and kind == "parquet":
            need_columns(column_names(path), columns, str(path))
        with _explained(path):
            if kind == "parquet":
                with pq.ParquetFile(path) as file:
                    table = file.read(columns=None if columns is None else list(columns))
            else:
                table = _read_astropy(path, kind, columns)
    if columns is not None:
        need_columns(table.column_names, columns, str(path))
        table = table.select(list(columns))
    return _with_rows(table, str(path))


def iterate_table(path: Path, columns: Sequence[str], rows: int = 4096) -> Iterator[pa.Table]:
    """A table in pieces of about ``rows`` rows; of FITS, ECSV and VOTable the columns are read whole first.

    Every column of a CSV comes as text, because a type guessed from its first rows may not fit the rest.

    Raises:
        as :func:`read_table`, some of them only when a later piece is read.
    """
    kind = _kind(path)
    if kind not in ("csv", "parquet"):
        table = read_table(path, columns)
        yield from (table.slice(start, rows) for start in range(0, table.num_rows, rows))
        return
    need_columns(column_names(path), columns, str(path))
    with _explained(path):
        if kind == "parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(rows, columns=list(columns)):
                    yield pa.Table.from_batches([batch])
            return
        options = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
        )
        with pa_csv.open_csv(path, convert_options=options) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _kind(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a table was expected")
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        raise UsageError(f"{path}: a table was expected, with the ending {', '.join(TABLE_SUFFIXES)}")
    return _KINDS[suffix]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (MorphoscopeError, GeneratorExit, MemoryError):
        raise
    except Exception as error:  # readers raise anything at all on bytes that are not what they expect
        raise MorphoscopeError(f"{path}: cannot be read as a table ({_first_line(error)})") from error


def read_csv(content: bytes, name: str) -> pa.Table:
    """A CSV table from its content; empty cells are null.

    Raises:
        MorphoscopeError: rows of different lengths, or no rows at all.
    """
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
        )
    except pa.ArrowException as error:
        raise MorphoscopeError(f"{name}: cannot be read as CSV ({_first_line(error)})") from error
    return _with_rows(table, name)


def need_columns(there: Sequence[str], names: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column.

    Args:
        there: the table's columns.
        names: those that are needed.
        where: what messages call the table.

    Raises:
        UsageError: the column and the nearest one that is there are named.
    """
    for name in names:
        if name not in there:
            raise UsageError(f"{where}: has no column '{name}'{did_you_mean(name, there, 'columns')}")


def _read_astropy(path: Path, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
    from astropy.table import Table

    options = {"memmap": True} if kind == "fits" else {}
    with warnings.catch_warnings():  # about units and headers that bend the standard
        warnings.simplefilter("ignore")
        table = Table.read(path, format=kind, **options)
    single = [name for name in table.colnames if table[name].ndim == 1]
    if columns is not None:
        need_columns(single, columns, str(path))
        single = list(dict.fromkeys(columns))
    return pa.table({name: _arrow(table[name]) for name in single})


def _arrow(column: Any) -> pa.Array:
    values = np.asarray(column)
    missing = np.broadcast_to(
        np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else False, values.shape
    )
    if values.dtype.kind in "iufb":  # FITS columns come big-endian
        return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=missing)
    words = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return pa.array([None if gone else word for word, gone in zip(words, missing, strict=True)], pa.string())


def _with_rows(table: pa.Table, name: str) -> pa.Table:
    if not table.num_rows:
        raise MorphoscopeError(f"{name}: the table has no rows")
    return table


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
