"""Conversion of a finished catalogue to another format, in constant memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from morphoscope.catalogue.formats.hats import INDEX, UNPLACED
from morphoscope.catalogue.formats.table_schema import Extent, shape_of
from morphoscope.catalogue.formats.write import (
    Target,
    check_output,
    parquet_provenance,
    target_of,
    write_tables,
)
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.hats import is_hats, primary_table, tile_files
from morphoscope.images.table_parquet import ParquetTable, schema_of
from morphoscope.progress import Bar

PIECE = 8192  # rows read at a time
_SINGLE = {pa.float16(): pa.float32()}
_SIGNED = {  # VOTable has no other integers; FITS has, but astropy makes logicals of signed bytes
    pa.int8(): pa.int16(),
    pa.uint8(): pa.int16(),  # a byte of FITS has no value left that could stand for "unknown"
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
}
_ONLY_SIGNED = (".fits", ".vot", ".xml")
_LARGEST = 2**63 - 1


def convert(
    catalogue: Path | str,
    out: Path | str,
    *,
    shard_rows: int | None = None,
    float32: bool = False,
    overwrite: bool = False,
) -> int:
    """Write a Parquet or HATS catalogue in another format, with units, descriptions and provenance.

    Rows keep their order, except in HATS, which is ordered by position on the sky.

    Args:
        catalogue: Parquet, a folder of Parquet files, or HATS, alone or as a collection.
        out: the new catalogue; its ending chooses the format (see
            :func:`morphoscope.catalogue.formats.write.target_of`).
        shard_rows: rows per file of a folder, for HATS the maximum.
        float32: embeddings in single precision also in Parquet, for readers that do not know float16, such as
            fastparquet.
        overwrite: replace an existing catalogue.

    Returns:
        The number of rows.

    Raises:
        UsageError: there is no such catalogue, ``out`` exists, or the format cannot hold a column.
        MorphoscopeError: the catalogue cannot be read, the disk is full, or no galaxy has coordinates, which
            HATS needs.
    """
    path, target = Path(catalogue), target_of(out, shard_rows)
    parts = parquet_parts(path)
    check_output(target, overwrite=overwrite)
    if target.path.exists() and target.path.samefile(path):
        raise UsageError(f"{out} is the catalogue itself; choose another name")
    with _explained(path):
        found, provenance = schema_of(parts[0]), parquet_provenance(parts[0])
    schema = schema_for(found, target, single=float32)
    target.check(schema)
    with _explained(path):
        extent = _extent(parts, schema)
    with Bar(f"writing {target.path.name}", extent.rows, "galaxies") as bar:
        try:
            write_tables(target, _tables(path, parts, schema, bar), schema, provenance, extent)
        except TypeError as error:
            raise UsageError(f"{path}: {error}") from error
    return extent.rows


def parquet_parts(catalogue: Path) -> list[Path]:
    """The Parquet files of a catalogue in the order of its rows.

    Raises:
        UsageError: there are none.
    """
    if catalogue.is_dir():
        folder = primary_table(catalogue)
        # Of HATS only these hold galaxies: others, such as LSDB's per_partition_statistics.parquet, do not.
        unplaced = folder / UNPLACED
        hats = [*tile_files(folder), *([unplaced] if unplaced.is_file() else [])]
        parts = hats if is_hats(folder) else sorted(folder.glob("*.parquet"))
        if not parts:
            raise UsageError(f"{catalogue} is a folder without Parquet files; a catalogue was expected")
        return parts
    if not catalogue.exists():
        raise UsageError(f"{catalogue} does not exist; a catalogue was expected")
    if catalogue.suffix.lower() != ".parquet":
        raise UsageError(
            f"{catalogue}: a Parquet catalogue or a folder of them was expected; other formats can "
            "only be written"
        )
    return [catalogue]


def schema_for(found: pa.Schema, target: Target, *, single: bool = False) -> pa.Schema:
    """The columns of the new catalogue, with types that every format knows.

    Half precision, which few readers know, stays in plain Parquet unless ``single``.
    """
    columns = [_plain_string(_without_reader_metadata(column)) for column in found if column.name != INDEX]
    if single or target.by_place or (target.mark is None and target.path.suffix.lower() != ".parquet"):
        columns = [_retyped(column, _SINGLE) for column in columns]
    if target.mark is None and target.path.suffix.lower() in _ONLY_SIGNED:
        columns = [_retyped(column, _SIGNED) for column in columns]
    return pa.schema(columns)


def _plain_string(column: pa.Field) -> pa.Field:
    """The column with strings as such where others wrote large or repeated ones, or bytes (astropy)."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.with_type(pa.string())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_string(kind):
        return column.with_type(pa.string())
    return column


def _without_reader_metadata(column: pa.Field) -> pa.Field:
    """The column without the metadata that the Parquet reader adds."""
    metadata = {
        name: text for name, text in (column.metadata or {}).items() if not name.startswith(b"PARQUET:")
    }
    return column.with_metadata(metadata or None)


def _retyped(column: pa.Field, types: Mapping[pa.DataType, pa.DataType]) -> pa.Field:
    """The column with numbers, or a vector of them, of another type."""
    if shape_of(column):
        kind = column.type.value_type
        return column.with_type(pa.list_(types.get(kind, kind), column.type.list_size))
    return column.with_type(types.get(column.type, column.type))


def _extent(parts: Sequence[Path], schema: pa.Schema) -> Extent:
    texts = [column.name for column in schema if pa.types.is_string(column.type)]
    extent = Extent()
    for part in parts:
        with pq.ParquetFile(part, pre_buffer=False) as file:
            if not texts:
                extent += Extent(file.metadata.num_rows)
            for piece in ParquetTable.of(file, part).pieces(texts, PIECE) if texts else ():
                strings = [schema.field(name) for name in texts]
                extent += Extent.of(piece.cast(pa.schema(strings)))
    return extent


def _tables(path: Path, parts: Sequence[Path], schema: pa.Schema, bar: Bar) -> Iterator[pa.Table]:
    with _explained(path):
        for part in parts:
            with pq.ParquetFile(part, pre_buffer=False) as file:
                for piece in ParquetTable.of(file, part).pieces(schema.names, PIECE):
                    yield _cast(piece, schema, path)
                    bar.advance(piece.num_rows)


def _cast(piece: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    for column in schema:
        large = piece[column.name].type == pa.uint64() and column.type == pa.int64()
        if large and (pc.call_function("max", [piece[column.name]]).as_py() or 0) > _LARGEST:
            raise UsageError(
                f"{path}: column '{column.name}' has integers above {_LARGEST}, which this format cannot "
                "hold; write another format, such as .parquet or .ecsv"
            )
    return piece.cast(schema)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Blame errors in reading on the catalogue, not on the file being written."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:  # damaged pages are an OSError
        raise MorphoscopeError(f"{path} cannot be read: {reason_of(error)}") from error
