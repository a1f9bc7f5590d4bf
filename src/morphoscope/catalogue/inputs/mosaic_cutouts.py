"""Cutouts of a mosaic around the sources of a table.

Shape letters: S sources, B bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.known_columns import EQUATORIAL_NAMES, ID_NAMES, found_column
from morphoscope.images.mosaic import Mosaic
from morphoscope.images.sky_columns import SkyColumns, found_sky
from morphoscope.images.sky_cutout import sky_square
from morphoscope.images.stream import Item
from morphoscope.images.stretch import stretched
from morphoscope.images.tables import columns_of, iterate_table, need_columns, numbers, texts
from morphoscope.labels.scheme import Column
from morphoscope.progress import note

LEAST_SHARE = 0.5  # of a cutout that the mosaic must cover
CUTOUT = Column("cutout", pa.float32(), "side of the cutout on the sky", "arcsec", "phys.angSize")
ON_MOSAIC = Column(
    "on_mosaic", pa.float32(), "share of the cutout that the mosaic covers; the rest is filled with sky"
)
_SOURCE_IDS = (*ID_NAMES, "number", "name")


@dataclass(frozen=True)
class SourceTable:
    """Where to cut, and how large.

    Attributes:
        path: CSV, ECSV, Parquet, FITS or VOTable with right ascension and declination in degrees.
        arcsec: side of every cutout; None: by ``size_column``.
        size_column: column with the side of each cutout, arcsec.
    """

    path: Path
    arcsec: float | None
    size_column: str | None = None


@dataclass(frozen=True)
class Frame:
    """What every cutout becomes.

    Attributes:
        side: pixels.
        stretch: see :mod:`morphoscope.images.fits`.
    """

    side: int
    stretch: str


def cutout_items(mosaics: Sequence[Mosaic], table: SourceTable, frame: Frame) -> tuple[Iterator[Item], int]:
    """One item a source whose cutout touches the mosaic, in the order of the table; and how many.

    The table is gone through twice: first to count. Sources whose cutout does not touch the mosaic are left
    out, and a note says how many. A source of which the mosaic covers less than half of the cutout, or whose
    coordinates or size are no numbers, becomes an item that cannot be loaded.

    Args:
        mosaics: the bands, the reddest first.
        table: the sources.
        frame: what the cutouts become.

    Raises:
        UsageError: a column is missing, the mosaic has no coordinates, or no source lies on it.
    """
    for mosaic in mosaics:
        if mosaic.wcs is None:
            raise UsageError(
                f"{mosaic.name}: the header has no world coordinates (CTYPE1, CRVAL1, …), so the sources of "
                f"{table.path} cannot be found on it"
            )
    columns = _Columns.of(table)
    rows = total = lying = 0
    spread = [np.inf, -np.inf, np.inf, -np.inf]
    for piece in columns.pieces():
        total += len(piece.ra)
        rows += int(_wanted(piece, mosaics).sum())
        lying += int(_touching(piece, mosaics).sum())
        for values, at in ((piece.ra, 0), (piece.dec, 2)):
            finite = values[np.isfinite(values)]
            if len(finite):
                spread[at : at + 2] = min(spread[at], finite.min()), max(spread[at + 1], finite.max())
    if not np.isfinite(spread).all():
        raise UsageError(f"{table.path}: no source has an angle in degrees in both of {columns.sky.words}")
    if not lying:
        raise UsageError(
            f"none of the {total} sources of {table.path} lie on {mosaics[0].name}, which is "
            f"{mosaics[0].words()}; they have RA {spread[0]:.4f}° to {spread[1]:.4f}° and Dec "
            f"{spread[2]:.4f}° to {spread[3]:.4f}°"
        )
    if rows < total:
        note(f"{table.path}: {total - rows} of {total} sources lie off {mosaics[0].name} and are left out")
    return _items(columns, mosaics, frame), rows


@dataclass(frozen=True)
class _Piece:
    """Some rows of the table; what is wrong with a row stands in ``reasons``."""

    ids: list[str]
    ra: np.ndarray
    dec: np.ndarray
    arcsec: np.ndarray
    reasons: dict[int, str]


@dataclass(frozen=True)
class _Columns:
    """The table's columns by their meaning."""

    table: SourceTable
    sky: SkyColumns
    identity: str | None

    @classmethod
    def of(cls, table: SourceTable) -> _Columns:
        there = columns_of(table.path)
        sky = found_sky(there, str(table.path))
        if sky is None:
            looked_for = ", ".join(" and ".join(pair) for pair in EQUATORIAL_NAMES)
            raise UsageError(
                f"{table.path}: columns 'ra' and 'dec' in degrees were expected, or others of these: "
                f"{looked_for} "
                f"(columns: {', '.join(there.names)})"
            )
        if table.size_column is not None:
            need_columns(there.names, [table.size_column], str(table.path))
        return cls(table, sky, found_column(there.names, _SOURCE_IDS))

    def pieces(self) -> Iterator[_Piece]:
        """The table in pieces."""
        wanted = [name for name in (*self.sky.names, self.identity, self.table.size_column) if name]
        first = 0
        for piece in iterate_table(self.table.path, list(dict.fromkeys(wanted))):
            yield self._piece(piece, first)
            first += piece.num_rows

    def _piece(self, piece: pa.Table, first: int) -> _Piece:
        count = piece.num_rows
        names = texts(piece, self.identity) if self.identity else [None] * count
        reasons: dict[int, str] = {}
        ra, dec, _ = self.sky.degrees(piece)
        for row in np.flatnonzero(~np.isfinite(ra)):
            reasons[int(row)] = f"{self.sky.wrong(piece, int(row))}; degrees were expected"
        arcsec = np.full(count, np.nan if self.table.arcsec is None else self.table.arcsec)
        if self.table.size_column is not None:
            arcsec = numbers(piece, self.table.size_column, str(self.table.path))
            for row in np.flatnonzero(~(np.isfinite(arcsec) & (arcsec > 0))):
                size = piece.column(self.table.size_column)[row].as_py()
                reasons[int(row)] = f"{self.table.size_column} is '{size}'; arcsec above 0 were expected"
        ids = [name or f"row {first + row + 1}" for row, name in enumerate(names)]
        return _Piece(ids, ra, dec, arcsec, reasons)


def _touching(piece: _Piece, mosaics: Sequence[Mosaic]) -> np.ndarray:
    """Which rows' cutouts touch a mosaic, (S,)."""
    touching = np.zeros(len(piece.ra), bool)
    for mosaic in mosaics:
        touching |= _Places.of(mosaic, piece).touching(mosaic, piece.arcsec)
    return touching


def _wanted(piece: _Piece, mosaics: Sequence[Mosaic]) -> np.ndarray:
    """Which rows touch a mosaic, or cannot be placed at all, (S,)."""
    wanted = _touching(piece, mosaics)
    wanted[list(piece.reasons)] = True
    return wanted


@dataclass(frozen=True)
class _Places:
    """Where sources lie on one mosaic: x, y (S,) and pixels an arcsec (S, 2, 2)."""

    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, mosaic: Mosaic, piece: _Piece) -> _Places:
        x, y = mosaic.pixels_of(piece.ra, piece.dec)
        steps = np.full((len(x), 2, 2), np.nan)
        near = np.isfinite(x)
        if near.any():
            steps[near] = mosaic.steps_of(piece.ra[near], piece.dec[near])
        return cls(x, y, steps)

    def touching(self, mosaic: Mosaic, arcsec: np.ndarray) -> np.ndarray:
        half_x, half_y = 0.5 * arcsec * np.abs(self.steps).sum(axis=2).T
        height, width = mosaic.shape
        return (
            (self.x + half_x > -0.5)
            & (self.x - half_x < width - 0.5)
            & (self.y + half_y > -0.5)
            & (self.y - half_y < height - 0.5)
        )


def _items(columns: _Columns, mosaics: Sequence[Mosaic], frame: Frame) -> Iterator[Item]:
    for piece in columns.pieces():
        places = [_Places.of(mosaic, piece) for mosaic in mosaics]
        wanted = _wanted(piece, mosaics)
        for row in np.flatnonzero(wanted).tolist():
            identity = piece.ids[row]
            source = f"{identity} in {mosaics[0].name}"
            values: dict[str, Any] = {"id": identity, "ra": piece.ra[row], "dec": piece.dec[row]}
            if row in piece.reasons:
                yield Item(source, partial(_fail, piece.reasons[row]), values)
                continue
            squares = [
                partial(
                    sky_square,
                    mosaic,
                    at.x[row],
                    at.y[row],
                    at.steps[row],
                    arcsec=float(piece.arcsec[row]),
                    side=frame.side,
                )
                for mosaic, at in zip(mosaics, places, strict=True)
            ]
            values["cutout"] = float(piece.arcsec[row])
            yield Item(source, partial(load_squares, squares, frame, source, values), values)


def load_squares(squares: Sequence[Any], frame: Frame, name: str, row: dict[str, Any]) -> np.ndarray:
    """Cut the bands of one source and stretch them; ``row`` is told how much of it is on the mosaic.

    Pixels without a value are filled with the median of their band, so that an edge does not look like a
    dark object.

    Raises:
        MorphoscopeError: the mosaic covers less than half of the cutout in some band.
    """
    bands = [square() for square in squares]
    share = min(float(np.isfinite(band).mean()) for band in bands)
    row["on_mosaic"] = share
    if share < LEAST_SHARE:
        raise MorphoscopeError(f"{name}: the mosaic covers only {share:.0%} of the cutout")
    filled = [np.where(np.isfinite(band), band, np.nanmedian(band)) for band in bands]
    return stretched(filled, frame.stretch, name=name)


def _fail(reason: str) -> np.ndarray:
    raise MorphoscopeError(reason)
