from __future__ import annotations

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.metrics.checks import checked_classes, checked_votes

CLASSES = ("a", "b")
HALVES = np.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        (np.empty(0, int), np.empty((0, 2)), "no galaxies"),
        (np.zeros(3, int), np.full((3, 3), 1 / 3), r"shape \(3, 3\); \(3, 2\) was expected"),
        (np.zeros((3, 2), int), HALVES, r"labels have shape \(3, 2\)"),
        (np.array([0, -1, 1]), HALVES, r"1 of 3 labels are outside 0 to 1 \(row 1: -1\)"),
        (np.array([0, 2, 1]), HALVES, "row 1: 2"),
        (np.zeros(3, int), HALVES * 2, "3 of 3 rows are not probabilities: row 0 sums to 2"),
        (np.zeros(3, int), np.where(np.arange(3)[:, None] == 1, np.nan, HALVES), "row 1 sums to nan"),
        (np.zeros(3, int), np.array([[1, 0], [1, 0], [1.2, -0.2]]), "row 2 sums to 1 or has a negative"),
    ],
)
def test_unfit_classes_are_refused(labels, probabilities, message):
    with pytest.raises(MorphoscopeError, match=message):
        checked_classes(labels, probabilities, CLASSES)


def test_fit_classes_come_back_in_working_types():
    labels, probabilities = checked_classes(np.array([0, 1], np.int16), np.eye(2, dtype=np.float32), CLASSES)
    assert labels.dtype == np.int64
    assert probabilities.dtype == np.float64


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        (np.empty((0, 2)), np.empty((0, 2)), "no galaxies"),
        (HALVES, HALVES[:2], r"predictions have shape \(2, 2\); \(3, 2\)"),
        (HALVES[:, :1], HALVES, r"votes have shape \(3, 1\)"),
        (np.array([[0.5, np.nan]]), HALVES[:1], "1 votes are not finite .the first: row 0, b.; leave"),
        (HALVES[:1], np.array([[np.inf, 0.5]]), "predictions are not finite .the first: row 0, a.$"),
    ],
)
def test_unfit_votes_are_refused(targets, predictions, message):
    with pytest.raises(MorphoscopeError, match=message):
        checked_votes(targets, predictions, CLASSES)
