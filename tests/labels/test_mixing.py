"""Probabilities mixed with the class shares as the OOD score grows."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import softmax

from morphoscope.labels.mixing import Mixing, fit_mixing

SHARES = np.array([0.7, 0.2, 0.1])


def test_it_goes_from_the_prediction_to_the_shares() -> None:
    mixing = Mixing(half=2.0, power=4.0, shares=tuple(SHARES))
    stated = np.array([[0.9, 0.1, 0.0]] * 4)
    mixed = mixing(stated, np.array([0.0, 1.0, 2.0, np.inf]))
    np.testing.assert_allclose(mixed[0], stated[0], atol=1e-7)
    np.testing.assert_allclose(mixed[1], stated[1] * 16 / 17 + SHARES / 17, atol=1e-6)
    np.testing.assert_allclose(mixed[2], (stated[2] + SHARES) / 2, atol=1e-6)
    np.testing.assert_allclose(mixed[3], SHARES, atol=1e-6)


def test_the_most_probable_class_never_changes() -> None:
    rng = np.random.default_rng(0)
    mixing = Mixing(half=1.0, power=8.0, shares=tuple(SHARES))
    stated = rng.dirichlet([0.5, 0.5, 0.5], 5000)
    stated[:3] = [[1 / 3, 1 / 3, 1 / 3], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0]]
    scores = rng.choice([0.3, 1.0, 3.0, np.inf], 5000)
    mixed = mixing(stated, scores)
    np.testing.assert_array_equal(mixed.argmax(axis=1), stated.argmax(axis=1))
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-5)
    assert (mixed >= 0).all()
    assert mixed[scores == np.inf].max() < 0.72


def test_a_network_that_fails_beyond_a_score_of_two_is_recognised() -> None:
    rng = np.random.default_rng(1)
    logits, scores = rng.normal(0, 3, (4000, 3)), rng.uniform(0.3, 4, 4000)
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    truth = np.where(scores > 2, rng.choice(3, 4000, p=SHARES), truth)
    temperature, mixing = fit_mixing(truth, softmax(logits * 1.5, axis=1), scores, SHARES)
    assert temperature.temperature == pytest.approx(1.5, rel=0.1)
    assert mixing.half == pytest.approx(2.0, rel=0.05)
    assert mixing.weights(np.array([1.0, 3.5])) == pytest.approx([0, 1], abs=0.1)


def test_a_few_galaxies_leave_the_usual_curve() -> None:
    stated = np.full((20, 3), 1 / 3)
    temperature, mixing = fit_mixing(np.arange(20) % 3, stated, np.full(20, 0.5), np.full(3, 1 / 3))
    assert np.isfinite([temperature.temperature, mixing.half, mixing.power]).all()
    assert (mixing.half, mixing.power) == pytest.approx((3, 3), rel=0.01)


@pytest.mark.parametrize("fault", [{"half": 0.0}, {"power": -1.0}, {"shares": (0.5, 0.2)}, {"half": np.inf}])
def test_nonsense_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Mixing.model_validate({"half": 2.0, "power": 4.0, "shares": tuple(SHARES)} | fault)
