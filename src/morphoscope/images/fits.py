"""FITS files to RGB: one band to grey, two or three bands to colour, or up to eight to planes; after
bringing bands on different pixels to one grid.

:mod:`morphoscope.images.fits_bands` finds the bands of a file, :mod:`morphoscope.images.stretch` turns
fluxes into grey levels, and :mod:`morphoscope.images.wcs` says which way up an image is shown.

Shape letters: H, W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.images.bands import band_label, known_band
from morphoscope.images.fits_bands import Plane, read_bands_of, without_warnings
from morphoscope.images.fits_headers import PlainHeader
from morphoscope.images.stretch import check_stretch, rendered
from morphoscope.images.wcs import SkyPosition, celestial_of, sky_position

if TYPE_CHECKING:
    from astropy.io.fits import Header

MOST_WITHOUT_DATA = 0.5  # fraction of the pixels, as for cutouts of a mosaic


def read_fits(
    content: bytes,
    *,
    name: str,
    stretch: str = "lupton",
    bands: Sequence[str] = (),
    found: dict[str, Any] | None = None,
) -> np.ndarray:
    """Read an image of a FITS file as RGB.

    Without ``bands``, the first image of the file is read: one plane becomes grey, two are red and blue,
    three red, green and blue, (B, H, W) or (H, W, B), in this order unless the header has BANDS (such as
    "grz" in Legacy Surveys cutouts): then the longest wavelength is red. Two or three extensions named as
    bands (EXTNAME, FILTER or BAND) are combined. Masks, errors and weights are skipped if the file has
    other images. See :func:`morphoscope.images.bands.find_bands` for ``bands``.

    Args:
        content: the file; it may be compressed, see :mod:`morphoscope.images.packed`.
        name: name used in messages.
        stretch: one of :data:`morphoscope.images.stretch.STRETCHES`.
        bands: one to three bands to read (up to eight as planes), in any order; all if empty.
        found: is told what the file says of the image: ``no_data`` (share of the pixels without data),
            ``scaling`` (see :class:`morphoscope.images.stretch.Rendering`), ``bands`` (which were taken),
            ``orientation`` (see :class:`morphoscope.images.wcs.Orientation`), ``quality`` (what is wrong with
            it, see :mod:`morphoscope.images.coverage`), ``regridded`` (its bands lay on different pixels, see
            :mod:`morphoscope.images.fits`), and ``wcs_ra`` and ``wcs_dec``, the sky position of
            the image's middle in degrees; those that are not known are left out.

    Returns:
        (H, W, 3) uint8, north up and east left as nearly as flips and rotations by 90° allow; without a
        WCS, the last row of the file is the top (FITS counts rows from the bottom). Pixels without data get
        the colour of the sky. With a stretch of :data:`morphoscope.images.stretch.PLANES` (H, W, bands),
        reddest first.

    Raises:
        MorphoscopeError: the file is damaged or has no image, more than three planes, data in less than
            half of the pixels, or a band is missing.
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
    """Read FITS files of one band each as RGB: one, two (red, blue) or three (red, green, blue).

    Bands on different pixels are resampled to those of the band with the smallest pixels, using their WCS.

    Args:
        sources: the files or their contents, reddest first.
        stretch: as for :func:`read_fits`.
        name: name used in messages.
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
    at = _sky_position(planes)
    pixels = [at.orientation.picture(plane.pixels) for plane in planes]
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
        "orientation": at.orientation.words,
        "wcs_ra": at.ra,
        "wcs_dec": at.dec,
        "regridded": regridded or None,
    }
    found.update({key: value for key, value in said.items() if value is not None})
    return image_HWC


def _sky_position(planes: Sequence[Plane]) -> SkyPosition:
    """The sky position of bands on the same pixels, from the first header that has it."""
    for plane in planes:
        at = sky_position(plane.header, plane.pixels.shape[-2:])
        if at.orientation.known or all(plane.header is other.header for other in planes):
            return at
    return sky_position(planes[0].header, planes[0].pixels.shape[-2:])


_ALIKE = 0.1  # pixels by which corners of bands on one grid may differ
_SAME_SCALE = 0.01  # relative difference of pixel areas up to which fluxes per pixel are comparable
_LATTICE = 33  # points along each side at which positions are computed; cubic splines in between
_CARDS = re.compile(
    r"NAXIS\d?|C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA)\d[A-Z]?|(?:CD|PC|PV)\d_\d+[A-Z]?|[AB]P?_.*|EQUINOX"
)


def on_one_grid(planes: Sequence[Plane], name: str) -> tuple[list[Plane], bool]:
    """Resample bands to the pixels of the one with the smallest pixels (the first if they are alike).

    Fluxes per pixel are scaled to that pixel size; those per steradian are not. Bands without a position on
    the sky stay as they are if they have the same size.

    Args:
        planes: bands with their headers.
        name: name used in messages.

    Returns:
        The bands, all of one shape, with NaN where a resampled band has no data; and whether any was
        resampled.

    Raises:
        MorphoscopeError: sizes differ and a band has no world coordinates.
    """
    whole = list(planes)
    shapes = [plane.pixels.shape for plane in whole]
    if len(whole) == 1 or (len(set(shapes)) == 1 and _same_cards([plane.header for plane in whole])):
        return whole, False
    found = [celestial_of(plane.header) for plane in whole]
    if any(one.wcs is None for one in found):
        if len(set(shapes)) == 1:
            return whole, False
        reason = next(one.reason for one in found if one.wcs is None)
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        raise MorphoscopeError(
            f"{name}: the bands differ in size ({sizes}) and cannot be matched by their positions: {reason}; "
            "bring them to the same pixels first"
        )
    skies: list[Any] = [one.wcs for one in found]
    areas = np.array([abs(np.linalg.det(sky.pixel_scale_matrix)) for sky in skies])
    base = int(np.flatnonzero(areas < areas.min() * (1 + _SAME_SCALE))[0])
    regridded = False
    for number, plane in enumerate(whole):
        if number == base:
            continue
        at = _positions(skies[base], shapes[base], skies[number])
        if shapes[number] == shapes[base] and _as_they_are(at):
            continue
        pixels = _sampled(plane.pixels, *at)
        ratio = areas[base] / areas[number]
        if abs(ratio - 1) > _SAME_SCALE and not plane.flux.unit.endswith("/sr"):
            pixels = pixels * np.float32(ratio)
        whole[number], regridded = replace(plane, pixels=pixels, header=whole[base].header), True
    if regridded:
        whole = [replace(plane, header=whole[base].header) for plane in whole]
    return whole, regridded


def _same_cards(headers: Sequence[Header]) -> bool:
    """Whether headers have the same WCS."""
    first = headers[0]
    return all(header is first for header in headers) or len({_cards(header) for header in headers}) == 1


def _cards(header: Header) -> tuple[str, ...]:
    with nullcontext() if isinstance(header, PlainHeader) else without_warnings():  # astropy verifies late
        return tuple(sorted(_text(card) for card in header.cards if _CARDS.fullmatch(card.keyword)))


def _text(card: Any) -> str:
    try:
        return str(card)
    except Exception:  # astropy reads more than it writes: a card with odd letters is like no other
        return f"{card.keyword} {id(card)}"


def _positions(base: Any, shape: tuple[int, ...], other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Column and row, in another band, of each pixel of the first, (H, W) each."""
    from scipy.interpolate import RectBivariateSpline

    height, width = shape
    rows, columns = (np.linspace(0, side - 1, min(side, _LATTICE)) for side in shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    with without_warnings():
        found = np.array(other.world_to_pixel(base.pixel_to_world(x, y)))
    if not np.isfinite(found).all() or min(len(rows), len(columns)) < 4:
        y, x = np.mgrid[:height, :width]
        with without_warnings():
            columns_HW, rows_HW = other.world_to_pixel(base.pixel_to_world(x, y))
        return np.asarray(columns_HW), np.asarray(rows_HW)
    columns_HW, rows_HW = (
        RectBivariateSpline(rows, columns, part)(np.arange(height), np.arange(width)) for part in found
    )
    return columns_HW, rows_HW


def _as_they_are(at: tuple[np.ndarray, np.ndarray]) -> bool:
    height, width = at[0].shape
    corners = np.ix_([0, height // 2, -1], [0, width // 2, -1])
    y, x = np.mgrid[:height, :width]
    apart = np.hypot(at[0][corners] - x[corners], at[1][corners] - y[corners])
    return bool((apart < _ALIKE).all())


def _sampled(plane_HW: np.ndarray, columns_HW: np.ndarray, rows_HW: np.ndarray) -> np.ndarray:
    """A band interpolated linearly between its pixels; NaN beyond its border."""
    return cv2.remap(
        np.ascontiguousarray(plane_HW, np.float32),
        np.asarray(columns_HW, np.float32),
        np.asarray(rows_HW, np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
