from __future__ import annotations

import numpy as np
import pytest

from morphoscope.metrics.calibration_error import (
    adaptive_edges,
    bin_of,
    equal_width_edges,
    error_from_gaps,
    errors_by_chance,
    gap_columns,
    reliability,
)


def calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15, *, adaptive: bool = False
) -> float:
    edges = adaptive_edges(confidence, bins) if adaptive else equal_width_edges(bins)
    return float(error_from_gaps(gap_columns(confidence, correct, edges).sum(axis=0), len(confidence)))


def test_a_calibrated_network_has_almost_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 200_000)
    correct = rng.random(200_000) < confidence
    assert calibration_error(confidence, correct) < 0.004
    assert calibration_error(confidence, correct, adaptive=True) < 0.004


@pytest.mark.parametrize("adaptive", [False, True])
def test_an_overconfident_network_has_the_error_it_was_given(adaptive):
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1.0, 200_000)
    correct = rng.random(200_000) < confidence - 0.2
    assert calibration_error(confidence, correct, adaptive=adaptive) == pytest.approx(0.2, abs=0.004)


def test_by_hand():
    # Two bins of three: (0.2, 0.4] holds 0.3 right; (0.8, 1] holds 0.9 right, 0.9 wrong, 0.9 wrong.
    confidence = np.array([0.3, 0.9, 0.9, 0.9])
    correct = np.array([1, 1, 0, 0])
    expected = 1 / 4 * abs(1 - 0.3) + 3 / 4 * abs(1 / 3 - 0.9)
    assert calibration_error(confidence, correct, bins=5) == pytest.approx(expected)


def test_certain_and_always_wrong_is_the_worst():
    assert calibration_error(np.ones(7), np.zeros(7)) == 1.0
    assert calibration_error(np.ones(7), np.ones(7)) == 0.0


def test_opposite_errors_in_one_bin_cancel_and_in_two_do_not():
    confidence, correct = np.array([0.55, 0.95]), np.array([1, 0])
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(abs(1.5 - 1) / 2)
    assert calibration_error(confidence, correct, bins=10) == pytest.approx((0.45 + 0.95) / 2)


def test_bins_are_closed_above():
    edges = equal_width_edges(5)
    assert bin_of(np.array([0.0, 0.2, 0.2000001, 1.0]), edges).tolist() == [0, 0, 1, 4]


def test_adaptive_bins_hold_equal_numbers():
    confidence = np.random.default_rng(2).beta(8, 1, 1500)
    counts = np.bincount(bin_of(confidence, adaptive_edges(confidence, 15)))
    assert counts.tolist() == [100] * 15


def test_equal_confidences_share_one_adaptive_bin():
    confidence = np.full(100, 0.1)
    assert adaptive_edges(confidence).tolist() == [0.0, 1.0]
    correct = np.arange(100) < 10
    assert calibration_error(confidence, correct, adaptive=True) == pytest.approx(0.0)


@pytest.mark.parametrize(("count", "most"), [(50, 0.25), (5000, 0.025)])
def test_errors_by_chance_are_those_of_calibrated_networks(count: int, most: float):
    rng = np.random.default_rng(1)
    confidence_N = rng.uniform(0.5, 1, count)
    drawn = errors_by_chance(confidence_N, draws=400)
    assert drawn.shape == (400,)
    assert (np.diff(drawn) >= 0).all()
    own = [calibration_error(confidence_N, rng.random(count) < confidence_N) for _ in range(400)]
    assert drawn.mean() == pytest.approx(np.mean(own), rel=0.05)
    assert np.quantile(drawn, 0.95) == pytest.approx(np.quantile(own, 0.95), rel=0.1)
    assert drawn.mean() < most
    far = calibration_error(confidence_N, rng.random(count) < confidence_N - 0.4)
    assert far > drawn.max()


def test_reliability_agrees_with_the_error_and_leaves_empty_bins_empty():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.4, 0.99, 500)
    correct = rng.random(500) < confidence**2
    bins = reliability(confidence, correct)
    assert len(bins) == 15
    assert sum(row["count"] for row in bins) == 500
    full = [row for row in bins if row["count"]]
    error = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in full) / 500
    assert error == pytest.approx(calibration_error(confidence, correct))
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in full)
    assert all(row["lower"] < row["confidence"] <= row["upper"] for row in full)
    assert bins[0]["count"] == 0
    assert bins[0]["accuracy"] is bins[0]["confidence"] is bins[0]["accuracy_low"] is None
