"""A stream of galaxies, processed in threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
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
    copied between processes.
    """
    threads = workers or available_cores()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > LOOK_AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        if isinstance(items, Generator):
            items.close()  # which lets work that waits for a service end
        raise
    finally:
        pool.shutdown(cancel_futures=True)
