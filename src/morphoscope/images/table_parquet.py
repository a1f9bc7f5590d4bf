"""Parquet tables, including those written by astropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from morphoscope.images.known_columns import distinct_names
from morphoscope.images.parquet_size import check_declared, rows_at_a_time
from morphoscope.versioned import excess_of

_MASK = ".mask"  # astropy stores the mask of a column in another column
pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet table; masks of columns (as written by astropy) are applied and are not listed as columns.

    Attributes:
        file: the open file.
        path: of it.
        names: column names; repeated ones get a number.
        types: their types.
        units: units of those that have one, from the field's or astropy's metadata.
        ucds: UCDs, likewise.
    """

    file: pq.ParquetFile
    path: Path
    names: list[str]
    types: dict[str, pa.DataType]
    units: dict[str, str]
    ucds: dict[str, str]

    @classmethod
    def of(cls, file: pq.ParquetFile, path: Path) -> ParquetTable:
        """The columns of an open file.

        Raises:
            MorphoscopeError: it declares much more than it can hold.
        """
        check_declared(file, path)
        schema = file.schema_arrow
        masks = masks_of(schema)
        called = distinct_names(field.name for field in schema)
        kept = {name: field for name, field in zip(called, schema, strict=True) if field.name not in masks}
        units = {name: (field.metadata or {}).get(b"unit", b"").decode() for name, field in kept.items()}
        ucds = {name: (field.metadata or {}).get(b"ucd", b"").decode() for name, field in kept.items()}
        for name, said in said_by_astropy(schema).items():
            units[name] = said.get("unit", "")
            ucds[name] = said.get("ucd", "")
        return cls(
            file,
            path,
            list(kept),
            {name: field.type for name, field in kept.items()},
            {name: unit for name, unit in units.items() if unit and name in kept},
            {name: ucd for name, ucd in ucds.items() if ucd and name in kept},
        )

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.file.metadata.num_rows

    def empty(self, wanted: Sequence[str]) -> pa.Table:
        """Some columns without rows."""
        return pa.table({name: pa.array([], self.types[name]) for name in wanted})

    def pieces(self, wanted: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Some columns in pieces of up to ``rows`` rows, fewer where they are long; masked cells are null."""
        there = self.file.schema_arrow.names
        every = distinct_names(there)
        unique = len(set(there)) == len(there)
        masks = [name + _MASK for name in wanted if name + _MASK in there and name + _MASK not in self.names]
        asked = [*wanted, *masks] if unique else None
        rows = rows_at_a_time(self.file, self.path, rows, asked)
        for batch in self.file.iter_batches(rows, columns=asked):
            batch.validate(full=True)  # texts that are not UTF-8, places that are not there
            table = pa.Table.from_batches([batch])
            if not unique:
                table = table.rename_columns(every)
            columns = {}
            for name in wanted:
                column = table.column(name)
                if name + _MASK in masks:
                    column = pc.if_else(table.column(name + _MASK), pa.scalar(None, column.type), column)
                columns[name] = column
            yield pa.table(columns)


def masks_of(schema: pa.Schema) -> set[str]:
    """The columns that are masks of other columns."""
    there = set(schema.names)
    return {
        field.name
        for field in schema
        if pa.types.is_boolean(field.type)
        and field.name.endswith(_MASK)
        and field.name.removesuffix(_MASK) in there
    }


def said_by_astropy(schema: pa.Schema) -> dict[str, dict[str, str]]:
    """Unit, description and UCD of each column, from astropy's metadata."""
    said = (schema.metadata or {}).get(b"table_meta_yaml")
    if not said:
        return {}
    from astropy.table import meta

    try:
        if excess_of(said.decode()):
            return {}
        header: Any = meta.get_header_from_yaml(said.decode().split("\n"))
        return {
            str(column["name"]): {
                key: str(of[key])
                for of, key in ((column, "unit"), (column, "description"), (column.get("meta") or {}, "ucd"))
                if of.get(key)
            }
            for column in header["datatype"]
        }
    except Exception:  # YAML readers may raise anything; the columns are usable without it
        return {}


def schema_of(path: Path) -> pa.Schema:
    """A file's columns without masks, with units and descriptions from astropy's metadata."""
    schema = pq.read_schema(path)
    masks, said = masks_of(schema), said_by_astropy(schema)
    fields = [
        field.with_metadata({**(field.metadata or {}), **said[field.name]}) if said.get(field.name) else field
        for field in schema
        if field.name not in masks
    ]
    return pa.schema(fields, schema.metadata)
