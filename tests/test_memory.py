"""Memory of a long task."""

import mmap
import sys

import pytest

from morphoscope import processes


def test_memory_is_given_back_when_the_task_needs_more_than_its_beginning(monkeypatch: pytest.MonkeyPatch):
    held = iter([5, 9, 7, 9, 10, 8])
    given = []
    monkeypatch.setattr(processes, "resident_memory", lambda: next(held))
    monkeypatch.setattr(processes, "give_back_freed_memory", lambda: given.append(True) or True)
    tidying = processes.Tidying(beginning=3)
    assert [tidying.step() for _ in range(6)] == [False, False, False, False, True, False]
    assert len(given) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system does not say")
def test_the_memory_that_the_process_holds_is_known():
    before, size = processes.resident_memory(), 64 << 20
    with mmap.mmap(-1, size) as block:  # from the system, not from what the C library keeps
        block.write(b"x" * size)
        assert processes.resident_memory() > before + 0.9 * size
    assert processes.give_back_freed_memory() in (True, False)
