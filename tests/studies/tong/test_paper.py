"""`tong`'s tables recomputed, and held against the code that selects and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from printed_numbers import implied_counts, scores_of_confusion

from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta
from morphoscope.labels.five_class import FIVE_CLASS, FIVE_CLASS_RULES
from morphoscope.studies.published import dense_parameters, f1
from morphoscope.studies.tong.paper import (
    FIG_7,
    PARAMETERS,
    PUBLISHED,
    TABLE_I,
    TABLE_II,
    TABLE_III,
    TABLE_IV,
    TABLE_V,
)

TOTALS = TABLE_I.column("galaxies")
TESTED = TABLE_II.column("test")
GAINED = (20, 5, 7, 1, 49)
WIDTHS = np.repeat(TABLE_III.column("width"), TABLE_III.column("units"))


def test_the_rules_of_the_program_are_table_one() -> None:
    assert tuple(rule.conditions for rule in FIVE_CLASS_RULES) == TABLE_I.column("conditions")


def test_the_split_of_the_program_gives_table_two() -> None:
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(5), TOTALS))
    count = len(labels)
    columns = {
        "id": [f"g{row}" for row in range(count)],
        "ra": np.full(count, np.nan),
        "dec": np.full(count, np.nan),
        "label": labels,
        "pixel_hash": [f"{row:016x}" for row in range(count)],
        "sky_group": np.arange(count),
    }
    meta = StoreMeta(scheme=FIVE_CLASS, count=count, image_shape=(1, 1, 3), sky_group_radius=10.0)
    store = Store(Path("store"), meta, np.zeros((count, 1, 1, 3), np.uint8), pa.table(columns))
    split = make_split(store, "tong", seed=7)
    for part in ("train", "test", "validation"):
        found = np.bincount(labels[getattr(split, part)], minlength=5)
        assert tuple(found.tolist()) == TABLE_II.column(part), part


def test_sums_of_tables_one_and_two() -> None:
    assert sum(TOTALS) == PUBLISHED.paper.galaxies == 28793
    assert [sum(TABLE_II.column(part)) for part in ("train", "test", "validation")] == [23032, 2880, 2881]
    assert tuple(sum(row[1:]) for row in TABLE_II.rows) == TOTALS


def test_accuracies_are_of_the_test_galaxies_and_not_of_the_validation_galaxies() -> None:
    accuracies = TABLE_V.column("accuracy")
    assert [implied_counts(value, sum(TESTED)) for value in accuracies] == [(2552,), (2634,)]
    assert implied_counts(accuracies[0], sum(TABLE_II.column("validation"))) == ()


def test_gains_of_figure_seven_are_whole_galaxies_but_for_the_circular_ones() -> None:
    implied = [
        implied_counts(gain, tested, decimals=3, slack=1)
        for gain, tested in zip(FIG_7.column("gain"), TESTED, strict=True)
    ]
    assert implied == [(), *((count,) for count in GAINED[1:])]
    assert round(100 * GAINED[0] / TESTED[0], 3) == 2.370


def test_gains_of_figure_seven_make_the_two_accuracies() -> None:
    assert sum(GAINED) == 2634 - 2552 == 82
    assert 100 * sum(GAINED) / sum(TESTED) == pytest.approx(91.46 - 88.61, abs=0.01)


def test_differences_of_table_five() -> None:
    first, second = (np.array(row[2:]) for row in TABLE_V.rows)
    np.testing.assert_allclose(second - first, [2.85, 7.25, 4.23, 5.14], atol=1e-9)


def test_f1_is_not_the_harmonic_mean_of_the_averages() -> None:
    harmonic = [f1(precision, recall) for _, _, _, precision, recall, _ in TABLE_V.rows]
    np.testing.assert_allclose(harmonic, [79.79, 85.43], atol=0.005)
    assert all(value - printed > 0.7 for value, printed in zip(harmonic, TABLE_V.column("f1"), strict=True))


def confusion(hits: np.ndarray) -> np.ndarray:
    """A matrix with these galaxies right; the others are called the next class."""
    matrix = np.diag(hits)
    matrix[np.arange(5), (np.arange(5) + 1) % 5] = np.array(TESTED) - hits
    return matrix


def test_table_five_from_confusion_counts() -> None:
    """Counts exist that give the accuracies and the first recall; the second recall never comes out."""
    before = np.array([755, 723, 17, 355, 702])
    after = before + np.array(GAINED)
    first, second = scores_of_confusion(confusion(before)), scores_of_confusion(confusion(after))
    assert [round(100 * scores["accuracy"], 2) for scores in (first, second)] == [88.61, 91.46]
    assert 100 * first["macro_recall"] == pytest.approx(TABLE_V.column("recall")[0], abs=0.02)
    # The gain in recall depends on the gains of Fig 7 alone, not on the counts chosen here.
    other = scores_of_confusion(confusion(before - 3))
    otherwise = scores_of_confusion(confusion(before - 3 + np.array(GAINED)))
    gain = 100 * (second["macro_recall"] - first["macro_recall"])
    assert gain == pytest.approx(100 * (otherwise["macro_recall"] - other["macro_recall"]))
    assert gain == pytest.approx(np.mean(FIG_7.column("gain")), abs=0.01)
    printed = TABLE_V.column("recall")[1] - TABLE_V.column("recall")[0]
    assert gain - printed > 0.08


def test_difference_of_the_two_counts_is_sixteen_gates_of_4c_to_c() -> None:
    first, second = TABLE_IV.column("parameters")
    gates = [dense_parameters(4 * width, width // 16, width) + 2 * 49 for width in WIDTHS.tolist()]
    assert sorted(set(gates)) == [1446, 5354, 20850, 82562]
    assert sum(gates) == second - first == 398_540
    printed = [(weights, count) for _, _, weights, count in PARAMETERS.rows if count]
    assert printed == [(first, first), (second, second)]


def test_attention_on_all_channels_has_more_weights() -> None:
    whole = [dense_parameters(4 * width, width // 4, 4 * width) + 2 * 49 for width in WIDTHS.tolist()]
    weights = dict(zip(PARAMETERS.column("layout"), PARAMETERS.column("parameters"), strict=True))
    text = weights["CBAM on all 4C channels (the text)"]
    assert text == TABLE_IV.column("parameters")[0] + sum(whole)


def test_the_baseline_has_twelve_convolutions_more_than_the_usual_network() -> None:
    outputs = 4 * WIDTHS
    # Keras' ResNet50 without its last layer has 23,587,712 weights, with four convolutions in shortcuts.
    usual = 23_587_712 + dense_parameters(2048, 5)
    first_of_stage = np.cumsum([0, *TABLE_III.column("units")[:-1]])
    rest = np.delete(outputs, first_of_stage)
    assert len(rest) == 12
    assert usual + int((rest * rest + 5 * rest).sum()) == TABLE_IV.column("parameters")[0]
    assert usual == PARAMETERS.column("parameters")[1]
