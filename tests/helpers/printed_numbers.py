"""What printed numbers can stand for: counts behind percentages, F1 behind rounded precision and recall.

Shape letters: K classes.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from morphoscope.metrics.classification import ClassCounts
from morphoscope.studies.published import f1


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
    counts = ClassCounts.of_confusion(confusion_KK)
    macro = {name: float(value) for name, value in counts.averages().items() if name.startswith("macro_")}
    return {"accuracy": float(counts.accuracy), **macro}
