from __future__ import annotations

import numpy as np
import pytest
from printed_numbers import f1_range, implied_counts, scores_of_confusion
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from morphoscope.studies.published import (
    cbam_parameters,
    dense_parameters,
    f1,
    macro_average,
    relative_improvement,
    share,
    weighted_average,
)


@pytest.mark.parametrize("n", [1, 58, 390, 844])
def test_every_count_is_found_again_in_its_own_percentage(n: int) -> None:
    for k in range(n + 1):
        assert implied_counts(round(100 * k / n, 3), n, decimals=3) == (k,)


def test_a_rough_percentage_stands_for_several_counts_and_an_impossible_one_for_none() -> None:
    assert implied_counts(50, 1000, decimals=0) == tuple(range(495, 506))
    assert implied_counts(33, 4, decimals=0) == ()
    assert implied_counts(0.0, 10) == (0,)
    assert implied_counts(100.0, 10) == (10,)
    assert implied_counts(99.9, 10, decimals=1) == ()


def test_slack_widens_what_a_difference_of_rounded_numbers_can_be() -> None:
    assert implied_counts(0.619, 807, decimals=3) == ()
    assert implied_counts(0.619, 807, decimals=3, slack=1) == (5,)


def test_a_percentage_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="of 0 galaxies"):
        implied_counts(50, 0)


def test_shares_are_the_decimals_one_reads() -> None:
    for hundredths in range(10001):
        assert share(hundredths / 100) == float(f"{hundredths / 10000:.4f}")


def test_improvement_is_relative() -> None:
    assert relative_improvement(0.6, 0.5) == pytest.approx(0.2)
    assert relative_improvement(0.5, 0.5) == 0
    with pytest.raises(ValueError, match="no meaning"):
        relative_improvement(0.5, 0.0)


def test_averages() -> None:
    assert macro_average([1, 0, 0.5]) == pytest.approx(0.5)
    assert weighted_average([1, 0, 0.5], [3, 1, 0]) == pytest.approx(0.75)


def test_f1_range_holds_the_f1_of_everything_that_rounds_to_the_same() -> None:
    random = np.random.default_rng(0)
    for precision, recall in random.uniform(0, 1, (200, 2)):
        low, high = f1_range(round(precision, 2), round(recall, 2))
        assert low - 1e-12 <= f1(precision, recall) <= high + 1e-12
        assert high - low < 0.03
    assert f1(0, 0) == 0


def test_scores_of_a_confusion_matrix_are_scikit_learns() -> None:
    confusion = np.random.default_rng(1).integers(1, 40, (5, 5))
    truth, called = (np.repeat(index, confusion.ravel()) for index in np.indices((5, 5)).reshape(2, -1))
    precision, recall, mean_f1, _ = precision_recall_fscore_support(truth, called, average="macro")
    assert scores_of_confusion(confusion) == pytest.approx(
        {
            "accuracy": accuracy_score(truth, called),
            "macro_precision": precision,
            "macro_recall": recall,
            "macro_f1": mean_f1,
        }
    )


def test_weights_of_layers_are_those_of_torch() -> None:
    from torch import nn

    layers = nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 64))
    assert dense_parameters(64, 4, 64) == sum(weight.numel() for weight in layers.parameters())
    pooled = nn.Conv2d(2, 1, 7, bias=False)
    assert cbam_parameters(64, 16) == dense_parameters(64, 4, 64) + pooled.weight.numel()
