"""The script that trains the packaged network further with pictures without labels."""

from __future__ import annotations

import importlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from morphoscope.recipes import Augment

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SIDE = 32


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("adapt_default_body")


class Small(torch.nn.Module):
    """Two classes by the mean colour: red or blue; whatever is bright it takes for blue."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 8)
        self.head = torch.nn.Sequential(torch.nn.Linear(8, 2))
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(8, 3))
            self.mix.bias.zero_()
            self.head[0].weight.copy_(torch.tensor([[3.0, -3.0, -3.0], [-3.0, 3.0, 3.0]]) @ torch.eye(3, 8))
            self.head[0].bias.copy_(torch.tensor([1.0, -1.0]))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.mix(images.float().mean((2, 3)) / 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(images))


def pictures(count: int, level: int, spread: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, SIDE, SIDE, 3), red or blue ones, and which."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 2, count)
    bright_N1 = rng.normal(level, spread, (count, 1))
    colours_NC = (
        bright_N1 + np.where(labels_N[:, None] == 0, [60, 0, 0], [0, 0, 60]) + rng.normal(0, 4, (count, 3))
    )
    images = np.broadcast_to(colours_NC[:, None, None], (count, SIDE, SIDE, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels_N


def test_all_layers_learn_from_pictures_without_labels(script, monkeypatch):
    monkeypatch.setattr(script, "LR", 0.01)
    monkeypatch.setattr(script, "WARMUP", 5)
    monkeypatch.setattr(script, "CHANGES", {})
    monkeypatch.setattr("adapt_default_head.AXES", 3)  # three colours
    network, augment = Small(), Augment(size=SIDE, zoom=(1.0, 1.0), rotation=0, shift=0)
    real, truth_N = pictures(200, 110, 25, 1)
    known = pictures(100, 80, 5, 2)
    heard = []
    # The labels of the pictures are not passed, so they cannot be learned from.
    average = script.train(network, augment, (real, real), known, 60, lambda *said: heard.append(said[0]))
    before, after = (script.seen_by(each, real)[0].argmax(axis=1) == truth_N for each in (Small(), average))
    assert after.mean() > before.mean() + 0.02
    assert (script.seen_by(average, known[0])[0].argmax(axis=1) == known[1]).mean() > 0.95
    assert not torch.equal(average.mix.weight, Small().mix.weight)
    assert heard == list(range(60))


def test_the_class_shares_of_the_pictures_are_not_learned(script, monkeypatch):
    for name, value in {"LR": 0.01, "WARMUP": 5, "CHANGES": {}, "PEER": 0.0, "STAYS": 0.0}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr("adapt_default_head.AXES", 3)
    augment = Augment(size=SIDE, zoom=(1.0, 1.0), rotation=0, shift=0)
    real, truth_N = pictures(400, 110, 25, 1)
    rows = np.concatenate(
        [np.flatnonzero(truth_N == 0), np.flatnonzero(truth_N == 1)[:20]]
    )  # ten red of eleven
    unequal, known = real[rows], pictures(100, 80, 5, 2)
    between = np.full((1, SIDE, SIDE, 3), 110, np.uint8)  # neither red nor blue
    aimed = script.targets_of

    def undecided() -> float:
        average = script.train(Small(), augment, (unequal, unequal), known, 60)
        return script.seen_by(average, between)[0][0, 0]

    adjusted = undecided()
    monkeypatch.setattr(script, "targets_of", lambda *given: (aimed(*given)[0], np.array([0.5, 0.5])))
    assert adjusted < undecided() - 0.02  # red is not more probable because it is common


def test_the_start_stays_in_the_average(script, monkeypatch):
    monkeypatch.setattr(script, "STAYS", 1.0)
    monkeypatch.setattr(script, "CHANGES", {})
    monkeypatch.setattr("adapt_default_head.AXES", 3)
    real, _ = pictures(50, 110, 25, 1)
    augment = Augment(size=SIDE, zoom=(1.0, 1.0), rotation=0, shift=0)
    average = script.train(Small(), augment, (real, real), pictures(50, 80, 5, 2), 5)
    for now, first in zip(average.parameters(), Small().parameters(), strict=True):
        torch.testing.assert_close(now, first)


def test_pictures_that_may_be_disturbed_or_merging_galaxies_are_left_out(script, monkeypatch):
    odd_N = np.array([0.0, 0.3, 0.5, 0.9])
    seen_NK = np.column_stack([odd_N / 2, odd_N / 2, *[(1 - odd_N) / 8] * 8])
    monkeypatch.setattr(script, "seen_by", lambda network, pictures: (seen_NK, None))
    assert script.ordinary(None, None).tolist() == [True, True, False, False]


def test_batches_cover_each_epoch_in_another_order(script):
    rows = list(islice(script.passes(10, 5, np.random.default_rng(0)), 4))
    assert [epoch for epoch, _ in rows] == [0, 0, 1, 1]
    first, second = (np.concatenate([part for _, part in rows[start : start + 2]]) for start in (0, 2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)


def test_the_learning_rate_rises_then_falls_to_zero(script):
    rates = [script.rate(step, 1000) for step in range(1000)]
    assert max(rates) == pytest.approx(script.LR)
    assert int(np.argmax(rates)) in (script.WARMUP - 1, script.WARMUP)
    assert rates[-1] < 1e-3 * script.LR
