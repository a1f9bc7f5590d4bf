"""Scores of measurements: hand-computed values, scipy's distributions, intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation, norm, t

from morphoscope.errors import MorphoscopeError
from morphoscope.metrics.measurements import (
    LEVELS,
    compare_measurements,
    half_width,
    measurement_calibration,
    measurement_entropies,
    measurement_log_losses,
    measurement_metrics,
    outliers_of,
    statistics,
)

NAMES = ("size",)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, float)[:, None]


def test_scores_are_those_computed_by_hand() -> None:
    truth, predicted = column(1, 2, 3, 4, 5), column(1.5, 2, 2.5, 4, 105)
    found = measurement_metrics(truth, 0 * truth, predicted, 0 * truth + 1, NAMES, bootstrap=0)
    row = found["per_quantity"][0]
    # Residuals 0.5, 0, −0.5, 0, 100; their squares add up to 10000.5, those about the mean truth to 10.
    assert found["r2"]["value"] == pytest.approx(1 - 1000.05)
    assert row["r2"]["value"] == pytest.approx(1 - 1000.05)
    assert row["rmse"]["value"] == pytest.approx(np.sqrt(2000.1))
    assert row["bias"]["value"] == pytest.approx(20.0)
    assert row["median_bias"]["value"] == 0
    assert row["sigma_nmad"]["value"] == pytest.approx(1.4826 * 0.5)
    assert row["outlier_limit"] == pytest.approx(5 * 1.4826 * 0.5)
    assert row["outliers"]["value"] == pytest.approx(0.2)
    assert row["spread"] == pytest.approx(np.sqrt(2))
    assert row["coverage_90"]["value"] == pytest.approx(0.8)  # |Δ| ≤ 1.645, all but the last
    assert (row["n"], row["redshift"], found["n"]) == (5, False, 5)


def test_redshifts_are_normalised_and_cut_at_0_15() -> None:
    truth, predicted = np.array([0.0, 1.0, 1.0, 3.0]), np.array([0.14, 1.4, 1.2, 3.4])
    found = statistics(truth, predicted, redshift=True)
    delta = np.array([0.14, 0.2, 0.1, 0.1])
    assert found["bias"] == pytest.approx(delta.mean())
    assert found["median_bias"] == pytest.approx(0.12)
    assert found["sigma_nmad"] == pytest.approx(1.4826 * 0.02)
    assert found["outliers"] == pytest.approx(0.25)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(predicted - truth))))
    assert outliers_of(np.append(truth, np.nan), np.append(predicted, 0), redshift=True).tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]


def test_scatter_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=301)
    predicted = truth + rng.standard_t(3, 301)
    found = statistics(truth, predicted, redshift=False)
    expected = median_abs_deviation(predicted - truth, scale=1 / 1.4826)
    assert found["sigma_nmad"] == pytest.approx(expected)


@pytest.mark.parametrize("freedom", [None, 2.5, 4.0, 30.0])
def test_distributions_are_those_of_scipy(freedom: float | None) -> None:
    rng = np.random.default_rng(2)
    values, means, errors = rng.normal(size=(3, 20, 1))
    errors, spreads = np.abs(errors), rng.uniform(0.1, 3, (20, 1))
    total = np.hypot(errors, spreads)
    scale = total * (1 if freedom is None else np.sqrt((freedom - 2) / freedom))
    known = norm(means, scale) if freedom is None else t(freedom, means, scale)
    found = measurement_log_losses(values, errors, means, spreads, freedom)
    np.testing.assert_allclose(found, -known.logpdf(values), rtol=1e-10)
    np.testing.assert_allclose(measurement_entropies(total, freedom), known.entropy(), rtol=1e-6)
    for level in (0.1, 0.68, 0.9):
        low, high = known.interval(level)
        np.testing.assert_allclose(half_width(level, freedom) * total, (high - low) / 2, rtol=1e-10)


def test_intervals_hold_what_they_say_and_errors_of_measurements_widen_them() -> None:
    rng = np.random.default_rng(3)
    count = 4000
    spreads = rng.uniform(0.2, 2, (count, 2))
    truth = rng.normal(size=(count, 2))
    means = truth + spreads * rng.normal(size=(count, 2))
    errors = np.tile([1.0, 0.0], (count, 1))
    measured = truth + errors * rng.normal(size=(count, 2))
    found = measurement_metrics(measured, errors, means, spreads, ("a", "b"), bootstrap=100)
    for row in found["per_quantity"]:
        for key, level in (("coverage_68", 0.68), ("coverage_90", 0.9)):
            assert row[key]["value"] == pytest.approx(level, abs=0.02)
            assert row[key]["low"] < level < row[key]["high"]
    assert [row["level"] for row in found["coverage"]] == list(LEVELS)
    ignored = measurement_metrics(measured, 0 * errors, means, spreads, ("a", "b"), bootstrap=0)
    assert ignored["per_quantity"][0]["coverage_90"]["value"] < 0.8
    calibrated = measurement_calibration(measured, errors, means, spreads, ("a", "b"), bootstrap=0)
    narrow = measurement_calibration(measured, errors, means, spreads / 3, ("a", "b"), bootstrap=0)
    assert calibrated["ece"]["value"] < 0.015 < 0.1 < narrow["ece"]["value"]
    assert calibrated["log_loss"]["value"] < narrow["log_loss"]["value"]


def test_missing_values_are_left_out_and_said() -> None:
    rng = np.random.default_rng(4)
    truth, means = rng.normal(size=(2, 60, 2))
    truth[::3, 0] = np.nan
    full = measurement_metrics(truth, 0 * means, means, 0 * means + 1, ("a", "b"), bootstrap=50)
    assert [row["n"] for row in full["per_quantity"]] == [40, 60]
    known = np.isfinite(truth[:, 0])
    alone = statistics(truth[known, 0], means[known, 0], redshift=False)
    assert full["per_quantity"][0]["rmse"]["value"] == pytest.approx(float(alone["rmse"]))
    assert full["r2"]["value"] == pytest.approx(np.mean([row["r2"]["value"] for row in full["per_quantity"]]))
    truth[:, 1] = np.nan
    none = measurement_metrics(truth, 0 * means, means, 0 * means + 1, ("a", "b"), bootstrap=50)
    assert none["notes"] == ["none of these galaxies has a value of b"]
    assert none["per_quantity"][1]["r2"]["value"] is None
    assert none["r2"]["value"] == pytest.approx(none["per_quantity"][0]["r2"]["value"])


def test_intervals_cover_the_true_scatter() -> None:
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(150, 1))
        means = truth + 0.5 * rng.normal(size=(150, 1))
        found = measurement_metrics(truth, 0 * truth, means, 0 * truth + 1, NAMES, bootstrap=200)
        scatter = found["per_quantity"][0]["sigma_nmad"]
        inside += scatter["low"] <= 0.5 <= scatter["high"]
    assert inside >= 34


def test_one_galaxy_has_no_interval_and_no_r2() -> None:
    found = measurement_metrics(column(2), column(0), column(3), column(1), NAMES, bootstrap=10)
    row = found["per_quantity"][0]
    assert found["r2"]["value"] is None
    assert (row["rmse"]["value"], row["rmse"]["low"]) == (1, None)


def test_two_runs_are_compared_on_the_same_galaxies() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(500, 1))
    noise = rng.normal(size=(500, 1))
    first, second = truth + noise, truth + 0.9 * noise
    found = compare_measurements(truth, first, second, NAMES, bootstrap=200)
    row = found["per_quantity"][0]
    apart = [
        measurement_metrics(truth, 0 * truth, each, 0 * truth + 1, NAMES, bootstrap=200)
        for each in (first, second)
    ]
    assert found["difference"]["value"] == pytest.approx(apart[1]["r2"]["value"] - apart[0]["r2"]["value"])
    assert found["difference"]["low"] > 0
    assert row["sigma_nmad"]["high"] < 0  # paired: the separate intervals overlap
    separate = [each["per_quantity"][0]["sigma_nmad"] for each in apart]
    assert separate[0]["low"] < separate[1]["high"]
    assert found["closer"] == 1


def test_what_cannot_be_measured_is_refused() -> None:
    one = np.ones((3, 1))
    with pytest.raises(MorphoscopeError, match="there are no measurements to compare with"):
        measurement_metrics(np.nan * one, one, one, one, NAMES)
    with pytest.raises(MorphoscopeError, match="the predicted error of size is 0 in row 0"):
        measurement_metrics(one, one, one, 0 * one, NAMES)
    with pytest.raises(MorphoscopeError, match="the prediction of size is nan"):
        measurement_metrics(one, one, np.nan * one, one, NAMES)
    with pytest.raises(MorphoscopeError, match=r"predictions have shape \(3, 2\)"):
        measurement_metrics(one, one, np.ones((3, 2)), one, NAMES)
