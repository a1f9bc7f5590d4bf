from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from morphoscope.data.store import Store
from morphoscope.report import summary
from morphoscope.report.kinds import report_of
from morphoscope.runs.run import Run


def test_headline_of_classes_stands_beside_the_trivial_answer() -> None:
    test = {
        "n": 40,
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.96},
        "per_class": [{"name": "a", "support": 30}, {"name": "b", "support": 10}],
    }
    headline = report_of("classes").headline({"test": test})
    assert headline is not None
    assert headline.figure == "90.0\u00a0%"
    assert "40 galaxies held out" in headline.label
    assert headline.interval == "95 % interval 80.0–96.0\u00a0%"
    assert headline.comparison.endswith("75.0\u00a0%")
    assert (headline.low, headline.value, headline.high, headline.baseline) == (0.8, 0.9, 0.96, 0.75)


def test_a_cross_validated_score_is_not_called_held_out() -> None:
    for kind, score in (("classes", "accuracy"), ("votes", "rmse"), ("measurements", "r2")):
        test = {"n": 40, score: {"value": 0.9, "low": 0.8, "high": 0.96}}
        headline = report_of(kind).headline({"test": test, "folds": {"count": 5}})
        assert headline is not None
        assert headline.label.endswith("40 galaxies, cross-validated with 5 folds")


def test_headline_of_votes_stands_beside_the_mean() -> None:
    answers = [{"name": "bar", "rmse": 0.06, "spread": 0.3}, {"name": "ring", "rmse": 0.08, "spread": 0.4}]
    headline = report_of("votes").headline(
        {"test": {"n": 1, "rmse": {"value": 0.0707107}, "per_answer": answers}}
    )
    assert headline is not None
    assert "1 galaxy held" in headline.label
    assert headline.interval == "no interval was computed"
    mean_rmse = np.sqrt((0.3**2 + 0.4**2) / 2)
    assert headline.comparison.endswith(f"{mean_rmse:.4f}")
    tiles = {tile.label: tile for tile in headline.tiles}
    assert tiles["Variance explained"].value == "96.0\u00a0%"
    assert tiles["Worst answer"].note == "RMSE of ring"


@pytest.mark.parametrize("metrics", [{}, {"test": None}, {"test": {"accuracy": {"value": 1.0}}}])
def test_no_headline_without_a_test(metrics: dict) -> None:
    assert report_of("classes").headline(metrics) is None


def test_a_headline_of_nulls_is_dashes() -> None:
    headline = report_of("classes").headline(
        {"test": {"n": 3, "accuracy": {"value": None, "low": None, "high": None}}}
    )
    assert headline is not None
    assert headline.figure == "–"
    assert headline.value is None
    assert all(tile.value == "–" for tile in headline.tiles)


def test_data_facts(classes_run: Run, classes_store: Store) -> None:
    shown = dict(
        summary.data_facts(classes_run, classes_store, {"train": {"a": 3, "b": 4}, "test": {"a": 1}})
    )
    assert shown["Images"] == "32 × 32 pixels, 3 channels"
    assert shown["Pixel scale"].startswith("0.262″ per pixel, 8.4″ × 8.4″")
    assert shown["Parts"] == "7 training, 1 test"
    assert shown["Unreadable"] == "none"
    assert "Unreadable" not in dict(summary.data_facts(classes_run, None, {}))


def test_what_was_not_recorded_is_left_out() -> None:
    shown = dict(summary.environment_facts({"seconds": 725.0, "processor": "P", "cores": 2}, seed=9))
    assert shown["Processor"] == "P (2 cores)"
    assert shown["Duration"] == "12 min 5 s"
    assert shown["Seed"] == "9"
    assert "Training speed" not in shown
    assert "Finished" not in shown


def test_speed_follows_from_the_images_where_all_are_seen_once_an_epoch(classes_run: Run) -> None:
    counts = {"train": {"a": 60, "b": 40}, "test": {"a": 7}}
    images = summary.images_seen(classes_run, counts, epochs=8)
    assert images == 800
    derived = dict(summary.environment_facts({"training_seconds": 10.0}, 0, images))
    assert derived["Training speed"] == "80 images/s, validation included"
    measured = {"training_seconds": 10.0, "images_per_second": 95.0}
    assert dict(summary.environment_facts(measured, 0, images))["Training speed"] == "95 images/s"
    repeated = replace(classes_run, recipe=classes_run.recipe.changed({"data.balance": "oversample"}))
    assert summary.images_seen(repeated, counts, epochs=8) is None
    assert summary.images_seen(classes_run, {}, epochs=8) is None


def test_commands_name_the_run_its_split_and_store_and_no_machine_paths(classes_run: Run) -> None:
    words = summary.commands(classes_run)
    assert "train made-up/recipe.yaml --store drawn --out made-up-again" in words
    assert "data.split=made-up/split.json" in words
    assert "/tmp" not in words


def test_a_headline_of_votes_says_what_is_known() -> None:
    """An older program measured no spread, and a run of one answer has no best and worst."""
    answers = [{"name": "bar", "rmse": None, "spread": None}]
    measured = {"n": 5, "rmse": {"value": 0.1, "low": 0.08, "high": 0.12}}
    for rows, tiles in ((answers, ["Answers"]), ([], [])):
        headline = report_of("votes").headline({"test": measured | {"per_answer": rows}})
        assert headline is not None
        assert (headline.figure, headline.interval) == ("0.1000", "95 % interval 0.0800–0.1200")
        assert headline.comparison == ""
        assert [tile.label for tile in headline.tiles] == tiles


def test_unreadable_images_are_counted(classes_run: Run, classes_store: Store) -> None:
    lacking = replace(classes_store, meta=classes_store.meta.model_copy(update={"unreadable": 3}))
    shown = dict(summary.data_facts(classes_run, lacking, {}))
    assert shown["Unreadable"] == "3 images left out, listed in the store's unreadable.csv"
    assert "3 images could not be read" in "\n".join(
        summary.caveats(classes_run, {}, {}, {}, split=None, store=lacking)
    )


def test_weights_of_an_unknown_epoch_are_not_spoken_of(classes_run: Run) -> None:
    assert dict(summary.model_facts(classes_run))["Weights kept"].startswith("those of epoch 7")
    unknown = replace(classes_run, header=classes_run.header.model_copy(update={"best_epoch": None}))
    assert "Weights kept" not in dict(summary.model_facts(unknown))
