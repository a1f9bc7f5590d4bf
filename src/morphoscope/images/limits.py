"""Limits on the size that a file may declare, checked before memory is allocated.

A few kilobytes can declare gigabytes. One setting, the environment variable MORPHOSCOPE_MOST_PIXELS, limits
the pixels of an image, the memory for decoding (through :data:`MEMORY_PER_PIXEL`) and the size of a
decompressed file (through :data:`BYTES_PER_PIXEL`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from morphoscope.errors import MorphoscopeError, UsageError

SETTING = "MORPHOSCOPE_MOST_PIXELS"
MOST_PIXELS = 1 << 26  # 8192 × 8192
BYTES_PER_PIXEL = 4
MEMORY_PER_PIXEL = 16  # 1 GiB with the default limit
NETWORK_BYTES_PER_PIXEL = 128  # with the default bound: 8 GiB for all that a graph computes with a batch
UNPACKED = (
    100  # a compressed table may expand to so many times its size; real ones reach a tenth to half of it
)


def most_pixels() -> int:
    """The most pixels that an image may have: the setting, or :data:`MOST_PIXELS`.

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
    """The most bytes that a compressed file or a member of an archive may have when decompressed."""
    return most_pixels() * BYTES_PER_PIXEL


def most_network_bytes() -> int:
    """Bytes that a graph (ONNX file) may take for what it computes."""
    return most_pixels() * NETWORK_BYTES_PER_PIXEL


def most_unpacked(size: int) -> int:
    """The most bytes that a compressed table of ``size`` bytes may have when decompressed."""
    return max(most_bytes(), UNPACKED * size)


def check_pixels(shape: Sequence[int], name: str, memory: int = MEMORY_PER_PIXEL) -> None:
    """Refuse an image if its declared size is too large.

    Args:
        shape: sides in pixels.
        name: name used in messages.
        memory: bytes per pixel that decoding needs temporarily; if more than :data:`MEMORY_PER_PIXEL`,
            fewer pixels are allowed.

    Raises:
        MorphoscopeError: it has more pixels than :func:`most_pixels`, or needs more memory than they would.
    """
    most = most_pixels() * MEMORY_PER_PIXEL // max(memory, MEMORY_PER_PIXEL)
    if math.prod(map(int, shape)) > most:
        sides = " × ".join(map(str, shape))
        raise MorphoscopeError(
            f"{name}: declares {sides} pixels, more than the {most:,} that an image of its kind may have; "
            f"set {SETTING} ({most_pixels()}) higher to read larger ones"
        )


def needs_too_much() -> str:
    """Why a graph is not run, to follow its name."""
    return (
        f"needs more than {most_network_bytes() >> 20:,} MiB of memory to compute; predict with a smaller "
        f"--batch, or set {SETTING} ({most_pixels()}) higher if you trust it"
    )


def unpacks_too_far() -> str:
    """Why a compressed table is refused; follows its name in a message."""
    return (
        f"unpacks to more than {UNPACKED} times its size, as no real table does; unpack it yourself if you "
        f"trust it, or set {SETTING}"
    )


def too_many_bytes() -> str:
    """Why a decompressed file is refused; follows its name in a message."""
    return f"unpacks to more than {most_bytes():,} bytes; set {SETTING} (its quarter) to read larger ones"
