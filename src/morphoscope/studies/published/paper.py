"""The forms in which a paper's numbers and words are kept: everything a study's page shows as *published*.

The numbers are the papers' facts, the sentences are not their words. ``where`` is a section, table or figure
of the paper. Accuracies of rows are shares of 1; tables keep what is printed: percent where that is percent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from morphoscope.studies.published.checks import Check, Measured

METRICS = {
    "train_accuracy": "accuracy on the training galaxies, share",
    "validation_accuracy": "accuracy on the validation galaxies, share",
    "accuracy": "accuracy on the test galaxies, share",
    "macro_precision": "precision, plain mean over classes, share",
    "macro_recall": "recall, plain mean over classes, share",
    "macro_f1": "F1, plain mean over classes, share",
    "rmse": "root mean square error of the vote fractions",
    "train_loss": "loss on the training galaxies",
    "validation_loss": "loss on the validation galaxies",
    "test_loss": "loss on the test galaxies",
    "seconds_per_epoch": "time of one epoch, s",
    "seconds": "time of the whole training, s",
    "epochs": "epochs trained",
    "parameters": "weights",
}
_OF_A_CLASS = ("precision", "recall", "f1")


def class_metric(score: str, name: str) -> str:
    """The metric of one class: ``class_metric("recall", "Spiral")`` is ``"recall: Spiral"``.

    Raises:
        ValueError: the score is not precision, recall or f1.
    """
    if score not in _OF_A_CLASS:
        raise ValueError(f"no score '{score}' of a class; there are {', '.join(_OF_A_CLASS)}")
    return f"{score}: {name}"


def known_metric(name: str) -> bool:
    """Whether a name is one of :data:`METRICS` or the metric of a class."""
    return name in METRICS or name.partition(": ")[0] in _OF_A_CLASS


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

    def verdict(self, measured: Measured, literal: Collection[str] = ()) -> bool | None:
        """True: holds; False: does not; None: not measured, or not to be decided by these numbers.

        Args:
            measured: the study's numbers.
            literal: named options that its rows were trained with.
        """
        return None if self.check is None or self.void_with in literal else self.check(measured)

    def status(self, measured: Measured, literal: Collection[str] = ()) -> str:
        """The verdict in words."""
        if self.check is None:
            return "not decided by a number"
        if self.void_with in literal:
            return f"not asked by {self.void_with}"
        return {True: "holds", False: "does not hold", None: "not measured"}[self.check(measured)]

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
