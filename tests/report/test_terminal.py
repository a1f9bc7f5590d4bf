from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.evaluation.compare import compare
from morphoscope.metrics.classification import classification_metrics
from morphoscope.metrics.regression import regression_metrics
from morphoscope.report.kinds import report_of
from morphoscope.report.terminal import columns, p_value, percent, plain

NUMBER = {"value": 0.94202, "low": 0.9288, "high": 0.9541}


def test_numbers_with_their_interval():
    assert percent(NUMBER) == "94.2 % (92.9–95.4)"
    assert percent(NUMBER, 2) == "94.20 % (92.88–95.41)"
    assert plain(NUMBER) == "0.942 (0.929–0.954)"
    assert plain({"value": 0.0, "low": -0.1, "high": 0.1}, 1) == "0.0 (-0.1 to 0.1)"


def test_missing_limits_and_values():
    assert percent({"value": 1.0, "low": None, "high": None}) == "100.0 %"
    assert percent({"value": None, "low": None, "high": None}) == "–"


@pytest.mark.parametrize(("p", "text"), [(0.0312, "p = 0.031"), (0.00004, "p < 0.001"), (1.0, "p = 1.000")])
def test_p_value(p, text):
    assert p_value(p) == text


def classes(labels, predicted):
    return classification_metrics(np.array(labels), np.eye(3)[predicted], ["round", "disc", "cigar"])


def test_summary_of_classes():
    lines = report_of("classes").summary_lines(classes([0, 0, 1, 1], [0, 0, 1, 0]))
    assert lines[0].startswith("accuracy 75.0 % (")
    assert lines[0].endswith("), n = 4")
    assert any(line.startswith("macro F1 0.733 (") for line in lines)
    assert "weakest class: disc, recall 0.50 (0.09–0.91), n = 2" in lines
    assert lines[-1].startswith("note: the test set has no galaxy of cigar")


def test_summary_of_votes():
    targets = np.zeros((10, 2))
    result = regression_metrics(
        targets, targets + np.array([0.1, 0.3]), ["a", "b"], {"first?": ["a"], "second?": ["b"]}
    )
    lines = report_of("votes").summary_lines(result)
    assert lines[0] == "RMSE 0.22361 (0.22361–0.22361), n = 10"
    assert lines[1] == "largest error: second?, RMSE 0.3000 (0.3000–0.3000)"


def test_columns_are_aligned():
    assert columns([["run", "n"], ["a long name", "12"]]) == "run           n\na long name  12"


def test_compare_table_of_classes():
    labels = np.array([0] * 10 + [1] * 10)
    runs = []
    for name, wrong in (("base", 9), ("better", 1)):
        predicted = np.where(np.arange(20) < wrong, 1 - labels, labels)
        shares = np.eye(3)[predicted]
        table = pa.table(
            {"id": [str(k) for k in range(20)], "label": labels, "predicted": predicted}
            | {f"p_{c}": shares[:, k] for k, c in enumerate(["round", "disc", "cigar"])}
        )
        metrics = classification_metrics(labels, shares, ["round", "disc", "cigar"])
        runs.append({"name": name, "predictions": table, "metrics": metrics})
    text = report_of("classes").compare_table(compare(runs))
    assert "20 test galaxies" in text
    assert "base     55.0 % (" in text
    assert "better against base: accuracy +40.00 (" in text
    assert "McNemar (exact): 8 galaxies right only in better, 0 only in base; p = 0.008" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["round"] == ["+0.800", "+0.766", "10"]
    assert rows["cigar"] == ["–", "–", "0"]
    assert all(line == line.rstrip() for line in text.splitlines())


def test_compare_table_of_votes():
    truth = np.zeros((50, 8))
    names = [f"answer{k}" for k in range(8)]
    runs = []
    for name, error in (("base", np.full(8, 0.2)), ("other", np.linspace(0.1, 0.24, 8))):
        answers = np.tile(error, (50, 1))
        table = pa.table(
            {"id": [str(k) for k in range(50)]}
            | {f"t_{c}": truth[:, k] for k, c in enumerate(names)}
            | {c: answers[:, k] for k, c in enumerate(names)}
        )
        runs.append(
            {"name": name, "predictions": table, "metrics": regression_metrics(truth, answers, names)}
        )
    text = report_of("votes").compare_table(compare(runs))
    assert "base   0.20000" in text
    assert "other against base: RMSE -0.02393 (" in text
    assert "closer for 100 % of galaxies" in text
    assert "answer0  -0.10000" in text
    assert "answer5  +0.00000" in text  # never −0
    assert "answer7  +0.04000" in text
    assert "answer4" not in text  # the three best and the three worst alone
