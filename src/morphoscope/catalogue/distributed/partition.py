"""The input of a catalogue, partitioned into ranges of rows for workers.

Every worker opens the input itself and reads the ranges it is given, so no images are sent between
processes, and anything that :func:`morphoscope.catalogue.inputs.open.open_input` reads can be partitioned.
Workers return finished rows of the catalogue; the process that writes puts them in order.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from morphoscope.catalogue import pipeline
from morphoscope.catalogue.columns import ColumnProvider
from morphoscope.catalogue.pipeline import Batch, Digest, Failure, Preprocessed, Stamps
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.catalogue.rows import Notice, Remaining, RowMaker
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item, in_order
from morphoscope.processes import available_cores

MOST_TASKS = 10_000  # each costs the writing machine a kilobyte and some milliseconds


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; sent to each once.

    Attributes:
        request: the catalogue request.
        load: loads the network; called on the worker, in the folder ``inside``.
        inside: the working folder.
    """

    request: CatalogueRequest
    load: Callable[[], ColumnProvider]
    inside: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class RowRange:
    """Rows ``start`` to ``stop`` − 1 of the input, with the digest of the input up to ``stop``."""

    start: int
    stop: int
    own: str
    so_far: str


@dataclass(frozen=True)
class RangeResult:
    """A worker's result for a range of rows.

    Attributes:
        table: the catalogue's rows; None if no image could be read.
        failures: id, source and reason of the others.
        digest: digest of the range.
        stamps: fingerprint of their files.
        examples: one image of each kind that was read, without pixels.
    """

    table: pa.Table | None
    failures: list[Failure]
    digest: str
    stamps: Stamps
    examples: list[Preprocessed]


class Worker:
    """Predicts ranges of the input on one GPU or on the cores of a machine.

    Args:
        work: what to do.
        alone: the process runs nothing else, so it may use all cores.
    """

    def __init__(self, work: Work, *, alone: bool = False) -> None:
        self.work, self.alone = work, alone
        self._maker: RowMaker | None = None
        self._items: Iterator[Item] = iter(())
        self._next: int | None = None

    def predict(self, ranges: Sequence[tuple[int, int]]) -> Generator[RangeResult]:
        """Predict rows (start, stop) of the input; images of the next range are read while the network works.

        Raises:
            MorphoscopeError: something is wrong with the input, the run or the predictions.
        """
        maker = self._maker or self._start()
        examples: list[dict[tuple[str, str], Preprocessed]] = []  # of each range that is on its way
        items = chain.from_iterable(self._take(maker, *each) for each in ranges)
        with (
            closing(in_order(maker.preprocess, items, available_cores())) as images,
            closing(pipeline.predicted(maker, self._gathered(maker, images, ranges, examples))) as rows,
        ):
            for start, stop in ranges:
                tables, failures, batch, stamps = [], [], Batch(), Stamps()
                while batch.stop < stop - start:
                    found = next(rows, None)
                    if found is None:
                        raise MorphoscopeError(
                            f"the input ends before its galaxy {stop - 1} for a worker; all machines must "
                            "see the same files, unchanged"
                        )
                    batch, table = found
                    failures += batch.failures
                    stamps += batch.stamps
                    tables += [] if table is None else [table]
                table = pa.concat_tables(tables) if tables else None
                yield RangeResult(table, failures, batch.digest, stamps, list(examples.pop(0).values()))

    def _start(self) -> RowMaker:
        self._go_inside()
        if self.alone:  # Ray allows a process one thread
            os.environ["OMP_NUM_THREADS"] = str(available_cores())
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(available_cores())
        self._maker = RowMaker(self.work.request, self.work.load())
        return self._maker

    def _gathered(
        self,
        maker: RowMaker,
        images: Iterator[Preprocessed],
        ranges: Sequence[tuple[int, int]],
        examples: list[dict[tuple[str, str], Preprocessed]],
    ) -> Iterator[Batch]:
        """Batches that end with a range; ``stop`` and ``digest`` count from its start."""
        for start, stop in ranges:
            seen: dict[tuple[str, str], Preprocessed] = {}
            examples.append(seen)

            def notice(image: Preprocessed, seen: dict[tuple[str, str], Preprocessed] = seen) -> None:
                assert image.plan is not None
                kind = (image.plan.kind, os.path.splitext(image.item.source)[1])
                if kind not in seen:
                    seen[kind] = replace(image, image=None, item=Item(image.item.source, _no_pixels, {}))

            yield from pipeline.batches(islice(images, stop - start), maker.batch, Digest(), notice)

    def _take(self, maker: RowMaker, start: int, stop: int) -> Iterator[Item]:
        """The items of some rows; the input is reopened only to go back."""
        if self._next is None or start < self._next:
            self._items, self._next = iter(maker.open().items), 0
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


def partition(remaining: Remaining, batch: int) -> list[RowRange]:
    """Partition the input into ranges of whole batches, at most :data:`MOST_TASKS` if its length is known."""
    rows = batch * math.ceil(max(remaining.count or 1, 1) / (batch * MOST_TASKS))
    items, ranges, start = iter(remaining.items), [], remaining.start
    while True:
        own = Digest()
        for item in islice(items, rows):
            own.add(item)
            remaining.digest.add(item)
        if not own.count:
            break
        ranges.append(RowRange(start, start + own.count, own.hex, remaining.digest.hex))
        start += own.count
    return ranges


def _no_pixels() -> Any:
    raise AssertionError("the image stays with the worker")


def rows_of_results(
    ranges: Sequence[RowRange], results: Iterable[RangeResult | MorphoscopeError], notice: Notice
) -> Iterator[tuple[Batch, pa.Table | None]]:
    """The rows in the form of a :class:`morphoscope.catalogue.rows.RowSource`.

    Args:
        ranges: of the input, in order.
        results: of each, in the same order.
        notice: called with one image of each kind, without pixels.

    Raises:
        MorphoscopeError: a worker failed, or the input has changed.
    """
    for each, result in zip(ranges, results, strict=False):
        if isinstance(result, MorphoscopeError):
            raise result
        if result.digest != each.own:
            raise MorphoscopeError(
                f"galaxies {each.start} to {each.stop - 1} of the input are different for a worker and for "
                "this process; all machines must see the same files, unchanged"
            )
        for example in result.examples:
            notice(example)
        yield Batch([], result.failures, each.stop, each.so_far, result.stamps), result.table
