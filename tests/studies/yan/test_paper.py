"""`yan`'s numbers recomputed."""

from __future__ import annotations

from itertools import pairwise

from morphoscope.studies.published import cbam_parameters, dense_parameters
from morphoscope.studies.yan.paper import BACKBONE, PARAMETERS, PUBLISHED, TABLE_1, TABLE_2, total

MILLIONS = dict(zip(TABLE_2.column("network"), TABLE_2.column("parameters"), strict=True))


def test_the_printed_count_is_cbam_without_the_hidden_layer() -> None:
    assert total(16, ()) == 20_331_360 + 206_258 + 12_810 == 20_550_428
    assert total(16, (4096,)) == 25_825_564
    printed = MILLIONS["Improved EfficientNetV2S"]
    fitting = [words for words, weights in PARAMETERS.rows if round(weights / 1e6, 1) == printed]
    assert fitting == ["CBAM with reduction 16, one layer to 10"]


def test_reduction_eight_fits_where_running_statistics_are_left_out() -> None:
    running = BACKBONE - 20_177_488  # Keras' trainable weights of the backbone
    assert round((total(8, ()) - running) / 1e6, 1) == MILLIONS["Improved EfficientNetV2S"]
    assert round(total(8, ()) / 1e6, 1) != MILLIONS["Improved EfficientNetV2S"]


def test_the_described_head_costs_five_million() -> None:
    assert dense_parameters(1280, 4096) == 5_246_976
    assert total(16, (4096,)) - total(16, ()) == 5_246_976 + 40_970 - 12_810
    assert cbam_parameters(1280, 8) - cbam_parameters(1280, 16) == 411_138 - 206_258


def test_the_other_counts_are_networks_with_imagenets_classes() -> None:
    """Keras' totals with their layer of 1000 classes, as its documentation lists them."""
    resnet50, vgg16, inception = 25_636_712, 138_357_544, 55_873_736
    assert round(resnet50 / 1e6, 1) == MILLIONS["ResNet50"]
    assert round(vgg16 / 1e6) == MILLIONS["VGG-16"]
    assert round(inception / 1e6, 1) == 55.9 != MILLIONS["Inception-ResNet"]
    assert resnet50 - 23_587_712 == dense_parameters(2048, 1000)


def test_top_accuracy_is_that_of_training() -> None:
    row = PUBLISHED.row("yan/efficientnetv2s-cbam")
    assert row is not None
    assert row.metrics["train_accuracy"] == TABLE_2.column("accuracy")[-1] / 100
    assert "accuracy" not in row.metrics
    assert row.metrics["validation_accuracy"] < row.metrics["train_accuracy"]


def test_table_one_costs_more_with_every_step() -> None:
    for column in ("parameters, millions", "operations, billions"):
        values = TABLE_1.column(column)
        assert all(a < b for a, b in pairwise(values))
    assert TABLE_1.column("accuracy, percent")[-1] == min(TABLE_1.column("accuracy, percent"))
