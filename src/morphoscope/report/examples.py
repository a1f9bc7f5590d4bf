"""Choice of the galaxies a report shows: at random or by a stated rule, never by hand.

Shape letters: N galaxies, K classes or answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.data.store import Store
    from morphoscope.labels.scheme import VoteFractions

# The topic of each question, to precede answers such as "yes".
_TOPICS = {
    ("galaxy-zoo-2", key): topic
    for key, topic in {
        "Q2": "edge-on",
        "Q3": "bar",
        "Q4": "spiral",
        "Q5": "bulge",
        "Q6": "odd",
        "Q7": "shape",
        "Q8": "odd kind",
        "Q9": "edge-on bulge",
        "Q10": "winding",
        "Q11": "arms",
    }.items()
}


@dataclass(frozen=True)
class Examples:
    """Galaxies that show what labels mean."""

    rows: Mapping[str, Sequence[int]]
    """Title → rows of the store."""
    notes: Mapping[str, str]
    """Title → text below it."""
    caption: str


@dataclass(frozen=True)
class Mistake:
    """A misclassified test galaxy."""

    row: int
    id: str
    truth: str
    predicted: str
    probability: float
    truth_probability: float
    """Predicted probability of the true class."""


@dataclass(frozen=True)
class VoteError:
    """A test galaxy with a large error in its predicted fractions."""

    row: int
    id: str
    rmse: float
    """Over the galaxy's own answers."""
    answer: str
    """The answer with the largest error."""
    truth: float
    predicted: float


def examples_per_class(
    labels_N: np.ndarray, rows: np.ndarray, classes: Sequence[str], number: int, seed: int = 0
) -> dict[str, list[int]]:
    """Up to ``number`` rows of each class, drawn at random; classes without any galaxy are left out.

    Args:
        labels_N: class indices of the rows, in their order.
        rows: (N,) rows of the store.
        classes: names in the order of the indices.
        number: maximum rows per class.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    chosen = {}
    for index, name in enumerate(classes):
        of_class = rows[labels_N == index]
        if len(of_class):
            drawn = rng.choice(of_class, min(number, len(of_class)), replace=False)
            chosen[name] = [int(row) for row in drawn]
    return chosen


def examples_per_answer(
    targets_NK: np.ndarray, rows: np.ndarray, answers: Sequence[str], number: int
) -> dict[str, list[int]]:
    """The ``number`` rows with the highest fraction of each answer, highest first; NaN rows never."""
    chosen = {}
    for index, name in enumerate(answers):
        values = targets_NK[:, index]
        order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")[:number]
        chosen[name] = [int(rows[index]) for index in order if np.isfinite(values[index])]
    return {name: found for name, found in chosen.items() if found}


def confident_mistakes(predictions: pa.Table, classes: Sequence[str], number: int) -> list[Mistake]:
    """The misclassified galaxies with the highest predicted probability, highest first.

    Args:
        predictions: a run's predictions table (``id``, ``row``, ``label``, ``predicted``,
            ``probability`` and a column per class).
        classes: names in the order of the indices.
        number: the maximum to return.
    """
    from morphoscope.labels.scheme import probability_column

    label, called = (_numbers(predictions, name).astype(int) for name in ("label", "predicted"))
    probability = _numbers(predictions, "probability")
    wrong = np.flatnonzero((label != called) & (label >= 0) & np.isfinite(probability))
    wrong = wrong[np.argsort(-probability[wrong], kind="stable")][:number]
    ids, rows = predictions.column("id"), predictions.column("row")
    mistakes = []
    for index in wrong.tolist():
        truth = classes[int(label[index])]
        mistakes.append(
            Mistake(
                row=int(rows[index].as_py()),
                id=str(ids[index].as_py()),
                truth=truth,
                predicted=classes[int(called[index])],
                probability=float(probability[index]),
                truth_probability=float(predictions.column(probability_column(truth))[index].as_py()),
            )
        )
    return mistakes


def worst_votes(predictions: pa.Table, answers: Sequence[str], number: int) -> list[VoteError]:
    """The galaxies with the greatest RMSE over their answers, worst first.

    Args:
        predictions: a run's predictions table (``id``, ``row``, and ``t_<answer>`` and ``<answer>``).
        answers: K answer columns.
        number: the maximum to return.
    """
    truth_NK, predicted_NK = vote_arrays(predictions, answers)
    error_NK = predicted_NK - truth_NK
    rmse_N = np.sqrt(np.square(error_NK).mean(axis=1))
    order = np.argsort(-np.where(np.isfinite(rmse_N), rmse_N, -np.inf), kind="stable")[:number]
    worst = []
    for index in order[np.isfinite(rmse_N[order])].tolist():
        most = int(np.argmax(np.abs(error_NK[index])))
        worst.append(
            VoteError(
                row=int(predictions.column("row")[index].as_py()),
                id=str(predictions.column("id")[index].as_py()),
                rmse=float(rmse_N[index]),
                answer=answers[most],
                truth=float(truth_NK[index, most]),
                predicted=float(predicted_NK[index, most]),
            )
        )
    return worst


def vote_arrays(predictions: pa.Table, answers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted fractions of a predictions table, (N, K) float64 each."""
    truth = [_numbers(predictions, f"t_{name}") for name in answers]
    return np.stack(truth, axis=1), np.stack([_numbers(predictions, name) for name in answers], axis=1)


def spread_answers(targets_NK: np.ndarray, answers: Sequence[str], number: int) -> list[str]:
    """The answers whose true fractions vary most, in column order."""
    spread = np.nan_to_num(np.std(targets_NK, axis=0)) if len(targets_NK) else np.zeros(len(answers))
    widest = np.argsort(-spread, kind="stable")[:number]
    return [answers[int(index)] for index in np.sort(widest)]


def same_galaxies(predictions: pa.Table, store: Store) -> bool:
    """Whether the rows of a run's predictions are the same galaxies in ``store``, by their ids."""
    rows = _numbers(predictions, "row").astype(np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= len(store)):
        return False
    ids = store.table.column("id").take(rows.tolist()).to_pylist()
    return ids == predictions.column("id").to_pylist()


def answer_texts(scheme: VoteFractions) -> dict[str, str]:
    """Short text for each answer column of a decision tree; empty without a tree."""
    tree = scheme.decision_tree
    if tree is None:
        return {}
    texts = {}
    for question, piece in zip(tree.questions, tree.slices, strict=True):
        topic = _TOPICS.get((tree.name, question.key), "")
        for column, answer in zip(tree.columns[piece], question.answers, strict=True):
            texts[column] = f"{topic}: {answer.text}" if topic else answer.text
    return texts


def titled(answers: Sequence[str], texts: Mapping[str, str]) -> list[str]:
    """Answers with their meaning where it is known: ``spiral: yes (Class4.1)``."""
    return [f"{texts[name]} ({name})" if name in texts else name for name in answers]


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
