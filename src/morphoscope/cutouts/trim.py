"""A square round a position out of a FITS file that shows more of the sky.

Shape letters: H × W pixels of the file, P × P of the square.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.cutouts.client import Failed, Outside, Unsuitable
from morphoscope.cutouts.services import Frame
from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images.fits_bands import opened_parts, pictures, plane_of, unpacked
from morphoscope.images.fits_headers import check_counts
from morphoscope.images.limits import check_pixels, most_bytes
from morphoscope.images.wcs import celestial_of

if TYPE_CHECKING:
    from astropy.io.fits import Header

_ASTRAY = 1.0  # arcsec by which a position may come back elsewhere: beyond a projection they repeat
_APPLIED = ("BSCALE", "BZERO", "BLANK", "BSOFTEN", "BOFFSET")  # to the pixels, and no longer true of them
_THIRD_AXIS = re.compile(
    r"WCSAXES|(NAXIS|CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[3-9].*|(CD|PC)(\d_[3-9]|[3-9]_\d).*"
)
_CENTRE = re.compile(r"CRPIX([12])[A-Z]?")


@dataclass(frozen=True)
class Square:
    """A square cut out of an image.

    Attributes:
        content: a FITS file with one image, of P × P pixels.
        pixels: P.
        known: share of its pixels that the image has.
    """

    content: bytes
    pixels: int
    known: float


def square_of(content: bytes, frame: Frame, most: int, cards: Mapping[str, str] | None = None) -> Square:
    """The square of sky round a position, in the pixels of the image; NaN where that has none.

    Args:
        content: a FITS file, compressed or not, of one image or several.
        frame: position and side.
        most: pixels that it may have along a side.
        cards: to add to the header.

    Raises:
        Outside: no image of the file shows the position.
        Failed: the square has too many pixels.
        Unsuitable: no FITS file, damaged, or no image with two axes on the sky.
    """
    try:
        content = unpacked(content, "it", most=most_bytes())
        check_counts(content, "it")
        with opened_parts(content) as units:
            images = pictures(units)
            for unit in images:
                if type(unit).__name__ == "CompImageHDU":
                    check_pixels(unit.shape, "it")
            placed = [(unit, at) for unit in images if (at := _place(unit, units, frame)) is not None]
            if not placed:
                raise Unsuitable("sent a FITS file without a flat image of the sky")
            squares = [_cut(unit, units[0].header, at, frame, most, cards or {}) for unit, at in placed]
    except (Outside, Failed, Unsuitable):
        raise
    except MorphoscopeError as error:
        raise Unsuitable(f"sent a FITS file that cannot be read ({reason_of(error)})") from error
    except Exception as error:  # astropy raises whatever its parsers do
        raise Unsuitable(f"sent a damaged FITS file ({reason_of(error)})") from error
    found = [square for square in squares if square is not None]
    if not found:
        raise Outside("the survey has no image here: the image that the service names does not reach it")
    return max(found, key=lambda square: square.known)


@dataclass(frozen=True)
class _Place:
    """Where a position lies on an image (NaN: nowhere), and its arcsec per pixel."""

    x: float
    y: float
    scale: float


def _place(unit: Any, units: Any, frame: Frame) -> _Place | None:
    """None if the image has no two axes on the sky, or is a cube."""
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import proj_plane_pixel_area

    if np.prod(unit.shape[:-2]) != 1:
        return None
    wcs = celestial_of(unit.header, units).wcs
    if wcs is None:
        return None
    position = SkyCoord(frame.ra, frame.dec, unit="deg")
    scale = float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600
    try:
        x, y = map(float, wcs.world_to_pixel(position))
        astray = float(wcs.pixel_to_world(x, y).separation(position).arcsec)
    except Exception:  # a distortion that cannot be inverted so far from the image
        return _Place(np.nan, np.nan, scale)
    return _Place(x, y, scale) if astray < _ASTRAY else _Place(np.nan, np.nan, scale)


def _cut(
    unit: Any, primary: Header, at: _Place, frame: Frame, most: int, cards: Mapping[str, str]
) -> Square | None:
    """The square of one image; None if the position is not on it."""
    from astropy.io import fits

    height, width = unit.shape[-2:]
    if not (-0.5 <= at.x < width - 0.5 and -0.5 <= at.y < height - 0.5):  # NaN too
        return None
    side = max(1, round(frame.arcsec / at.scale))
    if side > most:
        raise Failed(
            f"{frame.arcsec:g}″ are {side:,} pixels of this image, more than the {most:,} that a cutout "
            "may have"
        )
    left, top = (round(middle - (side - 1) / 2) for middle in (at.x, at.y))
    columns = slice(max(left, 0), min(left + side, width))
    rows = slice(max(top, 0), min(top + side, height))
    leading = (0,) * (len(unit.shape) - 2)
    raw = np.asarray(unit.section[(*leading, rows, columns)])
    part = plane_of(unit, 0, "", raw, primary).pixels
    pixels = np.full((side, side), np.nan, np.float32)
    pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = part
    header = _header(unit, left, top)
    for name, value in cards.items():
        header[name] = value
    made = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(made, output_verify="silentfix+ignore")
    return Square(made.getvalue(), side, float(np.isfinite(pixels).mean()))


def _header(unit: Any, left: int, top: int) -> Header:
    """The image's header, for the square."""
    header = unit.header.copy(strip=True)
    for name in [name for name in header if name in _APPLIED or _THIRD_AXIS.fullmatch(name)]:
        header.remove(name, ignore_missing=True, remove_all=True)
    for name in list(header):
        axis = _CENTRE.fullmatch(name)
        if axis is not None:
            header[name] = float(header[name]) - (left if axis[1] == "1" else top)
    return header
