"""Progress on stderr, so that stdout carries data alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")


def note(message: str) -> None:
    """Print one line for the person at the terminal (stderr)."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """Yield ``items`` behind a progress bar with rate and time left, shown once two seconds have passed.

    In a terminal the bar is redrawn in place; in a log a line is written every tenth of the way.
    ``total`` is taken from ``len(items)`` when it has one. ``unit`` names what is counted, e.g. "images".
    """
    with Bar(what, total if total is not None else _length(items), unit) as bar:
        for item in items:
            yield item
            bar.advance()


def _length(items: Iterable[object]) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


class Bar:
    """A progress bar to advance by hand: ``with Bar("writing", total=n) as bar: bar.advance(k)``."""

    patience = 2.0  # seconds before anything is shown: short work stays silent

    def __init__(self, what: str, total: int | None = None, unit: str = "") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0

    def __enter__(self) -> Bar:
        import time

        self._clock = time.monotonic
        self._start = self._clock()
        self._bar: Progress | None = None
        self._tenth = 0
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more items as done."""
        self.done += count
        elapsed = self._clock() - self._start
        if elapsed < self.patience:
            return
        if sys.stderr.isatty():
            self._draw()
        elif self.total:
            tenth = 10 * self.done // self.total
            if tenth > self._tenth:
                self._tenth = tenth
                rate = self.done / elapsed
                left = (self.total - self.done) / rate
                note(f"{self.what}: {self.done}/{self.total} {self.unit} ({rate:.1f}/s, {left:.0f} s left)")

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, rate="")
        rate = self.done / max(self._clock() - self._start, 1e-9)
        self._bar.update(self._task, completed=self.done, rate=f"{rate:.0f} {self.unit}/s")
