from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from morphoscope import api
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation import cross_validate
from morphoscope.evaluation.cross_validate import FoldPredictions, corrected_by_fold
from morphoscope.evaluation.evaluate import evaluate
from morphoscope.inference.calibration import Calibration, read_calibration
from morphoscope.inference.ood import read_distribution
from morphoscope.labels.calibrators import Temperature
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Recipe

RECIPE = Recipe().changed(
    {
        "data.folds": 2,
        "model.name": "test_resnet",
        "model.pretrained": False,
        "augment.size": 32,
        "training.epochs": 1,
        "training.batch": 16,
        "training.precision": "fp32",
    }
)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Fifty images, bright or dark, of which two have no label."""
    place = tmp_path_factory.mktemp("folds") / "halves"
    draw = np.random.default_rng(1)
    meta = StoreMeta(scheme=Classes(name="two", classes=("dark", "bright")))
    with StoreWriter(place, meta, image_shape=(32, 32, 3)) as writer:
        for number in range(50):
            label = number % 2 if number < 48 else -1
            image = draw.integers(0, 100, (32, 32, 3)) + 100 * (number % 2)
            writer.append(
                image.astype(np.uint8), {"id": str(number), "label": label, "source": f"{number}.png"}
            )
    return open_store(place)


def test_every_label_is_learned_from_and_tested_once(
    halves: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, done = cross_validate.predict_fold, []

    def stopped(*arguments: object) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return predict(*arguments)  # type: ignore[arg-type]

    out = tmp_path / "run"
    monkeypatch.setattr(cross_validate, "predict_fold", stopped)
    with pytest.raises(KeyboardInterrupt):
        api.train(RECIPE, halves, out, report=False, progress=False)
    assert sorted(path.name for path in (out / "folds").iterdir()) == ["1.safetensors", "fold-2"]
    kept = (out / "folds" / "1.safetensors").stat().st_mtime_ns
    weights = (out / "weights.safetensors").stat().st_mtime_ns

    def again(*arguments: object) -> object:
        assert (out / "folds" / "1.safetensors").stat().st_mtime_ns == kept
        return predict(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_validate, "predict_fold", again)
    run = api.train(RECIPE, halves, out, resume=True, report=False, progress=False).run
    assert (out / "weights.safetensors").stat().st_mtime_ns == weights
    assert not (out / "folds").exists()
    split = run.split(halves)
    assert (len(split.train), len(split.validation), len(split.test)) == (48, 0, 0)
    metrics = run.metrics()
    assert metrics["test"]["n"] == 48
    assert metrics["folds"]["count"] == 2
    assert metrics["folds"]["sizes"] == [24, 24]
    table = run.predictions()
    assert sorted(table["id"].to_pylist(), key=int) == [str(number) for number in range(48)]
    assert set(table["fold"].to_pylist()) == {1, 2}
    hits = table["label"].to_numpy() == table["predicted"].to_numpy()
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(hits.mean())
    mean = np.average(metrics["folds"]["scores"], weights=metrics["folds"]["sizes"])
    assert mean == pytest.approx(hits.mean())
    calibration, distribution = read_calibration(run), read_distribution(run)
    assert calibration is not None
    assert calibration.views[1].galaxies == 48
    assert distribution is not None
    assert len(distribution.held_out[1]) == 48
    with pytest.raises(
        MorphoscopeError, match="learned from every label and was measured by cross-validation"
    ):
        evaluate(run, halves)
    assert api.train(RECIPE, halves, out, resume=True, report=False).metrics() == metrics


def test_no_galaxy_has_a_part_in_its_own_correction() -> None:
    scheme = Classes(name="two", classes=("a", "b"))
    draw = np.random.default_rng(0)
    targets, fold = draw.integers(0, 2, 60), np.arange(60) % 3
    predictions = draw.dirichlet([1, 1], 60).astype(np.float32)
    calibration = Calibration(galaxies=60, correction=Temperature(temperature=1.0), held_out={})
    before = corrected_by_fold(scheme, calibration, targets, predictions, fold)
    changed = targets.copy()
    changed[fold == 1] = 1 - changed[fold == 1]
    after = corrected_by_fold(scheme, calibration, changed, predictions, fold)
    assert np.array_equal(before[fold == 1], after[fold == 1])
    assert not np.allclose(before[fold == 0], after[fold == 0])


def test_a_damaged_fold_is_named(halves: Store, tmp_path: Path) -> None:
    path = tmp_path / "1.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(MorphoscopeError, match=r"1\.safetensors is damaged; delete it"):
        cross_validate._kept(path, None, np.arange(3))  # type: ignore[arg-type]


def test_a_flipped_bit_in_the_predictions_of_a_fold_is_noticed(tmp_path: Path) -> None:
    path, rows = tmp_path / "1.safetensors", np.arange(3)
    run: Any = SimpleNamespace(header=SimpleNamespace(weights_sha256="w"))
    predictions_VNK = np.full((1, 3, 2), 0.5, np.float32)
    cross_validate._keep(path, run, FoldPredictions(rows, predictions_VNK, {1: np.ones(3)}))
    kept = cross_validate._kept(path, run, rows)
    assert kept is not None
    assert np.array_equal(kept.predictions_VNK, predictions_VNK)
    whole = path.read_bytes()
    at = whole.index(predictions_VNK.tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(MorphoscopeError, match=r"1\.safetensors is damaged; delete it"):
        cross_validate._kept(path, run, rows)


def test_folds_that_lie_elsewhere_are_refused_and_untouched(halves: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "fold-1"
    mine.mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "folds").symlink_to(tmp_path / "mine")
    run = SimpleNamespace(path=tmp_path / "run", recipe=RECIPE)
    with pytest.raises(UsageError, match="folds is a link; a run keeps its files in its own folder"):
        cross_validate.cross_validate(run, halves, lambda *_: pytest.fail("trained"))  # type: ignore[arg-type]
    assert mine.is_dir()
