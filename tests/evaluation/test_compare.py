from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from morphoscope.errors import UsageError
from morphoscope.evaluation.compare import compare
from morphoscope.metrics.classification import classification_metrics, mcnemar
from morphoscope.metrics.regression import regression_metrics

CLASSES = ("circular", "intermediate", "cigar", "edge-on", "spiral")


def class_run(name: str, labels: np.ndarray, predicted: np.ndarray, classes=CLASSES) -> dict:
    size = len(classes)
    probabilities = np.where(np.arange(size) == np.asarray(predicted)[:, None], 0.9, 0.1 / (size - 1))
    table = pa.table(
        {
            "id": [f"g{k}" for k in range(len(labels))],
            "row": np.arange(len(labels)),
            "label": pa.array(labels, pa.int16()),
            "predicted": pa.array(predicted, pa.int16()),
            "probability": pa.array(probabilities.max(axis=1), pa.float32()),
            **{f"p_{c}": pa.array(probabilities[:, k], pa.float32()) for k, c in enumerate(classes)},
        }
    )
    metrics = classification_metrics(labels, probabilities, classes, bootstrap=10)
    return {"name": name, "predictions": table, "metrics": metrics}


def vote_run(name: str, truth: np.ndarray, answers: np.ndarray) -> dict:
    columns = [f"Class{k}" for k in range(truth.shape[1])]
    table = pa.table(
        {
            "id": [f"g{k}" for k in range(len(truth))],
            **{f"t_{c}": pa.array(truth[:, k], pa.float32()) for k, c in enumerate(columns)},
            **{c: pa.array(answers[:, k], pa.float32()) for k, c in enumerate(columns)},
        }
    )
    return {"name": name, "predictions": table, "metrics": regression_metrics(truth, answers, columns)}


def with_hits(hits: list[int], support: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels with the given number of each class, of which the first so many are called rightly."""
    labels = np.repeat(np.arange(len(support)), support)
    right = np.concatenate([np.arange(n) < h for h, n in zip(hits, support, strict=True)])
    return labels, np.where(right, labels, (labels + 1) % len(support))


@pytest.mark.parametrize(
    ("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 11), (14, 10), (20, 5), (30, 31), (130, 60)]
)
def test_mcnemar_agrees_with_scipy(b, c):
    first = np.array([True] * b + [False] * c + [True] * 50 + [False] * 20)
    second = np.array([False] * b + [True] * c + [True] * 50 + [False] * 20)
    result = mcnemar(first, second)
    assert (result["only_first"], result["only_second"]) == (b, c)
    if b + c < 25:
        assert result["method"] == "exact"
        expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    else:
        assert result["method"] == "chi-square"
        expected = stats.chi2.sf((abs(b - c) - 1) ** 2 / (b + c), 1)
    assert result["p"] == pytest.approx(expected)


def test_mcnemar_against_a_published_value():
    # Agresti, Categorical Data Analysis (2nd ed. 2002), table 10.1: 86 and 150 discordant; z² = 17.36
    # without the correction, (|86 − 150| − 1)² / 236 = 16.82 with it.
    first = np.array([True] * 86 + [False] * 150)
    assert mcnemar(first, ~first)["statistic"] == pytest.approx(16.82, abs=0.005)


def test_tongs_gains_per_class():
    # `tong`, Table II and Fig. 7: 82 more galaxies of 2,880 right, from 88.61 to 91.46 %.
    support = [844, 807, 58, 390, 781]
    before = [800, 730, 30, 370, 622]
    after = [h + gain for h, gain in zip(before, (20, 5, 7, 1, 49), strict=True)]
    runs = [class_run("ResNet50", *with_hits(before, support)), class_run("CS", *with_hits(after, support))]
    result = compare(runs, bootstrap=400)
    assert [round(100 * run["accuracy"]["value"], 2) for run in result["runs"]] == [88.61, 91.46]
    (pair,) = result["pairs"]
    assert round(100 * pair["difference"]["value"], 2) == 2.85
    assert pair["difference"]["low"] > 0
    gains = [100 * row["recall"] for row in pair["per_class"]]
    assert gains == pytest.approx([2.370, 0.6196, 12.069, 0.256, 6.274], abs=5e-4)
    assert np.mean(gains) == pytest.approx(4.32, abs=0.005)
    assert (pair["mcnemar"]["only_second"], pair["mcnemar"]["only_first"]) == (82, 0)
    # all discordant galaxies speak for one: binomial width sqrt(82)/2880
    width = pair["difference"]["high"] - pair["difference"]["low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(82) / 2880, rel=0.15)


def test_a_pair_is_resampled_together():
    # Two runs that make the same mistakes differ by nothing, however uncertain each accuracy is.
    labels, predicted = with_hits([20, 15], [30, 30])
    runs = [class_run(name, labels, predicted, ("a", "b")) for name in ("one", "two")]
    (pair,) = compare(runs)["pairs"]
    assert pair["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert pair["mcnemar"]["p"] == 1.0


def test_rows_may_come_in_any_order():
    labels, predicted = with_hits([20, 15], [30, 30])
    first = class_run("one", labels, predicted, ("a", "b"))
    second = class_run("two", labels, labels, ("a", "b"))
    shuffled = dict(second, predictions=second["predictions"].take(np.random.default_rng(0).permutation(60)))
    assert compare([first, shuffled]) == compare([first, second])


@pytest.mark.parametrize(("runs", "pairs"), [(2, 1), (4, 6), (5, 4)])
def test_all_pairs_when_few_else_each_with_the_first(runs, pairs):
    labels, predicted = with_hits([20, 15], [30, 30])
    given = [class_run(f"run {k}", labels, np.roll(predicted, k), ("a", "b")) for k in range(runs)]
    result = compare(given, bootstrap=20)
    assert len(result["pairs"]) == pairs
    assert [pair["first"] for pair in result["pairs"]][: runs - 1] == ["run 0"] * (runs - 1)
    assert result["baseline"] == "run 0"


def test_holms_correction():
    # p of 1/64 (7 of 7), 0.5 (2 of 2) and 1: smallest times 3, next times 2.
    labels = np.zeros(40, int)
    wrong = np.arange(40)
    runs = [
        class_run("base", labels, (wrong < 7).astype(int), ("a", "b")),
        class_run("good", labels, np.zeros(40, int), ("a", "b")),
        class_run("same", labels, (wrong < 7).astype(int), ("a", "b")),
    ]
    result = compare(runs, bootstrap=20)
    p = {(pair["first"], pair["second"]): pair["mcnemar"] for pair in result["pairs"]}
    assert p["base", "good"]["p"] == pytest.approx(2 / 2**7)
    assert p["base", "good"]["p_holm"] == pytest.approx(3 * 2 / 2**7)
    assert p["good", "same"]["p_holm"] == pytest.approx(3 * 2 / 2**7)  # 2 · p would fall below the first
    assert p["base", "same"]["p_holm"] == 1.0


def test_metrics_may_be_a_runs_whole_document():
    labels, predicted = with_hits([20, 15], [30, 30])
    flat = [class_run(name, labels, predicted, ("a", "b")) for name in "xy"]
    nested = [dict(run, metrics={"scheme": "classes", "test": run["metrics"]}) for run in flat]
    assert compare(nested, bootstrap=20) == compare(flat, bootstrap=20)
    assert set(compare(nested, bootstrap=20)["runs"][0]) == {
        "name",
        "accuracy",
        "macro_f1",
        "macro_recall",
        "ece",
    }


def test_classes_without_galaxies_have_no_difference():
    labels, predicted = with_hits([20, 15, 0], [30, 30, 0])
    runs = [class_run(name, labels, predicted, ("a", "b", "c")) for name in ("one", "two")]
    row = compare(runs, bootstrap=20)["pairs"][0]["per_class"][2]
    assert row["recall"] is None
    assert "no galaxy" in row["reason"]


def test_votes():
    rng = np.random.default_rng(0)
    truth = rng.random((300, 3))
    noise = rng.normal(size=(300, 3))
    worse, better = (
        vote_run("worse", truth, truth + 0.2 * noise),
        vote_run("better", truth, truth + 0.1 * noise),
    )
    result = compare([worse, better])
    assert result["kind"] == "votes"
    (pair,) = result["pairs"]
    expected = better["metrics"]["rmse"]["value"] - worse["metrics"]["rmse"]["value"]
    assert pair["difference"]["value"] == pytest.approx(expected, abs=1e-6)
    assert pair["difference"]["low"] < expected < pair["difference"]["high"] < 0
    assert pair["closer"] == 1.0
    assert [row["name"] for row in pair["per_answer"]] == ["Class0", "Class1", "Class2"]
    for k, row in enumerate(pair["per_answer"]):
        change = better["metrics"]["per_answer"][k]["rmse"] - worse["metrics"]["per_answer"][k]["rmse"]
        assert row["value"] == pytest.approx(change, abs=1e-6)
        assert row["low"] < row["value"] < row["high"]


def test_the_result_is_json():
    labels, predicted = with_hits([20, 15], [30, 30])
    result = compare([class_run(n, labels, predicted, ("a", "b")) for n in "xyz"], bootstrap=20)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_one_run_cannot_be_compared():
    labels, predicted = with_hits([20, 15], [30, 30])
    with pytest.raises(UsageError, match="two or more runs, not 1"):
        compare([class_run("one", labels, predicted, ("a", "b"))])
