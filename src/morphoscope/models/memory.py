"""Memory of the processor: keep what was freed, and give back what lies in holes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    A step on the CPU frees and takes the same large activations again and again. By default glibc maps
    each of them anew, and the system clears every page first: about a tenth of the time of a step
    (EXPERIMENTS.md, 2026-11-21). The process then holds its peak memory until it ends. All threads share
    one heap: with a heap each, what one of them freed no other could use, and a long catalogue grew.

    Returns:
        Whether the C library took the hint; it is glibc's alone.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    wishes = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1))
    return all(bool(mallopt(*wish)) for wish in wishes)


def give_back_freed_memory() -> bool:
    """Return the memory that lies free between what is in use to the system.

    Blocks of many sizes that are taken and freed leave holes in the heap, so it grows though no more is in
    use. What is given back must be taken anew, page by page: often is slow.

    Returns:
        Whether there was some; only glibc knows how.
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where that is another one."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL(None), name)
    return None


class Tidying:
    """Gives free memory back when a long task needs more than its beginning did.

    The first steps show what the task needs, holes of the heap included. Whenever it holds more than that
    afterwards, what lies free is returned; more often would cost time, for the next step takes it again.

    Args:
        beginning: steps that show it.
    """

    def __init__(self, beginning: int = 8) -> None:
        self.beginning = beginning
        self.most = self.steps = 0

    def step(self) -> bool:
        """One step is done; whether memory was given back."""
        self.steps += 1
        held = resident_memory()
        if self.steps <= self.beginning:
            self.most = max(self.most, held)
            return False
        return held > self.most and give_back_freed_memory()


def resident_memory() -> int:
    """Bytes of memory that the process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0
