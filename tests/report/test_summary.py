from __future__ import annotations

from dataclasses import replace

import numpy as np

from morphoscope.data.store import Store
from morphoscope.report.summary import caveats
from morphoscope.runs.run import Run


def said(run: Run, **given: object) -> str:
    known = {"metrics": {}, "history": {}, "environment": {}, "split": None, "store": None}
    return "\n".join(caveats(run, **{**known, **given}))


def test_a_good_run_has_little_to_hide(classes_run: Run) -> None:
    many = [{"name": name, "support": 500, "predicted": 500} for name in "ab"]
    history = {"epoch": np.arange(1, 9), "validation_loss": np.ones(8)}
    metrics = {"test": {"n": 1000, "per_class": many}, "views": 1}
    assert said(classes_run, metrics=metrics, history=history) == ""


def test_no_test_is_said(classes_run: Run) -> None:
    assert "nothing is known about how good" in said(classes_run)


def test_small_samples_and_silent_classes_are_said(classes_run: Run) -> None:
    rows = [{"name": "rare", "support": 3, "predicted": 0}, {"name": "none", "support": 0, "predicted": 0}]
    words = said(classes_run, metrics={"test": {"n": 3, "per_class": rows, "notes": ["all is well"]}})
    assert "The test has 3 galaxies" in words
    assert "rare (3)" in words
    assert "none (0)" not in words
    assert "predicts rare for none of the galaxies" in words
    assert "All is well." in words


def test_simulated_and_leaking_data_are_said(classes_run: Run) -> None:
    store = classes_run.header.store.model_copy(update={"source": "simulator"})
    run = replace(classes_run, header=classes_run.header.model_copy(update={"store": store}))
    assert "nothing about real images" in said(run)
    assert "simulated" not in said(classes_run)
    random = replace(classes_run, recipe=classes_run.recipe.changed({"data.split": "random"}))
    assert "may be in both training and test" in said(random)
    own_file = replace(classes_run, recipe=classes_run.recipe.changed({"data.split": "a/split.json"}))
    assert "both training and test" not in said(own_file)


def test_validation_that_is_the_test_is_said(classes_run: Run, classes_store: Store) -> None:
    split = classes_run.split(classes_store)
    assert "same galaxies" not in said(classes_run, split=split)
    assert "same galaxies" in said(classes_run, split=replace(split, validation=split.test))


def test_how_the_training_ended_is_said(classes_run: Run) -> None:
    stopped = {"epoch": np.arange(1, 4), "validation_loss": np.ones(3)}
    assert "after 3 epochs of 8" in said(classes_run, history=stopped)
    unsteered = {"epoch": np.arange(1, 9), "validation_loss": np.full(8, np.nan)}
    words = said(classes_run, history=unsteered, metrics={"views": 16})
    assert "no validation split" in words
    assert "mean over 16" in words


def test_a_changed_program_is_said(classes_run: Run) -> None:
    assert "(after 0db3b03)" in said(classes_run, environment={"git_revision": "0db3b03-dirty"})
    assert "revision" not in said(classes_run, environment={"git_revision": "0db3b03"})


def test_a_calibration_on_the_validation_galaxies_is_said(classes_run: Run) -> None:
    fitted = {"calibration": {"method": "temperature"}, "validation": {"n": 9}}
    assert "The calibration was fitted on the validation galaxies" in said(classes_run, metrics=fitted)
    assert "calibration was" not in said(classes_run, metrics={"calibration": {"method": "none"}})
