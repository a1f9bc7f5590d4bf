"""Galaxies that the first view is sure of get no other (``evaluation.sure``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import morphoscope as ms
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.similar import EmbeddedCatalogue
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.evaluate import evaluate
from morphoscope.evaluation.fit_uncertainty import ShiftedViews
from morphoscope.explorer.subject import prediction_sets
from morphoscope.inference.calibration import (
    AS_NEEDED,
    calibration_of,
    read_calibration,
    views_of_recipe,
    write_calibrations,
)
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.calibrators import Temperature
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.recipes import Recipe
from morphoscope.report.summary import caveats
from morphoscope.runs.run import Run, open_run
from morphoscope.sharing.card import CardDetails, model_card
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
COUNT = 120


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Noise with a slope from left to right, so that mirror images differ, in two brightnesses."""
    place = tmp_path_factory.mktemp("spared") / "slopes"
    draw = np.random.default_rng(3)
    with StoreWriter(
        place, StoreMeta(scheme=Classes(name="two", classes=("dark", "bright"))), image_shape=(32, 32, 3)
    ) as writer:
        for number in range(COUNT):
            slope = np.linspace(0, 100, 32)[None, :, None]
            image = np.clip(draw.integers(0, 60, (32, 32, 3)) + slope + 90 * (number % 2), 0, 255)
            label = number % 2 if number % 10 else 1 - number % 2
            writer.append(image.astype(np.uint8), {"id": str(number), "label": label, "source": f"{number}"})
    return open_store(place)


@pytest.fixture(scope="module")
def full(slopes: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose recipe gives every galaxy two views."""
    place = tmp_path_factory.mktemp("spared") / "run"
    return fit(Recipe().changed(SETTINGS), slopes, place, progress=False)


@pytest.fixture(scope="module")
def middle(full: Run, slopes: Store) -> float:
    """The probability that the first view reaches for half of the galaxies."""
    first_NK = Predictor(full, views=1, calibrated=False).probabilities(_images(slopes))
    return float(np.median(first_NK.max(axis=1)))


@pytest.fixture(scope="module")
def sparing(full: Run, middle: float, slopes: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same network, whose recipe spares the galaxies that the first view is that sure of; measured."""
    run = _with_sure(full, middle, tmp_path_factory.mktemp("spared") / "sparing")
    evaluate(run, slopes)
    return run


def _images(store: Store) -> list[np.ndarray]:
    return [store.images[row] for row in range(COUNT)]


def _with_sure(run: Run, sure: float, place: Path) -> Run:
    shutil.copytree(run.path, place)
    recipe = run.recipe.changed(evaluation={"sure": sure})
    (place / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return open_run(place)


class Counting(Engine):
    """An engine that counts the images it sees."""

    name = "counting"

    def __init__(self, engine: Engine) -> None:
        self._engine, self.seen, self.feature_count = engine, 0, engine.feature_count

    @property
    def precision_description(self) -> str:
        return self._engine.precision_description

    @property
    def description(self) -> str:
        return self._engine.description

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen += len(images_NSSC)
        return self._engine(images_NSSC)


def test_only_unsure_galaxies_get_the_other_view(full: Run, sparing: Run, middle: float, slopes: Store):
    images = _images(slopes)
    first_NK = Predictor(full, views=1, calibrated=False).probabilities(images)
    both_NK = Predictor(full, views=2, calibrated=False).probabilities(images)
    assert np.abs(first_NK - both_NK).max() > 1e-3
    sure_N = first_NK.max(axis=1) >= middle
    assert 0.4 < sure_N.mean() < 0.6
    engine = Counting(Predictor(sparing).engine)
    predictor = Predictor(sparing, calibrated=False, engine=engine)
    seen = predictor.predict(images)
    assert engine.seen == COUNT + int((~sure_N).sum())
    assert np.allclose(seen.predictions_NK, np.where(sure_N[:, None], first_NK, both_NK), atol=1e-6)
    own_VNK, features_VND = predictor.predictions_and_features(images)
    assert np.allclose(predictor.average(own_VNK), seen.predictions_NK, atol=1e-6)
    assert np.allclose(predictor.mean_features(features_VND), seen.features_ND, atol=1e-5)
    assert np.allclose(seen.features_ND, features_VND[0], atol=1e-5)
    assert predictor.predict([]).predictions_NK.shape == (0, 2)


def test_a_number_that_is_asked_for_is_given_to_all(full: Run, sparing: Run, slopes: Store):
    images = _images(slopes)
    asked = Predictor(sparing, views=2, calibrated=False)
    assert (asked.sure, asked.views_description) == (None, "2 views")
    whole_NK = Predictor(full, calibrated=False).probabilities(images)
    assert np.array_equal(asked.probabilities(images), whole_NK)
    one = Predictor(sparing, calibrated=False).in_one_view()
    assert np.array_equal(
        one.probabilities(images), Predictor(full, views=1, calibrated=False).probabilities(images)
    )


def test_thresholds_at_the_ends(full: Run, slopes: Store, tmp_path: Path):
    images = _images(slopes)
    never = Predictor(_with_sure(full, 1.0, tmp_path / "never"), calibrated=False)
    assert np.allclose(
        never.probabilities(images), Predictor(full, calibrated=False).probabilities(images), atol=1e-6
    )
    always = Predictor(_with_sure(full, 0.01, tmp_path / "always"), calibrated=False)
    one = Predictor(full, views=1, calibrated=False)
    assert np.array_equal(always.probabilities(images), one.probabilities(images))


def test_what_is_measured_is_what_is_predicted(sparing: Run, slopes: Store, middle: float):
    metrics = sparing.metrics()
    assert (metrics["views"], metrics["sure"]) == (2, middle)
    rows = sparing.split(slopes).test
    predicted_NK = Predictor(sparing).probabilities([slopes.images[row] for row in rows])
    again = sparing.scheme.measure(slopes.targets()[rows], predicted_NK)
    assert again["log_loss"]["value"] == pytest.approx(metrics["test"]["log_loss"]["value"], abs=1e-6)
    notes = caveats(sparing, metrics, {}, {}, None, None)
    assert any(
        f"or of the first alone where that is at least {100 * middle:g} % sure" in note for note in notes
    )
    card = model_card(sparing, name="sparing", digest="0" * 64, details=CardDetails())
    assert f"one view of each, 2 views where that is less than {100 * middle:g} % sure" in card


def test_calibration_and_ood_score_are_those_of_as_many_views_as_needed(
    sparing: Run, slopes: Store, tmp_path: Path
):
    kept = read_calibration(sparing)
    assert kept is not None
    assert list(kept.views) == [AS_NEEDED, 1, 2]
    place = tmp_path / "run"
    shutil.copytree(sparing.path, place)
    run, images = open_run(place), _images(slopes)
    hot = kept.views[2].model_copy(update={"correction": Temperature(temperature=5.0)})
    own_NK = Predictor(run, calibrated=False).probabilities(images)
    write_calibrations(run, {2: hot})
    unchanged_NK = Predictor(run).probabilities(images)
    assert np.allclose(unchanged_NK, kept.views[AS_NEEDED](own_NK), atol=1e-6)
    write_calibrations(run, {AS_NEEDED: hot})
    assert np.allclose(Predictor(run).probabilities(images), Temperature(temperature=5.0)(own_NK), atol=1e-6)
    one = Predictor(run, views=1, calibrated=False).predict(images)
    seen = Predictor(run).predict(images)
    assert one.ood_score_N is not None
    assert np.allclose(np.asarray(seen.ood_score_N), one.ood_score_N, atol=1e-5)
    assert np.array_equal(seen.p_value_N, one.p_value_N)


def test_the_explorer_takes_the_sets_of_as_many_views_as_needed(sparing: Run, tmp_path: Path):
    place = tmp_path / "run"
    shutil.copytree(sparing.path, place)
    document = json.loads((place / "calibration.json").read_text())
    document["views"] = {"0": document["views"]["0"]}
    (place / "calibration.json").write_text(json.dumps(document))
    assert prediction_sets(open_run(place), ("dark", "bright")) is not None


def test_shifted_galaxies_are_measured_by_their_first_view(sparing: Run):
    predictor = Predictor(sparing)
    assert predictor.distribution is not None
    two_VNK = np.full((2, 3, 2), 0.5, np.float32)
    distances = {1: np.full(3, 1.0, np.float32), 2: np.full(3, 7.0, np.float32)}
    moved = ShiftedViews(two_VNK, distances, predictor.distribution)
    seen = moved.of(predictor, AS_NEEDED, np.ones(3, bool), np.array([0, 1, 0]))
    assert seen.ood_score_N == pytest.approx(1 / predictor.distribution.rare_distance(1))


def test_validation_galaxies_are_corrected_by_their_first_view(
    sparing: Run, slopes: Store, monkeypatch: pytest.MonkeyPatch
):
    used: list[np.ndarray] = []

    def corrected(self: Predictor, predictions_NK: np.ndarray, distances_N: np.ndarray) -> np.ndarray:
        used.append(distances_N)
        return predictions_NK

    monkeypatch.setattr(Predictor, "corrected", corrected)
    evaluate(sparing, slopes, keep=False)
    images = [slopes.images[row] for row in sparing.split(slopes).validation]
    predictor = Predictor(sparing, views=1)
    _, features_VND = predictor.predictions_and_features(images)
    assert used[-1] == pytest.approx(predictor.distances(features_VND[0]), abs=1e-4)


def test_a_run_calibrated_before_says_what_it_lacks(full: Run, slopes: Store, tmp_path: Path):
    place = tmp_path / "run"
    shutil.copytree(full.path, place)
    evaluate(open_run(place), slopes)
    run = _with_sure(open_run(place), 0.9, tmp_path / "sure")
    expected = "none: the run was calibrated for 1 view and 2 views, not for as many views as needed"
    assert Predictor(run).calibration_description == expected
    ms.load(run.path).calibrate(slopes, report=False)
    assert "validation galaxies" in Predictor(run).calibration_description


@pytest.mark.parametrize("changed", [{"sure": 0.99}, {"views": 4}])
def test_a_calibration_with_other_looks_is_not_used(
    sparing: Run, slopes: Store, changed: dict, tmp_path: Path
):
    place = tmp_path / "run"
    shutil.copytree(sparing.path, place)
    recipe = sparing.recipe.changed(evaluation=changed)
    (place / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    run = open_run(place)
    said = Predictor(run).calibration_description
    assert said.startswith(
        "none: the run was calibrated with another number of views, or another evaluation.sure"
    )
    assert Predictor(run, views=2).calibration is not None
    ms.load(run.path).calibrate(slopes, report=False)
    found = calibration_of(open_run(place), AS_NEEDED)
    assert found is not None
    assert found.looks is not None
    asked = recipe.evaluation
    assert (found.looks.views, found.looks.sure) == (asked.views, asked.sure)


@pytest.mark.parametrize(
    ("number", "fault"), [("-1", "-1 is no number of views"), ("0", "with how many views")]
)
def test_nonsense_numbers_of_views_are_damage(
    full: Run, slopes: Store, number: str, fault: str, tmp_path: Path
):
    place = tmp_path / "run"
    shutil.copytree(full.path, place)
    evaluate(open_run(place), slopes)
    document = json.loads((place / "calibration.json").read_text())
    document["views"][number] = document["views"].pop("2")
    (place / "calibration.json").write_text(json.dumps(document))
    with pytest.raises(MorphoscopeError, match=fault):
        Predictor(open_run(place))


def test_an_ensemble_says_it(sparing: Run, full: Run, slopes: Store, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(sparing.path, copy)
    for runs, sure, words in (
        ((sparing, open_run(copy)), sparing.recipe.evaluation.sure, ""),
        ((sparing, full), None, ", none"),
    ):
        ensemble, out = ms.load([run.path for run in runs]), tmp_path / "catalogue.parquet"
        assert ensemble.evaluate(slopes).get("sure") == sure
        ensemble.catalogue(slopes.path, out, overwrite=True)
        assert read_provenance(out)["sure"] == f"{sparing.recipe.evaluation.sure:g}{words}"


def test_catalogues_say_it_and_find_similar_galaxies(
    sparing: Run, slopes: Store, middle: float, tmp_path: Path
):
    galaxies, out = ms.load(sparing.path), tmp_path / "catalogue.parquet"
    galaxies.catalogue(slopes.path, out, embeddings=True)
    provenance = EmbeddedCatalogue(out).provenance
    assert (provenance["views"], provenance["sure"]) == ("2", f"{middle:g}")
    nearest = galaxies.similar(out, slopes.images[7], count=1)
    assert (nearest[0].row, nearest[0].similarity) == (7, pytest.approx(1, abs=1e-3))


def test_an_exported_file_answers_likewise(sparing: Run, slopes: Store, middle: float, tmp_path: Path):
    images = _images(slopes)
    ms.load(sparing.path).export(tmp_path / "network.onnx")
    exported = ms.load(tmp_path / "network.onnx")
    assert json.loads((tmp_path / "network.json").read_text())["images"]["sure"] == middle
    assert exported.run.recipe.evaluation.sure == middle
    assert np.allclose(exported.predict(images), ms.load(sparing.path).predict(images), atol=1e-5)


def test_votes_get_all_views():
    scheme = VoteFractions(name="votes", answers=("smooth", "featured"))
    recipe = Recipe().changed(SETTINGS, evaluation={"sure": 0.1})
    asked = SimpleNamespace(recipe=recipe, scheme=scheme)
    assert views_of_recipe(asked) == 2
    asked.scheme = Classes(name="two", classes=("dark", "bright"))
    assert views_of_recipe(asked) == AS_NEEDED
