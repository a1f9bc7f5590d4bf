from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from morphoscope.metrics.classification import ClassCounts

# `cheng`, Table 3: precision, recall, F1, galaxies of each class (alphabetical order).
CHENG_TABLE_3 = np.array(
    [
        (0.80, 0.81, 0.80, 405),
        (0.80, 0.85, 0.82, 66),
        (0.49, 0.61, 0.54, 213),
        (0.87, 0.91, 0.89, 371),
        (0.92, 0.86, 0.89, 282),
        (0.94, 0.83, 0.88, 401),
        (0.93, 0.88, 0.91, 367),
        (0.88, 0.93, 0.91, 524),
        (0.67, 0.63, 0.65, 521),
        (0.71, 0.72, 0.71, 363),
    ]
)


def test_averages_of_chengs_table_3():
    precision, recall, f1, truth = CHENG_TABLE_3.T
    hits = np.round(recall * truth)
    counts = ClassCounts(hits, truth, np.round(hits / precision))
    np.testing.assert_allclose(counts.f1, f1, atol=0.0101)
    averages = counts.averages()
    expected = {"precision": (0.801, 0.811), "recall": (0.803, 0.805), "f1": (0.800, 0.807)}
    for name, (macro, weighted) in expected.items():
        assert averages[f"macro_{name}"] == pytest.approx(macro, abs=0.002)
        assert averages[f"weighted_{name}"] == pytest.approx(weighted, abs=0.002)
    assert 0.801 < counts.accuracy < 0.808  # 2832 of 3513 in the text
    assert averages["weighted_recall"] == pytest.approx(counts.accuracy)


def test_macro_f1_is_the_mean_of_the_classes_and_not_the_harmonic_mean():
    # As in `tong`, Table V, where F1 79.07 is not the harmonic mean 79.79 of 81.83 and 77.84.
    counts = ClassCounts.of_confusion(np.array([[90, 10, 0], [5, 20, 5], [0, 9, 1]]))
    averages = counts.averages()
    by_hand = np.mean([2 * 90 / (100 + 95), 2 * 20 / (30 + 39), 2 * 1 / (10 + 6)])
    assert averages["macro_f1"] == pytest.approx(by_hand)
    precision, recall = averages["macro_precision"], averages["macro_recall"]
    assert averages["macro_f1"] < 2 * precision * recall / (precision + recall) - 0.005


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_when_classes_are_missing(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 5], 40)  # 3, 4 and 6 are not in the truth
    predicted = rng.choice([0, 2, 3, 5], 40)  # 3 is called; 4 and 6 never occur
    counts = ClassCounts.of_sums(ClassCounts.columns(labels, predicted, 7).sum(axis=0))
    averages = counts.averages()
    for kind in ("macro", "weighted"):
        expected = precision_recall_fscore_support(labels, predicted, average=kind, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert averages[f"{kind}_{name}"] == pytest.approx(value)
    each = precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=0)
    for mine, theirs in zip((counts.precision, counts.recall, counts.f1, counts.truth), each, strict=True):
        np.testing.assert_allclose(mine, theirs)


def test_many_confusions_at_once_equal_one_by_one():
    rng = np.random.default_rng(9)
    sums = rng.integers(1, 9, (4, 9)).astype(float)
    together = ClassCounts.of_sums(sums).averages()
    for row in range(4):
        alone = ClassCounts.of_sums(sums[row]).averages()
        assert {name: values[row] for name, values in together.items()} == pytest.approx(alone)
