"""Sets of classes that hold the truth for a chosen share of galaxies, however good the network is.

Shape letters: N galaxies, K classes.

Split conformal prediction with the score 1 − p(true class) of Sadinle, Lei & Wasserman 2019 (JASA 114, 223;
"least ambiguous set-valued classifiers"): of all scores it gives the smallest sets. A set holds every class
whose probability is at least a threshold that galaxies with known classes have set. One threshold for all
classes holds the chosen coverage over all galaxies together (marginal); one for each class holds it within
every class. Both assume that new galaxies are drawn as those galaxies were.

A network that is right more often than the chosen coverage leaves its hardest galaxies without any class.
Such a set is filled with the most probable class, which can only cover more (the "accretive completion" of
the same paper); both coverages are measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError

SEPARATOR = "|"
SCORE = "1 − probability of the class (Sadinle, Lei & Wasserman 2019)"
Scores = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Sets:
    """Which prediction sets a catalogue is to have.

    Attributes:
        coverage: share of galaxies whose set shall hold the truth.
        per_class: within every class, and not only over all galaxies.
        least_K: the probability from which a class belongs to the set.
    """

    coverage: float
    per_class: bool
    least_K: np.ndarray

    @property
    def description(self) -> str:
        """What they are, for people."""
        where = "within every class" if self.per_class else "over all galaxies"
        return f"{self.coverage:g} {where}"


def truth_probabilities(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, classes: Sequence[str]
) -> dict[str, list[float]]:
    """What thresholds are made from: the probability of the true class of every galaxy, class by class."""
    return {
        name: sorted(np.asarray(probabilities_NK)[np.asarray(labels_N) == k, k].astype(np.float64).tolist())
        for k, name in enumerate(classes)
    }


def check_coverage(coverage: float) -> float:
    """The coverage itself.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        hint = f"; {coverage:g} % is {coverage / 100:g}" if 1 < coverage < 100 else ""
        raise UsageError(f"coverage {coverage:g}: a share between 0 and 1, such as 0.9, was expected{hint}")
    return coverage


def rank_of(count: int, coverage: float) -> int:
    """Which of ``count`` scores, from the smallest, is the threshold: ⌈(count + 1) · coverage⌉.

    Vovk, Gammerman & Shafer 2005; Sadinle et al. 2019. Beyond ``count`` there are too few
    galaxies for the coverage, and every class belongs to every set.
    """
    return math.ceil(round((count + 1) * coverage, 9))  # 0.9 · 10 is 9, not a ninth digit above it


def least_probabilities(
    scores: Scores, classes: Sequence[str], coverage: float, *, per_class: bool
) -> np.ndarray:
    """The probability from which a class belongs to the set, (K,) float64; 0: it always does.

    Args:
        scores: class → probabilities of the truth, from :func:`truth_probabilities`.
        classes: K names in the order of the columns.
        coverage: share of galaxies whose set shall hold the truth.
        per_class: a threshold for each class instead of one for all.

    Raises:
        MorphoscopeError: ``scores`` are of other classes.
        UsageError: ``coverage`` is not between 0 and 1.
    """
    check_coverage(coverage)
    if set(scores) != set(classes):
        raise MorphoscopeError(
            f"the conformal scores are of the classes {', '.join(scores)}; {', '.join(classes)} were expected"
        )
    if per_class:
        return np.array([_threshold(scores[name], coverage) for name in classes])
    together = [value for name in classes for value in scores[name]]
    return np.full(len(classes), _threshold(together, coverage))


def _threshold(truth_probabilities: Sequence[float], coverage: float) -> float:
    rank = rank_of(len(truth_probabilities), coverage)
    if rank > len(truth_probabilities):
        return 0.0
    return float(sorted(truth_probabilities, reverse=True)[rank - 1])


def bare_sets(probabilities_NK: np.ndarray, least_K: np.ndarray) -> np.ndarray:
    """Which classes are probable enough, (N, K) bool; rows may be empty."""
    return np.asarray(probabilities_NK, np.float64) >= least_K


def filled_sets(probabilities_NK: np.ndarray, least_K: np.ndarray) -> np.ndarray:
    """The same, (N, K) bool; an empty set holds the most probable class."""
    sets = bare_sets(probabilities_NK, least_K)
    empty = np.flatnonzero(~sets.any(axis=1))
    sets[empty, np.asarray(probabilities_NK)[empty].argmax(axis=1)] = True
    return sets


def set_names(probabilities_NK: np.ndarray, sets_NK: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Each set as text, the most probable class first: ``Spiral|Edge-on``."""
    return [SEPARATOR.join(names) for names in ranked_sets(probabilities_NK, sets_NK, classes)]


def ranked_sets(
    probabilities_NK: np.ndarray, sets_NK: np.ndarray, classes: Sequence[str]
) -> list[tuple[str, ...]]:
    """The classes of each set, the most probable first."""
    order = np.argsort(-np.asarray(probabilities_NK), axis=1, kind="stable")
    return [
        tuple(classes[int(k)] for k in ranked if row[k]) for ranked, row in zip(order, sets_NK, strict=True)
    ]
