from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit, logit

from morphoscope.labels.calibrators import BetaCurve, IsotonicCurve, fit_beta, fit_isotonic, isotonic_knots


def test_isotonic_regression_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(0)
    stated = rng.uniform(0.1, 0.9, 400).round(2)  # many ties
    truth = np.clip(stated**2 + rng.normal(0, 0.1, 400), 0, 1)
    weight = rng.uniform(0.1, 1, 400)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(stated, truth, sample_weight=weight)
    asked = np.linspace(0, 1, 501)
    knots, levels = isotonic_knots(stated, truth, weight)
    assert np.allclose(np.interp(asked, knots, levels), oracle.predict(asked), atol=1e-12)
    assert len(knots) < len(np.unique(stated))
    curve = fit_isotonic(stated, truth, weight)
    assert np.allclose(curve(asked), np.clip(oracle.predict(asked), 1 / (weight.sum() + 2), 1), atol=1e-12)


def test_isotonic_by_hand():
    # 0.2 and 0.4 are in the wrong order, so they share their mean, (0.6 + 0.2) / 2.
    knots, levels = isotonic_knots(np.array([0.1, 0.2, 0.4, 0.9]), np.array([0, 0.6, 0.2, 1]), np.ones(4))
    assert knots.tolist() == [0.1, 0.2, 0.4, 0.9]
    assert levels.tolist() == pytest.approx([0, 0.4, 0.4, 1])
    curve = fit_isotonic(np.array([0.1, 0.2, 0.4, 0.9]), np.array([0, 0.6, 0.2, 1]), np.ones(4))
    expected = [1 / 6, 0.4, (0.4 + 5 / 6) / 2, 5 / 6]  # the ends are 1/(4 + 2) away from 0 and 1
    assert curve(np.array([0.0, 0.3, 0.65, 1.0])).tolist() == pytest.approx(expected)


def test_what_weighs_nothing_says_nothing():
    stated, truth = np.array([0.1, 0.5, 0.9]), np.array([0.2, np.nan, 0.8])
    weight = np.array([1.0, 0.0, 1.0])
    assert np.isfinite(fit_isotonic(stated, truth, weight)(stated)).all()
    assert fit_beta(stated, truth, weight) == fit_beta(stated[::2], truth[::2], weight[::2])
    nothing = np.zeros(3)
    assert fit_isotonic(stated, truth, nothing)(stated).tolist() == stated.tolist()
    assert fit_beta(stated, truth, nothing)(stated).tolist() == pytest.approx(stated.tolist())


@pytest.mark.parametrize(("a", "b", "c"), [(0.5, 2.0, 0.3), (1.5, 1.5, -1.0), (1.0, 1.0, 0.0)])
def test_a_beta_curve_is_found_again(a, b, c):
    rng = np.random.default_rng(1)
    stated = rng.uniform(0.02, 0.98, 40_000)
    honest = expit(a * np.log(stated) - b * np.log(1 - stated) + c)
    truth = rng.binomial(30, honest) / 30  # thirty volunteers
    found = fit_beta(stated, truth, np.ones(len(stated)))
    assert (found.a, found.b, found.c) == pytest.approx((a, b, c), abs=0.05)
    assert np.abs(found(stated) - honest).max() < 0.01


def test_the_beta_curve_without_its_prior_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    stated = rng.beta(1, 3, 20_000)
    hit = rng.random(20_000) < expit(0.6 * logit(stated) + 0.4)
    terms = np.stack([np.log(stated), -np.log1p(-stated)], axis=1)
    oracle = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(terms, hit)
    curve = fit_beta(stated, hit, np.ones(len(stated)))
    asked = np.linspace(0.01, 0.9, 50)
    expected = oracle.predict_proba(np.stack([np.log(asked), -np.log1p(-asked)], axis=1))[:, 1]
    assert np.abs(curve(asked) - expected).max() < 0.003


def test_few_galaxies_hardly_move_a_beta_curve():
    stated, truth = np.array([0.2, 0.3]), np.array([1.0, 1.0])
    few = fit_beta(stated, truth, np.ones(2))(np.array([0.25]))[0]
    many = fit_beta(np.tile(stated, 500), np.tile(truth, 500), np.ones(1000))(np.array([0.25]))[0]
    assert 0.25 < few < 0.7 < 0.99 < many


def test_both_curves_rise():
    rng = np.random.default_rng(3)
    stated, truth = rng.random(60), rng.random(60)
    asked = np.linspace(0, 1, 200)
    for fit in (fit_beta, fit_isotonic):
        values = fit(stated, truth, np.ones(60))(asked)
        assert (np.diff(values) >= -1e-12).all()
        assert (values > 0).all()
        assert (values < 1).all()


def test_a_damaged_curve_is_refused():
    with pytest.raises(ValidationError):
        BetaCurve(a=-1, b=1, c=0)
    with pytest.raises(ValidationError):
        IsotonicCurve(stated=(0.1, 0.2), corrected=(0.5,))
    with pytest.raises(ValidationError):
        BetaCurve.model_validate({"a": float("nan"), "b": 1, "c": 0})
