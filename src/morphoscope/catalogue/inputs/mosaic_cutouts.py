"""Cutouts of a mosaic around the sources of a table (``predict MOSAIC --sources TABLE``).

Shape letters: S sources, B bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.mosaic import Mosaic, sky_square
from morphoscope.images.positions import SourceColumns, SourceRows, SourceTable
from morphoscope.images.stream import Item
from morphoscope.images.stretch import Flux, rendered
from morphoscope.images.wcs import orientation_of
from morphoscope.labels.scheme import Column
from morphoscope.progress import note

LEAST_SHARE = 0.5  # minimum fraction of a cutout that the mosaic must cover
_NOWHERE = np.full((2, 2), np.nan)
_ON_THE_SAME_PIXEL = 0.5  # pixels by which positions in bands may differ
_SAME_SCALE = 0.01  # relative difference of pixel areas up to which fluxes per pixel are comparable
CUTOUT = Column("cutout", pa.float32(), "side of the cutout on the sky", "arcsec", "phys.angSize")
ON_MOSAIC = Column(
    "on_mosaic", pa.float32(), "fraction of the cutout that the mosaic covers; the rest is filled with sky"
)


@dataclass(frozen=True)
class Frame:
    """How every cutout is rendered.

    Attributes:
        side: pixels.
        stretch: see :func:`morphoscope.images.stretch.rendered`.
        native: not resampled, but the mosaic's own pixels (see :func:`native_square`), as long as the bands
            lie on the same.
    """

    side: int
    stretch: str
    native: bool = False


def cutout_items(mosaics: Sequence[Mosaic], table: SourceTable, frame: Frame) -> tuple[Iterator[Item], int]:
    """One item for each source whose cutout touches the mosaic, in table order, and their number.

    The table is read twice, first to count. Sources whose cutout does not touch the mosaic are left out,
    and a note gives their number. A source whose cutout is less than half covered, or whose coordinates or
    size are not numbers, becomes an item that cannot be loaded.

    Args:
        mosaics: the bands, reddest first.
        table: the sources.
        frame: how cutouts are rendered.

    Raises:
        UsageError: a column is missing, the mosaic has no coordinates, or no source is on it.
    """
    for mosaic in mosaics:
        if mosaic.wcs is None:
            raise UsageError(
                f"{mosaic.name}: {mosaic.no_wcs}, so the sources of {table.path} cannot be found on it"
            )
    columns = SourceColumns.of(table)
    rows = total = lying = 0
    spread = [np.inf, -np.inf, np.inf, -np.inf]
    for piece in columns.rows():
        total += len(piece.ra)
        touching = _touching(piece, mosaics)
        lying += int(touching.sum())
        touching[list(piece.reasons)] = True  # to be listed with the reason
        rows += int(touching.sum())
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
    if frame.native and not on_the_same_pixels(mosaics):
        note("the bands lie on different pixels; cutouts are resampled")
        frame = replace(frame, native=False)
    if rows < total:
        note(f"{table.path}: {total - rows} of {total} sources lie off {mosaics[0].name} and are left out")
    return _items(columns, mosaics, frame), rows


def _where(mosaic: Mosaic) -> str:
    more = len(mosaic.chips) - 1
    return mosaic.where() + (f" (and {more} more chips elsewhere)" if more else "")


def _touching(piece: SourceRows, mosaics: Sequence[Mosaic]) -> np.ndarray:
    """Which rows' cutouts touch a mosaic, (S,)."""
    touching = np.zeros(len(piece.ra), bool)
    for mosaic in mosaics:
        for chip in mosaic.chips:
            touching |= _Positions.of(chip, piece).touching(piece.arcsec)
    return touching


@dataclass(frozen=True)
class _Positions:
    """Positions of sources on one chip: x, y (S,) and its local axes there, pixels per arcsec (S, 2, 2)."""

    chip: Mosaic
    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, chip: Mosaic, piece: SourceRows) -> _Positions:
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


def _items(columns: SourceColumns, mosaics: Sequence[Mosaic], frame: Frame) -> Iterator[Item]:
    for piece in columns.rows():
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
            if frame.native:
                squares = [partial(_native, chips, row, frame.side) for chips in found]
            else:
                squares = [
                    partial(_square, chips, row, arcsec=arcsec, side=frame.side, factor=factor)
                    for chips, factor in zip(found, _factors(found, row), strict=True)
                ]
            values["cutout"] = arcsec
            flux = [mosaic.flux for mosaic in mosaics]
            yield Item(source, partial(load_squares, squares, frame, source, values, flux), values)


def _factors(bands: Sequence[Sequence[_Positions]], row: int) -> list[float]:
    flux = [chips[0].chip.flux if chips else Flux() for chips in bands]
    return flux_factors(flux, [chips[0].steps[row] if chips else _NOWHERE for chips in bands])


def flux_factors(flux: Sequence[Flux], steps: Sequence[np.ndarray]) -> list[float]:
    """Factors that convert fluxes per pixel of each band to the pixel size of the first band.

    Args:
        flux: what is known about each band; units per steradian need no factor.
        steps: the local axes of each band, pixels per arcsec, (2, 2).
    """
    areas = [
        np.nan if one.unit.endswith("/sr") else abs(float(np.linalg.det(axes)))
        for one, axes in zip(flux, steps, strict=True)
    ]
    ratios = [area / areas[0] for area in areas]
    return [ratio if np.isfinite(ratio) and abs(ratio - 1) > _SAME_SCALE else 1.0 for ratio in ratios]


def _square(chips: Sequence[_Positions], row: int, *, arcsec: float, side: int, factor: float) -> np.ndarray:
    """One band of a cutout, from the chip that covers most of it, completed by the others."""
    square = np.full((side, side), np.nan, np.float32)
    for chip in sorted(chips, key=lambda chip: -chip.inside(row)):
        lacking = ~np.isfinite(square)
        if not lacking.any():
            break
        part = sky_square(chip.chip, chip.x[row], chip.y[row], chip.steps[row], arcsec=arcsec, side=side)
        square[lacking] = part[lacking]
    return square if factor == 1.0 else square * np.float32(factor)


def _native(chips: Sequence[_Positions], row: int, side: int) -> np.ndarray:
    """One band of a cutout in the pixels of the chip that covers most of it."""
    chip = max(chips, key=lambda chip: chip.inside(row))
    return native_square(chip.chip, chip.x[row], chip.y[row], chip.steps[row], side)


def native_square(mosaic: Mosaic, x: float, y: float, steps: np.ndarray, side: int) -> np.ndarray:
    """A square of a mosaic's own pixels, turned by flips and right angles so that north is up.

    Values and noise are those of the file; interpolation would smooth both.

    Args:
        mosaic: one band.
        x: column of the middle, which is taken to the nearest pixel or half.
        y: row of it.
        steps: the local axes, pixels per arcsec, (2, 2).
        side: S.

    Returns:
        (S, S) float32, NaN beyond the mosaic's edge and where no exposure covers it.
    """
    height, width = mosaic.shape
    left, top = (round(float(middle) - (side - 1) / 2) for middle in (x, y))
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    square = np.full((side, side), np.nan, np.float32)
    if rows.start < rows.stop and columns.start < columns.stop:
        at = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        square[at] = mosaic.box(rows, columns)
    east, north = np.linalg.inv(steps)
    return orientation_of(east, north).picture(square)


def on_the_same_pixels(mosaics: Sequence[Mosaic]) -> bool:
    """Whether the bands have the same pixels, chip by chip."""
    first = mosaics[0]
    return all(
        len(mosaic.chips) == len(first.chips) and all(map(_same_pixels, first.chips, mosaic.chips))
        for mosaic in mosaics[1:]
    )


def _same_pixels(one: Mosaic, other: Mosaic) -> bool:
    if one.shape != other.shape:
        return False
    if one.wcs is None or other.wcs is None:
        return True
    height, width = one.shape
    corners = np.array([0.0, width - 1.0]), np.array([0.0, height - 1.0])
    found = other.pixels_of(*one.positions_of(*corners))
    return np.allclose(np.stack(found), np.stack(corners), atol=_ON_THE_SAME_PIXEL, rtol=0)


def load_squares(
    squares: Sequence[Any], frame: Frame, name: str, row: dict[str, Any], flux: Sequence[Flux]
) -> np.ndarray:
    """Cut out the bands of one source and stretch them; ``row`` gets ``on_mosaic``, ``scaling`` and
    ``quality``.

    Pixels that no exposure covers are ignored by the stretch and get the colour of the sky.

    Raises:
        MorphoscopeError: the mosaic covers less than half of the cutout in some band.
    """
    bands = [square() for square in squares]
    share = min(float(np.isfinite(band).mean()) for band in bands)
    row["on_mosaic"] = share
    if share < LEAST_SHARE:
        raise MorphoscopeError(f"{name}: the mosaic covers only {share:.0%} of the cutout")
    image, rendering = rendered(bands, frame.stretch, name=name, flux=flux)
    row["scaling"], row["quality"] = rendering.scaling, rendering.quality
    return image


def _fail(reason: str) -> np.ndarray:
    raise MorphoscopeError(reason)
