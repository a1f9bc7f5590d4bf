"""The bands in one FITS file: planes of a cube, or extensions.

With bands named (``--bands g,r,z``) the first rule that applies chooses them:

1. the file holds one two-dimensional image and one band was named: that image;
2. extensions carry their names, as EXTNAME, FILTER or BAND ("r", "R", "rband", "r DECam SDSS …");
3. the first image is a cube whose header's BANDS names its planes by letters, as in Legacy Surveys cutouts;
4. the cube has as many planes, or the file as many images, as bands were named: these, in that order.
"""

from __future__ import annotations

import gzip
import io
import threading
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.images.bands import MOST_BANDS, band_label, known_band, reddest_first

if TYPE_CHECKING:
    from astropy.io.fits import Header

_LOCK = threading.Lock()  # silencing warnings is not safe in two threads at once
_LABELS = ("EXTNAME", "FILTER", "BAND")


def read_planes(content: bytes, name: str, bands: Sequence[str] = ()) -> list[np.ndarray]:
    """The bands of a FITS file as measured, the reddest first.

    Args:
        content: the file, gzipped or not.
        name: what messages call it.
        bands: to take out of it; none: see :func:`morphoscope.images.fits.read_fits`.

    Returns:
        One to three arrays (H, W), scaled by BSCALE and BZERO, in this machine's byte order, row 0 at the
        bottom of the sky's picture as in the file.

    Raises:
        MorphoscopeError: damaged, no image in it, more than three planes, or a band is not there.
    """
    from astropy.io import fits

    content = _unpacked(content, name)
    try:
        # Warnings here are about headers that bend the standard; what cannot be read raises.
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, output_verify="ignore") as units:
                images = [unit for unit in units if is_image(unit)]
                if not images:
                    raise MorphoscopeError(
                        f"{name}: holds no image; a FITS image of one to three planes was expected"
                    )
                return _named(images, bands, name) if bands else _all(images, name)
    except MorphoscopeError:
        raise
    except Exception as error:  # astropy raises anything at all on bytes that are not what it expects
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MorphoscopeError(f"{name}: is damaged or cut off ({reason})") from error


def is_image(unit: Any) -> bool:
    """Whether a part of a FITS file is an image with pixels."""
    return bool(unit.is_image and len(unit.shape) >= 2 and np.prod(unit.shape))


def labels_of(unit: Any) -> set[str]:
    """The names by which a part of a FITS file may be asked for as a band."""
    words = (str(unit.header.get(card) or "") for card in _LABELS)
    return {band_label(word) for word in words} - {""}


def plane_letters(header: Header) -> str:
    """The bands of a cube's planes, as the header's BANDS names them by letters; empty if it does not."""
    letters = str(header.get("BANDS", "")).strip().lower()
    return letters if letters and all(map(known_band, letters)) else ""


def _unpacked(content: bytes, name: str) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise MorphoscopeError(f"{name}: is damaged ({error})") from error
    if not content.startswith(b"SIMPLE  ="):
        raise MorphoscopeError(f"{name}: is not an image (JPEG, PNG, TIFF or FITS)")
    return content


def _all(images: list[Any], name: str) -> list[np.ndarray]:
    together = _extensions_that_are_bands(images)
    if together:
        return [_pixels(unit) for unit in together]
    planes = _planes(_pixels(images[0]), name)
    letters = plane_letters(images[0].header)
    if len(planes) > MOST_BANDS:
        shape = "×".join(map(str, images[0].shape))
        raise MorphoscopeError(
            f"{name}: the image is {shape}; one to three planes were expected, "
            "or --bands to choose some of them"
        )
    if len(letters) != len(planes):
        return planes
    return [planes[plane] for plane in reddest_first(letters)]


def _extensions_that_are_bands(images: list[Any]) -> list[Any]:
    """Two or three images of one size whose names are bands, the reddest first; else none."""
    names = [next((label for label in sorted(labels_of(unit)) if known_band(label)), "") for unit in images]
    alike = len({unit.shape for unit in images}) == 1 and len(images[0].shape) == 2
    if not (alike and 2 <= len(images) <= MOST_BANDS and all(names) and len(set(names)) == len(names)):
        return []
    return [images[band] for band in reddest_first(names)]


def _named(images: list[Any], bands: Sequence[str], name: str) -> list[np.ndarray]:
    order = reddest_first(bands)
    labels = [band_label(bands[band]) for band in order]
    if len(images) == len(bands) == 1 and len(images[0].shape) == 2:
        return _planes(_pixels(images[0]), name)
    by_label = {label: unit for unit in reversed(images) for label in labels_of(unit)}
    if all(label in by_label for label in labels):
        planes = [_planes(_pixels(by_label[label]), name) for label in labels]
        if any(len(plane) != 1 for plane in planes):
            raise MorphoscopeError(f"{name}: an extension has several planes; one band in each was expected")
        return [plane[0] for plane in planes]
    planes, letters = _planes(_pixels(images[0]), name), plane_letters(images[0].header)
    if len(letters) == len(planes) > 1:
        if all(label in letters for label in labels):
            return [planes[letters.index(label)] for label in labels]
    elif len(planes) == len(bands) and (len(planes) > 1 or len(images) == 1):
        return [planes[band] for band in order]
    elif len(planes) == 1 and len(images) == len(bands) and not any(labels_of(unit) for unit in images):
        return [_planes(_pixels(images[band]), name)[0] for band in order]
    there = letters or ", ".join(sorted({label for unit in images for label in labels_of(unit)}))
    raise MorphoscopeError(
        f"{name}: the bands {', '.join(bands)} are not all there ({there or 'bands have no names'}; "
        f"{len(planes)} planes, {len(images)} images)"
    )


def _pixels(unit: Any) -> np.ndarray:
    data = unit.data  # BSCALE, BZERO and BLANK are applied by astropy
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _planes(data: np.ndarray, name: str) -> list[np.ndarray]:
    shape = data.shape
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    if data.ndim == 2:
        return [data]
    if data.ndim == 3:
        # The planes are the shortest axis: a cube of bands is never as deep as it is wide.
        return list(data) if data.shape[0] <= data.shape[2] else list(data.transpose(2, 0, 1))
    raise MorphoscopeError(
        f"{name}: the image is {'×'.join(map(str, shape))}; one to three planes were expected"
    )
