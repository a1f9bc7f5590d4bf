from __future__ import annotations

import numpy as np
import pytest

from morphoscope.metrics.bootstrap import (
    basic_interval,
    percentile_interval,
    resample_counts,
    resampled_sums,
    wilson_interval,
    with_interval,
)


def test_every_resample_draws_as_many_galaxies_as_there_are():
    chunks = list(resample_counts(50, 200, seed=1))
    counts = np.concatenate(chunks)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.3)  # no galaxy is favoured
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.05)  # of a multinomial


def test_chunks_join_to_one_sequence(monkeypatch):
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_sums(values, 40, seed=3)
    monkeypatch.setattr("morphoscope.metrics.bootstrap._CHUNK", 90)  # three resamples at a time
    pieces = resampled_sums(values, 40, seed=3)
    assert whole.shape == (40, 2)
    np.testing.assert_allclose(pieces, whole)


def test_the_seed_decides_the_resamples():
    values = np.arange(20.0)[:, None]
    first = resampled_sums(values, 10, seed=0)
    np.testing.assert_array_equal(first, resampled_sums(values, 10, seed=0))
    assert not np.array_equal(first, resampled_sums(values, 10, seed=1))


def test_no_resamples_give_an_empty_array():
    assert resampled_sums(np.ones((5, 3)), 0).shape == (0, 3)


def test_bootstrap_of_a_share_agrees_with_wilson():
    for hits, count in ((420, 445), (300, 500), (1000, 3513)):
        correct = (np.arange(count) < hits)[:, None]
        low, high = percentile_interval(resampled_sums(correct, 4000)[:, 0] / count)
        wilson_low, wilson_high = wilson_interval(hits, count)
        assert high - low == pytest.approx(wilson_high - wilson_low, rel=0.08)
        assert low == pytest.approx(wilson_low, abs=0.12 * (high - low))
        assert low < hits / count < high


def test_bootstrap_covers_the_truth_in_about_nineteen_of_twenty_samples():
    rng = np.random.default_rng(5)
    truth, count, covered = 0.85, 300, 0
    for trial in range(200):
        correct = (rng.random(count) < truth)[:, None]
        low, high = percentile_interval(resampled_sums(correct, 300, trial)[:, 0] / count)
        covered += low <= truth <= high
    assert 180 <= covered <= 198  # 95 % of 200, within four standard deviations below


def test_wilson_against_published_values():
    # Newcombe 1998, Statistics in Medicine 17, 857, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for hits, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(29, 29)[1] == 1.0
    assert wilson_interval(0, 0) is None


def test_basic_interval_mirrors_the_percentiles_and_holds_the_value():
    samples = np.linspace(0.4, 0.6, 1001)
    assert basic_interval(0.45, samples) == pytest.approx((0.305, 0.495), abs=1e-3)
    low, high = basic_interval(0.05, np.linspace(0.1, 0.2, 1001))  # resamples all above the value
    assert (low, high) == (0.0, 0.05)


def test_limits_are_missing_with_a_reason():
    assert with_interval(0.5, np.empty(0), 10)["reason"] == "no resamples were requested"
    one = with_interval(1.0, np.ones(100), 1)
    assert one["low"] is None
    assert one["high"] is None
    assert "one galaxy" in one["reason"]
