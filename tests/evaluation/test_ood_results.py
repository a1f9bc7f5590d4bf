from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

import morphoscope as ms
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.evaluation import fit_uncertainty
from morphoscope.evaluation.evaluate import calibrate, evaluate, evaluate_elsewhere
from morphoscope.inference.ood import FILE, fit_distribution, read_distribution
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Recipe
from morphoscope.report.context import ReportContext
from morphoscope.report.html.document import Page
from morphoscope.report.sections_uncertainty import add_ood
from morphoscope.report.terminal import calibration_lines
from morphoscope.runs.run import Run, open_run
from morphoscope.simulation.nongalaxies import KINDS
from morphoscope.training.fit import fit
from morphoscope.training.galaxies import training_rows

SETTINGS: dict[str, Any] = {
    "model.name": "test_resnet",
    "model.pretrained": False,
    "data.validation": 0.25,
    "data.test": 0.25,
    "augment.size": 32,
    "training.epochs": 1,
    "training.batch": 32,
    "training.precision": "fp32",
    "evaluation.views": 2,
}


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Round blobs of two sizes on noisy sky, called simulated."""
    place = tmp_path_factory.mktemp("ood") / "blobs"
    rng = np.random.default_rng(1)
    meta = StoreMeta(
        scheme=Classes(name="two", classes=("small", "large")),
        source="simulator",
        options={"survey": "decals"},
    )
    y, x = np.mgrid[:32, :32] - 15.5
    with StoreWriter(place, meta, image_shape=(32, 32, 3)) as writer:
        for number in range(240):
            light = 150 * np.exp(-np.hypot(x, y) / (2.5 + 2 * (number % 2)))
            image = np.clip(30 + light[..., None] + rng.normal(0, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
            writer.append(image, {"id": str(number), "label": number % 2, "source": f"{number}.png"})
    return open_store(place)


@pytest.fixture(scope="module")
def run(blobs: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("ood") / "run"
    trained = fit(Recipe().changed(SETTINGS), blobs, out, progress=False)
    evaluate(trained, blobs)
    return trained


def test_an_evaluation_leaves_a_feature_distribution_for_its_views_and_those_within(run: Run, blobs: Store):
    kept = read_distribution(run)
    assert kept is not None
    assert sorted(kept.held_out) == [1, 2]
    split = run.split(blobs)
    assert kept.galaxies == len(split.train)
    one = Predictor(run, views=1)
    features = one.predict([blobs.images[row] for row in split.validation]).features_ND
    assert features is not None
    assert kept.held_out[1] == pytest.approx(np.sort(kept.distances(features)), rel=1e-4)
    learned = one.predict([blobs.images[row] for row in split.train]).features_ND
    assert learned is not None
    fresh = fit_distribution(learned)
    assert fresh is not None
    assert kept.distances(features) == pytest.approx(fresh.distances(features), rel=1e-3)


def test_galaxies_are_typical_and_other_pictures_are_not(run: Run, blobs: Store):
    split = run.split(blobs)
    predictor = Predictor(run)
    galaxies = predictor.predict([blobs.images[row] for row in split.test])
    assert galaxies.ood_score_N is not None
    assert galaxies.p_value_N is not None
    assert np.mean(galaxies.ood_score_N > 1) < 0.2
    assert 0.3 < np.mean(galaxies.p_value_N) < 0.7
    white = predictor.predict([np.full((32, 32, 3), 255, np.uint8)])
    assert white.ood_score_N is not None
    assert white.p_value_N is not None
    assert white.ood_score_N[0] > galaxies.ood_score_N.max()
    assert white.p_value_N[0] == pytest.approx(1 / (1 + len(split.validation)))


def test_metrics_say_how_ood_samples_are_told_apart(run: Run, blobs: Store):
    done = run.metrics()["out_of_distribution"]
    split = run.split(blobs)
    assert (done["galaxies"], done["held_out"]) == (len(split.train), len(split.validation))
    assert done["test"]["n"] == len(split.test) == sum(done["histogram"]["test"])
    assert [row["name"] for row in done["non_galaxies"]] == list(KINDS)
    assert all(row["n"] == 6 for row in done["non_galaxies"])  # a tenth of the test
    assert done["non_galaxies"][-1]["auroc"]["value"] > 0.9  # frames of one colour
    assert sum(done["histogram"]["non_galaxies"]) == 6 * len(KINDS)
    assert any(line.startswith("out of distribution: ") for line in calibration_lines(run.metrics()))


def test_the_report_shows_them(run: Run, blobs: Store, tmp_path: Path):
    page = Page(tmp_path)
    add_ood(page, ReportContext.of(run, blobs))
    assert [section.title for section in page.sections] == ["Out of distribution"]
    kinds = [block.kind for block in page.sections[0].blocks]
    assert kinds == ["text", "chart", "table"]
    assert [row[0].lower() for row in page.sections[0].blocks[2].content.rows] == list(KINDS)
    assert (tmp_path / "out_of_distribution.png").is_file()
    bare = Page(tmp_path)
    context = ReportContext.of(run, blobs)
    add_ood(bare, replace(context, metrics={**context.metrics, "out_of_distribution": None}))
    assert bare.sections == []


def test_another_store_is_measured_by_the_run_s_own_distribution(run: Run, blobs: Store):
    done = evaluate_elsewhere(run, blobs)["out_of_distribution"]
    assert done["test"]["n"] == len(blobs)
    assert done["non_galaxies"] == []


def test_more_views_are_added_to_the_distribution_that_is_there(
    run: Run, blobs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit_uncertainty, "_ood_samples", lambda *_: {})
    copytree(run.path, tmp_path / "run")
    other = open_run(tmp_path / "run")
    before = read_distribution(other)
    assert before is not None
    assert not Predictor(other, views=8).has_ood_score
    evaluate(other, blobs, views=8)
    after = read_distribution(other)
    assert after is not None
    assert sorted(after.held_out) == [1, 2, 4, 8]  # a mirror image is none of the eight turns: 2 is as it was
    assert (after.held_out[2] == before.held_out[2]).all()
    assert (after.vectors_ED == before.vectors_ED).all()


def test_an_old_run_has_no_ood_score_until_it_is_calibrated(
    run: Run, blobs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit_uncertainty, "_ood_samples", lambda *_: {})
    copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    old = open_run(tmp_path / "run")
    assert Predictor(old).predict([blobs.images[0]]).ood_score_N is None
    assert evaluate(old, blobs, keep=False)["out_of_distribution"] is None
    assert not (old.path / FILE).exists()
    ms.load(old.path).calibrate(blobs, report=False)
    assert (old.path / FILE).read_bytes() == (run.path / FILE).read_bytes()


def test_a_run_without_test_galaxies_has_an_ood_score_too(run: Run, blobs: Store, tmp_path: Path):
    copytree(run.path, tmp_path / "run")
    for name in (FILE, "calibration.json"):
        (tmp_path / "run" / name).unlink()
    other = open_run(tmp_path / "run")
    quiet = replace(other, recipe=other.recipe.changed({"evaluation.calibrate": False}))
    calibrate(quiet, blobs)
    assert read_distribution(other) is not None
    assert not (other.path / "calibration.json").exists()


def test_a_distribution_is_fitted_on_a_bounded_number_of_galaxies(
    run: Run, blobs: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit_uncertainty, "MOST", 30)
    split = run.split(blobs)
    features = fit_uncertainty.training_features(Predictor(run), blobs, split)
    assert features.shape == (30, Predictor(run).feature_count)
    assert (features == fit_uncertainty.training_features(Predictor(run, views=8), blobs, split)).all()


def test_a_distribution_is_fitted_on_the_galaxies_that_were_trained_on(run: Run, blobs: Store):
    split = run.split(blobs)
    limited = replace(run, recipe=run.recipe.changed({"data.limit": 40}))
    trained = training_rows(limited.recipe, blobs, split)
    features = fit_uncertainty.training_features(Predictor(limited, engine="torch"), blobs, split)
    own = Predictor(limited, views=1, engine="torch").predictions_and_features(
        [blobs.images[row] for row in trained]
    )
    np.testing.assert_allclose(features, own[1][0], rtol=1e-4, atol=1e-4)


def test_too_few_held_out_galaxies_give_none_and_a_note(
    run: Run, blobs: Store, capsys: pytest.CaptureFixture[str]
):
    split = run.split(blobs)
    few = replace(split, validation=split.validation[:30], test=split.validation[:15])
    assert fit_uncertainty.held_out_of(Predictor(run), blobs, few) is None
    assert "15 validation galaxies outside the test" in capsys.readouterr().err
