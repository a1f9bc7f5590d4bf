"""The script that adapts the packaged network's last layer to pictures without labels."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from morphoscope.metrics.linear_models import LinearModel
from morphoscope.runs.run import open_run

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SHARES = (0.6, 0.3, 0.1)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("adapt_default_head")


def galaxies(
    count: int, shares: tuple[float, ...], offset: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features of two views (2, N, 70) of three classes, all moved by an offset, and their labels."""
    rng = np.random.default_rng(seed)
    labels_N = rng.choice(3, count, p=shares)
    centres_KD = np.eye(3, 70) * 3
    centres_KD[:, 0] += offset
    features_ND = centres_KD[labels_N] + rng.normal(0, 1, (count, 70))
    return features_ND + rng.normal(0, 0.1, (2, count, 70)), labels_N


def test_a_head_learns_another_survey_without_labels_and_keeps_its_own(script):
    old = LinearModel(np.eye(3, 70) * 3, np.full(3, -4.5))
    simulated_VND, labels_N = galaxies(300, (1 / 3,) * 3, 0.0, 1)
    real_VND, unseen_N = galaxies(600, SHARES, -1.5, 2)
    new = script.adapted(old, real_VND, simulated_VND, labels_N)

    def right(head: LinearModel, features_VND: np.ndarray, truth_N: np.ndarray) -> float:
        return float((head(features_VND[0]).argmax(axis=1) == truth_N).mean())

    assert right(new, real_VND, unseen_N) > right(old, real_VND, unseen_N) + 0.02
    assert right(new, simulated_VND, labels_N) > right(old, simulated_VND, labels_N) - 0.02


def test_class_shares_are_found_but_not_overdone(script):
    features_VND, labels_N = galaxies(2000, SHARES, 0.0, 3)
    weights_KD = np.eye(3, 70) * 3
    outputs_NK = features_VND[0] @ weights_KD.T  # by Bayes' theorem, for equal shares
    own_NK = np.exp(outputs_NK) / np.exp(outputs_NK).sum(axis=1, keepdims=True)
    moved_NK, shares_K = script.shares_of(own_NK)
    assert shares_K.sum() == pytest.approx(1)
    assert shares_K.argmax() == np.bincount(labels_N).argmax()
    assert moved_NK.sum(axis=1) == pytest.approx(1)
    assert own_NK[:, 0].mean() + 0.005 < moved_NK[:, 0].mean() < SHARES[0] + 0.02
    assert (moved_NK.argmax(axis=1) == labels_N).mean() >= (own_NK.argmax(axis=1) == labels_N).mean()


def test_a_run_with_another_head_loads_and_keeps_the_features(script, tmp_path):
    pytest.importorskip("torch")
    run = open_run("default")
    head = LinearModel(np.full((10, 384), 0.5), np.arange(10.0))
    script.write_run(run, head, tmp_path / "run")
    written = open_run(tmp_path / "run")
    before, after = run.network().state_dict(), written.network().state_dict()
    changed = {name for name in before if not np.array_equal(before[name].numpy(), after[name].numpy())}
    assert changed == {"head.1.weight", "head.1.bias"}
    assert after["head.1.bias"].tolist() == list(range(10))
    assert (written.path / "reference.safetensors").is_file()
    assert not (written.path / "calibration.json").exists()
