"""What a paper claims, as statements about measured numbers that are true, false or not yet measured.

A check sees means over seeds and nothing of their spread: whether a difference is larger than chance is for
the page to say beside it. A number that is missing or not finite counts as not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

Measured = Mapping[str, Mapping[str, float]]  # recipe name → metric → mean over seeds


@dataclass(frozen=True)
class Number:
    """One measured number: a row of the study and a metric."""

    row: str
    metric: str

    def of(self, measured: Measured) -> float | None:
        """Its value; None where it was not measured."""
        value = measured.get(self.row, {}).get(self.metric)
        return value if value is not None and math.isfinite(value) else None


class Check(Protocol):
    """A statement about numbers."""

    @property
    def needs(self) -> tuple[Number, ...]:
        """The numbers it looks at, each once."""
        ...

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is true; None where the numbers do not tell."""
        ...


@dataclass(frozen=True)
class Above:
    """``high`` is above ``factor`` times ``low``, or as large where ``or_equal``."""

    high: Number
    low: Number
    factor: float = 1.0
    or_equal: bool = False

    @property
    def needs(self) -> tuple[Number, ...]:
        """The two numbers."""
        return self.high, self.low

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless both are measured."""
        high, low = self.high.of(measured), self.low.of(measured)
        if high is None or low is None:
            return None
        least = self.factor * low
        return high > least or (self.or_equal and high == least)


@dataclass(frozen=True)
class AtLeast:
    """A number reaches a fixed value."""

    number: Number
    value: float

    @property
    def needs(self) -> tuple[Number, ...]:
        """The one number."""
        return (self.number,)

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless it is measured."""
        value = self.number.of(measured)
        return None if value is None else value >= self.value


@dataclass(frozen=True)
class LargerStep:
    """The step from ``start`` to ``middle`` is larger than the one from ``middle`` to ``end``."""

    start: Number
    middle: Number
    end: Number

    @property
    def needs(self) -> tuple[Number, ...]:
        """The three numbers."""
        return self.start, self.middle, self.end

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless all are measured."""
        start, middle, end = (number.of(measured) for number in self.needs)
        if start is None or middle is None or end is None:
            return None
        return middle - start > end - middle


@dataclass(frozen=True)
class Every:
    """All of several statements: one that is false decides, else one that is not measured leaves it open."""

    checks: tuple[Check, ...]

    @property
    def needs(self) -> tuple[Number, ...]:
        """The numbers of all of them, each once."""
        return tuple(dict.fromkeys(number for check in self.checks for number in check.needs))

    def __call__(self, measured: Measured) -> bool | None:
        """False, None or True, in this order of force."""
        answers = [check(measured) for check in self.checks]
        if False in answers:
            return False
        return None if None in answers else True


def above(metric: str, high: str, low: str, *, factor: float = 1.0, or_equal: bool = False) -> Above:
    """Row ``high`` has more of ``metric`` than row ``low``."""
    return Above(Number(high, metric), Number(low, metric), factor, or_equal)


def rising(metric: str, rows: Sequence[str]) -> Every:
    """The metric rises strictly from the first row to the last; any pair in the wrong order refutes it."""
    return Every(tuple(above(metric, later, earlier) for earlier, later in combinations(rows, 2)))


def highest(metric: str, row: str, among: Iterable[str]) -> Every:
    """The row has more of ``metric`` than all others."""
    return Every(tuple(above(metric, row, other) for other in among if other != row))


def lowest(metric: str, row: str, among: Iterable[str]) -> Every:
    """The row has less of ``metric`` than all others: the best by RMSE, the worst by accuracy."""
    return Every(tuple(above(metric, other, row) for other in among if other != row))


def at_least(metric: str, rows: Iterable[str], value: float) -> Every:
    """The metric reaches a value in all rows."""
    return Every(tuple(AtLeast(Number(row, metric), value) for row in rows))
