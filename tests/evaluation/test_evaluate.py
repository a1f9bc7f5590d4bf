"""What is evaluated and what is refused, without a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation import evaluate as evaluation
from morphoscope.evaluation.evaluate import calibrate, evaluate, evaluate_elsewhere, evaluate_ensemble
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Recipe

TWO = Classes(name="two", classes=("a", "b"))
NONE = np.empty(0, int)


def table(labels: list[int], scheme: Classes = TWO, side: int = 8) -> Store:
    """A store with a table alone."""
    count = len(labels)
    columns = {
        "id": [str(row) for row in range(count)],
        "label": labels,
        "ra": [float("nan")] * count,
        "dec": [float("nan")] * count,
        "sky_group": list(range(count)),
        "pixel_hash": [f"{row:016x}" for row in range(count)],
    }
    meta = StoreMeta(scheme=scheme, count=count, image_shape=(side, side, 3))
    return Store(Path("galaxies"), meta, np.zeros((count, side, side, 3), np.uint8), pa.table(columns))


PICTURES = SimpleNamespace(store=SimpleNamespace(bands=(), dtype="uint8"))
"""The header of a run that was trained on colour pictures."""


def run_with(**facts: Any) -> Any:
    return SimpleNamespace(path=Path("run"), scheme=TWO, **facts)


def test_without_test_galaxies_there_is_nothing_to_measure() -> None:
    store = table([0, 1] * 20)
    split = replace(make_split(store, "random"), test=NONE)
    with pytest.raises(MorphoscopeError, match=r"run has no test galaxies; train it with data\.test above 0"):
        evaluate(run_with(split=lambda store: split, recipe=Recipe()), store)


def test_without_labels_there_is_nothing_to_measure() -> None:
    ensemble: Any = SimpleNamespace(scheme=TWO, input_side=8, run=run_with(header=PICTURES))
    unlabelled = table([-1, -1])
    with pytest.raises(MorphoscopeError, match="galaxies has no labelled galaxies"):
        evaluate_elsewhere(run_with(header=PICTURES), unlabelled)
    with pytest.raises(MorphoscopeError, match="galaxies has no labelled galaxies"):
        evaluate_ensemble(ensemble, unlabelled)


def test_an_ensemble_is_measured_on_images_and_labels_like_its_own() -> None:
    ensemble: Any = SimpleNamespace(scheme=TWO, input_side=8, run=run_with(header=PICTURES))
    other = Classes(name="two", classes=("b", "a"))
    with pytest.raises(MorphoscopeError, match="other labels than the runs predict"):
        evaluate_ensemble(ensemble, table([0, 1], other))
    with pytest.raises(MorphoscopeError, match=r"has images of 9 px; the largest .* have 8"):
        evaluate_ensemble(ensemble, table([0, 1], side=9))


def test_members_need_galaxies_that_are_new_to_all() -> None:
    store = table([0, 1] * 20)

    def member(path: str, rows: list[int]) -> Any:
        split = replace(make_split(store, "random"), test=np.array(rows))
        header = SimpleNamespace(store=SimpleNamespace(path=path))
        return SimpleNamespace(run=run_with(header=header, store=lambda: store, split=lambda _: split))

    for second, said in (
        (member("other", [1]), "trained on different stores"),
        (member("one", [3, 4]), "no galaxy is in the test split of every member"),
    ):
        ensemble: Any = SimpleNamespace(scheme=TWO, members=[member("one", [1, 2]), second])
        with pytest.raises(UsageError, match=said):
            evaluate_ensemble(ensemble)


@pytest.mark.parametrize(
    ("validation", "wanted", "held_out", "written"),
    [
        ([3, 4], True, True, ["predicted", "calibration", "distribution"]),
        ([3, 4], True, False, ["predicted", "calibration"]),
        ([3, 4], False, True, ["predicted", "distribution"]),
        ([3, 4], False, False, []),
        ([], True, True, []),
    ],
)
def test_a_run_without_test_galaxies_is_calibrated_as_far_as_its_validation_goes(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    validation: list[int],
    wanted: bool,
    held_out: bool,
    written: list[str],
) -> None:
    done: list[str] = []
    store = table([0, 1] * 20)
    split = replace(make_split(store, "random"), validation=np.array(validation, int))
    recipe = SimpleNamespace(evaluation=SimpleNamespace(calibrate=wanted))
    features = SimpleNamespace(complete=lambda split: "distribution") if held_out else None
    for name, stands_in in (
        ("Predictor", lambda *_, **__: None),
        ("held_out_of", lambda *_: features),
        ("predict_views", lambda *_: done.append("predicted")),
        ("fit_views", lambda *_: {1: "calibration"}),
        ("write_calibrations", lambda *_: done.append("calibration")),
        ("write_distribution", lambda *_: done.append("distribution")),
    ):
        monkeypatch.setattr(evaluation, name, stands_in)
    run = run_with(split=lambda _: split, recipe=recipe)
    run.path = tmp_path
    calibrate(run, store)
    assert done == written
