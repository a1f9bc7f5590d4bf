"""Check the arrays that metrics are computed from.

Shape letters: N galaxies, K classes or answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morphoscope.errors import MorphoscopeError


def checked_classes(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as (N,) int64 and probabilities as (N, K) float64.

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, labels outside 0 to K − 1, rows that are not
            probabilities.
    """
    labels_N = np.asarray(labels_N)
    probabilities_NK = np.asarray(probabilities_NK, np.float64)
    count, size = len(labels_N), len(classes)
    check_shape(probabilities_NK, (count, size), "probabilities")
    if labels_N.ndim != 1:
        raise MorphoscopeError(f"labels have shape {labels_N.shape}; one class index per galaxy was expected")
    labels_N = labels_N.astype(np.int64)
    outside = np.flatnonzero((labels_N < 0) | (labels_N >= size))
    if len(outside):
        raise MorphoscopeError(
            f"{len(outside)} of {count} labels are outside 0 to {size - 1} (row {outside[0]}: "
            f"{labels_N[outside[0]]}); leave out galaxies without a label"
        )
    sums = probabilities_NK.sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) < 1e-3) | (probabilities_NK < 0).any(axis=1))
    if len(wrong):
        raise MorphoscopeError(
            f"{len(wrong)} of {count} rows are not probabilities: row {wrong[0]} sums to "
            f"{sums[wrong[0]]:.4g} or has a negative value; values from 0 to 1 that sum to 1 were expected"
        )
    return labels_N, probabilities_NK


def checked_votes(
    targets_NK: np.ndarray, predictions_NK: np.ndarray, columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Votes and predictions as (N, K) float64.

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, values that are not finite.
    """
    targets_NK = np.asarray(targets_NK, np.float64)
    predictions_NK = np.asarray(predictions_NK, np.float64)
    advice = "; leave out galaxies without votes"
    for name, array, hint in (("votes", targets_NK, advice), ("predictions", predictions_NK, "")):
        check_shape(array, (len(targets_NK), len(columns)), name)
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, column = bad[0]
            raise MorphoscopeError(
                f"{len(bad)} {name} are not finite (the first: row {row}, {columns[column]}){hint}"
            )
    return targets_NK, predictions_NK


def check_shape(array: np.ndarray, expected: tuple[int, int], name: str) -> None:
    """Check that an array has the shape (galaxies, outputs) and at least one galaxy.

    Raises:
        MorphoscopeError: it does not.
    """
    if expected[0] == 0:
        raise MorphoscopeError("there are no galaxies to measure; a test set with at least one was expected")
    if array.shape != expected:
        raise MorphoscopeError(
            f"{name} have shape {array.shape}; {expected} was expected (galaxies, {expected[1]} outputs)"
        )
