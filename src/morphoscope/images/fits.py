"""FITS files to RGB: one band to grey, two or three bands to colour.

Which bands a file holds is read in :mod:`morphoscope.images.fits_bands`, how their values become grey levels
is said in :mod:`morphoscope.images.stretch`, and which way up they are shown in
:mod:`morphoscope.images.orientation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.images.bands import band_label, known_band
from morphoscope.images.fits_bands import Plane, read_bands_of
from morphoscope.images.orientation import Placed, placed
from morphoscope.images.regrid import on_one_grid
from morphoscope.images.stretch import check_stretch, rendered

MOST_WITHOUT_DATA = 0.5  # share of the pixels, as for cutouts of a mosaic


def read_fits(
    content: bytes,
    *,
    name: str,
    stretch: str = "lupton",
    bands: Sequence[str] = (),
    found: dict[str, Any] | None = None,
) -> np.ndarray:
    """An image of a FITS file as RGB.

    Without ``bands``, the first image of the file is taken: one plane becomes grey, two are red and blue,
    three red, green and blue, (B, H, W) or (H, W, B), in this order, unless the header's BANDS (as in
    Legacy Surveys cutouts, "grz") says otherwise: then the longest wavelength is red. Two or three extensions
    that are named as bands (EXTNAME, FILTER or BAND) are taken together. Masks, errors and weights are no
    images here if the file has others. See :func:`morphoscope.images.bands.find_bands` for ``bands``.

    Args:
        content: the file; it may be compressed, see :mod:`morphoscope.images.packed`.
        name: what messages call it.
        stretch: one of :data:`morphoscope.images.stretch.STRETCHES`.
        bands: one to three bands to take out of the file, in any order; none: all that there are.
        found: is told what the file says of the image: ``no_data`` (share of the pixels without data),
            ``scaling`` (see :class:`morphoscope.images.stretch.Rendering`), ``bands`` (which were taken),
            ``orientation`` (see :class:`morphoscope.images.orientation.Way`), ``quality`` (what is wrong with
            it, see :mod:`morphoscope.images.quality`), ``regridded`` (its bands lay on different pixels, see
            :mod:`morphoscope.images.regrid`), and ``wcs_ra`` and ``wcs_dec``, the sky position of
            the image's middle in degrees; those that are not known are left out.

    Returns:
        (H, W, 3) uint8, north up and east left as nearly as flips and turns by 90° can make it; without a
        WCS, row 0 is the top (FITS counts rows from the bottom). Pixels without data are painted as sky.

    Raises:
        MorphoscopeError: damaged, no image in it, more than three planes, data in less than half of the
            pixels, or a band is not there.
    """
    check_stretch(stretch)
    taken = read_bands_of(content, name, bands)
    return _picture(taken.planes, stretch, name, {} if found is None else found, taken.words)


def read_bands(
    sources: Sequence[Path | str | bytes],
    *,
    stretch: str = "lupton",
    name: str = "",
    bands: Sequence[str] = (),
    found: dict[str, Any] | None = None,
) -> np.ndarray:
    """FITS files or contents of one band each as RGB: one, two (red, blue) or three (red, green, blue).

    Bands on different pixels are brought to those of the band with the smallest ones, by their WCS.

    Args:
        sources: the files, the reddest first.
        stretch: as for :func:`read_fits`.
        name: what messages call them.
        bands: their names, where known.
        found: as for :func:`read_fits`.

    Raises:
        MorphoscopeError: a file is damaged or has more than one plane, or their sizes differ and one has no
            world coordinates.
    """
    check_stretch(stretch)
    planes: list[Plane] = []
    names = [name or "image" if isinstance(source, bytes) else str(source) for source in sources]
    for number, (source, called) in enumerate(zip(sources, names, strict=True)):
        content = source if isinstance(source, bytes) else files.read_bytes(Path(source), called)
        taken = read_bands_of(content, called)
        if len(taken.planes) != 1:
            raise MorphoscopeError(
                f"{called}: has {len(taken.planes)} planes; one band a file was expected here"
            )
        plane = taken.planes[0]
        if number < len(bands) and known_band(bands[number]):
            plane = plane.named(band_label(bands[number]))
        planes.append(plane)
    return _picture(planes, stretch, name or names[0], {} if found is None else found, ", ".join(bands))


def _picture(
    planes: Sequence[Plane], stretch: str, name: str, found: dict[str, Any], words: str
) -> np.ndarray:
    planes, regridded = on_one_grid(planes, name)
    at = _placed(planes)
    pixels = [at.way.picture(plane.pixels) for plane in planes]
    image_HWC, rendering = rendered(pixels, stretch, name=name, flux=[plane.flux for plane in planes])
    if rendering.no_data > MOST_WITHOUT_DATA:
        raise MorphoscopeError(
            f"{name}: only {1 - rendering.no_data:.2g} of the pixels hold data; half of them were expected"
        )
    said = {
        "no_data": rendering.no_data,
        "scaling": rendering.scaling,
        "quality": rendering.quality,
        "bands": words or None,
        "orientation": at.way.words,
        "wcs_ra": at.ra,
        "wcs_dec": at.dec,
        "regridded": regridded or None,
    }
    found.update({key: value for key, value in said.items() if value is not None})
    return image_HWC


def _placed(planes: Sequence[Plane]) -> Placed:
    """Where bands on the same pixels lie: by the first header that says so."""
    for plane in planes:
        at = placed(plane.header, plane.pixels.shape[-2:])
        if at.way.known or all(plane.header is other.header for other in planes):
            return at
    return placed(planes[0].header, planes[0].pixels.shape[-2:])
