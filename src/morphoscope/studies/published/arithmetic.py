"""Arithmetic that the five papers did, or left for the reader to do; pages and tests share it.

Shape letters: K classes. Percentages are given as the papers print them, so 88.61 is 88.61 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np


def share(percent: float) -> float:
    """A printed percentage as a share of 1.

    >>> share(80.61)
    0.8061
    """
    return round(percent / 100, 10)


def relative_improvement(value: float, reference: float) -> float:
    """How much larger ``value`` is in units of ``reference`` (`cheng`, Table 2, last column, as a share).

    Raises:
        ValueError: the reference is not above zero.
    """
    if reference <= 0:
        raise ValueError(f"an improvement over {reference} has no meaning")
    return value / reference - 1


def implied_counts(percent: float, n: int, decimals: int = 2, slack: float = 0.5) -> tuple[int, ...]:
    """Which counts k of n galaxies a printed percentage can stand for; none: it does not come from n.

    Args:
        percent: as printed.
        n: how many galaxies it is a share of.
        decimals: how many the paper prints.
        slack: how far the printed number may be off, in units of its last decimal: 0.5 for a rounded
            number, 1 for the difference of two rounded ones.

    Raises:
        ValueError: ``n`` is not above zero.
    """
    if n <= 0:
        raise ValueError(f"a percentage of {n} galaxies has no meaning")
    printed, off = Fraction(str(percent)), Fraction(str(slack)) / 10**decimals
    first = -((off - printed) * n // 100)  # rounded up
    last = (printed + off) * n // 100
    return tuple(range(max(int(first), 0), min(int(last), n) + 1))


def macro_average(values_K: Sequence[float]) -> float:
    """The plain mean over classes: every class counts the same."""
    return float(np.mean(np.asarray(values_K, dtype=np.float64)))


def weighted_average(values_K: Sequence[float], supports_K: Sequence[int]) -> float:
    """The mean over classes weighted by the number of galaxies of each; of recalls, it is the accuracy."""
    return float(np.average(np.asarray(values_K, dtype=np.float64), weights=np.asarray(supports_K)))


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of precision and recall; 0 where both are 0 (`tong`, eq. 6)."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def f1_range(precision: float, recall: float, decimals: int = 2) -> tuple[float, float]:
    """Least and greatest F1 that a printed precision and recall allow, both shares with ``decimals``."""
    half = 0.5 * 10**-decimals
    low = f1(max(precision - half, 0.0), max(recall - half, 0.0))
    return low, f1(min(precision + half, 1.0), min(recall + half, 1.0))


def scores_of_confusion(confusion_KK: np.ndarray) -> dict[str, float]:
    """Accuracy and macro averages from a confusion matrix, rows the truth (`tong`, eqs. 3 to 6, Table V).

    The paper's accuracy formula is the one of two classes; of more, accuracy is the diagonal's share. Its
    F1 is the mean of the classes' F1.
    """
    from morphoscope.evaluation.scores import ClassCounts

    counts = ClassCounts.of_confusion(confusion_KK)
    macro = {name: float(value) for name, value in counts.averages().items() if name.startswith("macro_")}
    return {"accuracy": float(counts.accuracy), **macro}


def dense_parameters(*widths: int) -> int:
    """Weights and biases of fully connected layers in a row.

    >>> dense_parameters(512, 10)
    5130
    """
    return sum((before + 1) * after for before, after in pairwise(widths))


def cbam_parameters(channels: int, reduction: int, kernel: int = 7) -> int:
    """Weights of one CBAM: a shared gate with biases, and a map of two pooled channels without a bias.

    Source: Woo et al. 2018, sections 3.1 and 3.2; the biases are what `yan`'s published count fits.
    """
    return dense_parameters(channels, channels // reduction, channels) + 2 * kernel**2
