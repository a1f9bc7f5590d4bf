"""Fractions by the decision tree: their sums hold to 1e-6, here to half of it, whatever carries an answer.

Single precision rounds each fraction to 6e-8 of itself: what is off is the sum of a few such errors, 2.8e-7
at most in 300,000 random answers (EXPERIMENTS.md, 2026-11-29).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope import api
from morphoscope.data.store import Store
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.studies.study import find_study

TOLERANCE = 5e-7
COLUMNS = list(GALAXY_ZOO_2.columns)

pytestmark = pytest.mark.usefixtures("undrawn")


def _furthest(fractions_NK: np.ndarray) -> float:
    """The largest difference of any question's sum from what the tree says; NaN counts as infinite."""
    errors_NQ = np.abs(GALAXY_ZOO_2.sum_errors(fractions_NK))
    return float(errors_NQ.max()) if np.isfinite(errors_NQ).all() else np.inf


@pytest.fixture(scope="module")
def tree(all_votes: Store, tmp_path_factory: pytest.TempPathFactory) -> api.LoadedRun:
    """A run whose fractions obey the decision tree."""
    settings = {"model.name": "test_efficientnet", "model.classifier": False, "augment.size": 32}
    settings |= {"augment.crop": None, "training.epochs": 1, "model.votes": "tree", "model.pretrained": False}
    recipe = find_study("ng").rows()["ng/efficientnet-lite0-scratch"].changed(settings)
    out = tmp_path_factory.mktemp("tree") / "run"
    return api.train(recipe, all_votes, out, report=False, progress=False)


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0, 1000.0])
def test_the_networks_own_answers(spread: float) -> None:
    """From undecided networks to those that give one answer everything."""
    torch = pytest.importorskip("torch")
    outputs_NK = torch.randn(5000, 37, generator=torch.Generator().manual_seed(0)) * spread
    fractions_NK = GALAXY_ZOO_2_VOTES.with_outputs("tree").probabilities(outputs_NK).numpy()
    assert fractions_NK.min() >= 0
    assert fractions_NK.max() <= 1
    assert _furthest(fractions_NK) < TOLERANCE


def test_answers_in_half_precision_are_made_fractions_in_single() -> None:
    """A network may compute in bf16; three digits would be left of the sums, were they bf16 too."""
    torch = pytest.importorskip("torch")
    outputs_NK = torch.randn(500, 37, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fractions_NK = GALAXY_ZOO_2_VOTES.with_outputs("tree").probabilities(outputs_NK)
    assert _furthest(fractions_NK.numpy()) < TOLERANCE


@pytest.mark.parametrize("views", [1, 16])
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_run(views: int, calibrated: bool, all_votes: Store, tree: api.LoadedRun) -> None:
    loaded = api.load(tree.run.path, views=views, calibrated=calibrated)
    assert _furthest(loaded.predict(np.asarray(all_votes.images[:12]))) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_exported_graph(engine: str, all_votes: Store, tree: api.LoadedRun, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    images = np.asarray(all_votes.images[:12])
    through = api.load(tree.export(tmp_path / "run.onnx"), engine=engine).predict(images)
    # The run itself may predict in bf16.
    np.testing.assert_allclose(through, tree.predict(images), atol=2e-4)
    assert _furthest(through) < TOLERANCE


def _from_parquet(path: Path) -> np.ndarray:
    return np.stack([pq.read_table(path)[name].to_numpy() for name in COLUMNS], axis=1)


def _from_csv(path: Path) -> np.ndarray:
    with open(path, encoding="utf-8") as file:
        return np.array([[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)])


def _from_astropy(path: Path) -> np.ndarray:
    from astropy.table import Table

    found = Table.read(path, format="votable") if path.suffix in (".vot", ".xml") else Table.read(path)
    return np.stack([np.ma.getdata(found[name]) for name in COLUMNS], axis=1)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("c.parquet", _from_parquet),
        ("shards", _from_parquet),
        ("c.csv", _from_csv),
        ("c.ecsv", _from_astropy),
        ("c.fits", _from_astropy),
        ("c.vot", _from_astropy),
    ],
)
def test_a_catalogue(name: str, read, all_votes: Store, tree: api.LoadedRun, tmp_path: Path) -> None:
    tree.catalogue(all_votes.path, tmp_path / name)
    fractions_NK = read(tmp_path / name)
    assert fractions_NK.shape == (len(all_votes), 37)
    assert _furthest(fractions_NK) < TOLERANCE
