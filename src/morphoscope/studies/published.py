"""What a paper publishes, as data: tables, rows, claims, contradictions, open questions, deviations.

Everything that a study's page shows as *published*. The numbers are the papers' facts, the sentences are
ours. ``where`` is a section, table or figure of the paper. Accuracies of rows are shares of 1; tables keep
what is printed, percent where that is percent.

A claim is a statement about measured numbers that holds, does not hold, or is not tested. It is checked on
means over seeds; whether a difference is larger than chance is for the page to say beside it. A number that
is missing or not finite counts as not measured.

Shape letters: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

METRICS = {
    "train_accuracy": "accuracy on the training galaxies, share",
    "validation_accuracy": "accuracy on the validation galaxies, share",
    "accuracy": "accuracy on the test galaxies, share",
    "macro_precision": "precision, plain mean over classes, share",
    "macro_recall": "recall, plain mean over classes, share",
    "macro_f1": "F1, plain mean over classes, share",
    "rmse": "root mean square error of the vote fractions",
    "rmse_one_view": "root mean square error with one view of each galaxy",
    "rmse_turned_views": "root mean square error with 16 turned and mirrored views",
    "rmse_scaled_views": "root mean square error with those 16 at three scales, 48 views",
    "train_loss": "loss on the training galaxies",
    "validation_loss": "loss on the validation galaxies",
    "test_loss": "loss on the test galaxies",
    "seconds_per_epoch": "time of one epoch, s",
    "seconds": "time of the whole training, s",
    "epochs": "epochs trained",
    "parameters": "parameters",
    "weighted_precision": "precision, mean over classes weighted by their galaxies, share",
    "weighted_recall": "recall, mean over classes weighted by their galaxies, share",
    "weighted_f1": "F1, mean over classes weighted by their galaxies, share",
    "peak_memory": "peak memory of the process, GiB",
    "peak_gpu_memory": "peak memory on the GPU, GiB",
    "on_galaxy": "share of a map's energy on the galaxy",
    "galaxy_area": "share of the picture that the galaxy fills",
    "alignment": "map along the galaxy's long axis: 1 along, 0 by chance, −1 across",
    "dead_maps": "share of maps that are zero everywhere",
}
MAP_METRICS = ("on_galaxy", "galaxy_area", "alignment", "dead_maps")
VIEW_METRICS = ("rmse_one_view", "rmse_turned_views", "rmse_scaled_views")
_OF_A_CLASS = ("precision", "recall", "f1", "support")


def class_metric(score: str, name: str) -> str:
    """The metric of one class: ``class_metric("recall", "Spiral")`` is ``"recall: Spiral"``.

    Raises:
        ValueError: the score is not precision, recall, f1 or support.
    """
    if score not in _OF_A_CLASS:
        raise ValueError(f"no score '{score}' of a class; there are {', '.join(_OF_A_CLASS)}")
    return f"{score}: {name}"


@dataclass(frozen=True)
class Paper:
    """Who, what and on which galaxies. What the paper's text does not give is None or empty."""

    key: str
    authors: tuple[str, ...]
    title: str
    data_set: str
    galaxies: int
    outputs: int
    """Classes, or vote fractions."""
    hardware: str = ""
    year: int | None = None
    identifier: str = ""
    """DOI, arXiv number or address that the text gives."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a paper's results, under the name of the recipe that reproduces it."""

    key: str
    label: str
    metrics: Mapping[str, float]
    where: str
    remark: str = ""
    same_row_as: str = ""
    """The key that holds this row already, where a paper's one row has two readings."""
    approximate: tuple[str, ...] = ()
    """Metrics the paper gives in words such as "about"."""
    derived: tuple[str, ...] = ()
    """Metrics the paper does not print but that follow from its tables."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))


@dataclass(frozen=True)
class Table:
    """A table as printed, by columns' names; a cell that the paper leaves empty is None."""

    name: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    remark: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.name}: each row needs {len(self.columns)} cells")

    def column(self, name: str) -> tuple[Any, ...]:
        """The cells below a heading."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)


@dataclass(frozen=True)
class Conditions:
    """How the rows of a study were trained, as far as its paper's claims are concerned.

    Attributes:
        literal: named readings that were taken.
        altered: row → what sets its training apart from the one that claims speak of, such as "started from
            random weights".
        not_run: row → why it has no measurement.
    """

    literal: Collection[str] = ()
    altered: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)


UNALTERED = Conditions()
_OF_THE_LAYOUT = ("parameters",)  # does not depend on any training


@dataclass(frozen=True)
class Claim:
    """What a paper says, and whether measured numbers say so too."""

    text: str
    where: str
    check: Check | None = None
    """None: no number of this study decides it."""
    asked_of: str = ""
    """A network that is not the paper's, of which the same is asked here."""
    void_with: str = ""
    """A named option of the study with which its rows are no longer what the claim is about."""
    undecided: str = "no number of this study decides it"
    """Why, where there is no check."""

    def untested(self, measured: Measured, conditions: Conditions = UNALTERED) -> str:
        """Why these numbers do not test the claim; empty where they do.

        A claim needs every row it speaks of, trained from the weights it speaks of.

        Args:
            measured: the study's numbers.
            conditions: how the rows were trained.
        """
        if self.check is None:
            return f"not tested here: {self.undecided}"
        if self.void_with in conditions.literal:
            return f"not tested here: with {self.void_with} its rows all start from ImageNet weights"
        needs = [number for number in self.check.needs if number.metric not in _OF_THE_LAYOUT]
        for reasons in (conditions.not_run, conditions.altered):
            concerned = [number.row for number in needs if number.row in reasons]
            if concerned:
                return f"not tested here: {concerned[0].split('/')[-1]} {reasons[concerned[0]]}"
        if self.check(measured) is not None:
            return ""
        lacks = next(number for number in self.check.needs if number.of(measured) is None)
        what = METRICS.get(lacks.metric, f"'{lacks.metric}'")
        return f"not tested here: these galaxies give {lacks.row.split('/')[-1]} no {what}"

    def verdict(self, measured: Measured, conditions: Conditions = UNALTERED) -> bool | None:
        """True: holds; False: does not; None: not tested by these numbers (see :meth:`untested`)."""
        return None if self.check is None or self.untested(measured, conditions) else self.check(measured)

    def status(self, measured: Measured, conditions: Conditions = UNALTERED) -> str:
        """The verdict in words, or why there is none."""
        words = {True: "holds", False: "does not hold", None: ""}
        return words[self.verdict(measured, conditions)] or self.untested(measured, conditions)

    def evidence(self, measured: Measured) -> tuple[tuple[str, str, float | None], ...]:
        """Row, metric and value of each number the claim rests on; None where it was not measured."""
        needs = self.check.needs if self.check else ()
        return tuple((number.row, number.metric, number.of(measured)) for number in needs)


@dataclass(frozen=True)
class Contradiction:
    """Where a paper disagrees with itself or with the facts, and which side is taken."""

    where: str
    says: str
    against: str
    reading: str


@dataclass(frozen=True)
class Reading:
    """What a paper leaves open, and what is done."""

    what: str
    taken: str
    why: str = ""
    option: str = ""
    """The study's named option for the other reading, where there is one."""


@dataclass(frozen=True)
class Deviation:
    """What is done otherwise than the paper says."""

    what: str
    paper: str
    here: str
    why: str
    option: str = ""
    """The study's named option that does it literally, where there is one."""


@dataclass(frozen=True)
class Reference:
    """A number of somebody else's that the paper compares itself with."""

    label: str
    metric: str
    value: float
    where: str
    remark: str = ""


@dataclass(frozen=True)
class Published:
    """All that one paper gives to its study."""

    paper: Paper
    rows: tuple[PublishedRow, ...]
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    contradictions: tuple[Contradiction, ...]
    readings: tuple[Reading, ...]
    deviations: tuple[Deviation, ...]
    references: tuple[Reference, ...] = ()
    _by_key: Mapping[str, PublishedRow] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key = {row.key: row for row in self.rows}
        if len(by_key) != len(self.rows):
            raise ValueError(f"{self.paper.key}: two published rows under one key")
        object.__setattr__(self, "_by_key", MappingProxyType(by_key))

    def row(self, key: str) -> PublishedRow | None:
        """The published row of a recipe; None where the paper has no number for it."""
        return self._by_key.get(key)

    def table(self, name: str) -> Table:
        """A table by its name, such as ``"Table 2"``.

        Raises:
            KeyError: the paper has no such table.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def values(self) -> Measured:
        """The paper's own numbers in the form that claims are checked on."""
        return {row.key: row.metrics for row in self.rows}


def share(percent: float) -> float:
    """A printed percentage as a share of 1.

    >>> share(80.61)
    0.8061
    """
    return round(percent / 100, 10)


def relative_improvement(value: float, reference: float) -> float:
    """How much larger ``value`` is in units of ``reference`` (`cheng`, Table 2, last column, as a share).

    Raises:
        ValueError: the reference is not above zero.
    """
    if reference <= 0:
        raise ValueError(f"an improvement over {reference} has no meaning")
    return value / reference - 1


def macro_average(values_K: Sequence[float]) -> float:
    """The plain mean over classes: every class counts the same."""
    return float(np.mean(np.asarray(values_K, dtype=np.float64)))


def weighted_average(values_K: Sequence[float], supports_K: Sequence[int]) -> float:
    """The mean over classes weighted by the number of galaxies of each; of recalls, it is the accuracy."""
    return float(np.average(np.asarray(values_K, dtype=np.float64), weights=np.asarray(supports_K)))


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of precision and recall; 0 where both are 0 (`tong`, eq. 6)."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def dense_parameters(*widths: int) -> int:
    """Parameters of consecutive fully connected layers, biases included.

    >>> dense_parameters(512, 10)
    5130
    """
    return sum((before + 1) * after for before, after in pairwise(widths))


def cbam_parameters(channels: int, reduction: int, kernel: int = 7) -> int:
    """Parameters of one CBAM: a shared gate with biases, and a map of two pooled channels without a bias.

    Source: Woo et al. 2018, sections 3.1 and 3.2; the biases are what `yan`'s published count fits.
    """
    return dense_parameters(channels, channels // reduction, channels) + 2 * kernel**2


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
class LargerGap:
    """``first``, a pair of numbers, lies further apart (first minus second) than the pair ``other``."""

    first: tuple[Number, Number]
    other: tuple[Number, Number]

    @property
    def needs(self) -> tuple[Number, ...]:
        """The four numbers."""
        return (*self.first, *self.other)

    def __call__(self, measured: Measured) -> bool | None:
        """Whether it is so; None unless all are measured."""
        a, b, c, d = (number.of(measured) for number in self.needs)
        if a is None or b is None or c is None or d is None:
            return None
        return a - b > c - d


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


def on_the_galaxy(row: str) -> Above:
    """A row's maps lie on the galaxy more than a map of equal values would."""
    return Above(Number(row, "on_galaxy"), Number(row, "galaxy_area"))


def at_least(metric: str, rows: Iterable[str], value: float) -> Every:
    """The metric reaches a value in all rows."""
    return Every(tuple(AtLeast(Number(row, metric), value) for row in rows))


FRAMEWORK = Deviation(
    what="Framework",
    paper="Keras on TensorFlow.",
    here="PyTorch.",
    why="Start values of new layers and the running means of batch normalisation differ by default; layouts, "
    "losses and schedules follow the paper.",
)
ONE_WARP = Deviation(
    what="Geometry of the augmentation",
    paper="Several steps, each of which resamples the image.",
    here="Turn, flip, zoom, shear, shift, crop and scaling are one warp.",
    why="The image is blurred once instead of several times; the ranges are the same.",
)
PRECISION = Deviation(
    what="Precision",
    paper="Not stated; single precision is the frameworks' default.",
    here="bfloat16 where the hardware has it, weights in single precision.",
    why="Speed; training.precision=fp32 switches it off.",
)
WEIGHTS = Deviation(
    what="Starting weights",
    paper="ImageNet weights as Keras distributes them.",
    here="ImageNet weights of torchvision's training of the same layout; for EfficientNetV2-S and "
    "Inception-ResNet-v2 Google's own, which Keras has too.",
    why="Keras' files are not in PyTorch's form; the data they learned from are the same.",
)
SEEDS = Deviation(
    what="Repetition",
    paper="One run of each row.",
    here="As many seeds as --seeds says, mean and standard deviation.",
    why="One run cannot tell a small difference from chance.",
)
