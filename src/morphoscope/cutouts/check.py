"""What a service has sent: a cutout as asked for, something else, or the sky beyond its footprint.

Services answer positions without images with an image of one colour, with FITS planes of zeros or NaN, or
with a status. And any of them may send a web page with status 200, half a file, or another size.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from morphoscope.cutouts.client import Outside, Unsuitable
from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images.decode import read_image
from morphoscope.images.fits_bands import without_warnings
from morphoscope.images.limits import check_pixels, most_bytes
from morphoscope.progress import printable

_JPEG, _FITS = b"\xff\xd8\xff", b"SIMPLE  ="
_BLOCK = 2880  # of FITS files, bytes
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)
_NEARLY = 2  # grey levels by which pixels of one colour may differ in a JPEG
_SPARE = 1 << 20  # bytes of headers
_BYTES_PER_PIXEL = 64  # of the richest FITS file: several bands with their weights
_OFF = 2  # pixels by which an image in the survey's own pixels may differ


def most_bytes_of(pixels: int) -> int:
    """Bytes that the image of a cutout may have."""
    return min(most_bytes(), _SPARE + _BYTES_PER_PIXEL * pixels * pixels)


def check_image(content: bytes, kind: str, pixels: int, *, exact: bool) -> bytes:
    """The content again, if it is a whole image of the size asked for with anything on it.

    Args:
        content: what was sent.
        kind: "jpg" or "fits".
        pixels: along a side.
        exact: whether the side must be just this; otherwise two pixels more or less will do.

    Raises:
        Unsuitable: it is something else, damaged, or of another size.
        Outside: the image is empty.
    """
    begins = content[:512].lstrip()
    if begins.startswith(b"<") or begins[:9].lower() == b"<!doctype":
        raise Unsuitable(_web_page(content))
    if not content:
        raise Unsuitable("sent an empty answer")
    return (_check_jpeg if kind == "jpg" else _check_fits)(content, pixels, 0 if exact else _OFF)


def _web_page(content: bytes) -> str:
    title = _TITLE.search(content[: 1 << 16])
    words = printable(" ".join(title[1].decode("utf-8", "replace").split())) if title else ""
    return "sent a web page in place of the image" + (f" ('{words}')" if words else "")


def _check_size(shape: tuple[int, ...], pixels: int, off: int) -> None:
    height, width = shape
    if abs(height - pixels) > off or abs(width - pixels) > off:
        raise Unsuitable(f"sent {width} × {height} pixels in place of {pixels} × {pixels}")


def _check_jpeg(content: bytes, pixels: int, off: int) -> bytes:
    if not content.startswith(_JPEG):
        raise Unsuitable("sent something that is no JPEG")
    if b"\xff\xd9" not in content[-64:]:  # some pad the end
        raise Unsuitable("sent half a JPEG")
    try:
        image_HWC = read_image(content, name="the JPEG")
    except MorphoscopeError as error:
        raise Unsuitable(f"sent a damaged JPEG ({reason_of(error)})") from error
    _check_size(image_HWC.shape[:2], pixels, off)
    if is_empty(image_HWC):
        raise Outside("the survey has no image here: the cutout is of one colour")
    return content


def is_empty(image_HWC: np.ndarray) -> bool:
    """Whether an image (H, W, C) uint8 has one colour only."""
    return int(np.ptp(image_HWC, axis=(0, 1)).max()) <= _NEARLY


def _check_fits(content: bytes, pixels: int, off: int) -> bytes:
    from astropy.io import fits

    if not content.startswith(_FITS):
        raise Unsuitable("sent something that is no FITS file")
    if len(content) % _BLOCK:
        raise Unsuitable("sent half a FITS file")
    try:
        with without_warnings(), fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as units:
            if any(_end(unit) > len(content) for unit in units):
                raise Unsuitable("sent half a FITS file")
            planes = _image_of(units)
    except Unsuitable:
        raise
    except Exception as error:  # astropy raises whatever its parsers do
        raise Unsuitable(f"sent a damaged FITS file ({reason_of(error)})") from error
    if planes is None:
        raise Outside("the survey has no image here: the FITS file is empty")
    _check_size(planes.shape[-2:], pixels, off)
    known = planes[np.isfinite(planes)]
    if not known.size or known.min() == known.max():
        raise Outside("the survey has no image here: the FITS file has no measured pixel")
    return content


def _end(unit: Any) -> int:
    """The byte at which the data of a part of a FITS file end."""
    found = unit.fileinfo()
    return int(found["datLoc"] + found["datSpan"])


def _image_of(units: Any) -> np.ndarray | None:
    """The first image of a FITS file, (…, H, W); None if it has none."""
    for unit in units:
        if unit.is_image and len(unit.shape) >= 2 and 0 not in unit.shape:
            check_pixels(unit.shape, "it")  # tiles may unpack to far more than was sent
            return np.asarray(unit.data)
    return None
