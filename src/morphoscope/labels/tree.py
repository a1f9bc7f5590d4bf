"""Decision trees of questions for volunteers, and the tree of Galaxy Zoo 2; everything else is derived from
questions and routing.

Shape letters: N galaxies, K answers of all questions together, Q questions.

A column is *cumulative*: the fraction of the volunteers asked who chose the answer, times the fraction of
all volunteers who reached its question. The answers of a question therefore sum to the fractions of the
answers that lead to it, and that sum follows from the routing: every answer to Q3 leads to Q4, so Q4 sums
to what Q3 sums to, which is answer 2.2.

One thing does not follow from the routing of Galaxy Zoo 2: the challenge's organisers normalised Q6
("anything odd?") to 1 for every galaxy, even for stars and artefacts, for which it is never asked.

Sources: Willett et al. 2013, MNRAS 435, 2835, figure 1 and table 2 (questions, answers, routing); the
Galaxy Challenge on Kaggle (order of the columns, sums, the exception of Q6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from morphoscope.errors import MorphoscopeError, did_you_mean

# Tolerance on published fractions; the sums of the challenge are right to 1e-6.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Answer:
    """One answer: its text and the question it leads to (None: the end)."""

    text: str
    next: str | None = None


@dataclass(frozen=True)
class Question:
    """One question, its short key ("Q7") and its answers in the order of the columns."""

    key: str
    text: str
    answers: tuple[Answer, ...]
    asked_of_all: bool = False  # the answers sum to 1 whatever the routing says


@dataclass(frozen=True)
class DecisionTree:
    """Questions and where their answers lead; the first one is asked of everyone.

    Args:
        name: the value of ``VoteFractions.tree``.
        questions: in the order of the columns.
        column_prefix: columns are called prefix + question number + "." + answer number.
        names: of the columns, if they are not.
    """

    name: str
    questions: tuple[Question, ...]
    column_prefix: str = "Class"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        path: list[str] = []
        followed: set[str] = set()

        def follow(key: str) -> None:
            if key in path:
                raise ValueError(f"tree '{self.name}' has a cycle: {' → '.join([*path, key])}")
            if key in followed:
                return
            path.append(key)
            for answer in self.question(key).answers:
                if answer.next is not None:
                    follow(answer.next)
            followed.add(path.pop())

        for question in self.questions:
            follow(question.key)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names, K of them: "Class1.1" to "Class11.6" in Galaxy Zoo 2."""
        return self.names or tuple(
            f"{self.column_prefix}{number}.{answer}"
            for number, question in enumerate(self.questions, start=1)
            for answer in range(1, len(question.answers) + 1)
        )

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Which columns belong to each question, Q slices."""
        ends = np.cumsum([len(question.answers) for question in self.questions]).tolist()
        return tuple(slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def question_of(self) -> np.ndarray:
        """The number of the question that each column answers, (K,) int64, from 0."""
        lengths = [len(question.answers) for question in self.questions]
        return np.repeat(np.arange(len(lengths)), lengths)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """All answers in the order of the columns."""
        return tuple(answer for question in self.questions for answer in question.answers)

    def question(self, key: str) -> Question:
        """A question by its key, e.g. "Q7"."""
        return self.questions[self._number(key)]

    def parents(self, question: str) -> tuple[str, ...]:
        """The answers (column names) that lead to a question, by its key; none for the first."""
        self._number(question)
        return tuple(
            column
            for column, answer in zip(self.columns, self.answers, strict=True)
            if answer.next == question
        )

    def weights(self, question: str) -> tuple[str, ...]:
        """The smallest set of answers whose fractions add up to the fraction asked; empty: everyone was.

        These are the parents, with all answers of one question replaced by that question's own parents: Q5
        of Galaxy Zoo 2 has seven parents and one weight, answer 2.2.
        """
        return tuple(self.columns[column] for column in sorted(self._weights[self._number(question)]))

    @cached_property
    def _weights(self) -> tuple[frozenset[int], ...]:
        found: dict[int, frozenset[int]] = {}

        def resolve(number: int) -> frozenset[int]:
            if number not in found:
                question = self.questions[number]
                parents = (
                    set() if question.asked_of_all else set(map(self._column, self.parents(question.key)))
                )
                found[number] = frozenset(self._without_whole_questions(parents, resolve))
            return found[number]

        return tuple(resolve(number) for number in range(len(self.questions)))

    def _without_whole_questions(
        self, columns: set[int], weights_of: Callable[[int], frozenset[int]]
    ) -> set[int]:
        """Replace complete sets of a question's answers by the answers that lead to that question."""
        while True:
            whole = [
                number
                for number, piece in enumerate(self.slices)
                if columns.issuperset(range(piece.start, piece.stop)) and weights_of(number)
            ]
            if not whole:
                return columns
            piece = self.slices[whole[0]]
            columns = columns - set(range(piece.start, piece.stop)) | weights_of(whole[0])

    def expected_sums(self, fractions_NK: np.ndarray) -> np.ndarray:
        """The expected sum of each question's answers, (N, Q) float64."""
        fractions = self._as_fractions(fractions_NK)
        sums = np.ones((len(fractions), len(self.questions)))
        for number, columns in enumerate(self._weights):
            if columns:
                sums[:, number] = fractions[:, sorted(columns)].sum(axis=1)
        return sums

    def sum_errors(self, fractions_NK: np.ndarray) -> np.ndarray:
        """Sum of each question's answers minus the expected sum, (N, Q) float64; NaN for missing votes."""
        fractions = self._as_fractions(fractions_NK)
        found = np.stack([fractions[:, piece].sum(axis=1) for piece in self.slices], axis=1)
        return found - self.expected_sums(fractions)

    def conditional(self, fractions_NK: np.ndarray) -> np.ndarray:
        """Fractions among those who were asked, (N, K) float64; NaN where nobody was."""
        fractions = self._as_fractions(fractions_NK)
        asked = self.expected_sums(fractions)[:, self.question_of]
        return np.divide(fractions, asked, out=np.full_like(fractions, np.nan), where=asked > 0)

    def cumulative(self, conditional_NK: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`conditional`, (N, K) float64; 0 where nobody was asked."""
        conditional = self._as_fractions(conditional_NK)
        fractions = np.full_like(conditional, np.nan)
        for number in self.order:
            columns = sorted(self._weights[number])
            asked = fractions[:, columns].sum(axis=1, keepdims=True) if columns else 1.0
            piece = self.slices[number]
            fractions[:, piece] = np.where(np.equal(asked, 0), 0.0, conditional[:, piece] * asked)
        return fractions

    @cached_property
    def weight_columns(self) -> tuple[tuple[int, ...], ...]:
        """For each question the columns of :meth:`weights`; empty: everyone was asked."""
        return tuple(tuple(sorted(columns)) for columns in self._weights)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Question numbers in topological order: each after all questions its weight depends on."""
        order: list[int] = []
        while len(order) < len(self.questions):
            known = {column for number in order for column in range(len(self.columns))[self.slices[number]]}
            order += [n for n, columns in enumerate(self._weights) if n not in order and columns <= known]
        return tuple(order)

    @cached_property
    def asking_order(self) -> tuple[int, ...]:
        """Question numbers in the order in which volunteers are asked: each after all that lead to it."""
        order: list[int] = []
        while len(order) < len(self.questions):
            later = {
                answer.next
                for number, question in enumerate(self.questions)
                for answer in question.answers
                if number not in order
            }
            order += [n for n, q in enumerate(self.questions) if n not in order and q.key not in later]
        return tuple(order)

    def leaf_paths(self, fractions_NK: np.ndarray) -> list[tuple[str, ...]]:
        """The plurality answers (column names) along each galaxy's path through the tree, for N galaxies.

        Ties go to the first answer; a galaxy with missing votes (NaN) on its path has none: ().
        """
        fractions = self._as_fractions(fractions_NK)
        voted_NQ = np.stack([np.isfinite(fractions[:, piece]).all(axis=1) for piece in self.slices], axis=1)
        comparable = np.nan_to_num(fractions, nan=-1.0)
        winner_NQ = np.stack(
            [piece.start + comparable[:, piece].argmax(axis=1) for piece in self.slices], axis=1
        )
        paths: list[list[str]] = [[] for _ in fractions]
        walking, question = np.arange(len(fractions)), np.zeros(len(fractions), int)
        while len(walking):
            lost = ~voted_NQ[walking, question]
            for galaxy in walking[lost]:
                paths[galaxy] = []
            walking, question = walking[~lost], question[~lost]
            answers = winner_NQ[walking, question]
            for galaxy, answer in zip(walking.tolist(), answers.tolist(), strict=True):
                paths[galaxy].append(self.columns[answer])
            question = self._leads_to[answers]
            walking, question = walking[question >= 0], question[question >= 0]
        return [tuple(path) for path in paths]

    @cached_property
    def _leads_to(self) -> np.ndarray:
        """The number of the question that follows each answer, (K,) int64; −1 at the end."""
        return np.array(
            [-1 if answer.next is None else self._number(answer.next) for answer in self.answers], np.int64
        )

    def check(self, fractions_NK: np.ndarray, ids: Sequence[object], tolerance: float = TOLERANCE) -> None:
        """Refuse votes that violate the tree; galaxies without any votes (all NaN) are ignored.

        Raises:
            MorphoscopeError: a fraction outside [0, 1] or a question whose answers have the wrong sum;
                the first galaxy and question are named.
        """
        fractions = self._as_fractions(fractions_NK)
        if len(ids) != len(fractions):
            raise ValueError(f"{len(fractions)} galaxies, {len(ids)} ids")
        voted = ~np.isnan(fractions).all(axis=1)
        # negated: NaN among other votes is refused as well
        inside = (fractions >= -tolerance) & (fractions <= 1 + tolerance)
        right = np.abs(self.sum_errors(fractions)) <= tolerance
        outside, wrong = np.logical_not(inside), np.logical_not(right)
        broken = np.flatnonzero(voted & (outside.any(axis=1) | wrong.any(axis=1)))
        if not len(broken):
            return
        row = broken[0]
        others = f"; {len(broken) - 1} more galaxies break it too" if len(broken) > 1 else ""
        if outside[row].any():
            column = int(np.argmax(outside[row]))
            raise MorphoscopeError(
                f"galaxy {ids[row]}: {self.columns[column]} is {fractions[row, column]:g}; "
                f"a vote fraction lies between 0 and 1{others}"
            )
        number = int(np.argmax(wrong[row]))
        found = fractions[row, self.slices[number]].sum()
        question = self.questions[number]
        raise MorphoscopeError(
            f"galaxy {ids[row]}: the answers of {question.key} ({question.text}) sum to {found:.6g}, "
            f"expected {self.expected_sums(fractions[row : row + 1])[0, number]:.6g} "
            f"({self._sum_rule(question.key)}){others}"
        )

    def _sum_rule(self, key: str) -> str:
        columns = self.weights(key)
        return f"the fraction of {' + '.join(columns)}" if columns else "all who were asked"

    def _as_fractions(self, fractions_NK: np.ndarray) -> np.ndarray:
        fractions = np.asarray(fractions_NK, dtype=np.float64)
        if fractions.ndim != 2 or fractions.shape[1] != len(self.columns):
            raise ValueError(f"expected (N, {len(self.columns)}) fractions, got {fractions.shape}")
        return fractions

    def _column(self, name: str) -> int:
        if name not in self.columns:
            raise MorphoscopeError(
                f"tree '{self.name}' has no answer '{name}'{did_you_mean(name, self.columns)}"
            )
        return self.columns.index(name)

    def _number(self, key: str) -> int:
        keys = [question.key for question in self.questions]
        if key not in keys:
            raise MorphoscopeError(f"tree '{self.name}' has no question '{key}'{did_you_mean(key, keys)}")
        return keys.index(key)


GALAXY_ZOO_2 = DecisionTree(
    name="galaxy-zoo-2",
    questions=(
        Question(
            "Q1",
            "Is the galaxy simply smooth and rounded, with no sign of a disc?",
            (Answer("smooth", "Q7"), Answer("features or disc", "Q2"), Answer("star or artefact")),
        ),
        Question(
            "Q2",
            "Could this be a disc viewed edge-on?",
            (Answer("yes", "Q9"), Answer("no", "Q3")),
        ),
        Question(
            "Q3",
            "Is there a sign of a bar feature through the centre of the galaxy?",
            (Answer("yes", "Q4"), Answer("no", "Q4")),
        ),
        Question(
            "Q4",
            "Is there any sign of a spiral arm pattern?",
            (Answer("yes", "Q10"), Answer("no", "Q5")),
        ),
        Question(
            "Q5",
            "How prominent is the central bulge, compared with the rest of the galaxy?",
            (
                Answer("no bulge", "Q6"),
                Answer("just noticeable", "Q6"),
                Answer("obvious", "Q6"),
                Answer("dominant", "Q6"),
            ),
        ),
        Question(
            "Q6",
            "Is there anything odd?",
            (Answer("yes", "Q8"), Answer("no")),
            asked_of_all=True,
        ),
        Question(
            "Q7",
            "How rounded is it?",
            (Answer("completely round", "Q6"), Answer("in between", "Q6"), Answer("cigar-shaped", "Q6")),
        ),
        Question(
            "Q8",
            "Is the odd feature a ring, or is the galaxy disturbed or irregular?",
            (
                Answer("ring"),
                Answer("lens or arc"),
                Answer("disturbed"),
                Answer("irregular"),
                Answer("other"),
                Answer("merger"),
                Answer("dust lane"),
            ),
        ),
        Question(
            "Q9",
            "Does the galaxy have a bulge at its centre? If so, what shape?",
            (Answer("rounded", "Q6"), Answer("boxy", "Q6"), Answer("no bulge", "Q6")),
        ),
        Question(
            "Q10",
            "How tightly wound do the spiral arms appear?",
            (Answer("tight", "Q11"), Answer("medium", "Q11"), Answer("loose", "Q11")),
        ),
        Question(
            "Q11",
            "How many spiral arms are there?",
            (
                Answer("1", "Q5"),
                Answer("2", "Q5"),
                Answer("3", "Q5"),
                Answer("4", "Q5"),
                Answer("more than four", "Q5"),
                Answer("cannot tell", "Q5"),
            ),
        ),
    ),
)

SPIRAL_COLUMN = "Class4.1"  # "is there any sign of a spiral arm pattern?": yes

TREES = {tree.name: tree for tree in (GALAXY_ZOO_2,)}


def tree_named(name: str, where: str) -> DecisionTree:
    """A decision tree by its name.

    Args:
        name: of the tree.
        where: it is used, for messages.

    Raises:
        MorphoscopeError: the tree is unknown.
    """
    if name not in TREES:
        raise MorphoscopeError(f"{where}: unknown decision tree '{name}'{did_you_mean(name, TREES)}")
    return TREES[name]
