"""Bounds on what an image may declare, checked before memory is taken for it.

A few kilobytes can declare gigabytes. One setting, the environment variable MORPHOSCOPE_MOST_PIXELS, bounds
the pixels of an image and, by way of :data:`BYTES_PER_PIXEL`, the bytes of an unpacked file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from morphoscope.errors import MorphoscopeError, UsageError

SETTING = "MORPHOSCOPE_MOST_PIXELS"
MOST_PIXELS = 1 << 26  # 8192 × 8192
BYTES_PER_PIXEL = 4


def most_pixels() -> int:
    """Pixels that an image may have: the setting, else :data:`MOST_PIXELS`.

    Raises:
        UsageError: the setting is not a positive integer.
    """
    text = os.environ.get(SETTING, "")
    if not text:
        return MOST_PIXELS
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
        raise UsageError(f"{SETTING}={text}: a number of pixels was expected, such as {MOST_PIXELS}")
    return int(text)


def most_bytes() -> int:
    """Bytes that a compressed file, or a member of an archive, may have once it is unpacked."""
    return most_pixels() * BYTES_PER_PIXEL


def check_pixels(shape: Sequence[int], name: str) -> None:
    """Refuse an image by its declared size.

    Raises:
        MorphoscopeError: it has more pixels than :func:`most_pixels`.
    """
    if math.prod(map(int, shape)) > most_pixels():
        sides = " × ".join(map(str, shape))
        raise MorphoscopeError(
            f"{name}: declares {sides} pixels, more than the {most_pixels():,} that an image may have; set "
            f"{SETTING} to read larger ones"
        )


def too_many_bytes() -> str:
    """Why an unpacked file is refused, to follow its name."""
    return f"unpacks to more than {most_bytes():,} bytes; set {SETTING} (its quarter) to read larger ones"
