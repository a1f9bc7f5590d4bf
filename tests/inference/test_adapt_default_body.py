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


@pytest.fixture
def small(script, monkeypatch: pytest.MonkeyPatch):
    """The script for small pictures of two classes, which learns fast and changes nothing."""
    settings = {
        "LR": 0.01,
        "WARMUP": 5,
        "CHANGES": {},
        "SIDE": SIDE,
        "STORED": SIDE,
        "LEVELS": ((np.inf, SIDE),),
    }
    for name, value in settings.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr("adapt_default_head.AXES", 3)  # three colours
    return script


PLAIN = Augment(size=SIDE, zoom=(1.0, 1.0), rotation=0, shift=0)


def parts_of(script, real: np.ndarray, known: tuple[np.ndarray, np.ndarray], groups_N=None) -> dict:
    """The parts of a batch; white and black images have no class."""
    groups_N = np.zeros(len(real), int) if groups_N is None else groups_N
    extremes = np.repeat(np.array([0, 255], np.uint8), 10)[:, None, None, None]
    return {
        "pictures": script.images_of(real, groups_N=groups_N),
        "galaxies": script.images_of(*known),
        "without class": script.images_of(np.tile(extremes, (1, SIDE, SIDE, 3))),
    }


def test_all_layers_learn_from_pictures_without_labels(small):
    real, truth_N = pictures(200, 110, 25, 1)
    known = pictures(100, 80, 5, 2)
    parts, heard = parts_of(small, real, known), []
    # The labels of the pictures are not passed, so they cannot be learned from.
    average = small.train(Small(), PLAIN, parts, 60, lambda *said: heard.append(said[0]))
    before, after = (small.seen_by(each, real)[0].argmax(axis=1) == truth_N for each in (Small(), average))
    assert after.mean() > before.mean() + 0.02
    assert (small.seen_by(average, known[0])[0].argmax(axis=1) == known[1]).mean() > 0.95
    assert not torch.equal(average.mix.weight, Small().mix.weight)
    assert heard == list(range(60))
    white = parts["without class"].sizes[SIDE][-1:]
    sure, unsure = (small.seen_by(each, white)[0].max() for each in (Small(), average))
    assert unsure < sure - 0.05


def test_the_class_shares_of_the_pictures_are_not_learned(small, monkeypatch):
    monkeypatch.setattr(small, "PEER", 0.0)
    real, truth_N = pictures(400, 110, 25, 1)
    rows = np.concatenate(
        [np.flatnonzero(truth_N == 0), np.flatnonzero(truth_N == 1)[:20]]
    )  # ten red of eleven
    parts = parts_of(small, real[rows], pictures(100, 80, 5, 2))
    between = np.full((1, SIDE, SIDE, 3), 110, np.uint8)  # neither red nor blue
    aimed = small.targets_of

    def undecided() -> float:
        return small.seen_by(small.train(Small(), PLAIN, parts, 60), between)[0][0, 0]

    adjusted = undecided()
    monkeypatch.setattr(small, "targets_of", lambda *given: (aimed(*given)[0], np.full((len(rows), 2), 0.5)))
    assert adjusted < undecided() - 0.02  # red is not more probable because it is common


def test_each_folder_has_class_shares_of_its_own(small):
    real, truth_N = pictures(400, 80, 5, 1)
    red, blue = np.flatnonzero(truth_N == 0), np.flatnonzero(truth_N == 1)
    rows = np.concatenate([red[:150], blue[:20], blue[20:170], red[150:170]])
    groups_N = np.repeat([0, 1], 170)
    seen = parts_of(small, real[rows], pictures(50, 80, 5, 2), groups_N)["pictures"]
    targets_NK, shares_NK = small.targets_of(Small(), seen)
    assert targets_NK.sum(axis=1) == pytest.approx(1)
    assert len(np.unique(shares_NK[:170, 0])) == len(np.unique(shares_NK[170:, 0])) == 1
    assert shares_NK[0, 0] > 0.6 > 0.4 > shares_NK[-1, 0]


def test_statistics_move_by_a_part_towards_those_of_other_images(script, monkeypatch):
    monkeypatch.setattr(script, "TOWARDS", 0.25)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).eval()
    rng = np.random.default_rng(1)
    images = rng.normal(100, 10, (100, 8, 8, 3)).round().clip(0, 255)
    script.move_statistics(network, images.astype(np.float32))
    mean, variance = script.statistics_of(network[0])
    assert mean.numpy() == pytest.approx(25, abs=0.2)  # a quarter of the way from 0
    # Of a mixture, three quarters of which have mean 0 and variance 1.
    assert variance.numpy() == pytest.approx(0.75 + 0.25 * 100 + 0.25 * 0.75 * 100**2, rel=0.01)
    assert not network[0].training


def test_images_are_taken_in_the_size_that_suits_their_zoom(script, monkeypatch):
    for name, value in {"SIDE": 8, "STORED": 16, "LEVELS": ((0.75, 16), (1.5, 8), (np.inf, 4))}.items():
        monkeypatch.setattr(script, name, value)
    images = script.images_of(np.zeros((300, 16, 16, 3), np.uint8))
    assert {side: each.shape[1] for side, each in images.sizes.items()} == {16: 16, 8: 8, 4: 4}
    for side, each in images.sizes.items():
        each[:] = side  # which size was taken
    wide = Augment(
        size=8,
        zoom=(0.4, 2.3),
        rotation=0,
        shift=0,
        brightness=0,
        contrast=0,
        noise=0,
        blur=0,
        channel_shift=0,
        channel_gain=0,
        gamma=0,
        saturation=0,
    )
    taken = script.changed(images, np.arange(300), wide, 1, 0)[:, 4, 4, 0]
    shares = {side: (taken == side).mean() for side in (16, 8, 4)}
    # Even in the logarithm: ln(0.75/0.4), ln(1.5/0.75) and ln(2.3/1.5) of ln(2.3/0.4).
    assert shares[16] == pytest.approx(0.36, abs=0.08)
    assert shares[8] == pytest.approx(0.40, abs=0.08)
    assert shares[4] == pytest.approx(0.24, abs=0.08)


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
