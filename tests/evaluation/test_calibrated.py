from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

import morphoscope as ms
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere
from morphoscope.evaluation.fit_uncertainty import fit_views
from morphoscope.inference.calibration import calibration_of, read_calibration, write_calibrations
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.labels.calibrators import Temperature
from morphoscope.labels.mixing import Mixing
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Recipe
from morphoscope.report.terminal import calibration_lines
from morphoscope.runs.run import Run, open_run
from morphoscope.training.fit import fit

SETTINGS = {
    "model.name": "test_resnet",
    "model.pretrained": False,
    "data.validation": 0.25,
    "augment.size": 32,
    "training.epochs": 1,
    "training.batch": 32,
    "training.precision": "fp32",
    "evaluation.views": 2,
}


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Bright and dark images, a tenth with the wrong label."""
    place = tmp_path_factory.mktemp("calibrated") / "blobs"
    draw = np.random.default_rng(1)
    with StoreWriter(
        place, StoreMeta(scheme=Classes(name="two", classes=("dark", "bright"))), image_shape=(32, 32, 3)
    ) as writer:
        for number in range(120):
            image = draw.integers(0, 120, (32, 32, 3), np.uint8) + np.uint8(100 * (number % 2))
            label = number % 2 if number % 10 else 1 - number % 2
            writer.append(image, {"id": str(number), "label": label, "source": f"{number}.png"})
    return open_store(place)


@pytest.fixture(scope="module")
def run(blobs: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe().changed(SETTINGS)
    trained = fit(recipe, blobs, tmp_path_factory.mktemp("calibrated") / "run", progress=False)
    evaluate(trained, blobs)
    return trained


def _copy(run: Run, place: Path) -> Run:
    copytree(run.path, place)
    return open_run(place)


def test_an_evaluation_leaves_a_calibration_for_its_views_and_those_within(run: Run, blobs: Store):
    kept = read_calibration(run)
    assert kept is not None
    assert list(kept.views) == [1, 2]
    split = run.split(blobs)
    assert kept.views[2].galaxies == len(split.validation)
    one = Predictor(run, views=1, calibrated=False)
    images = [blobs.images[row] for row in split.validation]
    fitted = fit_views(one, split, blobs.targets(), one.predictions_and_features(images)[0])
    assert fitted[1].held_out == pytest.approx(kept.views[1].held_out, abs=1e-4)


def test_an_evaluation_that_fails_leaves_the_run_as_it_was(
    run: Run, blobs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = _copy(run, tmp_path / "run")
    for name in ("calibration.json", "reference.safetensors"):
        (other.path / name).unlink()

    def fail(*values: object) -> None:
        raise KeyboardInterrupt

    before = {path.name: path.read_bytes() for path in other.path.iterdir() if path.is_file()}
    monkeypatch.setattr("morphoscope.evaluation.evaluate.write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        evaluate(other, blobs)
    assert {path.name: path.read_bytes() for path in other.path.iterdir() if path.is_file()} == before


def test_answers_are_corrected_by_default_everywhere(run: Run, blobs: Store, tmp_path: Path):
    other = _copy(run, tmp_path / "run")
    place = other.path / "calibration.json"
    document = json.loads(place.read_text())
    hot = Temperature(temperature=5.0)
    document["views"]["2"]["correction"] = hot.model_dump()
    place.write_text(json.dumps(document))
    images = [blobs.images[row] for row in range(5)]
    own = Predictor(other, calibrated=False).probabilities(images)
    assert own == pytest.approx(mean_over_views(Predictor(other).predictions_and_features(images)[0]))
    expected = hot(own)
    assert np.abs(expected - own).max() > 0.01
    assert Predictor(other).probabilities(images) == pytest.approx(expected, abs=1e-6)
    assert ms.load(other.path).predict(images) == pytest.approx(expected, abs=1e-6)
    assert ms.load(other.path, calibrated=False).predict(images) == pytest.approx(own, abs=1e-6)
    measured = evaluate(other, blobs, keep=False)
    assert measured["calibration"]["temperature"] == 5.0
    assert measured["calibration"]["after"]["log_loss"] == measured["test"]["log_loss"]
    plain = evaluate(other, blobs, keep=False, calibrated=False)
    assert plain["calibration"] is plain["sets"] is None
    assert plain["test"]["log_loss"] == measured["calibration"]["before"]["log_loss"]
    assert evaluate_elsewhere(other, blobs)["calibration"]["temperature"] == 5.0


def test_elsewhere_class_shares_can_be_estimated(run: Run, blobs: Store, monkeypatch: pytest.MonkeyPatch):
    from morphoscope.inference import class_shares

    with pytest.raises(UsageError, match="at least 200 galaxies"):
        evaluate_elsewhere(run, blobs, estimate_shares=True)
    monkeypatch.setattr(class_shares, "FEWEST", 100)
    plain, moved = ms.load(run.path).evaluate(blobs), ms.load(run.path).evaluate(blobs, estimate_shares=True)
    predictor = Predictor(run)
    predictions_NK = predictor.probabilities([blobs.images[row] for row in range(120)])
    shares = class_shares.class_shares_of(predictor, predictions_NK)
    expected = run.scheme.measure(blobs.targets(), shares(predictions_NK))["log_loss"]["value"]
    assert moved["test"]["log_loss"]["value"] == pytest.approx(expected, abs=1e-5)
    assert moved["test"]["log_loss"]["value"] != plain["test"]["log_loss"]["value"]
    assert moved["sets"] is None
    assert moved["class_shares"] == shares.description
    assert f"class shares: {shares.description}" in calibration_lines(moved)
    assert "class_shares" not in plain
    with pytest.raises(UsageError, match="one run on another store"):
        ms.load(run.path).evaluate(estimate_shares=True)


def test_metrics_say_what_the_calibration_and_the_sets_do(run: Run):
    metrics = run.metrics()
    assert metrics["calibration"]["method"] in ("none", "temperature")
    assert metrics["calibration"]["before"]["n"] == metrics["test"]["n"]
    assert metrics["sets"]["coverage"] == 0.9
    for kind in ("marginal", "per_class"):
        assert metrics["sets"][kind]["n"] == metrics["test"]["n"]
    lines = calibration_lines(metrics)
    assert lines[0].startswith("calibration: ")
    assert any("sets for 90 % over all galaxies" in line for line in lines)


def test_an_old_run_answers_uncalibrated_and_says_so(run: Run, blobs: Store, tmp_path: Path):
    old = _copy(run, tmp_path / "run")
    for name in ("calibration.json", "reference.safetensors"):
        (old.path / name).unlink()
    images = [blobs.images[row] for row in range(3)]
    predictor = Predictor(old)
    assert predictor.calibration_description == "none: the run was not calibrated"
    assert (predictor.probabilities(images) == Predictor(run, calibrated=False).probabilities(images)).all()
    measured = evaluate(old, blobs, keep=False)
    assert measured["calibration"] is measured["sets"] is None
    assert calibration_lines(measured)[0] == "calibration: none"
    assert not (old.path / "calibration.json").exists()
    with pytest.raises(UsageError, match="needs a calibrated run"):
        ms.load(old.path).predict_sets(images)
    ms.load(old.path).calibrate(blobs, report=False)
    assert calibration_of(old, 2) == calibration_of(run, 2)


def test_views_that_were_not_calibrated_are_said(run: Run):
    predictor = Predictor(run, views=8)
    assert predictor.calibration is None
    assert (
        predictor.calibration_description
        == "none: the run was calibrated for 1 view and 2 views, not for 8 views"
    )
    assert Predictor(run, calibrated=False).calibration_description == "none: the network's own predictions"


def test_galaxies_of_the_test_are_not_calibrated_on(
    run: Run, blobs: Store, capsys: pytest.CaptureFixture[str]
):
    split = run.split(blobs)
    predictor = Predictor(run, views=1, calibrated=False)
    images = [blobs.images[row] for row in split.validation]
    answers = predictor.predictions_and_features(images)[0]
    half = replace(split, test=split.validation[:8])
    fitted = fit_views(predictor, half, blobs.targets(), answers)
    alone = replace(split, validation=split.validation[8:])
    assert fitted == fit_views(predictor, alone, blobs.targets(), answers[:, 8:])
    same = replace(split, test=split.validation)
    assert fit_views(predictor, same, blobs.targets(), answers) == {}
    assert "not calibrated: there are 0 validation galaxies outside the test" in capsys.readouterr().err


def test_sets_of_classes_in_memory(run: Run, blobs: Store):
    images = [blobs.images[row] for row in range(20)]
    loaded = ms.load(run.path)
    sets = loaded.predict_sets(images, 0.9)
    answers = loaded.predict(images)
    assert [names[0] for names in sets] == [loaded.classes[k] for k in answers.argmax(axis=1)]
    wide = loaded.predict_sets(images, 0.999)
    assert all(len(names) == 2 for names in wide)  # too few galaxies for so much: every class
    with pytest.raises(UsageError, match=r"90 % is 0\.9"):
        loaded.predict_sets(images, 90)


def test_a_recipe_may_leave_the_answers_alone(run: Run, blobs: Store, tmp_path: Path):
    other = _copy(run, tmp_path / "run")
    (other.path / "calibration.json").unlink()
    recipe = other.recipe.changed({"evaluation.calibrate": False})
    assert evaluate(replace(other, recipe=recipe), blobs)["calibration"] is None
    assert not (other.path / "calibration.json").exists()


def test_a_calibration_on_shifts_mixes_and_says_so_in_every_engine(run: Run, blobs: Store, tmp_path: Path):
    shifted_run = _copy(run, tmp_path / "shifted")
    measured = evaluate(shifted_run, blobs, shifts=True)
    kept = read_calibration(shifted_run)
    assert kept is not None
    assert (kept.format_version, list(kept.views)) == (2, [1, 2])
    assert all("blurred by up to" in each.shifts for each in kept.views.values())
    assert "mixed" in kept.views[2].held_out
    assert "blurred by up to" in "\n".join(calibration_lines(measured))

    mixing = Mixing(half=0.5, power=3.0, shares=(0.5, 0.5))  # whatever was chosen above
    views = {views: each.model_copy(update={"mixing": mixing}) for views, each in kept.views.items()}
    write_calibrations(shifted_run, views)
    images = [blobs.images[row] for row in range(20)]
    own = ms.load(shifted_run.path, calibrated=False).predict(images)
    answers = {
        engine: ms.load(shifted_run.path, engine=engine).predict(images) for engine in ("torch", "onnx")
    }
    np.testing.assert_allclose(answers["torch"], answers["onnx"], atol=1e-4)
    np.testing.assert_array_equal(answers["onnx"].argmax(axis=1), own.argmax(axis=1))
    predictor = ms.load(shifted_run.path).predictor
    seen = predictor.predict(images)
    assert seen.ood_score_N is not None
    weight_N = mixing.weights(seen.ood_score_N)
    corrected = views[2].correction(own)
    np.testing.assert_allclose(
        seen.predictions_NK, (1 - weight_N)[:, None] * corrected + weight_N[:, None] / 2, atol=1e-4
    )
    assert "mixed with the class shares, half of them at an OOD score of 0.50" in (
        predictor.calibration_description
    )
    (shifted_run.path / "reference.safetensors").unlink()
    with pytest.raises(MorphoscopeError, match="needs OOD scores"):
        ms.load(shifted_run.path).predict(images)
