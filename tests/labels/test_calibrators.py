from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.special import log_softmax, softmax

from morphoscope.labels.calibrators import (
    Temperature,
    Unchanged,
    VoteCurves,
    fit_temperature,
    shares_of_questions,
)
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, AnyCorrection, Classes, VoteFractions
from morphoscope.labels.tree import GALAXY_ZOO_2

CLASSES = Classes(name="three", classes=("a", "b", "c"))
VOTES = VoteFractions(name="own", answers=("bar", "ring"))


def _classified(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and a network that is too sure (T > 1) or not sure enough."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return labels, softmax(logits * temperature, axis=1)


def galaxy_zoo(count: int, seed: int = 0, blur: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Votes that follow the tree, and sigmoid-like answers about them that do not."""
    rng = np.random.default_rng(seed)
    conditional = np.empty((count, 37))
    for piece in GALAXY_ZOO_2.slices:
        conditional[:, piece] = rng.dirichlet(np.full(piece.stop - piece.start, 0.7), count)
    votes = GALAXY_ZOO_2.cumulative(conditional)
    stated = np.clip(votes**0.6 + rng.normal(0, blur, votes.shape), 1e-4, 1 - 1e-4)
    return votes, stated


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature):
    labels, stated = _classified(20_000, temperature)
    assert fit_temperature(labels, stated) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_where_the_likelihood_is_greatest():
    labels, stated = _classified(5000, 2.0, seed=3)
    grid = np.linspace(1.5, 2.5, 1001)
    rows = np.arange(len(labels))
    losses = [-log_softmax(np.log(stated) / value, axis=1)[rows, labels].mean() for value in grid]
    assert fit_temperature(labels, stated) == pytest.approx(grid[np.argmin(losses)], abs=0.01)


def test_by_hand_where_every_galaxy_is_right():
    # Two classes at 4 : 1 and N = 8 right: the likelihood alone would say T → 0; one galaxy in N + 2 = 10
    # counts as wrong, so T makes 4^(1/T) = 9.
    stated = np.tile([0.8, 0.2], (8, 1))
    temperature = fit_temperature(np.zeros(8, int), stated)
    assert temperature == pytest.approx(np.log(4) / np.log(9), rel=1e-3)
    assert Temperature(temperature=temperature)(stated)[0, 0] == pytest.approx(0.9, abs=1e-3)


def test_a_temperature_keeps_the_order_and_the_sum():
    _, stated = _classified(500, 1.0)
    hot, cold = Temperature(temperature=3.0)(stated), Temperature(temperature=0.4)(stated)
    for corrected in (hot, cold):
        assert (corrected.argmax(axis=1) == stated.argmax(axis=1)).all()
        assert np.allclose(corrected.sum(axis=1), 1, atol=1e-6)
        assert corrected.dtype == np.float32
    assert (hot.max(axis=1) <= stated.max(axis=1) + 1e-6).all()
    assert (cold.max(axis=1) >= stated.max(axis=1) - 1e-6).all()
    certain = Temperature(temperature=2.0)(np.array([[1.0, 0.0, 0.0]]))
    assert np.isfinite(certain).all()


def test_shares_of_questions_sum_to_one_even_where_nothing_was_said():
    stated = np.random.default_rng(4).random((5, 37))
    stated[0, GALAXY_ZOO_2.slices[3]] = 0
    shares = shares_of_questions(GALAXY_ZOO_2, stated)
    for piece in GALAXY_ZOO_2.slices:
        assert np.allclose(shares[:, piece].sum(axis=1), 1)
    assert shares[0, GALAXY_ZOO_2.slices[3]].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("method", ["tree", "beta", "isotonic"])
def test_corrected_votes_follow_the_tree(method):
    votes, stated = galaxy_zoo(150, blur=0.05)
    assert np.abs(GALAXY_ZOO_2.sum_errors(stated)).max() > 0.1
    corrected = GALAXY_ZOO_2_VOTES.fit_calibrator(method, votes, stated)(stated)
    assert np.abs(GALAXY_ZOO_2.sum_errors(corrected)).max() < 1e-6
    assert (corrected >= 0).all()
    assert (corrected <= 1).all()
    GALAXY_ZOO_2.check(corrected, range(len(corrected)))


@pytest.mark.parametrize("method", ["beta", "isotonic"])
def test_curves_undo_what_was_done_to_the_votes(method):
    votes, stated = galaxy_zoo(1500)
    new_votes, new_stated = galaxy_zoo(1500, seed=1)
    corrected = GALAXY_ZOO_2_VOTES.fit_calibrator(method, votes, stated)(new_stated)
    scaled = GALAXY_ZOO_2_VOTES.fit_calibrator("tree", votes, stated)(new_stated)
    errors = [np.sqrt(np.square(answers - new_votes).mean()) for answers in (new_stated, scaled, corrected)]
    assert errors[2] < 0.7 * errors[1] < 0.7 * errors[0]


def test_votes_that_follow_the_tree_stay_as_they_are():
    votes, _ = galaxy_zoo(50)
    assert np.allclose(VoteCurves(method="tree", tree="galaxy-zoo-2")(votes), votes, atol=1e-6)


def test_independent_fractions_are_corrected_one_by_one():
    rng = np.random.default_rng(5)
    truth = rng.random((3000, 2))
    stated = np.stack([truth[:, 0] ** 2, truth[:, 1]], axis=1)
    corrected = VOTES.fit_calibrator("isotonic", truth, stated)(stated)
    assert np.abs(corrected - truth).max() < 0.02


def test_candidates_go_from_simple_to_flexible():
    assert CLASSES.calibrators == ("none", "temperature")
    assert VOTES.calibrators == ("none", "beta", "isotonic")
    assert GALAXY_ZOO_2_VOTES.calibrators == ("none", "tree", "beta", "isotonic")


def test_corrections_come_back_from_plain_numbers():
    votes, stated = galaxy_zoo(60, blur=0.02)
    labels, sure = _classified(60, 2.0)
    adapter = TypeAdapter(AnyCorrection)
    for scheme, targets, answers in ((GALAXY_ZOO_2_VOTES, votes, stated), (CLASSES, labels, sure)):
        for method in scheme.calibrators:
            correction = scheme.fit_calibrator(method, targets, answers)
            again = adapter.validate_json(correction.model_dump_json())
            assert again == correction
            assert (again(answers) == correction(answers)).all()
    assert (Unchanged()(stated) == stated.astype(np.float32)).all()


def test_contradictions_are_refused():
    with pytest.raises(ValidationError, match="unknown decision tree"):
        VoteCurves(method="tree", tree="galaxy-zoo-9")
    with pytest.raises(ValidationError, match="need curves"):
        VoteCurves(method="beta")
    with pytest.raises(ValidationError):
        Temperature(temperature=0)
