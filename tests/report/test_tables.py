from __future__ import annotations

from morphoscope.recipes import Recipe
from morphoscope.report import tables


def test_split_table_adds_up() -> None:
    counts = {"train": {"a": 6, "b": 3}, "validation": {"a": 1, "b": 0}, "test": {"a": 2, "b": 0}}
    table = tables.split_table(counts)
    assert table.headings == ["Class", "Training", "Validation", "Test", "Together", "Share"]
    assert table.rows[0] == ["a", "6", "1", "2", "9", "75.0\u00a0%"]
    assert table.rows[2] == ["All", "9", "1", "2", "12", "100.0\u00a0%"]
    assert table.totals == 1


def test_scores_stand_beside_the_validation() -> None:
    test = {"n": 50, "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "ece": {"value": None}}
    table = tables.score_table(test, {"n": 20, "accuracy": {"value": 0.95, "low": 0.9, "high": 1.0}})
    assert table.headings[1:] == ["Test (n = 50)", "95 % interval", "Validation (n = 20)"]
    assert table.rows == [
        ["Accuracy", "90.00\u00a0%", "80.0–95.0\u00a0%", "95.00\u00a0%"],
        ["Expected calibration error", "–", "–", "–"],
    ]
    assert len(tables.score_table(test, None).headings) == 3


def test_class_table_ends_with_the_means() -> None:
    test = {
        "n": 7,
        "macro_precision": {"value": 0.5},
        "macro_recall": {"value": 0.25},
        "macro_f1": {"value": 0.3},
        "per_class": [
            {"name": "a", "precision": 1.0, "recall": 0.5, "recall_low": 0.2, "recall_high": 0.8, "f1": 2 / 3}
            | {"support": 7, "predicted": 4},
            {"name": "b", "precision": None, "recall": None, "f1": None, "support": 0, "predicted": 0},
        ],
    }
    table = tables.class_table(test)
    assert table.rows[0] == ["a", "1.000", "0.500", "0.20–0.80", "0.667", "7", "4"]
    assert table.rows[1] == ["b", "–", "–", "–", "–", "0", "0"]
    assert table.rows[2] == ["Macro mean", "0.500", "0.250", "", "0.300", "7", ""]
    assert table.totals == 1


def test_vote_table() -> None:
    row = {"name": "bar", "rmse": 0.1, "low": 0.05, "high": 0.2, "bias": -0.01, "spread": 0.3}
    table = tables.vote_table([row], {"bar": "yes"})
    assert table.rows == [["bar  yes", "0.1000", "0.0500–0.2000", "0.3000", "−0.0100"]]
    assert len(tables.vote_table([{"name": "How?", "rmse": 0.1}]).headings) == 3


def test_changed_fields_are_those_that_differ_and_no_others() -> None:
    assert tables.changed_fields(Recipe(name="other", about="anything")).rows == []
    recipe = Recipe().changed(
        {"optimiser.lr": 0.02, "model.pretrained": False, "augment.train_size": (64, 128), "seed": 4}
    )
    shown = {row[0]: row[1:3] for row in tables.changed_fields(recipe).rows}
    assert shown == {
        "seed": ["4", "0"],
        "augment.train_size": ["64, 128", "none"],
        "model.pretrained": ["no", "yes"],
        "optimiser.lr": ["0.02", "0.001"],
    }


def test_every_row_has_a_cell_under_each_heading() -> None:
    made = [
        tables.split_table({"train": {"a": 1}}),
        tables.score_table({"n": 1, "rmse": 0.1}, None),
        tables.class_table({"per_class": [{"name": "a"}], "macro_f1": 0.5}),
        tables.vote_table([{"name": "a", "bias": 0.1}, {"name": "b"}]),
        tables.changed_fields(Recipe(seed=1)),
    ]
    for table in made:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.headings)}
