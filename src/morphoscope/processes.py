"""The processes that torchrun starts on one machine, as one program: one of them leads, the others help.

torchrun tells each process by its environment which one it is (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, …).
The first leads: it alone writes, and speaks to the person at the terminal. The others connect to it through a
socket of this machine, whose address they find in the store that torchrun keeps for them; what goes over it
is small (finished rows), and that a process has ended is noticed at once, where a collective operation of
torch would wait for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from morphoscope.errors import MorphoscopeError, UsageError

PATIENCE = 300.0  # seconds a helper waits for the leader to say where it is
_meetings = count()
GONE = (EOFError, ConnectionError, BrokenPipeError)


@dataclass(frozen=True)
class Process:
    """One of the processes.

    Attributes:
        rank: from 0; the leader is 0.
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


def of_one_machine() -> Process:
    """This process.

    Raises:
        UsageError: torchrun has not started it, or on several machines.
    """
    process = started()
    if process is None:
        raise UsageError(
            "--engine torchrun: start several processes, as 'torchrun --nproc-per-node 4 -m morphoscope "
            "predict ...'"
        )
    if _number("LOCAL_WORLD_SIZE", process.count) != process.count:
        raise UsageError("torchrun shares a catalogue out on one machine; for several there is --engine ray")
    return process


def fall_silent() -> None:
    """Let the leader speak; a helper has nothing to clean up, so that a signal ends it at once."""
    process = started()
    if process is None or process.leads:
        return
    from morphoscope import progress

    progress.silent = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def helpers(process: Process) -> Iterator[list[Connection]]:
    """The leader's connections to the others, by their rank.

    Raises:
        MorphoscopeError: what a helper could not do.
    """
    key, store, place = secrets.token_bytes(32), _store(process), _place()
    with Listener(("127.0.0.1", 0), backlog=process.count, authkey=key) as listener:
        store.set(place, f"{listener.address[1]} {key.hex()}")
        found: dict[int, Connection] = {}
        try:
            while len(found) < process.count - 1:
                connection = listener.accept()
                rank, error = connection.recv()
                found[rank] = connection
                if error is not None:
                    raise error
            yield [found[rank] for rank in sorted(found)]
        finally:
            for connection in found.values():
                connection.close()


def leader(process: Process, error: MorphoscopeError | None = None) -> Connection:
    """A helper's connection to the leader.

    Args:
        process: this one.
        error: why it cannot help; the leader says it and ends.
    """
    import datetime

    store, place = _store(process), _place()
    store.wait([place], datetime.timedelta(seconds=PATIENCE))
    port, key = store.get(place).decode().split()
    connection = Client(("127.0.0.1", int(port)), authkey=bytes.fromhex(key))
    connection.send((process.rank, error))
    return connection


def handed_over(error: MorphoscopeError) -> bool:
    """Whether the leader has been told of a helper's error, which it then says."""
    process = started()
    if process is None or process.leads:
        return False
    try:
        leader(process, error).close()
    except Exception as lost:  # the leader has ended, or is about to, with an error of its own
        print(f"morphoscope: process {process.rank}: {error} ({lost})", file=sys.stderr)
        return False
    return True


def _store(process: Process) -> Any:
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", process.rank, process.count))[0]


def _place() -> str:
    """Where in the store the leader's address is: another one for each time that they come together."""
    return f"morphoscope/leader/{next(_meetings)}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
