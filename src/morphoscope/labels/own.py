"""Label schemes from the user's class names or table columns.

One column of names (or integers) gives classes; one column of fractions, or several columns, give vote
fractions. The 37 columns of the Galaxy Challenge are recognised and follow their decision tree. Columns of
any other numbers are measurements if they are named as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.labels.columns import is_whole_number, numbers, texts
from morphoscope.labels.measurement_columns import names_fault
from morphoscope.labels.scheme import (
    GALAXY_ZOO_2_VOTES,
    Classes,
    Measurements,
    Quantity,
    Scheme,
    VoteFractions,
)
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.progress import note

# More classes than this are taken for a mistake: a column of ids or measurements.
MOST_CLASSES = 1000


def classes_from_names(name: str, names: Iterable[str]) -> Classes:
    """A scheme of the distinct names, in alphabetical order; integers in numerical order.

    Args:
        name: of the scheme.
        names: class names in any order, with repetitions; empty ones are ignored.

    Raises:
        UsageError: fewer than two classes, or more than 1000.
    """
    distinct = {text for text in (str(value).strip() for value in names) if text}
    if len(distinct) < 2:
        found = f"only '{distinct.pop()}'" if distinct else "none"
        raise UsageError(f"{name}: at least two classes were expected, found {found}")
    if len(distinct) > MOST_CLASSES:
        raise UsageError(
            f"{name}: {len(distinct)} different labels, for example '{min(distinct)}'; these look like "
            "ids or measurements of single galaxies, not like classes"
        )
    _note_similar(name, distinct)
    return Classes(name=name, classes=tuple(sorted(distinct, key=_natural)))


def _note_similar(name: str, classes: Iterable[str]) -> None:
    """Note classes that differ only in case, spaces, underscores or hyphens: they may be meant as one."""
    similar: dict[str, list[str]] = {}
    for text in sorted(classes):
        similar.setdefault(re.sub(r"[\s_-]+", "", text).casefold(), []).append(text)
    groups = [" and ".join(f"'{text}'" for text in group) for group in similar.values() if len(group) > 1]
    if groups:
        note(f"{name}: {'; '.join(groups)} are read as different classes; if they are one, spell them alike")


def scheme_from_columns(
    name: str,
    table: pa.Table,
    columns: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    votes: bool = False,
) -> Scheme:
    """The scheme of some label columns.

    Args:
        name: of the scheme, such as the table's file name; used in messages.
        table: the table.
        columns: one column of class names, integers or booleans: classes (empty: unlabelled). One column of
            other numbers, or several columns: vote fractions between 0 and 1.
        classes: class names in order. Integers in the column are then indices into it, from 0, unless the
            names are themselves numbers.
        votes: read a single column as vote fractions, whatever its numbers are.

    Raises:
        UsageError: no such column, text among several columns, fewer than two classes.
    """
    if not columns:
        raise UsageError(f"{name}: at least one label column was expected")
    for column in columns:
        if column not in table.column_names:
            raise UsageError(
                f"{name}: no label column '{column}'{did_you_mean(column, table.column_names, 'columns')}"
            )
    if len(columns) == 1 and not votes and (classes is not None or _holds_classes(table[columns[0]])):
        if classes is None:
            return classes_from_names(f"{name}: column '{columns[0]}'", texts(table[columns[0]])).model_copy(
                update={"name": name}
            )
        return _named_classes(name, classes)
    if classes is not None:
        raise UsageError(f"{name}: class names need exactly one label column, not {len(columns)}")
    for column in columns:
        numbers(table[column], name, column)
    if set(columns) == set(GALAXY_ZOO_2.columns):
        return GALAXY_ZOO_2_VOTES
    if len(set(columns)) < len(columns):
        raise UsageError(f"{name}: the same label column was given twice")
    return VoteFractions(name=name, answers=tuple(columns))


def _named_classes(name: str, classes: Sequence[str]) -> Classes:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UsageError(
            f"{name}: at least two different class names were expected, got {', '.join(classes)}"
        )
    return Classes(name=name, classes=tuple(classes))


def _holds_classes(column: pa.ChunkedArray) -> bool:
    """Text, booleans and integers are classes; so is a column of 0.0 and 1.0 (NaN made it floating)."""
    if not pa.types.is_floating(column.type):
        return True
    values = column.to_numpy(zero_copy_only=False)
    values = values[np.isfinite(values)]
    return bool(np.all(values == np.floor(values)))


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort key: integers first, in order; then text."""
    return (False, int(name), name) if is_whole_number(name) else (True, 0, name)


@dataclass(frozen=True)
class MeasuredColumns:
    """Which columns of a table are measurements, and what is known about them.

    Attributes:
        values: columns of values.
        errors: column of values → column of their errors (standard deviations).
        units: column of values → unit, instead of the table's own.
        redshifts: columns of values that are redshifts: their residuals are divided by 1 + truth.
        missing: numbers that mean "none" in these columns, such as −99.
    """

    values: tuple[str, ...]
    errors: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    redshifts: tuple[str, ...] = ()
    missing: tuple[float, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, values first."""
        return (*self.values, *self.errors.values())


def measurements_from_columns(
    name: str,
    measured: MeasuredColumns,
    *,
    units: Mapping[str, str] | None = None,
    ucds: Mapping[str, str] | None = None,
) -> Measurements:
    """The scheme of some columns of measurements.

    Args:
        name: of the scheme, such as the table's file name; used in messages.
        measured: the columns.
        units: of the table's columns.
        ucds: of the table's columns. A redshift gets ``src.redshift.phot``, whatever the table's is: what a
            network predicts from an image is no spectroscopic redshift.

    Raises:
        UsageError: names that clash, or facts about a column that is no value column.
    """
    values = measured.values
    for what, named in (
        ("--error-column", measured.errors),
        ("--unit", measured.units),
        ("--redshift", measured.redshifts),
    ):
        for column in named:
            if column not in values:
                raise UsageError(
                    f"{name}: {what} is given for '{column}', which is no value column"
                    f"{did_you_mean(column, values, 'value columns')}"
                )
    fault = names_fault(values, [measured.errors.get(each) for each in values])
    if fault:
        raise UsageError(f"{name}: {fault}")
    quantities = []
    for each in values:
        redshift = each in measured.redshifts
        words = [word for word in (ucds or {}).get(each, "").split(";") if word != "meta.main"]
        quantities.append(
            Quantity(
                name=each,
                error=measured.errors.get(each),
                unit=measured.units.get(each, (units or {}).get(each, "")),
                ucd="src.redshift.phot" if redshift else ";".join(words),
                redshift=redshift,
            )
        )
    return Measurements(name=name, quantities=tuple(quantities))
