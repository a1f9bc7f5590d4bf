from __future__ import annotations

import numpy as np
import pytest

from morphoscope.metrics.class_shares import KEPT, estimated_shares, with_shares

TRAINING = np.array([0.5, 0.3, 0.2])


def galaxies(shares: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 3) by Bayes' theorem for the training's shares, and labels drawn with others."""
    rng = np.random.default_rng(seed)
    labels_N = rng.choice(3, count, p=shares)
    values_N = labels_N * 1.5 + rng.normal(0, 1, count)
    likelihood_NK = np.exp(-((values_N[:, None] - 1.5 * np.arange(3)) ** 2) / 2) * TRAINING
    return likelihood_NK / likelihood_NK.sum(axis=1, keepdims=True), labels_N


@pytest.mark.parametrize("shares", [(0.1, 0.2, 0.7), (0.5, 0.3, 0.2), (0.9, 0.05, 0.05)])
def test_shares_are_found_without_labels_and_make_the_answers_better(shares):
    p_NK, labels_N = galaxies(np.array(shares), 20_000, 1)
    likely_K = estimated_shares(p_NK, TRAINING, kept=0)
    np.testing.assert_allclose(likely_K, shares, atol=0.02)
    moved_NK = with_shares(p_NK, TRAINING, likely_K)
    np.testing.assert_allclose(moved_NK.sum(axis=1), 1)
    right, now = ((each.argmax(axis=1) == labels_N).mean() for each in (p_NK, moved_NK))
    assert now >= right - 0.002
    if shares != tuple(TRAINING):
        assert now > right + 0.01
    # Calibrated for the shares that are there: the mean probability is the accuracy.
    assert moved_NK.max(axis=1).mean() == pytest.approx(now, abs=0.015)


def test_no_class_vanishes():
    p_NK, _ = galaxies(np.array([1.0, 0.0, 0.0]), 2000, 2)
    likely_K, bounded_K = estimated_shares(p_NK, TRAINING, kept=0), estimated_shares(p_NK, TRAINING)
    assert likely_K.min() < 0.01
    assert (bounded_K >= KEPT * TRAINING - 1e-9).all()
    assert bounded_K.sum() == pytest.approx(1)


def test_probabilities_that_are_all_zero_stay_numbers():
    moved_NK = with_shares(np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.9, 0.1]))
    np.testing.assert_allclose(moved_NK, [[0, 0], [0.9, 0.1]])
