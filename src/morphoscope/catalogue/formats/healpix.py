"""Partitioning rows into HEALPix tiles, which are split where they hold too many, in constant memory.

Tiles are HEALPix pixels in the nested scheme (Górski et al. 2005, doi:10.1086/427976): twelve at order 0,
each split into four at the next. A galaxy's position is one number, its pixel at order 29; pixel p at order k
contains the numbers from p · 4^(29−k) up to those of pixel p + 1. Rows are buffered on disk until their tile
is read.

Shape letters: N galaxies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

ORDER = 29  # of positions: 0.4 mas, the finest that fits 64 bits
FINEST = 14  # of tiles: 13 arcsec; too many galaxies at one position must not split for ever
HELD_BYTES = 64 << 20  # of rows in memory before they are written to disk


class Tile(NamedTuple):
    """A HEALPix pixel, nested."""

    order: int
    pixel: int

    @property
    def first(self) -> int:
        """Its first pixel at :data:`ORDER`."""
        return self.pixel << 2 * (ORDER - self.order)

    @property
    def quarters(self) -> list[Tile]:
        """Its four tiles of the next order."""
        return [Tile(self.order + 1, 4 * self.pixel + k) for k in range(4)]


def places_of(ra_N: np.ndarray, dec_N: np.ndarray) -> np.ndarray:
    """The pixel at order 29 of each galaxy, (N,) int64; −1 without valid coordinates.

    Args:
        ra_N: degrees, taken modulo 360; NaN where unknown.
        dec_N: degrees, −90 to 90; NaN where unknown.
    """
    from astropy import units
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    known = np.isfinite(ra_N) & np.isfinite(dec_N) & (np.abs(dec_N) <= 90)
    found = np.full(len(ra_N), -1, np.int64)
    if known.any():
        ra, dec = Longitude(ra_N[known] * units.deg), Latitude(dec_N[known] * units.deg)
        found[known] = np.asarray(lonlat_to_healpix(ra, dec, ORDER)).astype(np.int64)
    return found


class Tiles:
    """Rows by tile; tiles are as large as possible with at most ``most`` rows.

    The tiles depend on the positions alone, and the rows of a tile keep their order, however they were
    divided into blocks.

    Args:
        folder: for buffered rows; created here.
        schema: of the rows.
        column: name of the column with positions, int64.
        most: maximum rows per tile.
    """

    def __init__(self, folder: Path, schema: pa.Schema, column: str, most: int) -> None:
        self._folder, self._schema, self._column, self._most = folder, schema, column, most
        self._counts = {Tile(0, pixel): 0 for pixel in range(12)}
        self._held: dict[Tile, list[pa.Table]] = {}
        self._bytes = 0
        folder.mkdir()

    def add(self, rows: pa.Table) -> None:
        """Assign rows to tiles."""
        for tile in self._deal(rows, sorted(self._counts, key=lambda tile: tile.first)):
            self._cut(tile)
        self._bytes += rows.nbytes
        if self._bytes >= HELD_BYTES:
            self._to_disk()

    def _deal(self, rows: pa.Table, tiles: list[Tile]) -> list[Tile]:
        """Assign rows to tiles, which cover them and are sorted by position; returns tiles that got any."""
        places_N = rows[self._column].to_numpy()
        order_N = np.argsort(places_N, kind="stable")
        rows = rows.take(pa.array(order_N))
        starts = np.searchsorted(places_N[order_N], [tile.first for tile in tiles])
        filled = []
        for tile, start, stop in zip(tiles, starts, [*starts[1:], len(order_N)], strict=True):
            if stop > start:
                self._held.setdefault(tile, []).append(rows.slice(start, stop - start))
                self._counts[tile] += int(stop - start)
                filled.append(tile)
        return filled

    def _cut(self, tile: Tile) -> None:
        """Split a tile, recursively, while it holds too many rows."""
        if self._counts[tile] <= self._most or tile.order == FINEST:
            return
        rows = self._rows_of(tile)
        self._bytes += rows.nbytes
        del self._counts[tile]
        self._counts |= dict.fromkeys(tile.quarters, 0)
        for quarter in self._deal(rows, tile.quarters):
            self._cut(quarter)

    def _rows_of(self, tile: Tile) -> pa.Table:
        """Remove and return all rows of a tile, in order."""
        tables, path = [], self._path(tile)
        if path.exists():
            with pa.OSFile(str(path)) as file:
                while file.tell() < file.size():
                    tables.append(pa.ipc.open_stream(file).read_all())
            path.unlink()
        return pa.concat_tables([*tables, *self._held.pop(tile, [])])

    def _to_disk(self) -> None:
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        for tile, tables in self._held.items():
            with (
                open(self._path(tile), "ab") as file,
                pa.ipc.new_stream(file, self._schema, options=packed) as stream,
            ):
                for table in tables:
                    stream.write_table(table)
        self._held.clear()
        self._bytes = 0

    def _path(self, tile: Tile) -> Path:
        return self._folder / f"{tile.order}-{tile.pixel}.arrows"

    def emptied(self) -> Iterator[tuple[Tile, pa.Table]]:
        """Yield each tile that has rows, by order and pixel, with its rows sorted by position; drop it."""
        self._to_disk()
        for tile in sorted(tile for tile, count in self._counts.items() if count):
            rows = self._rows_of(tile)
            order = np.argsort(rows[self._column].to_numpy(), kind="stable")
            yield tile, rows.take(pa.array(order))
        with contextlib.suppress(OSError):
            self._folder.rmdir()
