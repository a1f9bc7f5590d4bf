from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from morphoscope.metrics.linear_models import (
    LinearFit,
    Loss,
    binary_cross_entropy,
    cross_entropy,
    sigmoid,
    softmax,
)


def features_and_classes(count: int, width: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count + width)
    labels = np.arange(count) % classes
    features = draw.normal(3, draw.uniform(0.1, 5, width), (count, width))
    features[:, :classes] += 2 * np.eye(classes)[labels]
    return features, labels


@pytest.mark.parametrize(("count", "width"), [(60, 8), (12, 40)])
@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_classes_are_fitted_as_scikit_learn_fits_them(count: int, width: int, strength: float) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, labels = features_and_classes(count, width)
    fit = LinearFit(features, np.eye(3)[labels], cross_entropy)
    standard = StandardScaler().fit(features)
    theirs = LogisticRegression(C=1 / (strength * count), tol=1e-9, max_iter=5000)
    theirs.fit(standard.transform(features), labels)
    expected = theirs.predict_proba(standard.transform(features))
    assert np.abs(softmax(fit(strength)(features)) - expected).max() < 2e-4


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_the_gradient_is_that_of_the_loss(loss: Loss) -> None:
    draw = np.random.default_rng(2)
    targets = draw.dirichlet(np.ones(4), 5)
    outputs = draw.normal(0, 2, (5, 4))
    error = check_grad(
        lambda flat: loss(flat.reshape(5, 4), targets)[0],
        lambda flat: loss(flat.reshape(5, 4), targets)[1].ravel(),
        outputs.ravel(),
    )
    assert error < 1e-6


def test_fractions_without_features_that_tell_are_their_means() -> None:
    fractions = np.array([[0.1, 0.9], [0.3, 0.7], [0.2, 0.5]])
    model = LinearFit(np.ones((3, 4)), fractions, binary_cross_entropy)(0.1)
    assert np.array_equal(model.weight_KD, np.zeros((2, 4)))  # a constant feature has no weight
    assert sigmoid(model(np.full((1, 4), 7.0))) == pytest.approx(
        fractions.mean(axis=0, keepdims=True), abs=1e-5
    )


def test_units_of_a_feature_do_not_matter() -> None:
    features, labels = features_and_classes(30, 6)
    scales = np.array([1e-3, 1, 1e3, -2, 5, 0.1])
    one, other = (LinearFit(each, np.eye(3)[labels], cross_entropy) for each in (features, features * scales))
    assert one(0.05)(features) == pytest.approx(other(0.05)(features * scales), abs=1e-4)


def test_a_fit_does_not_depend_on_the_one_before() -> None:
    features, labels = features_and_classes(30, 6)
    fit = LinearFit(features, np.eye(3)[labels], cross_entropy)
    alone = fit(0.01)
    fit(10.0)
    assert fit(0.01).weight_KD == pytest.approx(alone.weight_KD, abs=1e-3)


def test_large_numbers_do_not_overflow() -> None:
    assert np.array_equal(sigmoid(np.array([-1e4, 0, 1e4])), [0, 0.5, 1])
    assert np.array_equal(softmax(np.array([[1e4, 0.0]])), [[1, 0]])
    loss, gradient = binary_cross_entropy(np.array([[1e4]]), np.array([[0.0]]))
    assert (loss, gradient[0, 0]) == (1e4, 1.0)


@pytest.mark.parametrize(
    ("features", "targets"), [([[np.nan]], [[1.0]]), ([[1.0]], [[1.0], [0.0]]), ([], [])]
)
def test_what_is_not_finite_or_of_other_galaxies_is_refused(features: list, targets: list) -> None:
    with pytest.raises(ValueError, match=r"finite|the same galaxies"):
        LinearFit(np.array(features), np.array(targets), cross_entropy)
