"""Bounds on what an image may declare, checked before memory is taken for it.

A few kilobytes can declare gigabytes. One setting, the environment variable MORPHOSCOPE_MOST_PIXELS, bounds
the pixels of an image, by way of :data:`MEMORY_PER_PIXEL` the memory that decoding takes, and by way of
:data:`BYTES_PER_PIXEL` the bytes of an unpacked file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from morphoscope.errors import MorphoscopeError, UsageError

SETTING = "MORPHOSCOPE_MOST_PIXELS"
MOST_PIXELS = 1 << 26  # 8192 × 8192
BYTES_PER_PIXEL = 4
MEMORY_PER_PIXEL = 16  # with the default bound: 1 GiB
NETWORK_BYTES_PER_PIXEL = 128  # with the default bound: 8 GiB for all that a graph computes with a batch
UNPACKED = 100  # times its size is what a compressed table may unpack to; real ones reach a tenth to a half


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


def most_network_bytes() -> int:
    """Bytes that a graph (ONNX file) may take for what it computes."""
    return most_pixels() * NETWORK_BYTES_PER_PIXEL


def most_unpacked(size: int) -> int:
    """Bytes that a compressed table of ``size`` bytes may have once it is unpacked."""
    return max(most_bytes(), UNPACKED * size)


def check_pixels(shape: Sequence[int], name: str, memory: int = MEMORY_PER_PIXEL) -> None:
    """Refuse an image by its declared size.

    Args:
        shape: sides in pixels.
        name: what messages call it.
        memory: bytes that decoding takes for a pixel, for a while: images of a kind that takes more than
            :data:`MEMORY_PER_PIXEL` may have fewer pixels.

    Raises:
        MorphoscopeError: it has more pixels than :func:`most_pixels`, or needs more memory than those would.
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
    """Why a compressed table is refused, to follow its name."""
    return (
        f"unpacks to more than {UNPACKED} times its size, as no real table does; unpack it yourself if you "
        f"trust it, or set {SETTING}"
    )


def too_many_bytes() -> str:
    """Why an unpacked file is refused, to follow its name."""
    return f"unpacks to more than {most_bytes():,} bytes; set {SETTING} (its quarter) to read larger ones"
