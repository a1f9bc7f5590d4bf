"""Progress on stderr; stdout is for data alone."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from morphoscope.interruption import asked, pass_on

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")


silent = False  # True in all processes of torchrun but rank 0


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and line feed


def note(message: str) -> None:
    """Print one line for the person at the terminal (stderr)."""
    if silent:
        return
    print(printable(message), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print what was asked for (stdout), without control characters that a name may hold.

    JSON has none of them: they are escaped there as JSON does.
    """
    print(printable(text))


def printable(message: str) -> str:
    r"""A message without control characters: a file's name must not move the cursor or hide what is said.

    >>> printable("a\x1b[2J.fits\nb")
    'a\\x1b[2J.fits\nb'
    """
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], message)


@functools.cache
def note_once(message: str) -> None:
    """Print a note that several readers of one file would repeat."""
    note(message)


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """Yield ``items`` with a progress bar (rate, time left), shown once two seconds have passed.

    In a terminal the bar is redrawn in place; in a log there is a line for every tenth of the work, and at
    least one every half minute. ``total`` defaults to ``len(items)``, if that is known. ``unit`` names the
    items, such as "images".
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
    """A progress bar to advance by hand: ``with Bar("writing", total=n) as bar: bar.advance(k)``.

    ``done`` of the total were done earlier, and do not count towards the rate.
    """

    patience = 2.0  # seconds before anything is shown
    silence = 30.0  # seconds after which a log gets a line in any case

    def __init__(self, what: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self._before = done

    def __enter__(self) -> Bar:
        import time

        self._clock = time.monotonic
        self._start = self._clock()
        self._bar: Progress | None = None
        self._tenth = 0
        self._spoke = 0.0
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more items as done.

        Raises:
            KeyboardInterrupt: the command was asked to end and the item has swallowed that.
        """
        if asked() and sys.exception() is None:  # clean-up may come to its end
            pass_on()
        self.done += count
        elapsed = self._clock() - self._start
        if elapsed < self.patience or silent:
            return
        if sys.stderr.isatty():
            self._draw()
            return
        tenth = 10 * self.done // self.total if self.total else 0
        if tenth > self._tenth or elapsed - self._spoke >= self.silence:
            self._tenth, self._spoke = tenth, elapsed
            note(self._line((self.done - self._before) / elapsed))

    def _line(self, rate: float) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if not self.total:
            return f"{self.what}: {self.done}{unit} ({rate:.1f}/s)"
        left = max(self.total - self.done, 0) / rate if rate else float("inf")
        return f"{self.what}: {self.done}/{self.total}{unit} ({rate:.1f}/s, {left:.0f} s left)"

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
                TextColumn("{task.description}", markup=False),  # a file name may contain brackets
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, rate="")
        rate = (self.done - self._before) / max(self._clock() - self._start, 1e-9)
        self._bar.update(self._task, completed=self.done, rate=f"{rate:.0f} {self.unit}/s".replace(" /", "/"))
