from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import morphoscope as ms
from morphoscope.inference.engine.graph import kept_graph
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.models.build import build
from morphoscope.packaged import DEFAULT, NETWORKS, run_folder
from morphoscope.runs.run import open_run
from morphoscope.studies.registry import find_recipe


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ms.Store:
    from morphoscope.data.sources.simulated import simulate

    return simulate(tmp_path_factory.mktemp("packaged") / "galaxies", 60, 128, seed=77)


def test_it_knows_simulated_galaxies_it_has_not_seen(store):
    answers = ms.load(DEFAULT, views=2).predict([store.images[row] for row in range(60)])
    assert answers.shape == (60, 10)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert (answers.argmax(axis=1) == store.targets()).mean() > 0.8


def test_its_own_framing_brings_back_galaxies_in_images_three_times_as_wide(store):
    wide = [np.pad(image, ((127, 127), (127, 127), (0, 0)), mode="reflect") for image in store.images[:40]]
    run = ms.load(DEFAULT, views=1)
    plain, framed = (
        run.predict(wide, scale=scale).argmax(axis=1) == store.targets()[:40] for scale in ("trained", None)
    )
    assert framed.mean() > plain.mean() + 0.2
    assert framed.mean() > 0.7
    with pytest.raises(ms.UsageError, match="'auto' or 'trained' was expected"):
        run.predict(wide, scale="small")


def test_its_probabilities_follow_the_class_shares_of_the_images(store):
    smooth = [store.images[row] for row in np.flatnonzero(np.isin(store.targets(), (2, 3)))]
    many = (smooth * 200)[:200]
    run = ms.load(DEFAULT, views=1)
    plain_NK, own_NK = run.predict(smooth), run.predict(many, estimate_shares=True)[: len(smooth)]
    assert own_NK[:, 2:4].sum() > plain_NK[:, 2:4].sum()
    np.testing.assert_allclose(own_NK.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ms.UsageError, match="needs at least 200 galaxies"):
        run.predict(smooth, estimate_shares=True)


def test_it_says_that_noise_is_no_galaxy(store):
    predictor = ms.load(DEFAULT).predictor
    noise = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8)
    seen = np.asarray(predictor.predict(list(noise)).p_value_N)
    known = np.asarray(predictor.predict([store.images[row] for row in range(20)]).p_value_N)
    assert seen.max() < 0.05
    assert np.median(known) > 0.2


def test_the_folder_is_small_and_says_what_it_is():
    folder = NETWORKS / DEFAULT
    assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 27e6
    run = open_run(DEFAULT)
    assert run.scheme == GALAXY10
    assert "/" not in run.header.store.path
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "real galaxies" in card
    made, packed = find_recipe(DEFAULT), run.recipe
    fast = {"views": made.evaluation.views, "sure": None}
    assert packed.changed(evaluation=fast, about=made.about) == made


def test_its_graph_predicts_as_its_weights_do(store):
    images = [store.images[row] for row in range(8)]
    graph, torch = (ms.load(DEFAULT, engine=name).predictor.predict(images) for name in ("onnx", "torch"))
    assert kept_graph(open_run(DEFAULT)) == NETWORKS / DEFAULT / "onnx" / "network.onnx"
    if ms.load(DEFAULT, engine="torch").predictor.precision_description.startswith("fp32"):
        np.testing.assert_allclose(graph.predictions_NK, torch.predictions_NK, rtol=0, atol=1e-5)
        scores = np.asarray(graph.ood_score_N), np.asarray(torch.ood_score_N)
        np.testing.assert_allclose(*scores, rtol=1e-4)


def test_a_training_begins_with_it_and_says_so():
    recipe = find_recipe("small/own-labels")
    network, origin = build(recipe.model, 3, image_size=64)
    assert "packaged network 'default'" in origin
    ours, theirs = network.backbone.state_dict(), open_run(DEFAULT).network().backbone.state_dict()
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_an_own_run_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(DEFAULT) == NETWORKS / DEFAULT
    (tmp_path / DEFAULT).mkdir()
    assert run_folder(DEFAULT) == NETWORKS / DEFAULT  # a folder of images, say
    (tmp_path / DEFAULT / "run.yaml").write_text("kind: morphoscope-run")
    assert run_folder(DEFAULT) == Path(DEFAULT)
