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
from morphoscope.images.stretch import Flux, stretched
from morphoscope.images.tables import columns_of, iterate_table, need_columns, numbers, texts
from morphoscope.labels.scheme import Column
from morphoscope.progress import note

LEAST_SHARE = 0.5  # of a cutout that the mosaic must cover
_SAME_SCALE = 0.01  # relative difference of pixel areas that makes none of fluxes
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
                f"{mosaic.name}: {mosaic.no_wcs}, so the sources of {table.path} cannot be found on it"
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
            f"{_where(mosaics[0])}; they have RA {spread[0]:.4f}° to {spread[1]:.4f}° and Dec "
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


def _where(mosaic: Mosaic) -> str:
    more = len(mosaic.chips) - 1
    return mosaic.where() + (f" (and {more} more chips elsewhere)" if more else "")


def _touching(piece: _Piece, mosaics: Sequence[Mosaic]) -> np.ndarray:
    """Which rows' cutouts touch a mosaic, (S,)."""
    touching = np.zeros(len(piece.ra), bool)
    for mosaic in mosaics:
        for chip in mosaic.chips:
            touching |= _Positions.of(chip, piece).touching(piece.arcsec)
    return touching


def _wanted(piece: _Piece, mosaics: Sequence[Mosaic]) -> np.ndarray:
    """Which rows touch a mosaic, or have no position at all, (S,)."""
    wanted = _touching(piece, mosaics)
    wanted[list(piece.reasons)] = True
    return wanted


@dataclass(frozen=True)
class _Positions:
    """Where sources lie on one chip: x, y (S,) and its local axes there, pixels per arcsec (S, 2, 2)."""

    chip: Mosaic
    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, chip: Mosaic, piece: _Piece) -> _Positions:
        x, y = chip.pixels_of(piece.ra, piece.dec)
        steps = np.full((len(x), 2, 2), np.nan)
        near = np.isfinite(x)
        if near.any():
            steps[near] = chip.pixels_per_arcsec(piece.ra[near], piece.dec[near])
        return cls(chip, x, y, steps)

    def touching(self, arcsec: np.ndarray) -> np.ndarray:
        half_x, half_y = 0.5 * arcsec * np.abs(self.steps).sum(axis=2).T
        height, width = self.chip.shape
        return (
            (self.x + half_x > -0.5)
            & (self.x - half_x < width - 0.5)
            & (self.y + half_y > -0.5)
            & (self.y - half_y < height - 0.5)
        )

    def inside(self, row: int) -> float:
        """Pixels between a source and the chip's nearest border; negative beyond it."""
        height, width = self.chip.shape
        x, y = self.x[row], self.y[row]
        return float(min(x, y, width - 1 - x, height - 1 - y))


def _items(columns: _Columns, mosaics: Sequence[Mosaic], frame: Frame) -> Iterator[Item]:
    for piece in columns.pieces():
        bands = [[_Positions.of(chip, piece) for chip in mosaic.chips] for mosaic in mosaics]
        touching = [[chip.touching(piece.arcsec) for chip in chips] for chips in bands]
        wanted = np.any([on_chip for on_chips in touching for on_chip in on_chips], axis=0)
        wanted[list(piece.reasons)] = True
        for row in np.flatnonzero(wanted).tolist():
            identity = piece.ids[row]
            source = f"{identity} in {mosaics[0].name}"
            values: dict[str, Any] = {"id": identity, "ra": piece.ra[row], "dec": piece.dec[row]}
            if row in piece.reasons:
                yield Item(source, partial(_fail, piece.reasons[row]), values)
                continue
            arcsec = float(piece.arcsec[row])
            found = [
                [chip for chip, touches in zip(chips, on_chips, strict=True) if touches[row]]
                for chips, on_chips in zip(bands, touching, strict=True)
            ]
            squares = [
                partial(_square, chips, row, arcsec=arcsec, side=frame.side, factor=factor)
                for chips, factor in zip(found, _factors(found, row), strict=True)
            ]
            values["cutout"] = arcsec
            flux = [mosaic.flux for mosaic in mosaics]
            yield Item(source, partial(load_squares, squares, frame, source, values, flux), values)


def _factors(bands: Sequence[Sequence[_Positions]], row: int) -> list[float]:
    """What brings fluxes per pixel of each band to the size of the first band's pixels."""
    areas = [
        np.nan
        if not chips or chips[0].chip.flux.unit.endswith("/sr")
        else abs(float(np.linalg.det(chips[0].steps[row])))
        for chips in bands
    ]
    ratios = [area / areas[0] for area in areas]
    return [ratio if np.isfinite(ratio) and abs(ratio - 1) > _SAME_SCALE else 1.0 for ratio in ratios]


def _square(chips: Sequence[_Positions], row: int, *, arcsec: float, side: int, factor: float) -> np.ndarray:
    """One band of a cutout: of the chip that holds most of it, and where that ends, of the others."""
    square = np.full((side, side), np.nan, np.float32)
    for chip in sorted(chips, key=lambda chip: -chip.inside(row)):
        lacking = ~np.isfinite(square)
        if not lacking.any():
            break
        part = sky_square(chip.chip, chip.x[row], chip.y[row], chip.steps[row], arcsec=arcsec, side=side)
        square[lacking] = part[lacking]
    return square if factor == 1.0 else square * np.float32(factor)


def load_squares(
    squares: Sequence[Any], frame: Frame, name: str, row: dict[str, Any], flux: Sequence[Flux]
) -> np.ndarray:
    """Cut the bands of one source out and stretch them; ``row`` is told how much of it is on the mosaic.

    Pixels that no exposure covers have no part in the stretch, and are painted as sky.

    Raises:
        MorphoscopeError: the mosaic covers less than half of the cutout in some band.
    """
    bands = [square() for square in squares]
    share = min(float(np.isfinite(band).mean()) for band in bands)
    row["on_mosaic"] = share
    if share < LEAST_SHARE:
        raise MorphoscopeError(f"{name}: the mosaic covers only {share:.0%} of the cutout")
    return stretched(bands, frame.stretch, name=name, flux=flux)


def _fail(reason: str) -> np.ndarray:
    raise MorphoscopeError(reason)


def read_sources(table: SourceTable) -> Iterator[_Piece]:
    """The rows of a table of sources, in pieces, as :func:`cutout_items` reads them.

    Raises:
        UsageError: no such file or column.
        MorphoscopeError: the file cannot be read as a table.
    """
    return _Columns.of(table).pieces()
