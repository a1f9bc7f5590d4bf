"""Source detection on a FITS mosaic, tile by tile, with positions on the sky.

Shape letters: H × W pixels of a tile, B bands, S sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from morphoscope.catalogue.detection.detect import MIN_AREA, Sources, cutout_sides, detect_sources
from morphoscope.catalogue.inputs.mosaic_cutouts import (
    Frame,
    flux_factors,
    load_squares,
    native_square,
    on_the_same_pixels,
)
from morphoscope.errors import UsageError
from morphoscope.images.mosaic import Mosaic, sky_square
from morphoscope.images.source_quality import faults_of_sources
from morphoscope.images.stream import Item
from morphoscope.images.stretch import sky_of
from morphoscope.progress import note, track

TILE, OVERLAP = 2048, 256  # pixels: side of a tile, and its overlap with each neighbour
_ROWS_UP = np.array([[-1.0, 0.0], [0.0, 1.0]])  # local axes without a WCS: columns to the right, rows up


_MEASURED = ("x", "y", "radius", "flux", "side", "signal", "width", "elongation")


@dataclass(frozen=True)
class Found:
    """Sources of a mosaic, brightest (in units of the noise) first; every array is (S,).

    Attributes:
        x: column, pixels from 0 at the centre of the file's first.
        y: row.
        radius: semi-major axis, pixels.
        side: of the cutout, pixels.
        ra: degrees; NaN where the mosaic has no coordinates.
        dec: as ``ra``.
        faults: why each gets no class; empty for those that may have one.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    side: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    faults: list[tuple[str, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.x)


def find_sources(mosaics: Sequence[Mosaic], *, factor: float = 2.0, min_area: int = MIN_AREA) -> Found:
    """Detect the sources of a mosaic (see :func:`morphoscope.catalogue.detection.detect.detect_sources`).

    Bands on the same pixels are averaged in units of their noise; otherwise only the reddest is searched. A
    source belongs to the tile that contains its centre; one that extends more than ``OVERLAP`` pixels
    beyond its tile is truncated there, and left out.

    Args:
        mosaics: the bands, reddest first.
        factor: side of a cutout in units of the source's length.
        min_area: minimum pixels of a source.

    Raises:
        UsageError: bands have no coordinates and differ in size.
    """
    together = on_the_same_pixels(mosaics)
    if not together and any(mosaic.wcs is None for mosaic in mosaics):
        raise UsageError(
            f"{mosaics[0].name}: the bands differ in size and have no world coordinates to match them by"
        )
    searched = mosaics if together else mosaics[:1]
    if not together:
        note(f"the bands lie on different pixels; sources are detected on {mosaics[0].name} alone")
    parts = [
        _in_tile(searched, rows, columns, min_area, factor)
        for rows, columns in track(list(_tiles(mosaics[0].shape)), "detecting", unit="tiles")
    ]
    columns = {
        name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0) for name in _MEASURED
    }
    order = np.argsort(-columns["flux"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    x, y, radius, side = (columns[name] for name in ("x", "y", "radius", "side"))
    faults = faults_of_sources(
        2 * radius, columns["signal"], columns["width"], columns["elongation"], np.zeros(len(x))
    )
    if mosaics[0].wcs is None or not len(x):
        ra = dec = np.full(len(x), np.nan)
    else:
        ra, dec = mosaics[0].positions_of(x, y)
    return Found(x, y, radius, side, ra, dec, faults)


def source_items(mosaics: Sequence[Mosaic], found: Found, frame: Frame, first: int = 0) -> Iterator[Item]:
    """One item per source: its cutout, north up and east left if the mosaic has coordinates.

    Ids count from ``first``. Loading a cutout adds what is wrong with it to the row. Native cutouts have each
    the side of its source.
    """
    steps = [_steps(mosaic, found) for mosaic in mosaics]
    flux = [mosaic.flux for mosaic in mosaics]
    positions = [
        (found.x, found.y) if number == 0 or mosaic.wcs is None else mosaic.pixels_of(found.ra, found.dec)
        for number, mosaic in enumerate(mosaics)
    ]
    scale = 1.0 / np.sqrt(np.abs(np.linalg.det(steps[0])))  # arcsec per pixel
    as_stored = frame.native and on_the_same_pixels(mosaics)
    for row in range(len(found)):
        factors = flux_factors(flux, [step[row] for step in steps])
        side = int(found.side[row]) if frame.native else frame.side
        squares = [
            partial(native_square, mosaic, found.x[row], found.y[row], steps[0][row], side)
            if as_stored
            else partial(
                _square,
                factor,
                mosaic,
                x[row],
                y[row],
                step[row],
                arcsec=float(found.side[row] * scale[row]),
                side=side,
            )
            for factor, mosaic, (x, y), step in zip(factors, mosaics, positions, steps, strict=True)
        ]
        values = {"id": str(first + row), "ra": found.ra[row], "dec": found.dec[row]}
        source = mosaics[0].name
        yield Item(source, partial(load_squares, squares, frame, source, values, flux), values)


def _square(factor: float, mosaic: Mosaic, *at: Any, **size: Any) -> np.ndarray:
    return np.float32(factor) * sky_square(mosaic, *at, **size)


def _steps(mosaic: Mosaic, found: Found) -> np.ndarray:
    if mosaic.wcs is None or not len(found):
        axes = _ROWS_UP * [[1.0], [-1.0]] if mosaic.top_first else _ROWS_UP
        return np.broadcast_to(axes, (len(found), 2, 2))
    return mosaic.pixels_per_arcsec(found.ra, found.dec)


def _tiles(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """The cores of the tiles, which cover the mosaic without overlap."""
    core = TILE - 2 * OVERLAP
    starts = [range(1) if side <= TILE else range(0, side, core) for side in shape]
    for top in starts[0]:
        for left in starts[1]:
            yield (
                slice(top, shape[0] if len(starts[0]) == 1 else min(top + core, shape[0])),
                slice(left, shape[1] if len(starts[1]) == 1 else min(left + core, shape[1])),
            )


def _in_tile(
    mosaics: Sequence[Mosaic], rows: slice, columns: slice, min_area: int, factor: float
) -> dict[str, np.ndarray]:
    """Sources whose centre is in the core of a tile."""
    height, width = mosaics[0].shape
    top, left = max(rows.start - OVERLAP, 0), max(columns.start - OVERLAP, 0)
    seen = slice(top, min(rows.stop + OVERLAP, height)), slice(left, min(columns.stop + OVERLAP, width))
    image_HWB = np.stack([_in_noise(mosaic.box(*seen)) for mosaic in mosaics], axis=2)
    if min(image_HWB.shape[:2]) < 3 or not np.isfinite(image_HWB).all(axis=2).any():
        return {name: np.empty(0) for name in _MEASURED}
    sources: Sources = detect_sources(image_HWB, min_area=min_area, floor=0.0)
    x, y = sources.x + left, sources.y + top
    # A centre belongs to the pixel that contains it; the first and last cores extend to the border.
    mine = (
        (np.rint(x) >= columns.start)
        & (np.rint(x) < columns.stop)
        & (np.rint(y) >= rows.start)
        & (np.rint(y) < rows.stop)
    )
    return {
        "x": x[mine],
        "y": y[mine],
        **{
            name: getattr(sources, name)[mine] for name in ("radius", "flux", "signal", "width", "elongation")
        },
        "side": cutout_sides(sources, factor=factor)[mine].astype(np.float64),
    }


def _in_noise(box_HW: np.ndarray) -> np.ndarray:
    """A band in units of its sky's noise."""
    values = box_HW[np.isfinite(box_HW)]
    return box_HW / np.float32(sky_of(values)[1]) if values.size else box_HW
