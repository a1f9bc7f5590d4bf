"""Tables of any format as Arrow columns: CSV, ECSV, Parquet, Arrow, HDF5, FITS and VOTable, compressed or
not.

All formats are treated alike: text is stripped, placeholders for missing values (:data:`MISSING`) are null,
and repeated column names get a number. One of several tables in a file is chosen as ``field.fits#SOURCES``
or ``match.vot#2``; see :func:`morphoscope.images.table_astropy.chosen_part` for the default.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.images.packed import bare_ending, opened
from morphoscope.images.parquet_size import check_declared, rows_at_a_time, whole
from morphoscope.images.table_arrow import ArrowTable
from morphoscope.images.table_astropy import (
    AstropyFile,
    as_text,
    holds_table_alone,
    open_ecsv,
    open_fits,
)
from morphoscope.images.table_csv import CsvFile, typed
from morphoscope.images.table_hdf5 import Hdf5Table, open_hdf5
from morphoscope.images.table_parquet import ParquetTable
from morphoscope.images.table_votable import open_votable
from morphoscope.progress import note_once

_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".ecsv": "ecsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".arrow": "arrow",
    ".fits": "fits",
    ".fit": "fits",
    ".fts": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}
TABLE_SUFFIXES = tuple(_KINDS)
_ROUNDED = r"^\s*[0-9](\.[0-9]+)?[eE]\+?(1[6-9]|[2-9][0-9])\s*$"  # ids mangled by spreadsheets
_SAMPLED = 16  # rows of each row group
# What R, numpy, pandas, Gaia and astropy write for missing values; null in every format.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "null", "NULL", "Null", "None", "--")
pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


def is_table_name(name: str) -> bool:
    """Whether a file's name is that of a table; a FITS file may be a table or an image."""
    return _kind_of_name(name) is not None


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name, or for a FITS file by its content.

    A FITS file with an image counts as an image even if it also has tables, unless one of them is named. A
    zip file counts as an archive, although :func:`read_table` reads a single table in one.
    """
    path, part = split_part(path)
    if path.suffix.lower() == ".zip":
        return False
    kind = _kind_of_name(path.name)
    if kind == "fits":
        return path.is_file() and (bool(part) or holds_table_alone(path))
    return kind is not None


def is_text_table(path: Path) -> bool:
    """Whether a table's cells are all read as text."""
    return _kind_of_name(split_part(path)[0].name) == "csv"


def split_part(path: Path) -> tuple[Path, str]:
    """Split ``match.vot#2`` into the file and the name or number of a table, "" if not given."""
    if "#" in path.name and not path.exists():
        file, _, part = str(path).rpartition("#")
        if is_table_name(file) and Path(file).is_file():
            return Path(file), part
    return path, ""


def _kind_of_name(name: str) -> str | None:
    bare = bare_ending(name)
    kind = _KINDS.get(Path(bare).suffix.lower())
    return None if kind in ("parquet", "hdf5", "arrow") and bare != name else kind


@dataclass(frozen=True)
class Columns:
    """A table's columns, as far as known before reading its rows.

    Attributes:
        names: names in order.
        types: types, if known; for a CSV, guessed from the first rows.
        units: units as written in the file; empty ones are left out.
        ucds: UCDs of the Virtual Observatory, likewise.
    """

    names: list[str]
    types: dict[str, pa.DataType]
    units: dict[str, str]
    ucds: dict[str, str]


def columns_of(path: Path) -> Columns:
    """The columns of a table, without reading its rows if the format allows.

    Raises:
        UsageError: there is no such file, or its suffix is not one of :data:`TABLE_SUFFIXES`.
        MorphoscopeError: the file cannot be read as a table.
    """
    with _opened(path) as file:
        if isinstance(file, CsvFile):
            sample = _clean(file.sample)
            types = {name: typed(sample.column(name)).type for name in file.names}
            return Columns(list(file.names), types, {}, {})
        return Columns(list(file.names), dict(file.types), dict(file.units), dict(file.ucds))


def column_names(path: Path) -> list[str]:
    """The names of a table's columns.

    Raises:
        as :func:`columns_of`.
    """
    return columns_of(path).names


def row_count(table: Path) -> int | None:
    """The number of rows if it is cheap to find, for the progress bar."""
    suffix = table.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return pq.read_metadata(table).num_rows
    if suffix in (".hdf5", ".h5", ".arrow"):
        with _opened(table) as file:
            if isinstance(file, ArrowTable):
                return file.count()
            return file.rows if isinstance(file, Hdf5Table) else None
    return _lines(table) - 1 if suffix in (".csv", ".tsv") else None


def _lines(path: Path) -> int:
    """The number of lines of a text file; a CSV with line breaks inside cells has fewer rows."""
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def read_table(
    path: Path | str, columns: Sequence[str] | None = None, *, names: Iterable[str] = ()
) -> pa.Table:
    """Read a whole table in the format of its suffix; columns with several values per row are left out.

    Args:
        path: CSV, ECSV, Parquet, FITS or VOTable.
        columns: columns to read; all if empty.
        names: columns of a CSV that are names and stay text; other columns are converted (see
            :func:`morphoscope.images.table_csv.typed`).

    Raises:
        UsageError: there is no such file, its suffix is unknown, or a column is missing.
        MorphoscopeError: the file is damaged or has no rows.
    """
    path = Path(path)
    with _opened(path) as file:
        wanted = list(file.names) if columns is None else list(dict.fromkeys(columns))
        if not file.names:
            raise MorphoscopeError(f"{path}: no column of the table has one value a row")
        need_columns(file.names, wanted, str(path))
        if isinstance(file, CsvFile):
            table = _of_csv(file, wanted, set(names))
        elif isinstance(file, ParquetTable):
            table = _clean(whole(file.pieces(wanted, 1 << 16), path) if file.rows else file.empty(wanted))
        elif isinstance(file, Hdf5Table | ArrowTable):
            table = _clean(pa.concat_tables(file.pieces(wanted, 1 << 16)))
        else:
            table = _clean(file.read(wanted))
        return _with_rows(table, str(path))


def iterate_table(path: Path, columns: Sequence[str], rows: int = 4096) -> Generator[pa.Table]:
    """Read a table in pieces of about ``rows`` rows; columns of FITS, ECSV and VOTable are read whole first.

    All columns of a CSV are text, because a type guessed from the first rows may not fit the rest.

    Raises:
        as :func:`read_table`, some of them only when a later piece is read.
    """
    with _opened(path) as file:
        wanted, any_rows = list(dict.fromkeys(columns)), False
        need_columns(file.names, wanted, str(path))
        if isinstance(file, CsvFile):
            pieces = file.pieces(wanted)
        elif isinstance(file, ParquetTable | Hdf5Table | ArrowTable):
            pieces = file.pieces(wanted, rows)
        else:
            whole = file.read(wanted)
            pieces = (whole.slice(start, rows) for start in range(0, whole.num_rows, rows))
        for piece in pieces:
            any_rows = any_rows or piece.num_rows > 0
            yield _clean(piece)
        if not any_rows:
            raise MorphoscopeError(f"{path}: the table has no rows")


def sampled(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The first rows of up to 16 row groups spread over a Parquet table.

    Raises:
        as :func:`columns_of`.
    """
    with _explained(path), pq.ParquetFile(path) as file:
        check_declared(file, path)
        rows = rows_at_a_time(file, path, _SAMPLED, columns)
        groups = np.unique(np.linspace(0, file.num_row_groups - 1, 16, dtype=int)).tolist()
        for group in groups if file.num_row_groups else ():
            batches = file.iter_batches(rows, row_groups=[group], columns=list(columns))
            yield from (pa.Table.from_batches([batch]) for batch in islice(batches, 1))


def read_csv(content: bytes, name: str) -> pa.Table:
    """Read a CSV table from its content.

    Raises:
        MorphoscopeError: rows of different lengths, or no rows at all.
    """
    with _explained(Path(name)):
        file = CsvFile.open(content, name)
        return _with_rows(_of_csv(file, list(file.names), set()), name)


def _of_csv(file: CsvFile, wanted: Sequence[str], names: set[str]) -> pa.Table:
    pieces = list(file.pieces(wanted))
    table = _clean(pa.concat_tables(pieces) if pieces else file.sample.select(wanted))
    return pa.table({name: table[name] if name in names else typed(table[name]) for name in wanted})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[CsvFile | ParquetTable | Hdf5Table | ArrowTable | AstropyFile]:
    """Open a table by its file name; a CSV that starts as an ECSV is read as one."""
    path, part = split_part(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a table was expected")
    kind = _kind_of_name(path.name) or ("parquet" if _begins_as_parquet(path) else None)
    if kind is None:
        raise UsageError(f"{path}: a table was expected, with the ending {', '.join(TABLE_SUFFIXES)}")
    with _explained(path), contextlib.ExitStack() as stack:
        if kind == "parquet":
            yield ParquetTable.of(stack.enter_context(pq.ParquetFile(path, pre_buffer=False)), path)
        elif kind == "arrow":
            yield ArrowTable.of(path)
        elif kind == "hdf5":
            yield Hdf5Table.of(stack.enter_context(open_hdf5(path)), path)
        elif kind == "fits":
            yield open_fits(path, part)
        elif kind == "votable":
            yield open_votable(path, part)
        elif kind == "ecsv" or _begins_as_ecsv(path):
            yield open_ecsv(path)
        else:
            yield CsvFile.open(path, str(path))


def _begins_as_parquet(path: Path) -> bool:
    """Whether a file of another ending is Parquet, as the tiles of HATS may be (``hats_npix_suffix``)."""
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _begins_as_ecsv(path: Path) -> bool:
    with opened(path) as file:
        return file.read(8) == b"# %ECSV "


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (MorphoscopeError, GeneratorExit, MemoryError):
        raise
    except Exception as error:  # readers may raise anything on unexpected bytes
        raise MorphoscopeError(f"{path}: cannot be read as a table ({reason_of(error)})") from error


def need_columns(there: Sequence[str], names: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column.

    Args:
        there: columns of the table.
        names: columns that are needed.
        where: name used in messages.

    Raises:
        UsageError: a column is missing; the message suggests the most similar one.
    """
    for name in names:
        if name not in there:
            raise UsageError(f"{where}: has no column '{name}'{did_you_mean(name, there, 'columns')}")


def _with_rows(table: pa.Table, name: str) -> pa.Table:
    if not table.num_rows:
        raise MorphoscopeError(f"{name}: the table has no rows")
    return table


def _clean(table: pa.Table) -> pa.Table:
    """Stripped text, null where it is a placeholder."""
    for at, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            continue
        column = table.column(at)
        bare = _bare(column if pa.types.is_string(field.type) else _as_string(column))
        table = table.set_column(at, field.name, bare)
    return table


def _bare(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Stripped text; null if it is in :data:`MISSING`."""
    bare = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(bare, pa.array(MISSING)), pa.scalar(None, pa.string()), bare)


def _as_string(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def numbers(table: pa.Table, name: str, where: str) -> np.ndarray:
    """A column as float64, (N,); null becomes NaN.

    Raises:
        MorphoscopeError: a cell is not a number; the message gives the first such row.
    """
    column = table.column(name)
    try:
        column = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_not_a_number(column)
        raise MorphoscopeError(
            f"{where}: row {row + 1} of column '{name}' is '{value}'; a number was expected"
        ) from error
    return pc.fill_null(column, float("nan")).to_numpy()


def texts(table: pa.Table, name: str, where: str = "") -> list[str | None]:
    """A column of names as text; null, blank and the placeholders in :data:`MISSING` become None.

    Integers stay integers, bytes are decoded, and numbers that are not finite become None. Floating-point
    numbers too large to represent every integer may have lost digits; a note says so.

    Args:
        table: some rows.
        name: of the column.
        where: what the note calls the table.
    """
    column = table.column(name)
    kind = column.type
    if pa.types.is_floating(kind) and _beyond_digits(column):
        note_once(
            f"{where or 'the table'}: column '{name}' holds ids as floating-point numbers, too large for "
            "their last digits to be sure, so they may differ from the survey's and two galaxies may share "
            "one; write the table again with whole numbers or text"
        )
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind):
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_string(kind):
        if where and pc.any(pc.match_substring_regex(column, _ROUNDED)).as_py():
            note_once(
                f"{where}: column '{name}' holds ids written with an exponent (as 1.23e+18), so their last "
                "digits are lost and two galaxies may share one; write the table again with all digits"
            )
        return _bare(column).to_pylist()
    return [as_name(cell) for cell in column.to_pylist()]


def _beyond_digits(column: pa.ChunkedArray) -> bool:
    digits = {16: 11, 32: 24}.get(column.type.bit_width, 53)  # bits of an integer that are kept
    largest = pc.max(pc.abs(column.cast(pa.float64()))).as_py()
    return largest is not None and np.isfinite(largest) and largest > 1 << digits


def as_name(value: Any) -> str | None:
    """A cell as a name; see :func:`texts`."""
    if isinstance(value, float):
        return None if not np.isfinite(value) else str(int(value) if value == int(value) else value)
    if value is None:
        return None
    word = (as_text(value) if isinstance(value, bytes) else str(value)).strip()
    return None if word in MISSING else word


def _first_not_a_number(column: pa.ChunkedArray) -> tuple[int, Any]:
    """The first cell that Arrow does not take for a number; Python takes more, such as "1_0"."""
    for row, value in enumerate(column):
        try:
            value.cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return row, value.as_py()
    raise AssertionError("each cell is a number")
