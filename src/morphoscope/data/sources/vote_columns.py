"""Find the columns of a decision tree in a survey's table, and make whole votes of them.

Public tables spell a question's answers in their own ways (hyphens, numbers of tasks, a campaign at the end),
and hold counts, fractions with a question's total, or both. Columns are found by the spellings in a tree's
file; what is not found is said.

Shape letters: N galaxies, K answers of all questions together, A answers of one question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, listed
from morphoscope.labels.tree import DecisionTree
from morphoscope.labels.tree_files import FileQuestion, TreeFile, VoteTree, plain
from morphoscope.labels.vote_counts import checked_counts

VALUES = ("counts", "weighted", "debiased")
"""Which votes to read: as cast, weighted by how consistent a volunteer is, or corrected for distance."""

_ENDINGS = {
    "counts": ("", "_count", "_votes"),
    "fractions": ("_fraction", "_frac", "_count_fraction"),
    "weighted": ("_weighted_fraction", "_weight_fraction", "_weighted_frac"),
    "debiased": ("_debiased", "_debiased_fraction"),
}
_TOTALS = ("_total_votes", "_total_count", "_total", "_count", "_votes")
_WHOLE = 0.05  # votes by which a fraction times the total may miss a whole number: fractions have few digits
_DIGITS = 2e-3  # and this share of the total


@dataclass(frozen=True)
class QuestionColumns:
    """The columns of one question.

    Attributes:
        question: in the tree's file.
        counts: one column an answer; empty: counts are made of fractions.
        fractions: one column an answer; empty: counts are in the table.
        total: with the number of votes for the question; None: the table has none.
    """

    question: FileQuestion
    counts: tuple[str, ...]
    fractions: tuple[str, ...]
    total: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.counts, *self.fractions, *((self.total,) if self.total else ()))


@dataclass(frozen=True)
class VoteColumns:
    """The columns of a tree in a table.

    Attributes:
        tree: without the questions that the table does not have.
        questions: of that tree, in its order.
        left_out: questions that the table does not have.
        unused: columns of the table that seem to be about votes and are not read.
    """

    tree: VoteTree
    questions: tuple[QuestionColumns, ...]
    left_out: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(dict.fromkeys(name for each in self.questions for name in each.names))


def find_columns(
    file: TreeFile,
    there: Sequence[str],
    where: str,
    values: str = "counts",
    without: Sequence[str] = (),
) -> VoteColumns:
    """Find the columns of a tree.

    Args:
        file: the tree, with its spellings.
        there: the table's columns.
        where: the table's file, for messages.
        values: one of :data:`VALUES`.
        without: questions to leave out.

    Raises:
        UsageError: no such question to leave out, no question is there, some answers of a question are
            missing, or fractions have no total.
    """
    keys = [question.key for question in file.questions]
    for key in without:
        if key not in keys:
            raise UsageError(f"--without {key}: no question of '{file.name}'{did_you_mean(key, keys)}")
    named: dict[str, str] = {}
    for name in there:
        named.setdefault(plain(name), name)
    found: dict[str, QuestionColumns] = {}
    for question in file.questions:
        if question.key in without:
            continue
        columns = _of_question(file, question, named, where, values)
        if columns is not None:
            found[question.key] = columns
    left_out = tuple(key for key in keys if key not in found)
    if not found:
        first = f"{file.questions[0].key}_{file.questions[0].answers[0].key}"
        raise UsageError(
            f"{where}: no column belongs to the tree '{file.name}' ('{first}' would, for instance); "
            f"the table has {listed(there)}"
        )
    tree = file.tree().without(left_out)
    read = {name for columns in found.values() for name in columns.names}
    return VoteColumns(tree, tuple(found.values()), left_out, _unused(file, there, read))


def _of_question(
    file: TreeFile, question: FileQuestion, named: Mapping[str, str], where: str, values: str
) -> QuestionColumns | None:
    stems = [file.answer_stems(question, answer) for answer in question.answers]

    def columns(kind: str) -> list[str | None]:
        endings = _ENDINGS[kind]
        return [
            next((named[s + e] for s in of_answer for e in endings if s + e in named), None)
            for of_answer in stems
        ]

    answers = {stem for of_answer in stems for stem in of_answer}
    totals = (stem + ending for stem in file.question_stems(question) for ending in _TOTALS)
    total = next((named[name] for name in totals if name in named and name not in answers), None)
    counts = columns("counts")
    wanted = columns({"counts": "fractions"}.get(values, values))
    if values == "counts" and all(counts):
        return QuestionColumns(question, _known(counts), (), total)
    if all(wanted):
        if total is None and not all(counts):
            raise UsageError(
                f"{where}: '{question.key}' has fractions and neither counts nor a column of its total "
                "votes, so that the number of votes is not known"
            )
        return QuestionColumns(question, () if total else _known(counts), _known(wanted), total)
    if not any(counts) and not any(wanted):
        return None
    part = counts if values == "counts" and any(counts) else wanted
    if not any(part):
        raise UsageError(f"{where}: '{question.key}' has no {values} votes; --values chooses others")
    missing = next(k for k, name in enumerate(part) if name is None)
    known = next(name for name in part if name is not None)
    raise UsageError(
        f"{where}: there is '{known}' and no column for the answer '{question.answers[missing].key}' to "
        f"'{question.key}' of the tree '{file.name}'"
    )


def _known(names: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _unused(file: TreeFile, there: Sequence[str], read: set[str]) -> tuple[str, ...]:
    stems = [stem for question in file.questions for stem in file.question_stems(question)]
    return tuple(
        name for name in there if name not in read and any(plain(name).startswith(f"{s}_") for s in stems)
    )


def votes_of(
    columns: VoteColumns,
    numbers: Callable[[str], np.ndarray],
    ids: Sequence[object],
    where: str,
) -> np.ndarray:
    """The votes of a table as whole numbers, (N, K) int32.

    Counts are taken as they are and compared with the column of their total; fractions are multiplied by it.
    Weighted and debiased ones are rounded so that the votes of a question keep their total.

    Args:
        columns: from :func:`find_columns`.
        numbers: a column of the table as float64, NaN where it is empty.
        ids: of the galaxies, for messages.
        where: the table's file, for messages.

    Raises:
        MorphoscopeError: no counts (see :func:`morphoscope.labels.vote_counts.checked_counts`), a total that
            disagrees, or fractions that are none; the first galaxy is named.
    """
    parts, names = [], []
    for each in columns.questions:
        if each.fractions:
            parts.append(_from_fractions(each, numbers, ids, where))
            names += each.fractions
        else:
            parts.append(np.stack([numbers(name) for name in each.counts], axis=1))
            names += each.counts
    counts_NK = checked_counts(np.concatenate(parts, axis=1), names, columns.tree, ids, where)
    start = 0
    for each in columns.questions:
        votes_NA = counts_NK[:, start : start + len(each.question.answers)]
        start += len(each.question.answers)
        if each.total is not None and each.counts and not each.question.several:
            _check_total(each, votes_NA, numbers(each.total), ids, where)
    return counts_NK


def _from_fractions(
    columns: QuestionColumns, numbers: Callable[[str], np.ndarray], ids: Sequence[object], where: str
) -> np.ndarray:
    fractions_NA = np.stack([numbers(name) for name in columns.fractions], axis=1)
    if columns.total is not None:
        total_N = numbers(columns.total)
        _refuse_part_of_a_vote(total_N, columns.total, ids, where)
    else:
        total_N = np.stack([numbers(name) for name in columns.counts], axis=1).sum(axis=1)
    asked = np.nan_to_num(total_N) > 0
    fractions_NA = np.where(asked[:, None], fractions_NA, 0.0)
    wrong = np.argwhere(~((fractions_NA >= -1e-6) & (fractions_NA <= 1 + 1e-6)))
    if len(wrong):
        row, answer = wrong[0]
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: '{columns.fractions[answer]}' is {fractions_NA[row, answer]:g} "
            f"with {total_N[row]:g} votes; a fraction from 0 to 1 was expected"
        )
    total_N = np.where(asked, total_N, 0.0)
    votes_NA = fractions_NA * total_N[:, None]
    if plain(columns.fractions[0]).endswith(_ENDINGS["weighted"] + _ENDINGS["debiased"]):
        return _rounded(votes_NA, total_N)
    part = np.argwhere(np.abs(votes_NA - np.rint(votes_NA)) > _WHOLE + _DIGITS * total_N[:, None])
    if len(part):
        row, answer = part[0]
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: '{columns.fractions[answer]}' of {total_N[row]:g} votes is "
            f"{votes_NA[row, answer]:.2f} votes; a whole number was expected"
        )
    return np.rint(votes_NA)


def votes_of_fractions(
    tree: DecisionTree, fractions_NK: np.ndarray, volunteers: int | np.ndarray
) -> np.ndarray:
    """Whole votes as if some volunteers had answered with these fractions, (N, K) float64.

    Each question is asked of those whose answers lead to it, and its votes are rounded so that they add up to
    them: the answers with the largest remainders are rounded up.

    Args:
        tree: of the fractions.
        fractions_NK: cumulative fractions, without missing values.
        volunteers: who look at a galaxy; one number or one a galaxy.
    """
    fractions_NK = np.asarray(fractions_NK, np.float64)
    numbers = {question.key: number for number, question in enumerate(tree.questions)}
    votes_NK, asked_NQ = np.zeros_like(fractions_NK), np.zeros((len(fractions_NK), len(numbers)))
    asked_NQ[:, 0] = volunteers
    for number in tree.asking_order:
        piece = tree.slices[number]
        sums_N = fractions_NK[:, piece].sum(axis=1, keepdims=True)
        shares_NA = np.divide(
            fractions_NK[:, piece], sums_N, out=np.zeros_like(votes_NK[:, piece]), where=sums_N > 0
        )
        votes_NK[:, piece] = _rounded(shares_NA * asked_NQ[:, [number]], asked_NQ[:, number])
        for answer, votes_N in zip(tree.questions[number].answers, votes_NK[:, piece].T, strict=True):
            if answer.next is not None:
                asked_NQ[:, numbers[answer.next]] += votes_N
    return votes_NK


def _refuse_part_of_a_vote(total_N: np.ndarray, name: str, ids: Sequence[object], where: str) -> None:
    wrong = np.flatnonzero(np.isfinite(total_N) & ((total_N < 0) | (total_N != np.floor(total_N))))
    if len(wrong):
        row = wrong[0]
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: '{name}' is {total_N[row]:g}; a whole number of votes was expected"
        )


def _rounded(votes_NA: np.ndarray, total_N: np.ndarray) -> np.ndarray:
    """Whole votes that add up to the total: the answers with the largest remainders are rounded up."""
    sums_N = votes_NA.sum(axis=1)
    scale_N = np.divide(total_N, sums_N, out=np.zeros_like(total_N), where=sums_N > 0)
    votes_NA = votes_NA * scale_N[:, None]
    whole_NA = np.floor(votes_NA + 1e-9)
    short_N = np.rint(votes_NA.sum(axis=1) - whole_NA.sum(axis=1)).astype(int)
    rank_NA = np.argsort(np.argsort(-(votes_NA - whole_NA), axis=1, kind="stable"), axis=1)
    return whole_NA + (rank_NA < short_N[:, None])


def _check_total(
    columns: QuestionColumns, votes_NA: np.ndarray, total_N: np.ndarray, ids: Sequence[object], where: str
) -> None:
    found_N = votes_NA.sum(axis=1)
    wrong = np.flatnonzero(np.isfinite(total_N) & (found_N != total_N))
    if len(wrong):
        row, more = wrong[0], len(wrong) - 1
        others = f"; {more} more galaxies disagree" if more else ""
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: the answers to '{columns.question.key}' have {found_N[row]:g} "
            f"votes together and '{columns.total}' says {total_N[row]:g}{others}"
        )
