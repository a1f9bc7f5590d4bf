from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Classes
from morphoscope.runs.run import Run
from morphoscope.training.fit import fit


def test_answers_are_probabilities_and_do_not_depend_on_the_batch(noise: Store, run: Run):
    images = [noise.images[row] for row in range(11)]
    whole = Predictor(run, batch=64).probabilities(images)
    assert whole.shape == (11, 2)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(Predictor(run, batch=3).probabilities(images), whole, atol=1e-5)
    assert Predictor(run).probabilities([]).shape == (0, 2)


def test_the_mean_over_all_views_does_not_change_with_a_quarter_turn_or_a_flip(noise: Store, run: Run):
    images = [noise.images[row] for row in range(4)]
    turned = [np.ascontiguousarray(np.rot90(image)[:, ::-1]) for image in images]
    predictor = Predictor(run, views=16)
    assert np.allclose(predictor.probabilities(images), predictor.probabilities(turned), atol=1e-4)
    one = Predictor(run, views=1)
    assert not np.allclose(one.probabilities(images), one.probabilities(turned), atol=1e-4)


def test_views_are_the_mean_of_single_answers(noise: Store, run: Run):
    images = [noise.images[row] for row in range(3)]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    one = Predictor(run, views=1)
    expected = (one.probabilities(images) + one.probabilities(mirrored)) / 2
    assert np.allclose(Predictor(run, views=2).probabilities(images), expected, atol=1e-5)


def test_mirror_views_are_refused_where_handedness_matters(noise: Store, run: Run, tmp_path: Path):
    handed = run.recipe.changed(augment={"flip_horizontal": False, "flip_vertical": False})
    kept = fit(handed, noise, tmp_path / "run", progress=False)
    Predictor(kept, views=8)
    with pytest.raises(UsageError, match="mirror"):
        Predictor(kept, views=16)


def test_evaluation_elsewhere_counts_every_labelled_galaxy(noise: Store, run: Run, tmp_path: Path):
    assert evaluate_elsewhere(run, noise)["test"]["n"] == 40
    assert evaluate(run, noise, keep=False)["test"]["n"] == 8
    assert not (run.path / "metrics.json").exists()
    other = StoreMeta(scheme=Classes(name="other", classes=("x", "y")))
    with StoreWriter(tmp_path / "other", other, image_shape=(40, 40, 3)) as writer:
        writer.append(np.zeros((40, 40, 3), np.uint8), {"id": "0", "label": 0, "source": "0"})
    with pytest.raises(MorphoscopeError, match="has the labels x, y"):
        evaluate_elsewhere(run, open_store(tmp_path / "other"))
