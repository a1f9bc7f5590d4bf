from __future__ import annotations

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.fit_uncertainty import expected_coverage, measured_sets
from morphoscope.metrics.conformal import (
    bare_sets,
    filled_sets,
    least_probabilities,
    rank_of,
    ranked_sets,
    set_names,
    truth_probabilities,
)

CLASSES = ("a", "b", "c")


def _galaxies(rng: np.random.Generator, count: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Exchangeable galaxies: one class is rare, and hard."""
    labels = rng.choice(3, size=count, p=[0.6, 0.3, 0.1])
    scores = rng.normal(0, 1, (count, 3)) + skill * np.eye(3)[labels] * np.array([2.5, 2.0, 0.5])
    shares = np.exp(1.7 * scores)  # far from calibrated: the coverage must hold all the same
    return labels, shares / shares.sum(axis=1, keepdims=True)


def test_by_hand():
    # Nine known galaxies and 80 %: rank ⌈10 · 0.8⌉ = 8, so the eighth greatest probability of the truth.
    labels = np.zeros(9, int)
    truth = np.array([0.9, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.1])
    stated = np.stack([truth, 1 - truth], axis=1)
    scores = truth_probabilities(labels, stated, ("a", "b"))
    assert scores == {"a": sorted(truth.tolist()), "b": []}
    least = least_probabilities(scores, ("a", "b"), 0.8, per_class=False)
    assert least.tolist() == [0.4, 0.4]
    # No known galaxy of b: it belongs to every set within classes.
    assert least_probabilities(scores, ("a", "b"), 0.8, per_class=True).tolist() == [0.4, 0.0]
    new = np.array([[0.5, 0.5], [0.4, 0.6], [0.2, 0.8]])
    assert bare_sets(new, least).tolist() == [[True, True], [True, True], [False, True]]


def test_ranks_are_not_thrown_off_by_floating_point():
    assert rank_of(9, 0.9) == 9
    assert rank_of(8, 0.9) == 9  # more than there are: every class
    assert 100 * 0.55 > 55
    assert rank_of(99, 0.55) == 55
    assert rank_of(111, 0.9) == 101
    for count in range(1, 300):
        assert rank_of(10 * count - 1, 0.9) == 9 * count


def test_too_few_galaxies_give_every_class():
    scores = {"a": [0.9] * 8, "b": [], "c": []}
    assert least_probabilities(scores, CLASSES, 0.9, per_class=False).tolist() == [0, 0, 0]
    assert filled_sets(np.array([[1.0, 0.0, 0.0]]), np.zeros(3)).all()


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_bare_sets_cover_as_promised_on_average(coverage):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        known_labels, known = _galaxies(rng, 111)
        labels, stated = _galaxies(rng, 200)
        scores = truth_probabilities(known_labels, known, CLASSES)
        least = least_probabilities(scores, CLASSES, coverage, per_class=False)
        shares.append(bare_sets(stated, least)[np.arange(200), labels].mean())
    # (n + 1) · coverage is rounded up, so the mean lies between coverage and coverage + 1/(n + 1).
    error = np.std(shares) / np.sqrt(len(shares))
    assert coverage - 3 * error < np.mean(shares) < coverage + 1 / 112 + 3 * error
    band = expected_coverage(111, 200, coverage)
    assert band is not None
    inside = np.mean([band["low"] <= share <= band["high"] for share in shares])
    assert inside == pytest.approx(0.95, abs=0.035)


def test_within_every_class_the_rare_one_is_covered_too():
    rng = np.random.default_rng(1)
    known_labels, known = _galaxies(rng, 20_000)
    labels, stated = _galaxies(rng, 20_000)
    scores = truth_probabilities(known_labels, known, CLASSES)
    together = measured_sets(scores, labels, stated, CLASSES, 0.9, per_class=False)
    each = measured_sets(scores, labels, stated, CLASSES, 0.9, per_class=True)
    rare = together["by_class"][2]
    assert rare["covered"] < 0.75  # what one threshold for all does to it
    for row in each["by_class"]:
        assert row["covered"] == pytest.approx(0.9, abs=0.025)
    assert together["bare_covered"]["value"] == pytest.approx(0.9, abs=0.01)
    assert together["mean_size"] < each["mean_size"]


def test_a_network_better_than_the_coverage_has_its_empty_sets_filled():
    rng = np.random.default_rng(2)
    known_labels, known = _galaxies(rng, 5000, skill=3)
    labels, stated = _galaxies(rng, 5000, skill=3)
    right = (stated.argmax(axis=1) == labels).mean()
    scores = truth_probabilities(known_labels, known, CLASSES)
    result = measured_sets(scores, labels, stated, CLASSES, 0.8, per_class=False)
    assert right > 0.9
    assert result["filled"] > 0.1
    assert result["bare_covered"]["value"] == pytest.approx(0.8, abs=0.02)
    assert result["covered"]["value"] >= right
    assert result["sizes"][0] == 0
    assert sum(result["sizes"]) == result["n"] == 5000
    assert result["covered"]["low"] < result["covered"]["value"] < result["covered"]["high"]


def test_sets_are_written_with_the_most_probable_class_first():
    stated = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])
    least = np.array([0.25, 0.25, 0.25])
    sets = filled_sets(stated, least)
    assert set_names(stated, sets, CLASSES) == ["b|c", "a", "a|b|c"]
    assert ranked_sets(stated, sets, CLASSES)[0] == ("b", "c")
    assert set_names(stated, filled_sets(stated, np.full(3, 0.95)), CLASSES) == ["b", "a", "a"]


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90.0, -0.1, float("nan")])
def test_a_coverage_is_a_share(coverage):
    with pytest.raises(UsageError, match="between 0 and 1"):
        least_probabilities({"a": [0.5]}, ("a",), coverage, per_class=False)


def test_scores_of_other_classes_are_refused():
    with pytest.raises(MorphoscopeError, match="are of the classes x, y"):
        least_probabilities({"x": [], "y": []}, ("a", "b"), 0.9, per_class=False)
