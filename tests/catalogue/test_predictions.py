"""Catalogues that say what the network does not know, from trained runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import morphoscope as ms
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.cli import app
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import UsageError
from morphoscope.inference.ensemble import mutual_information
from morphoscope.inference.mc_dropout import DropoutSamples
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.recipes import Recipe

SETTINGS: dict[str, Any] = {
    "model.name": "test_resnet",
    "model.pretrained": False,
    "data.validation": 0.25,
    "data.test": 0.25,
    "augment.size": 32,
    "training.epochs": 1,
    "training.batch": 32,
    "training.precision": "fp32",
}
CLASSES = Classes(name="two", classes=("small", "large"))


def _store(place: Path, side: int, classes: Classes = CLASSES, count: int = 120) -> Store:
    rng = np.random.default_rng(1)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * 40 / side
    with StoreWriter(place, StoreMeta(scheme=classes), image_shape=(side, side, 3)) as writer:
        for number in range(count):
            light = 150 * np.exp(-np.hypot(x, y) / (2.5 + 2 * (number % 2)))
            noise = rng.normal(0, 8, (side, side, 3))
            image = np.clip(30 + light[..., None] + noise, 0, 255).astype(np.uint8)
            writer.append(image, {"id": f"g{number}", "label": number % 2, "source": f"{number}.png"})
    return open_store(place)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _store(tmp_path_factory.mktemp("unknown") / "blobs", 40)


@pytest.fixture(scope="module")
def runs(blobs: Store, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same split; the second has dropout, a hidden layer, and sees the galaxies smaller."""
    place = tmp_path_factory.mktemp("unknown-runs")
    more = {"seed": 5, "model.dropout": 0.5, "model.hidden": (16,), "augment.size": 24, "evaluation.views": 2}
    for name, settings in (("one", {}), ("two", more)):
        ms.train(Recipe().changed(SETTINGS | settings), blobs, place / name, report=False, progress=False)
    return [place / "one", place / "two"]


@pytest.fixture(scope="module")
def images(blobs: Store) -> Sequence[np.ndarray]:
    return [blobs.images[row] for row in range(9)]


@pytest.fixture(scope="module")
def embedded(runs: list[Path], blobs: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embedded") / "catalogue.parquet"
    ms.load(runs[0]).catalogue(blobs.path, out, embeddings=True, batch=50)
    return out


def test_features_are_those_before_the_head_averaged_over_the_views(runs: list[Path], images):
    import torch

    features = ms.load(runs[0]).embed(images)
    predictor = ms.load(runs[0]).predictor
    assert features.shape == (9, predictor.feature_count)
    assert features.dtype == np.float32
    with torch.inference_mode():
        outputs = predictor.torch_engine().network.head(torch.from_numpy(features))
        own = predictor.scheme.probabilities(outputs).numpy()
    assert own == pytest.approx(ms.load(runs[0], calibrated=False).predict(images), abs=1e-5)
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    both = (features + ms.load(runs[0]).embed(mirrored)) / 2
    assert ms.load(runs[0], views=2).embed(images) == pytest.approx(both, abs=1e-4)


def test_features_of_a_network_that_keeps_every_place_are_means_over_the_places():
    import torch

    from morphoscope.models.build import build

    model = (
        Recipe().changed({"model.name": "resnet18", "model.pool": "flatten", "model.pretrained": False}).model
    )
    network, _ = build(model, 2, image_size=64, start=False)
    network.eval()
    with torch.inference_mode():
        features = network.embed(torch.rand(2, 3, 64, 64) * 255)
        described = network.described(features)
    assert features.shape == (2, 512 * 4)
    assert described.shape == (2, network.described_width) == (2, 512)
    assert described.numpy() == pytest.approx(features.view(2, 512, 4).mean(dim=2).numpy())


def test_a_catalogue_has_strangeness_and_features_and_says_what_they_are(
    runs: list[Path], blobs: Store, embedded: Path, images
):
    table = pq.read_table(embedded)
    assert table.column_names[-3:] == ["out_of_distribution", "typicality", "embedding"]
    kind = table.schema.field("embedding").type
    run = ms.load(runs[0])
    assert kind == pa.list_(pa.float16(), run.predictor.feature_count)
    stored = np.stack(table["embedding"].to_pylist()[:9])
    assert stored == pytest.approx(run.embed(images), abs=2e-3, rel=2e-3)
    look = run.predictor.predict(images)
    assert table["out_of_distribution"].to_numpy()[:9] == pytest.approx(look.ood_score_N, rel=1e-3)
    assert table["typicality"].to_numpy()[:9] == pytest.approx(look.p_value_N, abs=0.04)
    assert b"95 %" in table.schema.field("out_of_distribution").metadata[b"description"]
    said = read_provenance(embedded)
    assert said["reference"].startswith("Mahalanobis")
    assert "embedding" in said


def test_a_picture_without_a_galaxy_is_found_in_a_catalogue(runs: list[Path], blobs: Store, tmp_path: Path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "galaxy.png"), blobs.images[0][:, :, ::-1])
    cv2.imwrite(str(tmp_path / "in" / "white.png"), np.full((40, 40, 3), 255, np.uint8))
    ms.load(runs[0]).catalogue(tmp_path / "in", tmp_path / "c.csv")
    with open(tmp_path / "c.csv", newline="") as file:
        galaxy, white = (float(row["out_of_distribution"]) for row in csv.DictReader(file))
    assert galaxy < 1.5 < white


def test_an_older_run_predicts_without_the_column_and_says_so_once(
    runs: list[Path], blobs: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copytree(runs[0], tmp_path / "old")
    (tmp_path / "old" / "reference.safetensors").unlink()
    ms.load(tmp_path / "old").catalogue(blobs.path, tmp_path / "c.parquet", batch=20)
    assert "out_of_distribution" not in pq.read_schema(tmp_path / "c.parquet").names
    assert capsys.readouterr().err.count("no column out_of_distribution") == 1
    assert read_provenance(tmp_path / "c.parquet")["reference"] == "none"


def test_several_runs_answer_with_the_mean_and_say_how_much_they_disagree(
    runs: list[Path], blobs: Store, images, tmp_path: Path
):
    alone = np.stack([ms.load(run).predict(images) for run in runs])
    both = ms.load(runs)
    assert both.predict(images) == pytest.approx(alone.mean(axis=0), abs=1e-6)
    both.catalogue(blobs.path, tmp_path / "c.parquet", batch=50)
    table = pq.read_table(tmp_path / "c.parquet").slice(0, 9)
    mean = alone.astype(float).mean(axis=0)
    entropies = -(alone * np.log(alone)).sum(axis=2)
    expected = -(mean * np.log(mean)).sum(axis=1) - entropies.mean(axis=0)
    assert table["mutual_information"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert table["p_small"].to_numpy() == pytest.approx(mean[:, 0], abs=1e-5)
    strange = [np.asarray(ms.load(run).predictor.predict(images).ood_score_N) for run in runs]
    assert table["out_of_distribution"].to_numpy() == pytest.approx(np.mean(strange, axis=0), rel=1e-3)
    said = read_provenance(tmp_path / "c.parquet")
    assert said["run"] == "one,two"
    assert said["members"].count("weights ") == 2
    assert said["calibration"].startswith("of each member")


def test_members_may_have_learned_from_images_of_other_sizes(runs: list[Path], images, tmp_path: Path):
    small = _store(tmp_path / "small", 20)
    ms.train(Recipe().changed(SETTINGS), small, tmp_path / "run", report=False, progress=False)
    both = ms.load([tmp_path / "run", runs[0]])
    assert both.predictor_or_ensemble.input_side == 40
    shrunk = [cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA) for image in images]
    expected = (ms.load(tmp_path / "run").predict(shrunk) + ms.load(runs[0]).predict(images)) / 2
    assert both.predict(images) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UsageError, match="different stores"):
        both.evaluate()


def test_an_ensemble_is_measured_on_what_all_held_out(runs: list[Path], blobs: Store):
    both = ms.load(runs)
    measured = both.evaluate()
    assert measured["test"]["n"] == ms.load(runs[0]).metrics()["test"]["n"]
    assert list(measured["members"]) == ["one", "two"]
    for name, run in zip(("one", "two"), runs, strict=True):
        alone = ms.load(run).metrics()["test"]["accuracy"]["value"]
        assert measured["members"][name]["accuracy"]["value"] == pytest.approx(alone)
    assert both.evaluate(blobs)["test"]["n"] == len(blobs)


def test_what_does_not_go_together_is_refused(runs: list[Path], images, tmp_path: Path):
    with pytest.raises(UsageError, match="the same one twice"):
        ms.load([runs[0], runs[0]])
    copytree(runs[0], tmp_path / "other")
    header = (tmp_path / "other" / "run.yaml").read_text()
    (tmp_path / "other" / "run.yaml").write_text(header.replace("- small\n", "- tiny\n"))
    with pytest.raises(UsageError, match=r"predicts tiny, large .* trained on the same labels"):
        ms.load([runs[0], tmp_path / "other"])
    (tmp_path / "other" / "run.yaml").write_text(header.replace("crop: null", "crop: 30"))
    with pytest.raises(UsageError, match=r"their crop \(30 and None px\)"):
        ms.load([runs[0], tmp_path / "other"])
    both = ms.load(runs)
    for refused in (both.embed, both.explain):
        with pytest.raises(UsageError, match="takes one run"):
            refused(images)
    with pytest.raises(UsageError, match="--embeddings"):
        both.catalogue(tmp_path, tmp_path / "c.parquet", embeddings=True)
    with pytest.raises(UsageError, match="CSV cannot store features"):
        ms.load(runs[0]).catalogue(tmp_path, tmp_path / "c.csv", embeddings=True)


def test_dropout_samples_are_networks_of_their_own_and_the_same_every_time(
    runs: list[Path], blobs: Store, images, tmp_path: Path
):
    sampled = ms.load(runs[1], dropout_samples=8)
    look = sampled.predictor.predict(images)
    assert look.members_MNK.shape == (8, 9, 2)
    assert np.ptp(look.members_MNK, axis=0).max() > 1e-4
    assert look.predictions_NK == pytest.approx(look.members_MNK.mean(axis=0), abs=1e-6)
    alone = ms.load(runs[1], dropout_samples=8).predict(images[4:5])
    assert alone == pytest.approx(look.predictions_NK[4:5], abs=1e-5)  # whatever is in the batch
    for name in ("a.csv", "b.csv"):
        ms.load(runs[1], dropout_samples=8).catalogue(blobs.path, tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "mutual_information" in (tmp_path / "a.csv").read_text().splitlines()[0]


def test_the_mean_over_many_dropout_masks_is_the_whole_layer():
    import torch
    from torch import nn

    head = nn.Sequential(nn.Dropout(0.25), nn.Linear(40, 3))
    features = torch.rand(5, 40)
    samples = DropoutSamples(head, 1500, seed=0, name="run")
    with torch.inference_mode():
        drawn = samples(features)
        head.eval()
        whole = head(features)
    assert drawn.shape == (1500, 5, 3)
    assert drawn.mean(dim=0).numpy() == pytest.approx(whole.numpy(), abs=0.05)
    kept = torch.stack([mask > 0 for mask in samples._kept.values()]).float()
    assert kept.mean() == pytest.approx(0.75, abs=0.01)


def test_a_network_without_dropout_has_no_samples(runs: list[Path], images):
    with pytest.raises(UsageError, match=r"'one' has no dropout \(model\.dropout is 0\)"):
        ms.load(runs[0], dropout_samples=4).predict(images)
    with pytest.raises(UsageError, match="2 or more"):
        ms.load(runs[1], dropout_samples=1).predict(images)


def test_mutual_information_of_known_opinions():
    sure = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(CLASSES, sure) == pytest.approx([np.log(2)])
    assert mutual_information(CLASSES, np.full((3, 4, 2), 0.5)).tolist() == [0] * 4
    votes = VoteFractions(name="v", answers=("x", "y"))
    assert mutual_information(votes, sure) == pytest.approx([np.log(2)])
    half = np.array([[[0.5, 1.0]], [[0.5, 0.0]]])
    assert mutual_information(votes, half) == pytest.approx([np.log(2) / 2])


def test_the_command_line(runs: list[Path], blobs: Store, embedded: Path, tmp_path: Path):
    def call(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.stdout

    call("predict", f"{runs[0]},{runs[1]}", blobs.path, "--out", tmp_path / "c.csv", "--dropout-samples", 0)
    assert "mutual_information" in (tmp_path / "c.csv").read_text().splitlines()[0]
    assert "one alone: accuracy" in call("evaluate", f"{runs[0]},{runs[1]}")
    document = json.loads(call("evaluate", f"{runs[0]},{runs[1]}", "--json"))
    assert set(document["members"]) == {"one", "two"}
    sheet = tmp_path / "like.png"
    printed = call("similar", runs[0], embedded, "--to", "g3", "--count", 4, "--out", sheet)
    assert len(printed.splitlines()) == 5
    assert cv2.imread(str(sheet)).shape[1] > 300  # type: ignore[union-attr]
    found = json.loads(call("similar", runs[0], embedded, "--to", "g3", "--count", 4, "--json"))
    assert [row["id"] for row in found] == [line.split()[1] for line in printed.splitlines()[1:]]
    assert {"id", "source", "similarity", "row", "predicted"} <= set(found[0])
