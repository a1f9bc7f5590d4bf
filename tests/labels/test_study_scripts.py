"""The scripts that compare ways to learn from votes and from few labels, small enough to run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.sources.simulated import simulate
from morphoscope.data.splits.file import load_split

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TINY = {
    "model.name": "test_resnet",
    "model.pretrained": "false",
    "augment.size": "32",
    "training.epochs": "1",
    "training.precision": "fp32",
    "data.validation": "0.2",
    "evaluation.views": "1",
}


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_labels_are_drawn_with_two_of_each_class_and_the_others_are_tested(tmp_path: Path) -> None:
    script = importlib.import_module("few_labels")
    store = simulate(tmp_path / "store", 30, 16, workers=1)
    split = script.drawn(store, 24, 0, seed=1)
    assert len(split.train) == 24
    assert np.bincount(store.targets()[split.train], minlength=10).min() >= 2
    assert sorted([*split.train, *split.test]) == list(range(30))
    assert len(script.drawn(store, 24, 4, seed=1).test) == 4
    split.save(tmp_path / "split.json")
    assert np.array_equal(load_split(tmp_path / "split.json", store).train, split.train)


@pytest.mark.slow
def test_votes_are_learned_in_both_ways_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("votes_two_ways")
    simulate(tmp_path / "votes", 60, 32, scheme="vote-counts", workers=1)
    words = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    command = ["votes_two_ways", str(tmp_path / "votes"), str(tmp_path / "out"), "--seeds", "1", *words]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    table = (tmp_path / "out" / "votes.md").read_text(encoding="utf-8")
    assert "counts (likelihood) | fractions (squared error)" in table
    assert "mean error of the true fractions" in table
    assert "error of their mean over the galaxies" in table
    assert (tmp_path / "out" / "votes.png").stat().st_size > 5_000
