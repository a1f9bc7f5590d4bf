"""`ng`'s differences and run times recomputed."""

from __future__ import annotations

import pytest

from morphoscope.studies.ng.paper import (
    DIFFERENCES,
    PUBLISHED,
    REFERENCES,
    TABLE_I,
    TABLE_II,
    epochs_of_runtime,
)
from morphoscope.studies.published import relative_improvement

SCORES = dict(zip(TABLE_II.column("key"), TABLE_II.column("rmse"), strict=True))
EPOCHS = dict(zip(TABLE_II.column("key"), TABLE_II.column("epochs"), strict=True))


def test_differences_of_the_text() -> None:
    assert len(DIFFERENCES.rows) == 3
    for before, after, printed in DIFFERENCES.rows:
        assert SCORES[before] - SCORES[after] == pytest.approx(printed, abs=1e-9)


def test_run_times_are_epochs_times_seconds_but_for_dinov2() -> None:
    wrong = [cells[0] for cells in TABLE_II.rows if epochs_of_runtime(cells) != EPOCHS[cells[0]]]
    assert wrong == ["ng/dinov2-base"]
    cells = TABLE_II.rows[-1]
    assert epochs_of_runtime(cells) == 30
    assert cells[-1] * EPOCHS["ng/dinov2-base"] == 8700
    row = PUBLISHED.row("ng/dinov2-base")
    assert row is not None
    assert "30 epochs; 15 take 8700 s" in row.remark
    baseline = PUBLISHED.row("ng/baseline")
    assert baseline is not None
    assert "epochs" not in baseline.remark


def test_the_baseline_takes_less_than_the_six_hours_of_the_text() -> None:
    assert TABLE_I.rows[0][5] / 3600 == pytest.approx(5.33, abs=0.005)


def test_the_two_tables_agree_on_the_baselines() -> None:
    for cells in TABLE_I.rows:
        assert SCORES[cells[0]] == cells[2]
        assert EPOCHS[cells[0]] == cells[3]


def test_cbam_costs_two_and_a_half_percent_and_reaches_the_winner() -> None:
    first, second = TABLE_I.column("seconds per epoch")
    assert relative_improvement(second, first) == pytest.approx(0.025)
    single, ensemble = (reference.value for reference in REFERENCES)
    assert SCORES["ng/baseline-cbam"] == single
    assert [key for key, score in SCORES.items() if score < ensemble] == [
        "ng/resnet50",
        "ng/resnet101",
        "ng/convnext-large",
        "ng/dinov2-base",
    ]


def test_epochs_are_those_of_the_recipes() -> None:
    from morphoscope.studies.registry import recipes

    known = recipes()
    assert {key: known[key].training.epochs for key in EPOCHS} == EPOCHS


def test_a_partial_last_batch_makes_the_notebooks_rmse_too_high() -> None:
    """6,158 validation galaxies in batches of 105: 59 are counted where 58.65 would be right."""
    batches = -(-6158 // 105)
    assert batches == 59
    assert (batches / (6158 / 105)) ** 0.5 == pytest.approx(1.003, abs=0.0005)
