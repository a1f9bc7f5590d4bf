"""Tables of positions on the sky, read in pieces: where to cut out, and how large.

Shape letters: S sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.errors import UsageError, listed
from morphoscope.images.hats import MARK, is_hats, primary_table, read_properties, tile_files
from morphoscope.images.known_columns import EQUATORIAL_NAMES, GALACTIC_NAMES, ID_NAMES, found_column
from morphoscope.images.sky_columns import SkyColumns, found_sky
from morphoscope.images.tables import columns_of, iterate_table, need_columns, numbers, texts

_IDS = (*ID_NAMES, "ident", "galaxy", "observation_id", "obs_id", "designation", "number", "name")


@dataclass(frozen=True)
class SourceTable:
    """A table of positions to cut out, and the sizes of cutouts.

    Attributes:
        path: a table with positions on the sky, or a HATS catalogue.
        arcsec: side of every cutout; None: by ``size_column``.
        size_column: column with the side of each cutout, arcsec.
    """

    path: Path
    arcsec: float | None
    size_column: str | None = None


@dataclass(frozen=True)
class SourceRows:
    """Some rows of such a table, (S,) each.

    Attributes:
        ids: ids, or "row 1", … if there are none.
        ra: right ascension from 0 to 360, degrees (ICRS); NaN if unknown.
        dec: declination, degrees.
        arcsec: sides of the cutouts.
        reasons: why a row has no position or size.
        kept: further columns that were asked for.
    """

    ids: list[str]
    ra: np.ndarray
    dec: np.ndarray
    arcsec: np.ndarray
    reasons: dict[int, str]
    kept: pa.Table | None = None


@dataclass(frozen=True)
class SourceColumns:
    """The columns of such a table, identified.

    Attributes:
        table: the table.
        files: the tiles of a HATS catalogue, else the table's file.
        sky: its coordinates.
        identity: the column of ids; None if there is none.
        kept: further columns to read.
        integer_ids: whether the ids are integers, as far as known without reading them all.
    """

    table: SourceTable
    files: tuple[Path, ...]
    sky: SkyColumns
    identity: str | None
    kept: tuple[str, ...] = ()
    integer_ids: bool = False

    @classmethod
    def of(
        cls,
        table: SourceTable,
        *,
        ra: str | None = None,
        dec: str | None = None,
        identity: str | None = None,
        kept: Sequence[str] = (),
    ) -> SourceColumns:
        """Identify the columns.

        Args:
            table: the table.
            ra: its column of right ascensions; None: found by name, as are the next two.
            dec: its column of declinations.
            identity: its column of ids.
            kept: further columns to read.

        Raises:
            UsageError: no such file or column.
            MorphoscopeError: the file cannot be read as a table.
        """
        files, named = (table.path,), {}
        if table.path.is_dir():
            files, named = _of_hats(table.path)
        there = columns_of(files[0])
        need_columns(there.names, filter(None, (ra, dec, identity, *kept)), str(table.path))
        given = {name: column for name, column in (("ra", ra), ("dec", dec)) if column}
        sky = found_sky(there, str(table.path), **(named | given))
        if sky is None:
            known = ", ".join(" and ".join(pair) for pair in (*EQUATORIAL_NAMES[1:4], *GALACTIC_NAMES[:1]))
            raise UsageError(
                f"{table.path}: columns 'ra' and 'dec' in degrees were expected, or a pair such as {known} "
                f"(columns: {listed(there.names)})"
            )
        if table.size_column is not None:
            need_columns(there.names, [table.size_column], str(table.path))
        identity = identity or found_column(there.names, _IDS)
        kind = there.types.get(identity) if identity else None
        integers = kind is not None and pa.types.is_integer(kind)
        return cls(table, files, sky, identity, tuple(kept), integers)

    def rows(self) -> Iterator[SourceRows]:
        """Read the table in pieces."""
        named = (*self.sky.names, self.identity, self.table.size_column, *self.kept)
        wanted = [name for name in named if name]
        first = 0
        for file in self.files:
            for piece in iterate_table(file, list(dict.fromkeys(wanted))):
                yield self._rows(piece, first)
                first += piece.num_rows

    def _rows(self, piece: pa.Table, first: int) -> SourceRows:
        count = piece.num_rows
        names = texts(piece, self.identity, str(self.table.path)) if self.identity else [None] * count
        reasons: dict[int, str] = {}
        ra, dec, _ = self.sky.degrees(piece)
        for row in np.flatnonzero(~np.isfinite(ra)):
            reasons[int(row)] = f"{self.sky.wrong(piece, int(row))}; degrees were expected"
        arcsec = np.full(count, np.nan if self.table.arcsec is None else self.table.arcsec)
        if self.table.size_column is not None:
            arcsec = numbers(piece, self.table.size_column, str(self.table.path))
            for row in np.flatnonzero(~(np.isfinite(arcsec) & (arcsec > 0))):
                size = piece.column(self.table.size_column)[row].as_py()
                cell = "missing" if size is None else f"'{size}'"
                reasons[int(row)] = f"{self.table.size_column} is {cell}; arcsec above 0 were expected"
        ids = [name or f"row {first + row + 1}" for row, name in enumerate(names)]
        kept = piece.select(list(self.kept)) if self.kept else None
        return SourceRows(ids, ra, dec, arcsec, reasons, kept)


def _of_hats(folder: Path) -> tuple[tuple[Path, ...], dict[str, str]]:
    """The tiles of a HATS catalogue, and which columns its properties name as coordinates."""
    catalogue = primary_table(folder)
    files = tuple(tile_files(catalogue)) if is_hats(catalogue) else ()
    if not files:
        raise UsageError(f"{folder}: a table of sources was expected; this folder is not a HATS catalogue")
    properties = read_properties(catalogue / MARK) or read_properties(catalogue / "properties")
    columns = {"ra": properties.get("hats_col_ra"), "dec": properties.get("hats_col_dec")}
    return files, {kind: name for kind, name in columns.items() if name}
