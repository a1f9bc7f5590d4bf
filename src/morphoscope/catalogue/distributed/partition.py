"""A catalogue shared out among workers: who answers which rows of the input, and how they come back in order.

Every worker opens the input by itself and takes the rows it is given, so no image goes from one process to
another, and whatever :func:`morphoscope.catalogue.inputs.open.open_input` reads can be dealt out. What comes
back are finished rows of the catalogue; whoever writes restores their order.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from morphoscope.catalogue.pipeline import Batch, Digest, Fitted, answered, batches
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item, cores, in_order

Ask = Callable[[list[Fitted]], pa.Table]
MOST_TASKS = 10_000  # each costs the machine that writes a kilobyte and some milliseconds


@dataclass(frozen=True)
class Work:
    """What a worker must know; sent to each once.

    Attributes:
        open_items: opens the input; called on the worker, in the folder ``inside``.
        make_ask: loads the network; gives what makes rows of images.
        fit: reads one image and makes it like the training's.
        batch: images the network is handed at once.
        inside: the folder to work in.
    """

    open_items: Callable[[], Iterable[Item]]
    make_ask: Callable[[], Ask]
    fit: Callable[[Item], Fitted]
    batch: int
    inside: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Stretch:
    """What a worker says of some rows of the input.

    Attributes:
        table: the catalogue's rows; None where no image could be read.
        failures: id, source and reason of the others.
        digest: of all galaxies of the stretch.
        looks: images of each kind it met, without pixels.
    """

    table: pa.Table | None
    failures: list[tuple[str, str, str]]
    digest: str
    looks: list[Fitted]


class Worker:
    """Answers stretches of the input, with one GPU or the cores of a machine.

    Args:
        work: what to do.
        alone: the process is the worker's own, which may then take the cores of the machine.
        share: workers on the machine, which share its cores.
    """

    def __init__(self, work: Work, *, alone: bool = False, share: int = 1) -> None:
        self.work, self.alone = work, alone
        self._threads = max(1, cores() // share)
        self._ask: Ask | None = None
        self._items: Iterator[Item] = iter(())
        self._next: int | None = None

    def stretches(self, spans: Sequence[tuple[int, int]]) -> Generator[Stretch]:
        """Answer rows (start, stop) of the input; reading runs ahead of the network from one to the next.

        Raises:
            MorphoscopeError: the input, the run or the answers are not what they should be.
        """
        if self._ask is None:
            self._go_inside()
            if self.alone:
                import torch

                # Ray and torchrun give a process one thread.
                torch.set_num_threads(self._threads)
            self._ask = self.work.make_ask()
        looks: list[dict[tuple[str, str], Fitted]] = []  # of each stretch that is on its way
        items = chain.from_iterable(self._take(*span) for span in spans)
        with (
            closing(in_order(self.work.fit, items, self._threads)) as fitted,
            closing(answered(self._ask, self._gathered(fitted, spans, looks))) as answers,
        ):
            for start, stop in spans:
                tables, failures, batch = [], [], Batch()
                while batch.stop < stop - start:
                    found = next(answers, None)
                    if found is None:
                        raise MorphoscopeError(
                            f"the input ends before its galaxy {stop - 1} for a worker; show all of them the "
                            "same files, unchanged"
                        )
                    batch, table = found
                    failures += batch.failures
                    tables += [] if table is None else [table]
                table = pa.concat_tables(tables) if tables else None
                yield Stretch(table, failures, batch.digest, list(looks.pop(0).values()))

    def _gathered(
        self,
        fitted: Iterator[Fitted],
        spans: Sequence[tuple[int, int]],
        looks: list[dict[tuple[str, str], Fitted]],
    ) -> Iterator[Batch]:
        """Batches that end where a stretch does; ``stop`` and ``digest`` count from its beginning."""
        for start, stop in spans:
            seen: dict[tuple[str, str], Fitted] = {}
            looks.append(seen)

            def look(image: Fitted, seen: dict[tuple[str, str], Fitted] = seen) -> None:
                assert image.way is not None
                kind = (image.way.kind, os.path.splitext(image.item.source)[1])
                if kind not in seen:
                    seen[kind] = replace(image, image=None, item=Item(image.item.source, _nothing, {}))

            yield from batches(islice(fitted, stop - start), self.work.batch, Digest(), look)

    def _take(self, start: int, stop: int) -> Iterator[Item]:
        """The items of some rows; the input is opened anew only to go back."""
        if self._next is None or start < self._next:
            self._items, self._next = iter(self.work.open_items()), 0
        for _ in islice(self._items, start - self._next):
            pass
        self._next = stop
        return islice(self._items, stop - start)

    def _go_inside(self) -> None:
        try:
            os.chdir(self.work.inside)
        except OSError as error:
            raise MorphoscopeError(
                f"{self.work.inside}: a machine of the cluster cannot see this folder ({error.strerror}); "
                "run, input and working folder must be on a file system that all of them share"
            ) from error


@dataclass(frozen=True)
class Dealt:
    """Rows for one task, the digest of these and of all up to them."""

    start: int
    stop: int
    own: str
    so_far: str


def deal(items: Iterable[Item], digest: Digest, batch: int, *, start: int, count: int | None) -> list[Dealt]:
    """Cut the input into tasks of whole batches, not more than :data:`MOST_TASKS` as far as is known."""
    rows = batch * math.ceil(max(count or 1, 1) / (batch * MOST_TASKS))
    iterator, found, at = iter(items), [], start
    while True:
        own = Digest()
        for item in islice(iterator, rows):
            own.add(item)
            digest.add(item)
        if not own.count:
            break
        found.append(Dealt(at, at + own.count, own.words, digest.words))
        at += own.count
    return found


def _nothing() -> Any:
    raise AssertionError("the image stays with the worker")


def in_turn(
    dealt: Sequence[Dealt], said: Iterable[Stretch | MorphoscopeError], look: Callable[[Fitted], None]
) -> Iterator[tuple[Batch, pa.Table | None]]:
    """The rows as :func:`morphoscope.catalogue.pipeline.answered` gives them.

    Args:
        dealt: the parts of the input, in order.
        said: what the workers say of each, in the same order.
        look: sees one image of each kind, without pixels.

    Raises:
        MorphoscopeError: what a worker says; or the input changed meanwhile.
    """
    for part, stretch in zip(dealt, said, strict=False):
        if isinstance(stretch, MorphoscopeError):
            raise stretch
        if stretch.digest != part.own:
            raise MorphoscopeError(
                f"the galaxies {part.start} to {part.stop - 1} of the input are others for a worker than for "
                "this process; show all of them the same files, unchanged"
            )
        for seen in stretch.looks:
            look(seen)
        yield Batch([], stretch.failures, part.stop, part.so_far), stretch.table
