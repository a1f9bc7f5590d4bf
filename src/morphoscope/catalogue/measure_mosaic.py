"""What of a mosaic is measured: the sources of a table, or all that are detected, in its own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.detection.images import PLACE, chips_of
from morphoscope.catalogue.detection.tiles import Found, find_sources, source_items
from morphoscope.catalogue.inputs.mosaic_cutouts import Frame, cutout_items
from morphoscope.catalogue.inputs.open import Images
from morphoscope.errors import MorphoscopeError
from morphoscope.extras import DETECTION, need
from morphoscope.images.mosaic import Mosaic, open_mosaics
from morphoscope.images.positions import SourceTable
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Column

AROUND = 4.0  # side of a detected source's cutout in units of its length, so that there is sky to measure
LEAST_SIDE = 64  # pixels
_CHIP = "chip"
DETECTED = tuple(
    Column(name, pa.float32(), words, "pix", f"pos.cartesian.{name}" if name in "xy" else "phys.angSize")
    for name, _, words in PLACE
)
CHIP = Column(_CHIP, pa.string(), "image of the file that x and y count in")


def at_positions(source: str, bands: Sequence[str], sources: Path | str, arcsec: float) -> Images:
    """Cutouts round the positions of a table.

    Args:
        source: FITS mosaic, or a pattern with ``{band}``.
        bands: of it.
        sources: the table.
        arcsec: side of the cutouts.

    Raises:
        UsageError: no such band, column or file, or no source is on the mosaic.
    """
    mosaics = open_mosaics(source, bands)
    table = SourceTable(Path(sources), arcsec, None)
    side = _native_side(mosaics[0], arcsec) if mosaics[0].wcs is not None else LEAST_SIDE
    items, count = cutout_items(mosaics, table, Frame(side, "lupton", native=True))
    files = (*_files(source, bands), str(sources))
    return Images(f"{source} at {sources}", (replace(item, files=files) for item in items), count)


def detected(source: str, bands: Sequence[str], min_area: int) -> Images:
    """Cutouts of all sources of a mosaic, brightest first; ids are those of ``predict --detect``.

    Args:
        source: FITS mosaic, or a pattern with ``{band}``.
        bands: of it.
        min_area: least pixels of a source.

    Raises:
        UsageError: no such file or band.
        MorphoscopeError: it is no FITS file, or nothing was detected.
    """
    need(DETECTION, "detect", "finding sources")
    mosaics = open_mosaics(source, bands)
    parts = []
    for chip in chips_of(mosaics):
        found = find_sources(chip, factor=AROUND, min_area=min_area)
        parts.append((chip, replace(found, side=np.maximum(found.side, LEAST_SIDE))))
    count = sum(len(found) for _, found in parts)
    if not count:
        raise MorphoscopeError(
            f"{mosaics[0].name}: no source of {min_area} pixels or more was detected; --min-area sets "
            "another size"
        )
    extras = DETECTED if len(parts) == 1 else (*DETECTED, CHIP)
    return Images(source, _items(parts, _files(source, bands)), count, extras)


def _items(parts: Sequence[tuple[list[Mosaic], Found]], files: tuple[str, ...]) -> Iterator[Item]:
    first = 0
    for chip, found in parts:
        place = {"x": found.x, "y": found.y, "radius": found.radius, "cutout": found.side}
        for row, item in enumerate(source_items(chip, found, Frame(0, "lupton", native=True), first)):
            values: dict[str, Any] = {name: float(column[row]) for name, column in place.items()}
            item.row.update(values, **{_CHIP: chip[0].chip})  # the row that loading fills further
            yield replace(item, files=files)
        first += len(found)


def _files(source: str, bands: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source.replace("{band}", band) for band in bands or ("",)))


def _native_side(mosaic: Mosaic, arcsec: float) -> int:
    """Pixels of the mosaic along a side."""
    height, width = mosaic.shape
    ra, dec = mosaic.positions_of(np.array([width / 2]), np.array([height / 2]))
    steps = mosaic.pixels_per_arcsec(ra, dec)[0]
    return max(16, round(arcsec * float(np.sqrt(abs(np.linalg.det(steps))))))
