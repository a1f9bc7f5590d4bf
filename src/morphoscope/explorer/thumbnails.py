"""Thumbnails: small JPEGs made on demand, kept within a bound, and sent many in one answer.

An answer is a little-endian stream: for each galaxy its row (8 bytes), a length (4 bytes) and so many bytes,
a JPEG; where there is no picture the highest bit of the length is set and the bytes are the reason, UTF-8.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.explorer.pictures import Pictures, Place

SIZES = (64, 128, 256)  # sides, pixels
MOST_AT_ONCE = 240
CACHE_BYTES = 64 << 20
QUALITY = 86  # of the JPEGs
REFUSED = 1 << 31
_HEAD = struct.Struct("<QI")


def square(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """An image shrunk to fit into a square, black around it, (side, side, 3) uint8."""
    import cv2

    height, width = image_HWC.shape[:2]
    scale = side / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    if (width, height) != shape:
        image_HWC = cv2.resize(
            image_HWC, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
    if shape == (side, side):
        return image_HWC
    framed = np.zeros((side, side, 3), np.uint8)
    top, left = (side - shape[1]) // 2, (side - shape[0]) // 2
    framed[top : top + shape[1], left : left + shape[0]] = image_HWC
    return framed


def within(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """An image shrunk, if need be, so that no side is longer than this, and none shorter than one pixel."""
    import cv2

    height, width = image_HWC.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image_HWC
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = np.asarray(cv2.resize(image_HWC, shape, interpolation=cv2.INTER_AREA))
    return shrunk.reshape(*shrunk.shape[:2], *image_HWC.shape[2:])  # OpenCV drops a single channel


def jpeg(image_HWC: np.ndarray, quality: int = QUALITY) -> bytes:
    """A JPEG of an image (H, W, 3) uint8."""
    import cv2

    return cv2.imencode(".jpg", image_HWC[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(image: np.ndarray) -> bytes:
    """A PNG of an image (H, W, 3) or (H, W) uint8."""
    import cv2

    return cv2.imencode(".png", image[:, :, ::-1] if image.ndim == 3 else image)[1].tobytes()


class Thumbnails:
    """Thumbnails of some pictures.

    Args:
        pictures: where they come from.
        cache_bytes: that are kept; the least recently used are dropped.
    """

    def __init__(self, pictures: Pictures, cache_bytes: int = CACHE_BYTES) -> None:
        self.pictures, self.cache_bytes = pictures, cache_bytes
        self.taken = 0
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def pack(self, places: Sequence[Place], side: int) -> bytes:
        """The thumbnails of some galaxies as one stream, see above."""
        made: dict[int, bytes] = {}
        for place in sorted(places, key=lambda place: place.row):  # neighbours in a file are read together
            try:
                content, mark = self.thumbnail(place, side), 0
            except MorphoscopeError as error:
                content, mark = str(error).encode()[:500], REFUSED
            except Exception as error:  # one damaged picture must not take a page's other ones along
                content, mark = f"cannot be read ({reason_of(error)})".encode()[:500], REFUSED
            made[place.row] = _HEAD.pack(place.row, len(content) | mark) + content
        return b"".join(made[place.row] for place in places)

    def has_at_hand(self, rows: Sequence[int], side: int) -> bool:
        """Whether all of them are kept."""
        with self._lock:
            return all((row, side) in self._kept for row in rows)

    def thumbnail(self, place: Place, side: int) -> bytes:
        """One of them, a JPEG.

        Raises:
            MorphoscopeError: the picture is not there or cannot be read.
        """
        key = (place.row, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        content = jpeg(square(self.pictures.load(place, least=side), side))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = content
                self.taken += len(content)
            while self.taken > self.cache_bytes and self._kept:
                self.taken -= len(self._kept.popitem(last=False)[1])
        return content


def unpacked(stream: bytes) -> dict[int, bytes | str]:
    """What :meth:`Thumbnails.pack` packed: row → JPEG, or the reason as text."""
    found: dict[int, bytes | str] = {}
    at = 0
    while at < len(stream):
        row, length = _HEAD.unpack_from(stream, at)
        at += _HEAD.size
        size = length & ~REFUSED
        content = stream[at : at + size]
        found[row] = content.decode(errors="replace") if length & REFUSED else content
        at += size
    return found
