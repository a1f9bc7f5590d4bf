"""`cheng`'s tables recomputed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from printed_numbers import f1_range, implied_counts

from morphoscope.labels.galaxy10 import ALPHABETICAL, COUNTS, GALAXY10
from morphoscope.studies.cheng.paper import CLASS_NAMES, PARAMETERS, PUBLISHED, TABLE_1, TABLE_2, TABLE_3
from morphoscope.studies.published import (
    dense_parameters,
    macro_average,
    relative_improvement,
    weighted_average,
)

TEST = dict(zip(TABLE_2.column("model"), TABLE_2.column("test"), strict=True))
SUPPORTS = TABLE_3.column("support")


def test_improvements_are_relative_to_vgg16() -> None:
    for test, printed in zip(TABLE_2.column("test"), TABLE_2.column("improvement"), strict=True):
        assert 100 * relative_improvement(test, TEST["VGG16"]) == pytest.approx(printed, abs=0.005)
    points = [round(TEST[f"ResNet{depth}"] - TEST["VGG16"], 2) for depth in (18, 50, 101, 152)]
    assert points == [18.85, 19.22, 20.33, 20.95]


def test_every_accuracy_is_a_whole_number_of_the_supports_of_table_three() -> None:
    galaxies = sum(SUPPORTS)
    assert galaxies == 3513
    assert [implied_counts(test, galaxies) for test in TEST.values()] == [
        (2096,),
        (2758,),
        (2771,),
        (2810,),
        (2832,),
    ]


def test_a_fifth_of_the_galaxies_does_not_fit_the_accuracies() -> None:
    for galaxies in (3547, 3548):
        assert not all(implied_counts(test, galaxies) for test in TEST.values())
    fitting = [n for n in range(3450, 3600) if all(implied_counts(test, n) for test in TEST.values())]
    assert fitting == [3513, 3518]


def test_56_batches_are_of_a_fifth_and_not_of_3513() -> None:
    assert -(-3547 // 64) == -(-3548 // 64) == 56
    assert -(-sum(SUPPORTS) // 64) == 55


def test_averages_of_table_three() -> None:
    macro = [round(macro_average(TABLE_3.column(score)), 3) for score in ("precision", "recall", "f1")]
    weighted = [
        round(weighted_average(TABLE_3.column(score), SUPPORTS), 3) for score in ("precision", "recall", "f1")
    ]
    assert macro == [0.801, 0.803, 0.800]
    assert weighted == [0.811, 0.805, 0.807]


def test_recalls_of_table_three_allow_the_accuracy_of_table_two() -> None:
    counts = [
        implied_counts(100 * recall, support, decimals=0)
        for recall, support in zip(TABLE_3.column("recall"), SUPPORTS, strict=True)
    ]
    assert all(counts)
    least, most = (sum(chosen) / sum(SUPPORTS) for chosen in (map(min, counts), map(max, counts)))
    assert least <= TEST["ResNet152"] / 100 <= most
    assert (round(least, 3), round(most, 3)) == (0.801, 0.808)
    assert TEST["ResNet101"] / 100 < least  # the report is of ResNet-152


def test_every_f1_of_table_three_follows_from_precision_and_recall() -> None:
    for index, precision, recall, printed, _ in TABLE_3.rows:
        low, high = f1_range(precision, recall)
        assert low < printed + 0.005, index
        assert high > printed - 0.005, index


def test_supports_fit_the_alphabet_and_no_other_numbering() -> None:
    counts = dict(zip(GALAXY10.classes, COUNTS, strict=True))
    by_alphabet = np.array([counts[name] for name in CLASS_NAMES])
    shares = np.array(SUPPORTS) / by_alphabet
    assert shares.min() > 0.197
    assert shares.max() < 0.1985
    native = np.array(SUPPORTS) / COUNTS
    assert native.min() < 0.05
    assert native.max() > 0.8
    # No two classes could change places: sorted by size, both have the same order.
    assert np.argsort(by_alphabet).tolist() == np.argsort(SUPPORTS).tolist()


def test_round_smooth_is_the_class_with_the_best_recall() -> None:
    metrics = PUBLISHED.values()["cheng/resnet152"]
    recalls = {name: metrics[f"recall: {name}"] for name in ALPHABETICAL}
    assert max(recalls, key=recalls.__getitem__) == "Round Smooth"
    scores = {name: metrics[f"f1: {name}"] for name in ALPHABETICAL}
    assert sorted(scores, key=scores.__getitem__)[:2] == ["Disturbed", "Unbarred Loose Spiral"]
    assert [name for name in ALPHABETICAL if scores[name] == max(scores.values())] == [
        "Merging",
        "Round Smooth",
    ]


def test_table_one_has_the_depths_and_blocks() -> None:
    for column, depth, convolutions in (("18", 18, 2), ("50", 50, 3), ("101", 101, 3), ("152", 152, 3)):
        blocks = sum(TABLE_1.column(column))
        assert convolutions * blocks + 2 == depth  # with the first convolution and one last layer
        place = TABLE_2.column("model").index(f"ResNet{depth}")
        assert TABLE_2.column("residual blocks")[place] == blocks


def vgg16(*head: int) -> int:
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    convolutions = sum((9 * a + 1) * b for a, b in pairwise(widths))
    return convolutions + dense_parameters(*head)


def resnet18(*head: int) -> int:
    """Keras counts: biases in all convolutions, four numbers a channel for batch normalisation."""
    layers = [(3, 64, 7)]
    before = 64
    for width in TABLE_1.column("width"):
        layers += [(before, width, 3), (width, width, 3), (width, width, 3), (width, width, 3)]
        layers += [(before, width, 1)] if before != width else []
        before = width
    return sum((size * size * a + 1) * b + 4 * b for a, b, size in layers) + dense_parameters(*head)


def test_published_counts_belong_to_their_layouts() -> None:
    assert PARAMETERS.column("parameters") == (
        vgg16(7 * 7 * 512, 512, 128, 10),
        vgg16(512, 512, 128, 10),
        resnet18(512, 10),
        resnet18(512, 512, 128, 10),
    )
    printed = [(weights, count) for _, _, weights, count in PARAMETERS.rows if count]
    assert printed == [(27_627_210, 27_627_210), (11_196_042, 11_196_042)]
    rows = PUBLISHED.values()
    assert rows["cheng/vgg16"]["parameters"] == vgg16(7 * 7 * 512, 512, 128, 10)
    assert rows["cheng/resnet18-published"]["parameters"] == resnet18(512, 10)
    assert vgg16(8 * 8 * 512, 512, 128, 10) != rows["cheng/vgg16"]["parameters"]  # 256 px


def test_training_accuracies_of_the_text_and_the_table_differ() -> None:
    train = dict(zip(TABLE_2.column("model"), TABLE_2.column("train"), strict=True))
    assert train["ResNet152"] != 93.75
    assert train["ResNet18"] < 90 < min(train[f"ResNet{depth}"] for depth in (50, 101))
