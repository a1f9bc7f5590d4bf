"""Claims of a paper, and the checks of them on measured numbers.

A claim is a statement about measured numbers that holds, does not hold, or is not tested. It is checked on
means over seeds; the page shows the scatter next to it. A number that is missing or not finite counts as
not measured. Accuracies are fractions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol

METRICS = {
    "train_accuracy": "accuracy on the training galaxies, fraction",
    "validation_accuracy": "accuracy on the validation galaxies, fraction",
    "accuracy": "accuracy on the test galaxies, fraction",
    "macro_precision": "precision, unweighted mean over classes, fraction",
    "macro_recall": "recall, unweighted mean over classes, fraction",
    "macro_f1": "F1, unweighted mean over classes, fraction",
    "rmse": "root mean square error of the vote fractions",
    "rmse_one_view": "root mean square error with one view of each galaxy",
    "rmse_turned_views": "root mean square error with 16 rotated and mirrored views",
    "rmse_scaled_views": "root mean square error with those 16 views at three scales, 48 in all",
    "train_loss": "loss on the training galaxies",
    "validation_loss": "loss on the validation galaxies",
    "test_loss": "loss on the test galaxies",
    "seconds_per_epoch": "time of one epoch, s",
    "seconds": "time of the whole training, s",
    "epochs": "epochs trained",
    "parameters": "parameters",
    "weighted_precision": "precision, mean over classes weighted by number of galaxies, fraction",
    "weighted_recall": "recall, mean over classes weighted by number of galaxies, fraction",
    "weighted_f1": "F1, mean over classes weighted by number of galaxies, fraction",
    "peak_memory": "peak memory of the process, GiB",
    "peak_gpu_memory": "peak GPU memory, GiB",
    "on_galaxy": "fraction of a map's energy on the galaxy",
    "galaxy_area": "fraction of the image that the galaxy covers",
    "alignment": "alignment of a map with the galaxy's major axis: 1 along, 0 by chance, −1 across",
    "dead_maps": "fraction of maps that are zero everywhere",
}


MAP_METRICS = ("on_galaxy", "galaxy_area", "alignment", "dead_maps")


VIEW_METRICS = ("rmse_one_view", "rmse_turned_views", "rmse_scaled_views")


Measured = Mapping[str, Mapping[str, float]]  # recipe name → metric → mean over seeds
_OF_A_CLASS = ("precision", "recall", "f1", "support")


def error_of(metric: str) -> str:
    """The name of a metric's standard error among measured values."""
    return f"error: {metric}"


def class_metric(score: str, name: str) -> str:
    """The metric of one class: ``class_metric("recall", "Spiral")`` is ``"recall: Spiral"``.

    Raises:
        ValueError: the score is not precision, recall, f1 or support.
    """
    if score not in _OF_A_CLASS:
        raise ValueError(f"no class score '{score}'; choose one of {', '.join(_OF_A_CLASS)}")
    return f"{score}: {name}"


@dataclass(frozen=True)
class Conditions:
    """How the rows of a study were trained, as far as the claims depend on it.

    Attributes:
        literal: the literal readings that were used. altered: row → how its training differs from what the
        claims are about, such as "started from random weights". not_run: row → why it has no measurement.
        other_epochs: row → how its number of epochs differs from the paper's. same_as: row → the row whose
        training it shares, since both recipes are the same with these options.
    """

    literal: Collection[str] = ()
    altered: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    other_epochs: Mapping[str, str] = field(default_factory=dict)
    same_as: Mapping[str, str] = field(default_factory=dict)


UNALTERED = Conditions()


_OF_THE_LAYOUT = ("parameters",)  # independent of training


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the check of it on measured numbers."""

    text: str
    where: str
    check: Check | None = None
    """None if no number of this study can decide it."""
    asked_of: str = ""
    """The network the claim is tested on, if it is not the paper's."""
    void_with: str = ""
    """A literal reading under which the rows are no longer what the claim is about."""
    undecided: str = "no number of this study decides it"
    """Why there is no check."""
    of_epochs: bool = False
    """Whether it speaks of how long the rows are trained, so that other numbers of epochs do not test it."""

    def untested(self, measured: Measured, conditions: Conditions = UNALTERED) -> str:
        """Why these numbers do not test the claim; empty if they do.

        A claim needs every row it mentions, trained from the weights it mentions.

        Args:
            measured: the study's numbers.
            conditions: how the rows were trained.
        """
        if self.check is None:
            return f"not tested here: {self.undecided}"
        if self.void_with in conditions.literal:
            return f"not tested here: with {self.void_with} its rows all start from ImageNet weights"
        why = self._not_as_asked(conditions)
        if why:
            return f"not tested here: {why}"
        if self.check(measured) is not None:
            return ""
        lacks = next(number for number in self.check.needs if number.of(measured) is None)
        if lacks.row in conditions.not_run:
            return f"not tested here: {_short(lacks.row)} {conditions.not_run[lacks.row]}"
        return f"not tested here: these galaxies give {_short(lacks.row)} no {_described(lacks.metric)}"

    def _not_as_asked(self, conditions: Conditions) -> str:
        """How the rows' training differs from what the claim is about; empty if it does not."""
        assert self.check is not None
        needs = (number.row for number in self.check.needs if number.metric not in _OF_THE_LAYOUT)
        rows = tuple(dict.fromkeys(needs))
        epochs = conditions.other_epochs if self.of_epochs else {}
        for reasons in (conditions.not_run, conditions.altered, epochs):
            concerned = next((row for row in rows if row in reasons), None)
            if concerned is not None:
                return f"{_short(concerned)} {reasons[concerned]}"
        for row in rows:
            twin = conditions.same_as.get(row, row)
            other = next((each for each in rows if conditions.same_as.get(each, each) == twin), row)
            if other != row:
                return f"with these options {_short(other)} and {_short(row)} are one training"
        return ""

    def verdict(self, measured: Measured, conditions: Conditions = UNALTERED) -> bool | None:
        """True if it holds, False if not, None if these numbers do not test it (see :meth:`untested`)."""
        return None if self.check is None or self.untested(measured, conditions) else self.check(measured)

    def clear(self, measured: Measured, errors: Measured, conditions: Conditions = UNALTERED) -> bool | None:
        """Whether the verdict is beyond the sampling error; None without a verdict, or if nobody knows.

        Args:
            measured: the study's numbers.
            errors: their standard errors, as far as they are known.
            conditions: how the rows were trained.
        """
        if self.check is None or self.verdict(measured, conditions) is None:
            return None
        return self.check.clear(measured, errors)

    def status(self, measured: Measured, conditions: Conditions = UNALTERED) -> str:
        """The verdict in words, or why there is none."""
        words = {True: "holds", False: "does not hold", None: ""}
        return words[self.verdict(measured, conditions)] or self.untested(measured, conditions)

    def evidence(self, measured: Measured) -> tuple[tuple[str, str, float | None], ...]:
        """Row, metric and value of each number the claim depends on; None where it was not measured."""
        needs = self.check.needs if self.check else ()
        return tuple((number.row, number.metric, number.of(measured)) for number in needs)


def _short(row: str) -> str:
    return row.split("/")[-1]


def _described(metric: str) -> str:
    """A metric in words: "recall: Spiral" is "recall of Spiral"."""
    score, _, name = metric.partition(": ")
    words = {"f1": "F1"}.get(score, score)
    return f"{words} of {name}" if name else METRICS.get(metric, f"'{metric}'")


@dataclass(frozen=True)
class Number:
    """One measured number, given by row and metric."""

    row: str
    metric: str

    def of(self, measured: Measured) -> float | None:
        """Its value; None if it was not measured."""
        value = measured.get(self.row, {}).get(self.metric)
        return value if value is not None and math.isfinite(value) else None


class Check(Protocol):
    """A statement about measured numbers."""

    @property
    def needs(self) -> tuple[Number, ...]:
        """The numbers it depends on, each once."""
        ...

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is true; None if the numbers cannot tell."""
        ...

    def clear(self, measured: Measured, errors: Measured) -> bool | None:
        """Whether its answer would survive other galaxies of the same kind; None if nobody knows.

        Args:
            measured: the numbers, all of which it has.
            errors: their standard errors, by row and metric.
        """
        ...


_LEAST = 1.96  # standard errors from the turning point


class _Compared(ABC):
    """A statement that a weighted sum of numbers is above a limit."""

    @property
    @abstractmethod
    def weighted(self) -> tuple[tuple[float, Number], ...]:
        """The weights and numbers."""

    @property
    def limit(self) -> float:
        """What the sum is compared with."""
        return 0.0

    def clear(self, measured: Measured, errors: Measured) -> bool | None:
        """Whether the sum is more than 1.96 standard errors from the limit, rows taken as independent."""
        margin, variance = -self.limit, 0.0
        for weight, number in self.weighted:
            value, error = number.of(measured), number.of(errors)
            if value is None or error is None:
                return None
            margin, variance = margin + weight * value, variance + (weight * error) ** 2
        return abs(margin) > _LEAST * math.sqrt(variance)


@dataclass(frozen=True)
class Above(_Compared):
    """``high`` is above ``factor`` times ``low``, or equal to it with ``or_equal``."""

    high: Number
    low: Number
    factor: float = 1.0
    or_equal: bool = False

    @property
    def needs(self) -> tuple[Number, ...]:
        """The two numbers."""
        return self.high, self.low

    @property
    def weighted(self) -> tuple[tuple[float, Number], ...]:
        """``high`` minus ``factor`` times ``low``."""
        return (1.0, self.high), (-self.factor, self.low)

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless both are measured."""
        high, low = self.high.of(measured), self.low.of(measured)
        if high is None or low is None:
            return None
        least = self.factor * low
        return high > least or (self.or_equal and high == least)


@dataclass(frozen=True)
class AtLeast(_Compared):
    """A number is at least a fixed value."""

    number: Number
    value: float

    @property
    def needs(self) -> tuple[Number, ...]:
        """The one number."""
        return (self.number,)

    @property
    def weighted(self) -> tuple[tuple[float, Number], ...]:
        """The number itself."""
        return ((1.0, self.number),)

    @property
    def limit(self) -> float:
        """The fixed value."""
        return self.value

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless it is measured."""
        value = self.number.of(measured)
        return None if value is None else value >= self.value


@dataclass(frozen=True)
class LargerStep(_Compared):
    """The step from ``start`` to ``middle`` is larger than the one from ``middle`` to ``end``."""

    start: Number
    middle: Number
    end: Number

    @property
    def needs(self) -> tuple[Number, ...]:
        """The three numbers."""
        return self.start, self.middle, self.end

    @property
    def weighted(self) -> tuple[tuple[float, Number], ...]:
        """The first step minus the second."""
        return (2.0, self.middle), (-1.0, self.start), (-1.0, self.end)

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless all are measured."""
        start, middle, end = (number.of(measured) for number in self.needs)
        if start is None or middle is None or end is None:
            return None
        return middle - start > end - middle


@dataclass(frozen=True)
class LargerGap(_Compared):
    """The difference of the pair ``first`` is larger than that of the pair ``other`` (first minus second)."""

    first: tuple[Number, Number]
    other: tuple[Number, Number]

    @property
    def needs(self) -> tuple[Number, ...]:
        """The four numbers."""
        return (*self.first, *self.other)

    @property
    def weighted(self) -> tuple[tuple[float, Number], ...]:
        """The first difference minus the other."""
        return tuple(zip((1.0, -1.0, -1.0, 1.0), self.needs, strict=True))

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless all are measured."""
        a, b, c, d = (number.of(measured) for number in self.needs)
        if a is None or b is None or c is None or d is None:
            return None
        return a - b > c - d


@dataclass(frozen=True)
class Every:
    """The conjunction of several statements: false if any is false, else undecided if any is undecided."""

    checks: tuple[Check, ...]

    @property
    def needs(self) -> tuple[Number, ...]:
        """The numbers that they depend on, each once."""
        return tuple(dict.fromkeys(number for check in self.checks for number in check.needs))

    def __call__(self, measured: Measured) -> bool | None:
        """False if any is False, else None if any is None, else True."""
        answers = [check(measured) for check in self.checks]
        if False in answers:
            return False
        return None if None in answers else True

    def clear(self, measured: Measured, errors: Measured) -> bool | None:
        """If it is true, whether all are clearly so; if it is false, whether any is clearly false."""
        answer = self(measured)
        found = [each.clear(measured, errors) for each in self.checks if each(measured) is answer]
        decisive = answer is False  # then one is enough
        if decisive in found:
            return decisive
        return None if None in found else not decisive


def above(metric: str, high: str, low: str, *, factor: float = 1.0, or_equal: bool = False) -> Above:
    """Row ``high`` has more of ``metric`` than row ``low``."""
    return Above(Number(high, metric), Number(low, metric), factor, or_equal)


def rising(metric: str, rows: Sequence[str]) -> Every:
    """The metric rises strictly from the first row to the last; a single pair in the wrong order refutes
    it.
    """
    return Every(tuple(above(metric, later, earlier) for earlier, later in combinations(rows, 2)))


def highest(metric: str, row: str, among: Iterable[str]) -> Every:
    """The row has more of ``metric`` than all others."""
    return Every(tuple(above(metric, row, other) for other in among if other != row))


def lowest(metric: str, row: str, among: Iterable[str]) -> Every:
    """The row has less of ``metric`` than all others: best for RMSE, worst for accuracy."""
    return Every(tuple(above(metric, other, row) for other in among if other != row))


def on_the_galaxy(row: str) -> Above:
    """A row's maps lie on the galaxy more than a uniform map would."""
    return Above(Number(row, "on_galaxy"), Number(row, "galaxy_area"))


def at_least(metric: str, rows: Iterable[str], value: float) -> Every:
    """The metric is at least a value in all rows."""
    return Every(tuple(AtLeast(Number(row, metric), value) for row in rows))
