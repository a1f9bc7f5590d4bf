"""What a paper publishes, as data: tables, rows, claims, contradictions, open questions, deviations.

Everything that a study's page shows as *published*. The numbers are the papers', the sentences are ours.
``where`` is a section, table or figure of the paper. Accuracies of rows are fractions; tables keep the
printed unit, such as percent.

A claim is a statement about measured numbers that holds, does not hold, or is not tested. It is checked on
means over seeds; the page shows the scatter next to it. A number that is missing or not finite counts as
not measured.

Shape letters: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from morphoscope.studies.claims import Claim, Measured


@dataclass(frozen=True)
class Paper:
    """Authors, title and data. What the paper's text does not give is None or empty."""

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
    """The key of the row that already holds these numbers, where one row of the paper has two readings."""
    approximate: tuple[str, ...] = ()
    """Metrics the paper gives only approximately ("about")."""
    derived: tuple[str, ...] = ()
    """Metrics that the paper does not print but that follow from its tables."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))


@dataclass(frozen=True)
class Table:
    """A table as printed; a cell that the paper leaves empty is None."""

    name: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    remark: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.name}: each row needs {len(self.columns)} cells")

    def column(self, name: str) -> tuple[Any, ...]:
        """The cells of a column."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)


@dataclass(frozen=True)
class Contradiction:
    """Where a paper contradicts itself or the facts, and what is done about it."""

    where: str
    says: str
    against: str
    reading: str


@dataclass(frozen=True)
class Reading:
    """What a paper does not specify, and the choice made here."""

    what: str
    taken: str
    why: str = ""
    option: str = ""
    """The study's literal reading that chooses the other way, if there is one."""


@dataclass(frozen=True)
class Deviation:
    """A departure from the paper."""

    what: str
    paper: str
    here: str
    why: str
    option: str = ""
    """The study's literal reading that follows the paper, if there is one."""


@dataclass(frozen=True)
class Reference:
    """Somebody else's result that the paper compares itself with."""

    label: str
    metric: str
    value: float
    where: str
    remark: str = ""


@dataclass(frozen=True)
class Published:
    """Everything one paper contributes to its study."""

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
            raise ValueError(f"{self.paper.key}: two published rows have the same key")
        object.__setattr__(self, "_by_key", MappingProxyType(by_key))

    def row(self, key: str) -> PublishedRow | None:
        """The published row for a recipe; None if the paper has no number for it."""
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
        """The paper's own numbers, in the form in which claims are checked."""
        return {row.key: row.metrics for row in self.rows}


def share(percent: float) -> float:
    """A printed percentage as a fraction.

    >>> share(80.61)
    0.8061
    """
    return round(percent / 100, 10)


def relative_improvement(value: float, reference: float) -> float:
    """The relative increase from ``reference`` to ``value`` (`cheng`, Table 2, last column, as a fraction).

    Raises:
        ValueError: the reference is not above zero.
    """
    if reference <= 0:
        raise ValueError(f"an improvement over {reference} has no meaning")
    return value / reference - 1


def macro_average(values_K: Sequence[float]) -> float:
    """The unweighted mean over classes."""
    return float(np.mean(np.asarray(values_K, dtype=np.float64)))


def weighted_average(values_K: Sequence[float], supports_K: Sequence[int]) -> float:
    """The mean over classes weighted by number of galaxies; for recalls, this is the accuracy."""
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
    """Parameters of one CBAM: a shared channel gate with biases, and a spatial convolution without.

    Source: Woo et al. 2018, sections 3.1 and 3.2; the biases follow from `yan`'s published count.
    """
    return dense_parameters(channels, channels // reduction, channels) + 2 * kernel**2


FRAMEWORK = Deviation(
    what="Framework",
    paper="Keras on TensorFlow.",
    here="PyTorch.",
    why=(
        "Initialisation of new layers and momentum of batch normalisation have other defaults; layouts, "
        "losses and schedules follow the paper."
    ),
)
ONE_WARP = Deviation(
    what="Geometry of the augmentation",
    paper="Several steps, each of which resamples the image.",
    here="Rotation, flip, zoom, shear, shift, crop and scaling are combined into one warp.",
    why="The image is interpolated once instead of several times; the ranges are the same.",
)
PRECISION = Deviation(
    what="Precision",
    paper="Not stated; single precision is the frameworks' default.",
    here="bfloat16 where the hardware supports it, weights in single precision.",
    why="Speed; training.precision=fp32 turns it off.",
)
WEIGHTS = Deviation(
    what="Starting weights",
    paper="ImageNet weights as Keras distributes them.",
    here=(
        "torchvision's ImageNet weights of the same architecture; for EfficientNetV2-S and "
        "Inception-ResNet-v2 Google's own, which Keras has too."
    ),
    why="Keras' files cannot be loaded by PyTorch; both were trained on the same data.",
)
SEEDS = Deviation(
    what="Repetition",
    paper="A single run of each row.",
    here="As many seeds as --seeds says, mean and standard deviation.",
    why="A single run cannot distinguish a small difference from chance.",
)


@dataclass(frozen=True)
class Element:
    """One table, figure, claim or setting of a paper.

    Attributes:
        name: the paper's name, such as "Table 2" or "Fig 6"; for a setting, a word such as "batch".
        what: what it shows or says.
        location: ``FILE: NAME`` in the package.
        declared: the deviation or reading on the study's page that says how it differs; empty if it does not.
    """

    name: str
    what: str
    location: str
    declared: str = ""
