"""Image files of any kind to (H, W, 3) uint8, and the crop and size a store keeps.

Shape letters: H, W pixels, C = 3 channels (red, green, blue).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz")

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_FITS_START, _GZIP_START = b"SIMPLE  =", b"\x1f\x8b"


def is_image_name(name: str) -> bool:
    """Whether a file's name says that it is an image; hidden files (``._1.jpg``) are none."""
    name = Path(name).name.lower()
    return name.endswith(IMAGE_SUFFIXES + FITS_SUFFIXES) and not name.startswith(".")


def is_fits_name(name: str) -> bool:
    """Whether a file's name says that it is a FITS image, which needs a stretch."""
    return is_image_name(name) and name.lower().endswith(FITS_SUFFIXES)


def read_image(
    source: Path | bytes, *, name: str = "", stretch: str = "lupton", bands: Sequence[str] = ()
) -> np.ndarray:
    """Read a JPEG, PNG, TIFF or FITS image; what it is, its content says, not its name.

    Grey images get three equal channels; transparent pixels become black sky; 16-bit images are scaled by
    their full range, 65535 to 255. Measured values (FITS, 32-bit TIFF) become 0..255 by ``stretch``.

    Args:
        source: a file, or its content.
        name: what messages call it; the file's path if left out.
        stretch: a name of :data:`morphoscope.images.fits.STRETCHES`; JPEG and PNG are taken as served.
        bands: to take out of a FITS file, see :mod:`morphoscope.images.fits_bands`.

    Returns:
        (H, W, 3) uint8. FITS rows are turned over so that row 0 is the top, as in the surveys' JPEGs.

    Raises:
        MorphoscopeError: the file is missing, empty, cut off or no image; it is named, with the reason.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else files.read_bytes(source, name)
    if not content:
        raise MorphoscopeError(f"{name}: the file is empty")
    if content.startswith((_FITS_START, _GZIP_START)):
        from morphoscope.images.fits import read_fits

        return read_fits(content, name=name, stretch=stretch, bands=bands)
    if bands:
        raise MorphoscopeError(f"{name}: is no FITS file, and --bands chooses bands of FITS files")
    image = _decode_whole_jpeg(content)
    return image if image is not None else _decode(content, name, stretch)


def _decode_whole_jpeg(content: bytes) -> np.ndarray | None:
    """A JPEG by OpenCV, a fifth faster than Pillow with the same pixels; None where Pillow must judge.

    Some versions of OpenCV fill up a file that was cut off with grey, so only a file that ends as a
    JPEG must is given to it.
    """
    if not (content.startswith(_JPEG_START) and content.endswith(_JPEG_END)):
        return None
    try:
        return cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        return None


def _decode(content: bytes, name: str, stretch: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode in ("I", "F"):
                values = np.asarray(image)
            else:
                return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise MorphoscopeError(f"{name}: is not an image (JPEG, PNG, TIFF or FITS)") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything at all on bytes that are not what they expect
        raise MorphoscopeError(f"{name}: is damaged ({_reason(error)})") from error
    from morphoscope.images.stretch import stretched

    return stretched([values], stretch, name=name)


def _to_rgb(image: Image.Image) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float32)
        grey = np.rint(grey / 257.0).astype(np.uint8)  # 65535 becomes 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    return np.asarray(image.convert("RGB"))


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def crop_and_resize(image_HWC: np.ndarray, *, crop: int | None = None, size: int | None = None) -> np.ndarray:
    """The centre of an image, scaled to what a store keeps.

    Args:
        image_HWC: (H, W, C) uint8.
        crop: side of the centre crop in source pixels; beyond the image's edge lies black. None: the
            largest centred square.
        size: side the crop is scaled to (areas averaged when shrinking, linear when enlarging). None: the
            crop's own pixels.

    Returns:
        (S, S, C) uint8, contiguous; S is ``size``, else ``crop``, else the shorter side.
    """
    height, width = image_HWC.shape[:2]
    side = crop or min(height, width)
    image = _centre(image_HWC, side)
    if size is not None and size != side:
        image = cv2.resize(
            image, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
        )
    return np.ascontiguousarray(image)


def check_crop_and_size(crop: int | None, size: int | None) -> None:
    """Refuse a crop or size that no image can have.

    Raises:
        UsageError: one of them is under 1 pixel.
    """
    for name, value in (("crop", crop), ("size", size)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: a side of at least 1 pixel was expected")


def _centre(image_HWC: np.ndarray, side: int) -> np.ndarray:
    height, width = image_HWC.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2  # negative: black is added
    part = image_HWC[max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
    if part.shape[:2] == (side, side):
        return part
    framed = np.zeros((side, side, image_HWC.shape[2]), image_HWC.dtype)
    down, right = max(-top, 0), max(-left, 0)
    framed[down : down + part.shape[0], right : right + part.shape[1]] = part
    return framed
