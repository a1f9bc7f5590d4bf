"""Decode image files of any kind to (H, W, C), and crop and resize them for a store.

Shape letters: H, W pixels, C channels: red, green and blue as uint8, or planes of bands (see
:data:`morphoscope.images.stretch.PLANES`), reddest first, as uint8 or float32.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images import packed
from morphoscope.images.limits import SETTING, check_pixels, most_pixels

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif")
# A zip file is an archive of images, whatever else its name says.
_PACKED = ("", ".fz", *(ending for ending in packed.ENDINGS if ending != ".zip"))
FITS_SUFFIXES = tuple(kind + packing for packing in _PACKED for kind in (".fits", ".fit", ".fts"))

_ENDINGS = IMAGE_SUFFIXES + FITS_SUFFIXES

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # the byte with the bits per channel
_TIFF_STARTS, _TIFF_BITS = (
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    258,
)  # the tag with the bits of each channel
_DEPTHS = (8, 10, 12, 16)  # bits that cameras and programs use in 16-bit images
_FITS_STARTS = (b"SIMPLE  =", *packed.STARTS)  # plain or compressed


@dataclass
class HalfScale:
    """Which JPEGs are decoded at half scale.

    Attributes:
        suits: whether one of this height and width may be decoded so.
        shape: (H, W) of the last one that was; None if there was none.
        whole: reads that one again at its own scale, from the content that is here already.
    """

    suits: Callable[[int, int], bool]
    shape: tuple[int, int] | None = None
    whole: Callable[[], np.ndarray] | None = None


_HALF_SCALE: ContextVar[HalfScale | None] = ContextVar("half_scale", default=None)


@contextmanager
def half_scale(suits: Callable[[int, int], bool]) -> Iterator[HalfScale]:
    """Let :func:`read_image` in this thread decode JPEGs at half scale where ``suits(H, W)`` is true.

    The decoder then skips the cosines of the finest scale, which takes half as long. It is meant for images
    that are shrunk to half or less afterwards: for 150 Galaxy Zoo images of 424 px shrunk to 128 px the
    result differs by 0.26 grey levels on average (0.49 in the worst image).
    """
    here = HalfScale(suits)
    token = _HALF_SCALE.set(here)
    try:
        yield here
    finally:
        _HALF_SCALE.reset(token)


@contextmanager
def whole_scale() -> Iterator[None]:
    """Let :func:`read_image` in this thread decode every image whole, whatever :func:`half_scale` says."""
    token = _HALF_SCALE.set(None)
    try:
        yield
    finally:
        _HALF_SCALE.reset(token)


def is_image_name(name: str) -> bool:
    """Whether a file name is that of an image; hidden files (``._1.jpg``) are not."""
    name = os.path.basename(name).lower()
    return name.endswith(_ENDINGS) and not name.startswith(".")


def is_fits_name(name: str) -> bool:
    """Whether a file name is that of a FITS image, which needs a stretch."""
    return name.lower().endswith(FITS_SUFFIXES) and is_image_name(name)


def begins_as_fits(content: bytes | None) -> bool:
    """Whether bytes are the beginning of a FITS file, compressed or not."""
    return content is not None and content.startswith(_FITS_STARTS)


def holds_fits(path: Path) -> bool:
    """Whether a file is FITS by its content, compressed or not."""
    try:
        with open(path, "rb") as file:
            return file.read(9).startswith(_FITS_STARTS)
    except OSError:
        return False


def read_image(
    source: Path | str | bytes,
    *,
    name: str = "",
    stretch: str = "lupton",
    bands: Sequence[str] = (),
    found: dict[str, Any] | None = None,
) -> np.ndarray:
    """Read a JPEG, PNG, TIFF, WebP, AVIF or FITS image, recognised by its content and not its name.

    Grey images get three equal channels; transparent pixels become black; 16-bit images are scaled by the
    smallest range of 8, 10, 12 or 16 bits that contains their brightest pixel, so that 12-bit data do not
    come out nearly black. Measured values (FITS, 32-bit TIFF) are mapped to 0..255 by ``stretch``.

    Args:
        source: a file, or its content.
        name: name used in messages; the file's path if left out.
        stretch: one of :data:`morphoscope.images.stretch.STRETCHES` or ``PLANES``; JPEG and PNG are not
            stretched.
        bands: bands to read from a FITS file, see :func:`morphoscope.images.bands.find_bands`. With the
            stretch "bands", a grey JPEG or PNG is one band and a colour one three.
        found: filled with what a FITS file says about its image, see
            :func:`morphoscope.images.fits.read_fits`.

    Returns:
        (H, W, 3) uint8, row 0 at the top; FITS images with north up and east left, as in the surveys' JPEGs.
        Planes are (H, W, bands), uint8 or float32.

    Raises:
        MorphoscopeError: the file is missing, empty, truncated or not an image; the message has its name
            and the reason.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else files.read_bytes(source, name)
    if not content:
        raise MorphoscopeError(f"{name}: the file is empty")
    if content.startswith(_FITS_STARTS):
        from morphoscope.images.fits import read_fits

        return read_fits(content, name=name, stretch=stretch, bands=bands, found=found)
    if bands and stretch not in ("bands", "values"):
        raise MorphoscopeError(f"{name}: is not a FITS file, and --bands chooses bands of FITS files")
    image = _decode_whole_jpeg(content, name)
    if image is None and (_is_deep_png(content) or content.startswith(_TIFF_STARTS)):
        image = _decode_deep_colours(content, name)
    image = image if image is not None else _decode(content, name, stretch, found)
    if (half := _HALF_SCALE.get()) is not None and half.shape is not None:
        half.whole = partial(_whole_again, content, name, stretch, bands)
    return _as_planes(image, name, stretch, bands) if bands else image


def _whole_again(content: bytes, name: str, stretch: str, bands: Sequence[str]) -> np.ndarray:
    with whole_scale():
        return read_image(content, name=name, stretch=stretch, bands=bands)


def _as_planes(image_HWC: np.ndarray, name: str, stretch: str, bands: Sequence[str]) -> np.ndarray:
    """A picture as planes of bands: one if it is grey, or its three channels."""
    if stretch == "values" and image_HWC.dtype == np.uint8:
        raise MorphoscopeError(
            f"{name}: is a stretched picture; the stretch 'values' takes measured values, as FITS has them"
        )
    if len(bands) == image_HWC.shape[2]:
        return image_HWC
    grey = image_HWC.shape[2] == 1 or all(
        np.array_equal(image_HWC[:, :, 0], image_HWC[:, :, other]) for other in (1, 2)
    )
    if len(bands) == 1 and grey:
        return np.ascontiguousarray(image_HWC[:, :, :1])
    has = "one band (it is grey)" if grey else "three bands (red, green, blue)"
    raise MorphoscopeError(f"{name}: has {has}, and --bands names {len(bands)}: {', '.join(bands)}")


def _decode_whole_jpeg(content: bytes, name: str) -> np.ndarray | None:
    """A JPEG decoded by OpenCV, a fifth faster than Pillow with the same pixels; None if Pillow has to try.

    Some versions of OpenCV fill truncated files with grey, so only files with a proper JPEG end marker are
    given to it.
    """
    if not (content.startswith(_JPEG_START) and content.endswith(_JPEG_END)):
        return None
    shape = _jpeg_shape(content)
    if shape is None:
        return None
    check_pixels(shape, name)
    half, (width, height) = _HALF_SCALE.get(), shape
    halved = half is not None and half.suits(height, width)
    scale = cv2.IMREAD_REDUCED_GRAYSCALE_2 if halved else 0  # with IMREAD_COLOR_RGB: in colour
    try:
        image = cv2.imdecode(
            np.frombuffer(content, np.uint8), scale | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        return None
    if half is not None and halved and image is not None:
        half.shape = height, width
    return image


def _jpeg_shape(content: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG declares; None if its segments are broken."""
    at, end = 2, len(content) - 9
    while at < end and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]
            return int.from_bytes(width), int.from_bytes(height)
        elif marker == 0xDA:  # the pixels
            return None
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _opened(content: bytes, name: str) -> Image.Image:
    """An image opened by Pillow: its size is known, its pixels are not read yet."""
    from PIL import Image

    most = most_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and most > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = most  # someone else's setting
    image = Image.open(io.BytesIO(content))
    check_pixels(image.size, name, _memory_per_pixel(image, content))
    return image


def _memory_per_pixel(image: Image.Image, content: bytes) -> int:
    """Measured memory per pixel that decoding takes, bytes, rounded up."""
    if image.mode in ("I", "F"):
        return 48
    if _is_deep_png(content) or (content.startswith(_TIFF_STARTS) and _is_deep_tiff(image)):
        return 34
    return 22 if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info else 14


def _is_deep_png(content: bytes) -> bool:
    return content.startswith(_PNG_START) and content[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"


def _is_deep_tiff(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return 16 in tuple(tags.get(_TIFF_BITS, ()))


def _decode_deep_colours(content: bytes, name: str) -> np.ndarray | None:
    """A colour or transparent 16-bit image, of which Pillow keeps only the upper 8 bits; None for others."""
    try:
        with _opened(content, name) as image:
            if image.mode not in ("RGB", "RGBA", "LA") or "transparency" in image.info:
                return None
            if not (_is_deep_png(content) or _is_deep_tiff(image)):
                return None
            image.load()  # OpenCV pads truncated files
        deep_HWC = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:  # Pillow reports what is wrong
        return None
    if (
        deep_HWC is None
        or deep_HWC.dtype != np.uint16
        or deep_HWC.ndim != 3
        or deep_HWC.shape[2] not in (3, 4)
    ):
        return None
    rgb_HWC = _to_eight_bits(deep_HWC[:, :, 2::-1])
    if deep_HWC.shape[2] == 3:
        return rgb_HWC
    opaque_HWC = _to_eight_bits(deep_HWC[:, :, 3:]) / np.float32(255)  # over black, as transparent sky is
    return np.rint(rgb_HWC * opaque_HWC).astype(np.uint8)


def _to_eight_bits(deep: np.ndarray) -> np.ndarray:
    """Map 16-bit values to 0..255 by the smallest usual bit depth that contains the brightest."""
    brightest = int(deep.max(initial=0))
    bits = next(bits for bits in _DEPTHS if brightest < 1 << bits)
    return np.rint(deep.astype(np.float32) * np.float32(255.0 / ((1 << bits) - 1))).astype(np.uint8)


def _decode(content: bytes, name: str, stretch: str, found: dict[str, Any] | None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(content, name) as image:
            image.load()
            if image.mode in ("I", "F"):
                values = np.asarray(image)
            else:
                return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise MorphoscopeError(f"{name}: is not an image (JPEG, PNG, TIFF, WebP, AVIF or FITS)") from error
    except (MorphoscopeError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise MorphoscopeError(
            f"{name}: declares more than the {most_pixels():,} pixels that an image may have; set {SETTING} "
            "to read larger ones"
        ) from error
    except Exception as error:  # decoders may raise anything on unexpected bytes
        raise MorphoscopeError(f"{name}: is damaged ({reason_of(error)})") from error
    from morphoscope.images.coverage import uncovered
    from morphoscope.images.stretch import rendered

    values = np.where(uncovered(values), np.nan, values)
    image, rendering = rendered([values], stretch, name=name)
    if found is not None:
        found.update(no_data=rendering.no_data, scaling=rendering.scaling, quality=rendering.quality)
    return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I;16"):
        grey = _to_eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    return np.asarray(image.convert("RGB"))


def crop_and_resize(image_HWC: np.ndarray, *, crop: int | None = None, size: int | None = None) -> np.ndarray:
    """The centre of an image, scaled to a store's size.

    Args:
        image_HWC: (H, W, C), or (H, W), uint8 or float32.
        crop: side of the centre crop in source pixels, black beyond the image's edge (the median of each
            band for float32, which is the sky); None: the largest centred square.
        size: side the crop is scaled to (areas averaged when shrinking, linear when enlarging). None: the
            crop's own pixels.

    Returns:
        (S, S, C), contiguous, of the same type; S is ``size``, else ``crop``, else the shorter side.
    """
    height, width = image_HWC.shape[:2]
    side = crop or min(height, width)
    image = _centre(image_HWC, side)
    if size is not None and size != side:
        image = cv2.resize(
            image, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
        ).reshape(size, size, *image_HWC.shape[2:])  # OpenCV drops a single channel
    return np.ascontiguousarray(image)


def check_crop_and_size(crop: int | None, size: int | None) -> None:
    """Refuse an impossible crop or size.

    Raises:
        UsageError: one of them is less than 1 pixel, or more than images may have.
    """
    for name, value in (("crop", crop), ("size", size)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: a side of at least 1 pixel was expected")
        if value is not None and value * value > most_pixels():
            raise UsageError(
                f"--{name} {value}: a side of at most {math.isqrt(most_pixels())} pixels was expected; set "
                f"{SETTING} for larger ones"
            )


def _centre(image_HWC: np.ndarray, side: int) -> np.ndarray:
    height, width = image_HWC.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2  # negative: padded with black
    part = image_HWC[max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
    if part.shape[:2] == (side, side):
        return part
    framed = np.zeros((side, side, image_HWC.shape[2]), image_HWC.dtype)
    if framed.dtype == np.float32:
        framed[:] = np.median(image_HWC, axis=(0, 1))
    down, right = max(-top, 0), max(-left, 0)
    framed[down : down + part.shape[0], right : right + part.shape[1]] = part
    return framed
