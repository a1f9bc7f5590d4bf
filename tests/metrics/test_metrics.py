from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.metrics.bootstrap import wilson_interval
from morphoscope.metrics.classification import classification_metrics
from morphoscope.metrics.regression import regression_metrics

AVERAGES = [f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")]
NUMBERS = ["accuracy", *AVERAGES, "top2", "ece", "adaptive_ece", "log_loss", "brier"]


def sample(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities themselves: a calibrated network."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(size, 0.3), count).astype(np.float32)
    labels = (probabilities.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return labels.clip(0, size - 1), probabilities


def names(size: int) -> list[str]:
    return [f"class {k}" for k in range(size)]


def only_plain_values(value) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and only_plain_values(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(only_plain_values(entry) for entry in value)
    return value is None or type(value) in (str, int, float)


def test_agrees_with_scikit_learn():
    labels, probabilities = sample(800, 10)
    result = classification_metrics(labels, probabilities, names(10), bootstrap=200)
    predicted = probabilities.argmax(axis=1)
    for kind in ("macro", "weighted"):
        scores = sklearn_metrics.precision_recall_fscore_support(labels, predicted, average=kind)
        for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
            assert result[f"{kind}_{name}"]["value"] == pytest.approx(value)
    assert result["accuracy"]["value"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert result["confusion"] == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    assert result["top2"]["value"] == sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=2)
    assert result["log_loss"]["value"] == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities), rel=1e-5
    )
    assert result["brier"]["value"] == pytest.approx(
        sklearn_metrics.brier_score_loss(labels, probabilities, scale_by_half=False), rel=1e-5
    )
    report = sklearn_metrics.classification_report(
        labels, predicted, target_names=names(10), output_dict=True, zero_division=0
    )
    for row in result["per_class"]:
        expected = report[row["name"]]
        assert row["support"] == expected["support"]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"]]
        )


def test_every_number_lies_in_its_interval_and_survives_json():
    labels, probabilities = sample(400, 5)
    result = classification_metrics(labels, probabilities, names(5), bootstrap=300)
    for name in NUMBERS:
        number = result[name]
        assert number["low"] < number["value"] <= number["high"], name
    assert only_plain_values(result)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_perfect_predictions():
    labels = np.arange(30) % 3
    result = classification_metrics(labels, np.eye(3)[labels], names(3), bootstrap=50)
    for name in NUMBERS:
        good = 0 if name in ("ece", "adaptive_ece", "log_loss", "brier") else 1
        assert (result[name]["value"], result[name]["low"], result[name]["high"]) == (good, good, good), name
    assert result["confusion"] == (np.eye(3, dtype=int) * 10).tolist()
    assert "0.886 to 1.000" in result["notes"][0]  # Wilson, 30 of 30


def test_uniform_predictions():
    labels = np.repeat(np.arange(4), [40, 20, 30, 10])
    result = classification_metrics(labels, np.full((100, 4), 0.25), names(4), bootstrap=50)
    assert result["accuracy"]["value"] == 0.4  # ties go to the first class
    assert result["macro_recall"]["value"] == 0.25
    assert result["top2"]["value"] == 0.6  # and then to the second
    assert result["ece"]["value"] == pytest.approx(0.4 - 0.25)
    assert result["log_loss"]["value"] == pytest.approx(np.log(4))
    assert result["brier"]["value"] == pytest.approx(0.75)
    assert result["per_class"][1]["precision"] is None
    assert result["per_class"][1]["reason"] == "the class was never predicted"


def test_calibration_of_a_calibrated_and_an_overconfident_network():
    labels, probabilities = sample(20_000, 5, seed=4)
    honest = classification_metrics(labels, probabilities, names(5), bootstrap=50)
    assert honest["ece"]["value"] < 0.012
    assert honest["ece"]["low"] < 0.004
    boastful = classification_metrics(labels, np.eye(5)[probabilities.argmax(axis=1)], names(5), bootstrap=50)
    assert boastful["ece"]["value"] == pytest.approx(1 - honest["accuracy"]["value"])
    assert boastful["reliability"][-1]["count"] == 20_000


def test_accuracy_interval_has_the_binomial_width():
    labels = np.zeros(445, int)
    probabilities = np.where((np.arange(445) < 419)[:, None], [0.9, 0.1], [0.2, 0.8])
    accuracy = classification_metrics(labels, probabilities, names(2))["accuracy"]
    low, high = wilson_interval(419, 445)
    assert accuracy["high"] - accuracy["low"] == pytest.approx(high - low, rel=0.1)
    assert accuracy["low"] < 419 / 445 < accuracy["high"]


def test_the_seed_decides_the_intervals_alone():
    labels, probabilities = sample(100, 3)
    first = classification_metrics(labels, probabilities, names(3), seed=0)
    assert first == classification_metrics(labels, probabilities, names(3), seed=0)
    second = classification_metrics(labels, probabilities, names(3), seed=1)
    assert first["macro_f1"]["value"] == second["macro_f1"]["value"]
    assert first["macro_f1"]["low"] != second["macro_f1"]["low"]


def test_a_class_without_galaxies_is_said_and_not_scored():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    result = classification_metrics(labels, probabilities, names(3), bootstrap=20)
    assert result["macro_recall"]["value"] == 1.0
    assert "no galaxy of class 2" in result["notes"][0]
    row = result["per_class"][2]
    assert row["recall"] is row["precision"] is row["f1"] is row["recall_low"] is None
    assert "the test set has no galaxy of this class" in row["reason"]
    assert json.dumps(result, allow_nan=False)


def test_a_class_that_is_called_but_has_no_galaxies_counts_as_zero():
    labels = np.array([0, 0, 1, 1])
    result = classification_metrics(labels, np.eye(3)[[0, 2, 1, 1]], names(3), bootstrap=20)
    assert result["macro_recall"]["value"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert result["per_class"][2]["precision"] == 0.0
    assert result["per_class"][2]["recall"] is None


def test_a_certain_and_wrong_answer_has_a_finite_loss():
    result = classification_metrics(np.array([0, 1]), np.eye(2)[[1, 0]], names(2), bootstrap=0)
    assert result["log_loss"]["value"] == pytest.approx(-np.log(np.finfo(np.float32).eps))
    assert result["log_loss"]["low"] is None
    assert result["log_loss"]["reason"] == "no resamples were requested"


def test_one_galaxy_has_a_value_and_no_interval():
    result = classification_metrics(np.array([1]), np.array([[0.3, 0.7]]), names(2))
    assert result["n"] == 1
    assert result["accuracy"]["value"] == 1.0
    assert result["accuracy"]["low"] is None
    assert result["ece"]["value"] == pytest.approx(0.3)
    votes = regression_metrics(np.array([[0.2]]), np.array([[0.5]]), ["x"])
    assert votes["rmse"]["value"] == pytest.approx(0.3)
    assert votes["rmse"]["high"] is None


def test_no_galaxies_is_an_error():
    with pytest.raises(MorphoscopeError, match="no galaxies"):
        classification_metrics(np.empty(0, int), np.empty((0, 2)), names(2))
    with pytest.raises(MorphoscopeError, match="no galaxies"):
        regression_metrics(np.empty((0, 2)), np.empty((0, 2)), names(2))


def test_a_thousand_resamples_of_chengs_test_set_take_well_under_a_second():
    labels, probabilities = sample(3513, 10)
    seconds = []
    for _ in range(3):  # the quickest of three, in the thread's own time: other work does not count
        start = time.thread_time()
        classification_metrics(labels, probabilities, names(10), bootstrap=1000)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 1  # 0.03 s on an idle machine


def test_rmse_is_exact_over_galaxies_and_answers():
    rng = np.random.default_rng(0)
    targets, predictions = rng.random((211, 37)), rng.random((211, 37))
    result = regression_metrics(targets, predictions, names(37), bootstrap=200)
    expected = np.sqrt(np.sum((targets - predictions) ** 2) / (211 * 37))
    assert result["rmse"]["value"] == pytest.approx(expected, rel=1e-12)
    assert result["rmse"]["low"] < expected < result["rmse"]["high"]
    flat = sklearn_metrics.root_mean_squared_error(targets.ravel(), predictions.ravel())
    assert result["rmse"]["value"] == pytest.approx(flat)
    per_answer = [row["rmse"] for row in result["per_answer"]]
    assert np.sqrt(np.mean(np.square(per_answer))) == pytest.approx(expected)
    assert only_plain_values(result)


def test_rmse_interval_has_the_width_of_the_standard_error():
    rng = np.random.default_rng(1)
    errors = rng.normal(0, 0.1, (2000, 1))
    rmse = regression_metrics(np.zeros((2000, 1)), errors, ["x"])["rmse"]
    # of a normal sample: standard error of the root mean square is sigma / sqrt(2 n)
    assert rmse["high"] - rmse["low"] == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(4000), rel=0.1)


def test_constant_predictions():
    targets = np.tile([[0.2, 0.5], [0.6, 0.5]], (10, 1))
    result = regression_metrics(targets, np.full((20, 2), 0.4), ["a", "b"], {"q": ["a", "b"], "r": ["b"]})
    first, second = result["per_answer"]
    assert first["rmse"] == pytest.approx(0.2)
    assert first["bias"] == pytest.approx(0.0)
    assert first["spread"] == pytest.approx(0.2)
    assert second["rmse"] == pytest.approx(0.1)
    assert second["bias"] == pytest.approx(-0.1)
    assert result["rmse"]["value"] == pytest.approx(np.sqrt((0.04 + 0.01) / 2))
    question, alone = result["per_question"]
    assert question["rmse"] == pytest.approx(result["rmse"]["value"])
    assert alone == {"name": "r", "answers": ["b"], **{k: second[k] for k in ("rmse", "low", "high")}}


def test_votes_without_a_tree_have_no_questions():
    scheme = VoteFractions(name="own", answers=("a", "b"))
    result = scheme.measure(np.zeros((4, 2)), np.full((4, 2), 0.1), bootstrap=10)
    assert result["per_question"] == []
    assert result["rmse"]["value"] == pytest.approx(0.1)


def test_votes_of_a_tree_are_measured_question_by_question():
    errors = np.repeat(np.arange(11) / 20, [3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6])  # `ng`: groups of answers
    result = GALAXY_ZOO_2_VOTES.measure(np.zeros((5, 37)), np.tile(errors, (5, 1)), bootstrap=10)
    assert [row["rmse"] for row in result["per_question"]] == pytest.approx(np.arange(11) / 20)
    assert [row["name"] for row in result["per_question"]] == [q.text for q in GALAXY_ZOO_2.questions]
    assert result["per_question"][6]["answers"] == ["Class7.1", "Class7.2", "Class7.3"]


def test_measure_chooses_by_the_scheme():
    scheme = Classes(name="own", classes=("round", "flat"))
    result = scheme.measure(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], bootstrap=10)
    assert result["accuracy"]["value"] == pytest.approx(2 / 3)
    assert [row["name"] for row in result["per_class"]] == ["round", "flat"]
