"""A stream of galaxies, processed in threads."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np

from morphoscope.processes import available_cores

LOOK_AHEAD = 4  # images that each worker may prepare ahead of the consumer
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Item:
    """One galaxy to be added to a store or a catalogue.

    Attributes:
        source: where the image comes from, for messages and the ``source`` column.
        load: returns the image, (H, W, 3) uint8; called in a worker thread. If it raises a
            MorphoscopeError, the image counts as unreadable.
        row: the table's other columns, and ``quality``, reasons in addition to those of ``found``.
            ``pixel_scale``, if present, is in arcsec per source pixel and becomes arcsec per stored pixel.
        found: filled by ``load`` with what the image's file says about it, see
            :func:`morphoscope.images.fits.read_fits`.
        files: the files with its pixels, to notice changes; empty if unknown.
    """

    source: str
    load: Callable[[], np.ndarray]
    row: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def coordinates(self) -> dict[str, float]:
        """``ra`` and ``dec`` in degrees, if known: those of the row, or else from the image's WCS."""
        if not ("ra" in self.row or "dec" in self.row or "wcs_ra" in self.found):
            return {}
        known = {name: float(self.row.get(name, math.nan)) for name in ("ra", "dec")}
        if "wcs_ra" in self.found and not all(map(math.isfinite, known.values())):
            known = {"ra": self.found["wcs_ra"], "dec": self.found["wcs_dec"]}
        return {name: degrees for name, degrees in known.items() if math.isfinite(degrees)}

    @property
    def quality(self) -> tuple[str, ...]:
        """What is wrong with the loaded image; see :mod:`morphoscope.images.coverage`."""
        return (*self.row.get("quality", ()), *self.found.get("quality", ()))


def in_order(
    function: Callable[[Work], Result], items: Iterable[Work], workers: int | None = None
) -> Generator[Result]:
    """``map`` over threads: results in the order of the items, with a bounded number of items ahead.

    Threads rather than processes: decoders, OpenCV and hashing release the GIL, and images need not be
    copied between processes. Queues written in C rather than a pool of futures: these cost 0.1 ms of the
    processor for each item, where a small JPEG takes 1.
    """
    threads = workers or available_cores()
    orders: SimpleQueue[tuple[Work, SimpleQueue[Any]] | None] = SimpleQueue()
    pool = [
        threading.Thread(target=_work, args=(function, orders), name=f"ingest_{number}", daemon=True)
        for number in range(threads)
    ]
    waiting: deque[SimpleQueue[Any]] = deque()
    try:
        for worker in pool:
            worker.start()
        for item in items:
            answer: SimpleQueue[Any] = SimpleQueue()
            orders.put((item, answer))
            waiting.append(answer)
            if len(waiting) > LOOK_AHEAD * threads:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except BaseException:
        if isinstance(items, Generator):
            items.close()  # which lets work that waits for a service end
        raise
    finally:
        _end(pool, orders)


def _work(
    function: Callable[[Work], Result], orders: SimpleQueue[tuple[Work, SimpleQueue[Any]] | None]
) -> None:
    """Process items as they are ordered, until there is a None."""
    while (order := orders.get()) is not None:
        item, answer = order
        try:
            answer.put((function(item), None))
        except BaseException as error:
            answer.put((None, error))
        del order, item, answer  # or an image would be held until the next item comes


def _result(answer: SimpleQueue[Any]) -> Any:
    result, error = answer.get()
    if error is None:
        return result
    try:
        raise error
    finally:
        del error  # its traceback holds this frame


def _end(pool: list[threading.Thread], orders: SimpleQueue[Any]) -> None:
    """Forget what is not begun, and wait for what is."""
    try:
        while True:
            orders.get_nowait()
    except Empty:
        pass
    for _ in pool:
        orders.put(None)
    for worker in pool:
        if worker.ident is not None:  # it was started
            worker.join()
