"""The votes of one galaxy on the questions of its decision tree, with the intervals that a catalogue has.

Each question is asked of the galaxies that some answers lead to; fractions are of the volunteers asked. The
questions stand in the order in which a tree is read: each below the ones that lead to it, branch by branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from morphoscope.labels.scheme import Scheme
from morphoscope.labels.tree import DecisionTree

CROWDED = 0.5  # share of all volunteers that makes an answer part of the path that is shown first


def votes_of(scheme: Scheme | None, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The questions of a galaxy, branch by branch; None: its scheme has no decision tree.

    Args:
        scheme: what the catalogue's columns mean.
        values: column → value of the galaxy.

    Returns:
        For each question ``text``, ``depth`` in the tree, ``after`` (the answers that lead to it, each with
        its question), ``asked`` (the share of all volunteers) and ``answers``: name, text, fraction of those
        asked, ``low`` and ``high`` (None: no interval), and the measured fraction where the galaxy has votes.
    """
    tree: DecisionTree | None = getattr(scheme, "decision_tree", None)
    if tree is None:
        return None
    found = _fractions(tree, values)
    if found is None:
        return None
    fractions_K, low_K, high_K = found
    of_all_K = tree.cumulative(np.nan_to_num(fractions_K)[None])[0]
    asked_Q = tree.expected_sums(of_all_K[None])[0]
    depth = depths(tree)
    questions = []
    for number in branches(tree):
        question, piece = tree.questions[number], tree.slices[number]
        answers = [
            {
                "name": tree.columns[k],
                "text": answer.text,
                "fraction": _number(fractions_K[k]),
                "low": None if low_K is None else _number(low_K[k]),
                "high": None if high_K is None else _number(high_K[k]),
                "measured": _measured(tree, k, values),
            }
            for k, answer in zip(range(piece.start, piece.stop), question.answers, strict=True)
        ]
        questions.append(
            {
                "key": question.key,
                "text": question.text,
                "depth": depth[question.key],
                "after": _leading_to(tree, question.key),
                "asked": _number(asked_Q[number]),
                "likely": bool(asked_Q[number] >= CROWDED),
                "answers": answers,
            }
        )
    return questions


def branches(tree: DecisionTree) -> list[int]:
    """The numbers of the questions as a tree is read: each after all that lead to it, branch by branch."""
    left = {question.key: len(tree.parents(question.key)) for question in tree.questions}
    number = {question.key: k for k, question in enumerate(tree.questions)}
    order: list[int] = []

    def follow(key: str) -> None:
        order.append(number[key])
        ready = []
        for answer in tree.question(key).answers:
            if answer.next is not None:
                left[answer.next] -= 1
                if not left[answer.next]:
                    ready.append(answer.next)
        for each in ready:
            follow(each)

    for question in tree.questions:
        if not tree.parents(question.key):
            follow(question.key)
    return order


def _leading_to(tree: DecisionTree, key: str) -> list[dict[str, str]]:
    """The answers that lead to a question; of many the fewest that say the same; none: always."""
    parents = tree.parents(key)
    found = parents if len(parents) <= 2 else tree.weights(key)
    columns = [tree.columns.index(name) for name in found]
    return [
        {"answer": tree.answers[k].text, "question": tree.questions[int(tree.question_of[k])].text}
        for k in columns
    ]


def depths(tree: DecisionTree) -> dict[str, int]:
    """How many answers lead to each question at least, by its key."""
    found = {tree.questions[0].key: 0}
    for number in tree.asking_order:
        question = tree.questions[number]
        here = found.setdefault(question.key, 0)
        for answer in question.answers:
            if answer.next is not None:
                found[answer.next] = min(found.get(answer.next, here + 1), here + 1)
    return found


def _fractions(tree: DecisionTree, values: Mapping[str, Any]) -> tuple[np.ndarray, Any, Any] | None:
    """Fractions of those asked, and their intervals, (K,) each; None where the galaxy has none."""
    names = tree.columns
    if all(f"{name}_fraction" in values for name in names):  # vote counts
        low, high = ([f"{name}_fraction_{end}" for name in names] for end in ("low", "high"))
        intervals = [
            _array(values, ends) if all(name in values for name in ends) else None for ends in (low, high)
        ]
        return _array(values, [f"{name}_fraction" for name in names]), intervals[0], intervals[1]
    if all(name in values for name in names):  # vote fractions, cumulative
        return tree.conditional(np.nan_to_num(_array(values, names))[None])[0], None, None
    return None


def _array(values: Mapping[str, Any], names: Any) -> np.ndarray:
    return np.array([np.nan if values[name] is None else float(values[name]) for name in names])


def _measured(tree: DecisionTree, k: int, values: Mapping[str, Any]) -> float | None:
    """The measured fraction of those asked, if the galaxy has votes."""
    number = int(tree.question_of[k])
    names = tree.columns[tree.slices[number]]
    if not all(isinstance(values.get(f"t_{name}"), int | float) for name in names):
        return None
    votes = np.array([float(values[f"t_{name}"]) for name in names])
    total = votes.sum()
    return float(votes[k - tree.slices[number].start] / total) if total > 0 else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
