"""The two tables of a match: their positions, and their rows with the types of the joined table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.catalogue.formats.convert import parquet_parts, schema_for
from morphoscope.catalogue.formats.hats import INDEX, ORDER, places_of
from morphoscope.catalogue.formats.write import Target, read_provenance
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import installed
from morphoscope.images.hats import MARK, is_hats, primary_table, read_properties
from morphoscope.images.sky_columns import SkyColumns, found_sky
from morphoscope.images.table_csv import typed
from morphoscope.images.table_parquet import schema_of
from morphoscope.images.tables import columns_of, is_text_table, iterate_table
from morphoscope.labels.scheme import Column
from morphoscope.progress import note

_ROWS = 1 << 16
_TILE = re.compile(r"Norder=(\d+)/Dir=\d+/Npix=(\d+)")
_SIDE = 58.6 * 3600  # arcsec; of a HEALPix pixel at order 0
_FINEST = 12  # order to which positions are reduced for the choice of tiles: 51 arcsec
SEPARATION, CANDIDATES = "separation", "candidates"


@dataclass(frozen=True)
class MatchTable:
    """A table with positions.

    Attributes:
        path: as it was named.
        files: with its rows: one, or the parts of a folder or of a HATS catalogue.
        sky: its coordinates.
        schema: its columns, with units and descriptions; types of text tables are those of all rows.
        text: whether all cells are read as text.
        starts: the number of the first row of each file; filled by :meth:`position_pieces`.
    """

    path: Path
    files: tuple[Path, ...]
    sky: SkyColumns
    schema: pa.Schema
    text: bool
    starts: dict[Path, tuple[int, int]]

    @classmethod
    def of(cls, path: Path, ra: str | None, dec: str | None) -> MatchTable:
        """Identify the columns of a table.

        Raises:
            UsageError: there is no such table, or it has no coordinates.
            MorphoscopeError: it cannot be read.
        """
        files, named = (path,), {}
        if path.is_dir():
            files = tuple(parquet_parts(path))
            folder = primary_table(path)
            if is_hats(folder):
                properties = read_properties(folder / MARK) or read_properties(folder / "properties")
                columns = {"ra": properties.get("hats_col_ra"), "dec": properties.get("hats_col_dec")}
                named = {kind: name for kind, name in columns.items() if name}
        there = columns_of(files[0])
        given = {kind: name for kind, name in (("ra", ra), ("dec", dec)) if name}
        for name in given.values():
            if name not in there.names:
                raise UsageError(f"{path}: has no column '{name}' (columns: {', '.join(there.names)})")
        sky = found_sky(there, str(path), **(named | given))
        if sky is None:
            raise UsageError(
                f"{path}: columns 'ra' and 'dec' in degrees were expected (columns: {', '.join(there.names)})"
            )
        text = is_text_table(files[0])
        return cls(path, files, sky, _schema(path, files, there, text=text), text, {})

    @property
    def provenance(self) -> dict[str, str]:
        """Of the table, if it is a catalogue of this program."""
        try:
            return dict(read_provenance(self.path))
        except (MorphoscopeError, OSError):
            return {}

    def position_pieces(self, files: Sequence[Path] | None = None) -> Iterator[tuple[int, Any, Any]]:
        """The number of the first row, right ascension and declination in degrees (NaN: none) of each piece.

        Args:
            files: those that matter; the rows of others are counted only. None: all.
        """
        row = 0
        for file in self.files:
            start = row
            if files is not None and file not in files:
                row += pq.read_metadata(file).num_rows
            else:
                for piece in self._raw(file, list(dict.fromkeys(self.sky.names))):
                    ra, dec, _ = self.sky.degrees(piece)
                    yield row, ra, dec
                    row += piece.num_rows
            self.starts[file] = (start, row)

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """All positions, (N,) each."""
        pieces = list(self.position_pieces())
        return np.concatenate([ra for _, ra, _ in pieces]), np.concatenate([dec for _, _, dec in pieces])

    def pieces(self, wanted: np.ndarray | None) -> Iterator[tuple[int, pa.Table]]:
        """The rows in pieces, with the number of the first; files without any wanted row are passed over.

        Args:
            wanted: numbers of rows, sorted; None: all.
        """
        for file in self.files:
            row, stop = self.starts[file]
            if wanted is not None and np.searchsorted(wanted, row) == np.searchsorted(wanted, stop):
                continue
            for piece in self._raw(file, self.schema.names):
                yield row, _cast(piece, self.schema)
                row += piece.num_rows

    def _raw(self, file: Path, names: Sequence[str]) -> Iterator[pa.Table]:
        if pq_rows(file) == 0:
            return iter(())
        return iterate_table(file, names, _ROWS)

    def overlapping(self, ra: np.ndarray, dec: np.ndarray, radius: float) -> list[Path] | None:
        """The tiles of a HATS catalogue that lie near any of these positions; None: look at all files.

        Without cdshealpix, or for wide radii, all files are looked at.
        """
        tiles = {file: _TILE.search(file.as_posix()) for file in self.files}
        if not installed("cdshealpix") or not all(tiles.values()):
            return None
        places = np.unique(places_of(ra, dec) >> 2 * (ORDER - _FINEST))
        found = [(file, int(tile[1]), int(tile[2])) for file, tile in tiles.items() if tile]
        return [file for file, order, pixel in found if _near(places, order, pixel, radius)]


def _near(places: np.ndarray, order: int, pixel: int, radius: float) -> bool:
    """Whether a tile or its neighbours hold any position; tiles smaller than the radius always count."""
    from cdshealpix.nested import neighbours

    if order > _FINEST or _SIDE / 2**order < 2 * radius:
        return True
    around = np.asarray(neighbours(np.array([pixel], np.uint64), order)).ravel()
    for near in around[around >= 0]:
        first = int(near) << 2 * (_FINEST - order)
        last = (int(near) + 1) << 2 * (_FINEST - order)
        if np.searchsorted(places, first) < np.searchsorted(places, last):
            return True
    return False


def pq_rows(file: Path) -> int | None:
    """Rows of a Parquet file; None for another."""
    return pq.read_metadata(file).num_rows if file.suffix.lower() in (".parquet", ".pq") else None


def _schema(path: Path, files: Sequence[Path], there: Any, *, text: bool) -> pa.Schema:
    """The columns that can be joined: text, numbers, truth values and vectors of numbers."""
    parquet = {field.name: field for field in schema_of(files[0])} if pq_rows(files[0]) is not None else {}
    types = _types_of_text(files, there.names) if text else there.types
    fields, left_out = [], []
    for name in there.names:
        if name == INDEX:
            continue
        about = {"unit": there.units.get(name, ""), "ucd": there.ucds.get(name, "")}
        metadata = {key: value for key, value in about.items() if value}
        known = parquet.get(name)
        if known is not None:
            metadata = {**{k.decode(): v.decode() for k, v in (known.metadata or {}).items()}, **metadata}
            metadata = {key: value for key, value in metadata.items() if not key.startswith("PARQUET:")}
        kind = _kind(types[name])
        if kind is None:
            left_out.append(name)
        else:
            fields.append(pa.field(name, kind, metadata=metadata or None))
    if left_out:
        note(f"{path}: columns of lists and dates are left out ({', '.join(left_out[:10])})")
    return pa.schema(fields)


def _kind(kind: pa.DataType) -> pa.DataType | None:
    """The type that a column has in the joined table; None: it cannot be joined."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if isinstance(kind, pa.FixedSizeListType):
        number = pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        return kind if number else None
    if pa.types.is_boolean(kind):  # which few formats have
        return pa.int16()
    simple = (pa.types.is_string, pa.types.is_integer, pa.types.is_floating)
    return kind if any(test(kind) for test in simple) else None


def _types_of_text(files: Sequence[Path], names: Sequence[str]) -> dict[str, pa.DataType]:
    """The types of a text table's columns that fit all rows."""
    found: dict[str, pa.DataType] = {}
    for file in files:
        for piece in iterate_table(file, list(names), _ROWS):
            for name in names:
                column = piece.column(name)
                if column.null_count < len(column):
                    found[name] = _common(found.get(name), typed(column).type)
    return {name: found.get(name, pa.string()) for name in names}


def _common(before: pa.DataType | None, now: pa.DataType) -> pa.DataType:
    if before is None or before == now:
        return now
    if pa.types.is_boolean(before) or pa.types.is_boolean(now):
        return pa.string()
    numbers = {before, now} <= {pa.int64(), pa.float64()}
    return pa.float64() if numbers else pa.string()


def _cast(piece: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        column = piece.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column if column.type == field.type else _number(column, field.type))
    return pa.table(columns, schema=schema)


def _number(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_string(column.type) and not pa.types.is_string(kind):
        plain = typed(column)  # truth values, and numbers with a sign
        column = column if pa.types.is_string(plain.type) else plain
    return column.cast(kind)


def joined_schema(left: MatchTable, right: MatchTable, target: Target) -> tuple[pa.Schema, list[str]]:
    """The columns of the joined table, and what those of the other table are called in it.

    Raises:
        UsageError: the catalogue has a column with the name of one that is added.
    """
    own = left.schema.names
    for name in (SEPARATION, CANDIDATES):
        if name in own:
            raise UsageError(f"{left.path}: has a column '{name}', which a match adds; rename it first")
    taken = {*own, SEPARATION, CANDIDATES}
    names = []
    for name in right.schema.names:
        choice, number = name, 2
        while choice.lower() in {each.lower() for each in taken}:
            choice, number = f"{name}_{number}", number + 1
        taken.add(choice)
        names.append(choice)
    added = [
        Column(SEPARATION, pa.float64(), "of the two positions", "arcsec", "pos.angDistance").field,
        Column(
            CANDIDATES, pa.int32(), "objects of the other table within the radius", "", "meta.number"
        ).field,
    ]
    others = [field.with_name(name) for field, name in zip(right.schema, names, strict=True)]
    return schema_for(pa.schema([*left.schema, *others, *added]), target), names
