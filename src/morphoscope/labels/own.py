"""The user's own labels: a scheme without code, from names or from the columns of a table.

One column of names (or whole numbers) makes classes; one column of fractions, or several columns, make
vote fractions. The 37 columns of the Galaxy Challenge are recognised and follow their decision tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.labels.decision_tree import GALAXY_ZOO_2, GALAXY_ZOO_2_VOTES, tree_of
from morphoscope.labels.scheme import UNLABELLED, Classes, VoteFractions
from morphoscope.labels.tree import TOLERANCE
from morphoscope.progress import note

# More classes than this are taken for a mistake: a column of names or numbers that mean something else.
MOST_CLASSES = 1000


def classes_from_names(name: str, names: Iterable[str]) -> Classes:
    """A scheme of the distinct names, in alphabetical order, whole numbers in theirs.

    Args:
        name: of the scheme.
        names: class names in any order, repeated as they come; empty ones are passed over.

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
            "names or measurements of single galaxies, not like classes"
        )
    _say_alike(name, distinct)
    return Classes(name=name, classes=tuple(sorted(distinct, key=_natural)))


def _say_alike(name: str, classes: Iterable[str]) -> None:
    """Say which classes differ only in case, blanks, underscores or hyphens: they may be meant as one."""
    alike: dict[str, list[str]] = {}
    for text in sorted(classes):
        alike.setdefault(re.sub(r"[\s_-]+", "", text).casefold(), []).append(text)
    groups = [" and ".join(f"'{text}'" for text in group) for group in alike.values() if len(group) > 1]
    if groups:
        note(f"{name}: {'; '.join(groups)} are read as different classes; write them alike if they are one")


def scheme_from_columns(
    name: str,
    table: pa.Table,
    columns: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    votes: bool = False,
) -> Classes | VoteFractions:
    """The scheme that label columns mean.

    Args:
        name: of the scheme; it stands in messages, so the table's file name serves.
        table: holds the columns.
        columns: one column of class names, whole numbers or yes/no: classes (empty: unlabelled). One
            column of other numbers, or several columns: vote fractions between 0 and 1.
        classes: class names in the wanted order. Whole numbers in the column then count into it from 0,
            unless the names are themselves numbers.
        votes: one column, too, holds vote fractions, whatever its numbers are.

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
            return classes_from_names(f"{name}: column '{columns[0]}'", _texts(table[columns[0]])).model_copy(
                update={"name": name}
            )
        return _named_classes(name, classes)
    if classes is not None:
        raise UsageError(f"{name}: class names go with one label column, {len(columns)} were given")
    for column in columns:
        _fractions(table[column], name, column)
    if set(columns) == set(GALAXY_ZOO_2.columns):
        return GALAXY_ZOO_2_VOTES
    if len(set(columns)) < len(columns):
        raise UsageError(f"{name}: the same label column was given twice")
    return VoteFractions(name=name, answers=tuple(columns))


def label_columns(
    scheme: Classes | VoteFractions,
    table: pa.Table,
    columns: Sequence[str],
    ids: Sequence[object],
    where: str,
) -> dict[str, np.ndarray]:
    """The label columns of a store, checked: ``scheme.columns`` → (N,) int64 indices or float32 fractions.

    Args:
        scheme: from :func:`scheme_from_columns`, or a known one.
        table: holds the columns.
        columns: as given to :func:`scheme_from_columns`.
        ids: one a row, for messages.
        where: the table's file, for messages.

    Raises:
        MorphoscopeError: a label outside the scheme, a fraction outside [0, 1], votes that break their
            tree's sums; the first galaxy is named.
    """
    if isinstance(scheme, Classes):
        return {
            scheme.column: _class_indices(scheme, table[columns[0]], ids, f"{where}: column '{columns[0]}'")
        }
    fractions = {name: _fractions(table[name], where, name) for name in scheme.answers}
    stacked_NK = np.stack(list(fractions.values()), axis=1)
    tree = tree_of(scheme)
    if tree is not None:
        try:
            tree.check(stacked_NK, ids)
        except MorphoscopeError as error:
            raise MorphoscopeError(f"{where}: {error}") from error
    outside = np.argwhere((stacked_NK < -TOLERANCE) | (stacked_NK > 1 + TOLERANCE))
    if tree is None and len(outside):
        row, place = outside[0]
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: '{scheme.answers[place]}' is {stacked_NK[row, place]:g}; "
            "a vote fraction lies between 0 and 1"
        )
    return {name: values.astype(np.float32) for name, values in fractions.items()}


def _class_indices(scheme: Classes, column: pa.ChunkedArray, ids: Sequence[object], what: str) -> np.ndarray:
    known = {name: index for index, name in enumerate(scheme.classes)}
    if not any(_is_whole(name) for name in scheme.classes):  # numbers then count into the class list
        known |= {str(index): index for index in range(scheme.outputs)} | {"-1": UNLABELLED}
    indices = np.full(len(column), UNLABELLED, dtype=np.int64)
    for row, text in enumerate(_texts(column)):
        if text in known:
            indices[row] = known[text]
        elif text:
            hint = did_you_mean(text, scheme.classes, "classes")
            raise MorphoscopeError(f"{what}: galaxy {ids[row]} has label '{text}', which is no class{hint}")
    return indices


def _named_classes(name: str, classes: Sequence[str]) -> Classes:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UsageError(
            f"{name}: at least two different class names were expected, got {', '.join(classes)}"
        )
    return Classes(name=name, classes=tuple(classes))


def _holds_classes(column: pa.ChunkedArray) -> bool:
    """Text, yes/no and whole numbers are classes; a column of 0.0 and 1.0 is too (NaN made it floating)."""
    if not pa.types.is_floating(column.type):
        return True
    values = column.to_numpy(zero_copy_only=False)
    values = values[np.isfinite(values)]
    return bool(np.all(values == np.floor(values)))


def _texts(column: pa.ChunkedArray) -> list[str]:
    """A column as text, "" where it is empty; 3.0 reads as 3."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return ["" if np.isnan(value) else f"{value:.15g}" for value in values.tolist()]
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if isinstance(value, bytes):  # FITS and HDF5 tables keep text as bytes
        return value.decode("utf-8", errors="replace").strip()
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _fractions(column: pa.ChunkedArray, where: str, name: str) -> np.ndarray:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UsageError(f"{where}: column '{name}' holds {kind}; a vote fraction (a number) was expected")
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _natural(name: str) -> tuple[bool, int, str]:
    """Whole numbers first, by size; then text."""
    return (False, int(name), name) if _is_whole(name) else (True, 0, name)
