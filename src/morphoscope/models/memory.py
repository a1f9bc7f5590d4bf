"""Memory of a long task on a CPU: return what fragmentation holds back to the system."""

from __future__ import annotations

import os

from morphoscope.processes import c_library_function


def give_back_freed_memory() -> bool:
    """Return free memory between the blocks in use to the system.

    Allocating and freeing blocks of many sizes leaves holes in the heap, which then grows although no more is
    in use. Returned memory has to be mapped again page by page, so doing this often is slow.

    Returns:
        Whether there was any; only glibc can do this.
    """
    trim = c_library_function("malloc_trim")
    return trim is not None and bool(trim(0))


class Tidying:
    """Returns free memory to the system when a long task holds more than it did in its first steps.

    The first steps show how much the task needs, fragmentation included. Whenever it holds more later on,
    free memory is returned; doing so more often would cost time, as the next step needs it again.

    Args:
        beginning: the number of first steps.
    """

    def __init__(self, beginning: int = 8) -> None:
        self.beginning = beginning
        self.most = self.steps = 0

    def step(self) -> bool:
        """Record a finished step; returns whether memory was returned."""
        self.steps += 1
        held = resident_memory()
        if self.steps <= self.beginning:
            self.most = max(self.most, held)
            return False
        return held > self.most and give_back_freed_memory()


def resident_memory() -> int:
    """Resident memory of the process in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0
