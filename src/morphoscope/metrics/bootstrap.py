"""Confidence intervals of numbers measured on N galaxies: bootstrap, Wilson, area under the ROC curve.

Shape letters: N galaxies, M quantities of a galaxy, R resamples.

All metrics here are functions of sums over galaxies (counts of hits, of galaxies per class, of squared
errors), so a resample of the galaxies is a row of multiplicities, and the sums of all resamples are one
matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

LEVEL = 0.95
_CHUNK = 2_000_000  # multiplicities in memory at once (16 MB), so that memory does not grow with R·N
Z = 1.959963984540054  # the normal distribution's 97.5 % point


def resample_counts(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Bootstrap resamples as multiplicities, in chunks of (r, N) float64.

    Each row is how often each of the ``count`` galaxies was drawn, with replacement; it sums to ``count``.
    The same (count, resamples, seed) gives the same rows, so that comparisons are paired.
    """
    for drawn in resample_rows(count, resamples, seed):
        size = len(drawn)
        drawn += (np.arange(size) * count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def resample_rows(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The galaxies of the same resamples, in chunks of (r, N) int64, for what is no sum: medians."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(count, 1))
    for start in range(0, resamples, rows):
        yield rng.integers(0, count, (min(rows, resamples - start), count))


def resampled_sums(values_NM: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Sums over galaxies of M quantities in each bootstrap resample, (R, M) float64.

    Args:
        values_NM: M numbers per galaxy (zeros and ones for counts); finite.
        resamples: R; 0 gives an empty (0, M) array.
        seed: of the resampling.
    """
    values_NM = np.asarray(values_NM, np.float64)
    chunks = [counts @ values_NM for counts in resample_counts(len(values_NM), resamples, seed)]
    return np.concatenate(chunks) if chunks else np.empty((0, values_NM.shape[1]))


def percentile_interval(samples_R: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The central ``level`` of the resampled values (Efron & Tibshirani 1993, §13.3)."""
    tail = 50 * (1 - level)
    low, high = np.percentile(samples_R, [tail, 100 - tail])
    return float(low), float(high)


def basic_interval(value: float, samples_R: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The bootstrap interval for a number that is biased upward, widened to contain ``value``.

    Limits are 2·value − percentile (Davison & Hinkley 1997, §5.2.1), not below zero. A calibration error is a
    sum of absolute values: noise alone makes it positive, and a resample, noisier than the sample, gives a
    larger value; percentiles of the resamples may then all lie above the measured value and never cover a
    true error near zero. In trials with 200 to 3,500 galaxies this interval covered true calibration errors
    of 0.02 to 0.1 in 85 to 96 % of the cases, and zero in two thirds.
    """
    low, high = percentile_interval(samples_R, level)
    return max(0.0, min(value, 2 * value - high)), max(value, 2 * value - low)


def wilson_interval(hits: int, count: int) -> tuple[float, float] | None:
    """The 95 % interval of a share ``hits/count`` (Wilson 1927, eq. 4); None when ``count`` is 0.

    Suits the handful of galaxies of a rare class, where a bootstrap of 12 hits in 12 has no width.
    """
    if count == 0:
        return None
    share, weight = hits / count, Z**2 / count
    centre = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == count else centre + half)


def with_interval(
    value: float, samples_R: np.ndarray, count: int, *, biased_upward: bool = False
) -> dict[str, Any]:
    """``{"value", "low", "high"}`` as plain floats; limits that do not exist are None, with a ``reason``.

    Args:
        value: measured on all galaxies.
        samples_R: the same on each resample; empty: no interval.
        count: galaxies. One galaxy has no interval: every resample is that galaxy.
        biased_upward: use :func:`basic_interval` instead of percentiles.
    """
    if count < 2 or not len(samples_R):
        reason = "one galaxy has no bootstrap interval" if len(samples_R) else "no resamples were requested"
        return {"value": float(value), "low": None, "high": None, "reason": reason}
    low, high = basic_interval(value, samples_R) if biased_upward else percentile_interval(samples_R)
    return {"value": float(value), "low": low, "high": high}


def auroc(usual_M: np.ndarray, ood_N: np.ndarray) -> dict[str, float | None]:
    """Area under the ROC curve: the share of pairs in which the OOD sample scores higher, ties counting half.

    The 95 % interval is Newcombe's (2006, Statistics in Medicine 25, 559, method 5): the values θ for which
    the measured area lies within 1.96 standard errors by Hanley & McNeil's variance with both counts set to
    their mean. Unlike a bootstrap it has a width even if every pair is in order.

    Args:
        usual_M: scores of M galaxies.
        ood_N: scores of N OOD samples.

    Returns:
        ``value``, ``low``, ``high``; None if either is empty.
    """
    m, n = len(usual_M), len(ood_N)
    if not m or not n:
        return {"value": None, "low": None, "high": None}
    usual_M = np.sort(usual_M)
    below = np.searchsorted(usual_M, ood_N, side="left")
    not_above = np.searchsorted(usual_M, ood_N, side="right")
    value = float((below + not_above).mean() / (2 * m))
    inside = np.abs(_GRID - value) <= Z * _standard_error(_GRID, m, n)
    low, high = (_GRID[inside].min(), _GRID[inside].max()) if inside.any() else (value, value)
    return {"value": value, "low": min(value, float(low)), "high": max(value, float(high))}


_GRID = np.linspace(0, 1, 20_001)


def _standard_error(theta: np.ndarray, m: int, n: int) -> np.ndarray:
    more = (m + n) / 2 - 1
    spread = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return np.sqrt(theta * (1 - theta) * spread / (m * n))
