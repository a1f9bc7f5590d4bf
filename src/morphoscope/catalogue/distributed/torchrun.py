"""The answers of a catalogue from the processes that torchrun has started: each takes every n-th part.

The leader deals the input out, answers its own part, and writes all rows in the order of the input; the
helpers answer theirs (:mod:`morphoscope.catalogue.distributed.partition`) and wait, a part ahead, until it
takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection

import pyarrow as pa

from morphoscope.catalogue.distributed.partition import Dealt, Stretch, Work, Worker, deal, in_turn
from morphoscope.catalogue.pipeline import Batch, Digest, Fitted
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item
from morphoscope.processes import GONE, Process, helpers, leader
from morphoscope.progress import note


def answered_together(
    process: Process,
    work: Work,
    items: Iterable[Item],
    digest: Digest,
    look: Callable[[Fitted], None],
    *,
    start: int = 0,
    count: int | None = None,
) -> Generator[tuple[Batch, pa.Table | None]]:
    """As :func:`morphoscope.catalogue.pipeline.answered`, from all processes; for the leader.

    Args:
        process: this one, the leader.
        work: its own; the helpers make the same.
        items: the input from ``start`` on.
        digest: of the galaxies before ``start``; goes on.
        look: sees one image of each kind, without pixels.
        start: the first row to answer.
        count: how many galaxies there are, if that is known.

    Raises:
        MorphoscopeError: what any process says; the input changed meanwhile; or a process is gone.
    """
    dealt = deal(items, digest, work.batch, start=start, count=count)
    with helpers(process) as others:
        note(f"torchrun: {process.count} processes, {len(dealt)} parts of the input")
        for rank, other in enumerate(others, start=1):
            other.send(_of(process.count, rank, dealt))
        mine = Worker(work, alone=True, share=process.count).stretches(_of(process.count, 0, dealt))
        with closing(mine):
            yield from in_turn(dealt, _said(len(dealt), mine, others), look)


def help_along(process: Process, work: Work) -> None:
    """Answer a helper's parts of the input, and give them to the leader.

    Where the leader ends early there is nothing left to do; it has said why.
    """
    try:
        found = leader(process)
    except Exception:
        raise SystemExit(1) from None
    with closing(found) as connection:
        try:
            for said in _answers(process, work, connection.recv()):
                connection.send(said)
        except GONE:
            raise SystemExit(1) from None


def _of(count: int, rank: int, dealt: Sequence[Dealt]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in dealt[rank::count]]


def _answers(
    process: Process, work: Work, spans: Sequence[tuple[int, int]]
) -> Iterator[Stretch | MorphoscopeError]:
    """The answers; the last may be an error."""
    try:
        yield from Worker(work, alone=True, share=process.count).stretches(spans)
    except MorphoscopeError as error:
        yield error
    except Exception as error:  # a GPU without room, a bug: the leader must hear of it
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        yield MorphoscopeError(f"process {process.rank} of torchrun: {type(error).__name__}: {reason}")


def _said(
    count: int, mine: Iterator[Stretch], others: Sequence[Connection]
) -> Iterator[Stretch | MorphoscopeError]:
    """What the processes say in turn."""
    for number in range(count):
        rank = number % (len(others) + 1)
        if not rank:
            yield next(mine)
            continue
        try:
            yield others[rank - 1].recv()
        except GONE as error:
            raise MorphoscopeError(
                f"process {rank} of torchrun ended before its work was done; torchrun says below how"
            ) from error
