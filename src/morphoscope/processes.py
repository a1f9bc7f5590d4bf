"""Which process this is of those that torchrun has started, as its environment says it (``RANK``, …)."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One of the processes.

    Attributes:
        rank: from 0; only rank 0 writes and speaks.
        count: how many there are.
        local: the number of its GPU.
    """

    rank: int
    count: int
    local: int

    @property
    def leads(self) -> bool:
        """Whether it writes and speaks."""
        return self.rank == 0


def started() -> Process | None:
    """Which one this is of the processes that torchrun has started; None if it is the only one."""
    processes = _number("WORLD_SIZE", 1)
    if processes < 2:
        return None
    return Process(_number("RANK", 0), processes, _number("LOCAL_RANK", 0))


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else otherwise


def fall_silent() -> None:
    """Let rank 0 speak; the others have nothing to clean up, so that a signal ends them at once."""
    process = started()
    if process is None or process.leads:
        return
    from morphoscope import progress

    progress.silent = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
