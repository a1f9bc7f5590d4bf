"""Calibration error and reliability diagram: is a confidence of 90 % right nine times in ten?

Shape letters: N galaxies, B bins of confidence, R resamples. Confidence is the probability of the
predicted class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from morphoscope.metrics.bootstrap import wilson_interval

BINS = 15


def equal_width_edges(bins: int = BINS) -> np.ndarray:
    """B + 1 edges from 0 to 1, as in Guo et al. 2017 (arXiv:1706.04599), eq. 3."""
    return np.linspace(0.0, 1.0, bins + 1)


def adaptive_edges(confidence_N: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Edges of bins with equal numbers of galaxies (Nguyen & O'Connor 2015, EMNLP).

    Galaxies of equal confidence stay in one bin, so there may be fewer than ``bins``: one if all are equal.
    """
    confidence_N = np.asarray(confidence_N, np.float64)
    inner = np.quantile(confidence_N, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(np.concatenate([[0.0], inner[inner < confidence_N.max()], [1.0]]))


def bin_of(confidence_N: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each galaxy, (N,) int64; bins are open below and closed above, the first holds 0 too."""
    return np.searchsorted(edges[1:-1], np.asarray(confidence_N, np.float64), side="left")


def gap_columns(confidence_N: np.ndarray, correct_N: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Confidence minus correctness in the column of the galaxy's bin, (N, B): see :func:`error_from_gaps`."""
    columns = np.zeros((len(confidence_N), len(edges) - 1))
    gaps = np.asarray(confidence_N, np.float64) - np.asarray(correct_N, np.float64)
    columns[np.arange(len(confidence_N)), bin_of(confidence_N, edges)] = gaps
    return columns


def error_from_gaps(sums: np.ndarray, count: int) -> np.ndarray:
    """The expected calibration error (...), 0 to 1, of summed gaps (..., B).

    Σ_b |Σ_{i in b} (confidence − correct)| / N (Guo et al. 2017, eq. 3). It is biased upward by noise: a
    perfectly calibrated network with confidences about 0.85 shows 0.03 on 450 galaxies and 0.01 on 3,500.
    """
    return np.abs(sums).sum(axis=-1) / count


def errors_by_chance(confidence_N: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Calibration errors that a calibrated network with these confidences would show, (R,), ascending.

    Each galaxy is right with the probability that its confidence states (consistency resampling, Bröcker and
    Smith 2007, Weather and Forecasting 22, 651). An error among these is no sign of a bad calibration.

    Args:
        confidence_N: of the predictions.
        draws: R.
        seed: of the draws.
    """
    confidence_N = np.asarray(confidence_N, np.float64)
    edges, rng = equal_width_edges(), np.random.default_rng(seed)
    inside_NB = bin_of(confidence_N, edges)[:, None] == np.arange(BINS)
    right_RN = rng.random((draws, len(confidence_N))) < confidence_N
    return np.sort(error_from_gaps((confidence_N - right_RN) @ inside_NB, len(confidence_N)))


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """The reliability diagram as a list of bins, from low confidence to high.

    Each bin is ``{"lower", "upper", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high"}``:
    its edges, number of galaxies, their mean confidence, accuracy and its 95 % Wilson interval; the last four
    are None in an empty bin.
    """
    edges = equal_width_edges(bins)
    index = bin_of(confidence_N, edges)
    size = len(edges) - 1
    counts = np.bincount(index, minlength=size)
    hits = np.bincount(index, weights=np.asarray(correct_N, np.float64), minlength=size)
    sums = np.bincount(index, weights=np.asarray(confidence_N, np.float64), minlength=size)
    rows = []
    for b in range(size):
        interval = wilson_interval(int(hits[b]), int(counts[b]))
        low, high = interval or (None, None)
        rows.append(
            {
                "lower": float(edges[b]),
                "upper": float(edges[b + 1]),
                "count": int(counts[b]),
                "confidence": float(sums[b] / counts[b]) if counts[b] else None,
                "accuracy": float(hits[b] / counts[b]) if counts[b] else None,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return rows
