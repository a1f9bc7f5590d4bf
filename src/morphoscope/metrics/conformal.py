"""Conformal prediction sets: sets of classes that contain the truth for a chosen share of galaxies.

Shape letters: N galaxies, K classes.

Split conformal prediction with the score 1 − p(true class) of Sadinle, Lei & Wasserman 2019 (JASA 114, 223;
"least ambiguous set-valued classifiers"): of all scores it gives the smallest sets. A set contains every
class whose probability reaches a threshold, which is computed from galaxies with known classes. One threshold
for all classes gives the chosen coverage over all galaxies (marginal); one per class gives it within every
class. Both assume that new galaxies come from the same distribution.

If a network is right more often than the chosen coverage, the sets of its hardest galaxies are empty. Such a
set is filled with the most probable class, which can only increase the coverage (the "accretive completion"
of the same paper); both coverages are measured.
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
    """The prediction sets of a catalogue.

    Attributes:
        coverage: share of galaxies whose set should contain the truth.
        per_class: within every class, and not only over all galaxies.
        least_K: the lowest probability at which a class belongs to the set.
    """

    coverage: float
    per_class: bool
    least_K: np.ndarray

    @property
    def description(self) -> str:
        """One line for people."""
        where = "within every class" if self.per_class else "over all galaxies"
        return f"{self.coverage:g} {where}"


def truth_probabilities(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, classes: Sequence[str]
) -> dict[str, list[float]]:
    """The probability of the true class of every galaxy, by class; thresholds are computed from these."""
    return {
        name: sorted(np.asarray(probabilities_NK)[np.asarray(labels_N) == k, k].astype(np.float64).tolist())
        for k, name in enumerate(classes)
    }


def check_coverage(coverage: float) -> float:
    """Check a coverage, and return it.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        hint = f"; {coverage:g} % is {coverage / 100:g}" if 1 < coverage < 100 else ""
        raise UsageError(f"coverage {coverage:g}: a share between 0 and 1, such as 0.9, was expected{hint}")
    return coverage


def rank_of(count: int, coverage: float) -> int:
    """The rank, from the smallest, of the threshold among ``count`` scores: ⌈(count + 1) · coverage⌉.

    Vovk, Gammerman & Shafer 2005; Sadinle et al. 2019. A rank above ``count`` means that there are too few
    galaxies for the coverage: every class belongs to every set.
    """
    return math.ceil(round((count + 1) * coverage, 9))  # 0.9 · 10 is 9, whatever the rounding


def least_probabilities(
    scores: Scores, classes: Sequence[str], coverage: float, *, per_class: bool
) -> np.ndarray:
    """The lowest probability at which a class belongs to the set, (K,) float64; 0: it always does.

    Args:
        scores: class → probabilities of the truth, from :func:`truth_probabilities`.
        classes: K names in the order of the columns.
        coverage: share of galaxies whose set should contain the truth.
        per_class: a threshold for each class instead of one for all.

    Raises:
        MorphoscopeError: ``scores`` are of different classes.
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
    """Which classes reach the threshold, (N, K) bool; rows may be empty."""
    return np.asarray(probabilities_NK, np.float64) >= least_K


def filled_sets(probabilities_NK: np.ndarray, least_K: np.ndarray) -> np.ndarray:
    """The same, (N, K) bool, with empty sets filled by the most probable class."""
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
