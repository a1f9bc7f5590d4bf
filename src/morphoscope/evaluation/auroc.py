"""How well a score tells two kinds apart: the area under the ROC curve, with an interval.

Shape letters: M galaxies of the usual kind, N strangers.
"""

from __future__ import annotations

import numpy as np

from morphoscope.evaluation.intervals import Z


def auroc(usual_M: np.ndarray, strange_N: np.ndarray) -> dict[str, float | None]:
    """The share of pairs in which the stranger has the higher score, ties counting half, with a 95 %
    interval.

    The interval is Newcombe's (2006, Statistics in Medicine 25, 559, method 5): the values θ for which the
    measured area lies within 1.96 standard errors by Hanley & McNeil's variance with both counts set to their
    mean. Unlike a bootstrap it has a width where every pair is in order.

    Returns:
        ``value``, ``low``, ``high``; None where one of the two is empty.
    """
    m, n = len(usual_M), len(strange_N)
    if not m or not n:
        return {"value": None, "low": None, "high": None}
    usual_M = np.sort(usual_M)
    below = np.searchsorted(usual_M, strange_N, side="left")
    not_above = np.searchsorted(usual_M, strange_N, side="right")
    value = float((below + not_above).mean() / (2 * m))
    inside = np.abs(_GRID - value) <= Z * _standard_error(_GRID, m, n)
    low, high = (_GRID[inside].min(), _GRID[inside].max()) if inside.any() else (value, value)
    return {"value": value, "low": min(value, float(low)), "high": max(value, float(high))}


_GRID = np.linspace(0, 1, 20_001)


def _standard_error(theta: np.ndarray, m: int, n: int) -> np.ndarray:
    more = (m + n) / 2 - 1
    spread = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return np.sqrt(theta * (1 - theta) * spread / (m * n))
