"""Catalogues as Parquet, CSV and ECSV, written block by block; and as a folder of Parquet files.

``pyarrow.dataset`` and pandas read the folder as one table, polars and DuckDB by a glob.
``_common_metadata`` has the columns and the provenance without rows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from morphoscope.catalogue.formats.table_schema import (
    PROVENANCE_NAMES,
    Extent,
    described,
    ecsv_header,
    shape_of,
    vectors,
    with_full_names,
)
from morphoscope.errors import UsageError
from morphoscope.images.table_csv import FORMULA, guarded
from morphoscope.progress import note
from morphoscope.versioned import excess_of

METADATA_PREFIX = "morphoscope."
ROW_GROUP = 65536  # maximum rows of a Parquet row group: each adds to the footer
GROUP_BYTES = 32 << 20  # maximum bytes of one, which is buffered until it is full


class Writer(Protocol):
    """Interface of a format."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def abandon(self) -> None:
        """Close the file, which will be deleted."""
        ...


class ParquetCatalogue:
    """Parquet: provenance in the file's key-value metadata, units and descriptions in that of the columns.

    Astropy's own metadata (``table_meta_yaml``) is there too.
    """

    def __init__(self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        self._schema = documented(schema, provenance, extent)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._group = rows_of_a_group(schema, extent)
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= self._group:
            rows = pa.concat_tables(self._waiting)
            whole = rows.num_rows - rows.num_rows % self._group
            self._flush(rows.slice(0, whole))
            self._waiting = [rows.slice(whole)]

    def _flush(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._file.write_table(
                rows.replace_schema_metadata(self._schema.metadata), row_group_size=self._group
            )

    def close(self) -> None:
        """Write the remaining rows and the footer."""
        try:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._flush(pa.concat_tables(waiting))
        finally:
            self._file.close()

    abandon = close


def documented(schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> pa.Schema:
    """The schema with the metadata of the catalogue."""
    return schema.with_metadata(
        {f"{METADATA_PREFIX}{name}": value for name, value in provenance.items()}
        | for_astropy(schema, provenance, extent)
    )


def rows_of_a_group(schema: pa.Schema, extent: Extent) -> int:
    """Rows of a group; depends on the columns alone, so that equal catalogues are equal files."""
    return max(1, min(ROW_GROUP, GROUP_BYTES // bytes_of_a_row(schema, extent)))


def bytes_of_a_row(schema: pa.Schema, extent: Extent) -> int:
    """Maximum size of a row in memory, roughly."""
    widths = [
        extent.widths.get(c.name, 0) if pa.types.is_string(c.type) else 8 * math.prod(shape_of(c))
        for c in schema
    ]
    return max(1, sum(widths))


def for_astropy(schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> dict[str, str]:
    """The keys under which ``astropy.table.Table.read`` finds units, descriptions and lengths of texts."""
    lines = ecsv_header(schema, provenance)
    lengths = {f"table::len::{name}": str(max(1, width)) for name, width in extent.widths.items()}
    return {"table_meta_yaml": "\n".join(lines)} | lengths


class CsvCatalogue:
    """CSV: UTF-8, a header line, unknown values empty. The format cannot hold provenance.

    Strings that a spreadsheet would run as a formula get an apostrophe in front (see :func:`guarded`).
    """

    def __init__(self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        del provenance, extent
        self._guarded = 0
        self._schema = pa.schema([c.with_name(guarded(c.name)) for c in _flat(schema)])
        options = arrow_csv.WriteOptions(quoting_style="needed")
        self._file = arrow_csv.CSVWriter(path, self._schema, write_options=options)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        columns = _as_text(table).columns
        for number, column in enumerate(table.schema):
            if pa.types.is_string(column.type):
                columns[number] = self._guard(columns[number])
        self._file.write_table(pa.table(columns, schema=self._schema))

    def _guard(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        risky = pc.call_function("match_substring_regex", [column], pc.MatchSubstringOptions(FORMULA))
        if not pc.call_function("any", [risky]).as_py():
            return column
        texts = [text if text is None else guarded(text) for text in column.to_pylist()]
        self._guarded += sum(new != old for new, old in zip(texts, column.to_pylist(), strict=True))
        return pa.chunked_array([texts], pa.string())

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()
        if self._guarded:
            note(
                f"{self._guarded} cells begin as a spreadsheet's formula does; they are written with an "
                "apostrophe in front"
            )

    def abandon(self) -> None:
        """Close the file, which will be deleted."""
        self._file.close()


def check_ecsv(schema: pa.Schema, name: str) -> None:
    """Refuse a column name with line breaks and the like, which readers of ECSV take for the end of a line.

    Raises:
        UsageError: there is one.
    """
    for column in schema.names:
        if not column.isprintable():
            raise UsageError(
                f"{name}: the name of column {column!r} has control characters, which ECSV cannot hold; "
                "rename it, or write another format, such as .parquet"
            )


class EcsvCatalogue:
    r"""ECSV: a CSV under astropy's header with units, descriptions, types and the provenance.

    Line breaks within a cell are written as ``\n`` and ``\r``: astropy drops lines that begin with ``#``,
    also in the middle of a quoted cell.
    """

    def __init__(self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        del extent
        header = io.StringIO()
        described(schema, provenance).write(header, format="ascii.ecsv", delimiter=",")
        self._stream = open(path, "wb")  # noqa: SIM115 - closed by close()
        try:
            self._stream.write(header.getvalue().encode())
            options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
            self._file = arrow_csv.CSVWriter(self._stream, _flat(schema), write_options=options)
        except BaseException:
            self._stream.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        table = _as_text(table)
        for number, column in enumerate(table.schema):
            if pa.types.is_string(column.type):
                table = table.set_column(number, column, _on_one_line(table[column.name]))
        self._file.write_table(table)

    def close(self) -> None:
        """Write what is buffered."""
        try:
            self._file.close()
        finally:
            self._stream.close()

    abandon = close


def _on_one_line(column: pa.ChunkedArray) -> pa.ChunkedArray:
    for line_break, escape in (("\n", r"\n"), ("\r", r"\r")):
        column = pc.call_function(
            "replace_substring", [column], pc.ReplaceSubstringOptions(line_break, escape)
        )
    return column


def _flat(schema: pa.Schema) -> pa.Schema:
    """The schema with vectors as strings."""
    return pa.schema([pa.field(c.name, pa.string()) if shape_of(c) else c for c in schema])


def _as_text(table: pa.Table) -> pa.Table:
    """Vectors as JSON lists, as ECSV stores them."""
    for number, column in enumerate(table.schema):
        if shape_of(column):
            numbers = vector_texts(table[column.name], ",", "null")
            texts = [f"[{row}]".replace("nan", "NaN").replace("inf", "Infinity") for row in numbers]
            table = table.set_column(number, column.name, pa.array(texts, pa.string()))
    return table


def vector_texts(column: pa.ChunkedArray, separator: str, missing: str) -> list[str]:
    """Each vector of a column as text, its numbers to the last digit."""
    array, size = column.combine_chunks(), column.type.list_size
    numbers = array.flatten() if not array.null_count else pa.array(vectors(column).reshape(-1))
    flat = numbers.cast(pa.string()).fill_null(missing).to_pylist()
    return [separator.join(flat[start : start + size]) for start in range(0, len(flat), size)]


def ecsv_provenance(catalogue: Path) -> dict[str, str]:
    """The provenance in an ECSV catalogue, also in one that STILTS or TOPCAT saved again; reads the head."""
    import yaml

    lines = []
    with open(catalogue, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line.removeprefix("# ").rstrip("\n"))
    head = "\n".join(lines[1:])
    if excess := excess_of(head):
        raise ValueError(f"its header has {excess}")
    # All values as text: STILTS writes dates, numbers and words such as "no" without quotes.
    entries = yaml.load(head, yaml.BaseLoader).get("meta", [])
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        found.update({name: value for name, value in entry.items() if isinstance(value, str)})
    if PROVENANCE_NAMES in found:  # of a FITS table, or, below, of a VOTable
        return with_full_names(found)
    marked = {name: value for name, value in found.items() if name.startswith(METADATA_PREFIX)}
    return {name.removeprefix(METADATA_PREFIX): value for name, value in marked.items()} or found


MARK = "_common_metadata"
SHARD_ROWS = 1_000_000


def described_by(folder: Path) -> Path:
    """The file with the schema and the provenance of a folder, sharded or HATS."""
    of_hats = folder / "dataset" / MARK
    return of_hats if of_hats.exists() else folder / MARK


class ShardedCatalogue:
    """``part-00000.parquet`` and so on, each with ``rows`` rows and the full provenance."""

    def __init__(
        self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent, *, rows: int
    ) -> None:
        self._path, self._schema, self._provenance, self._extent = path, schema, provenance, extent
        self._rows = rows
        self._shard: ParquetCatalogue | None = None
        self._shards = self._room = 0
        path.mkdir()

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        while table.num_rows:
            shard = self._shard or self._next()
            part = table.slice(0, self._room)
            shard.write(part)
            table = table.slice(part.num_rows)
            self._room -= part.num_rows
            if not self._room:
                self._finish()

    def _next(self) -> ParquetCatalogue:
        path = self._path / f"part-{self._shards:05d}.parquet"
        self._shard = ParquetCatalogue(path, self._schema, self._provenance, self._extent)
        self._shards += 1
        self._room = self._rows
        return self._shard

    def _finish(self) -> None:
        if self._shard is not None:
            shard, self._shard = self._shard, None
            shard.close()

    def close(self) -> None:
        """Finish the last file and write ``_common_metadata``."""
        self._finish()
        first = self._path / "part-00000.parquet"
        if first.exists():
            pq.write_metadata(pq.read_schema(first), self._path / MARK)

    def abandon(self) -> None:
        """Close the file that is open, which will be deleted."""
        self._finish()
