from __future__ import annotations

import numpy as np
import pytest
import torch

from morphoscope.augment.cpu import Augmenter, views
from morphoscope.augment.gpu import DeviceAugmenter
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    y, x = np.mgrid[:150, :170]
    waves = [
        np.dstack([127 + 60 * np.sin(x / (9 + i) + c) + 60 * np.cos(y / (11 + c)) for c in range(3)])
        for i in range(8)
    ]
    return np.rint(waves).astype(np.uint8)


def tensor(images_NHWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).to(DEVICE)


@pytest.mark.parametrize("border", ["constant", "replicate", "reflect"])
@pytest.mark.parametrize(
    "change",
    [
        {"size": 64},
        {"size": 150, "zoom": (0.5, 2.0)},
        {"size": 24, "crop": 100, "shear": 20.0},
        {"size": 32, "crop": 200, "brightness": 0.2, "channel_shift": 10.0},
        {"size": 64, "noise": 8.0},
        {"size": 48, "channel_gain": 0.2},
        {"size": 48, "blur": 2.0},
        {"size": 16, "crop": 150, "shift": 0.9},
    ],
    ids=str,
)
def test_both_paths_agree_to_a_grey_level(smooth, border, change):
    config, rows = Augment(border=border, **change), np.arange(8)
    ours = Augmenter(config, seed=3).training(smooth, rows, 2)
    theirs = DeviceAugmenter(config, seed=3).training(tensor(smooth), rows, 2)
    difference = np.abs(ours.astype(int) - theirs.permute(0, 2, 3, 1).cpu().numpy())
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_colours_multiply_a_tie_and_nothing_more(smooth):
    config = Augment(size=48, saturation=0.6, gamma=0.4, contrast=0.3)
    ours = Augmenter(config, seed=3).training(smooth, np.arange(8), 2)
    theirs = DeviceAugmenter(config, seed=3).training(tensor(smooth), np.arange(8), 2)
    difference = np.abs(ours.astype(int) - theirs.permute(0, 2, 3, 1).cpu().numpy())
    assert difference.max() <= 3  # a tie of one level, times saturation, gamma and contrast
    assert difference.mean() < 0.1  # OpenCV turns colours by tables of whole numbers


def test_at_equal_size_the_identical_picture_comes_back():
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, device=DEVICE)
    assert torch.equal(DeviceAugmenter(Augment(size=40)).evaluation(images), images)


def test_views_agree_with_the_cpu(smooth):
    config = Augment(size=50, crop=100)
    for view in views(config, 16)[5::4]:
        ours = Augmenter(config).evaluation(smooth, view)
        theirs = DeviceAugmenter(config).evaluation(tensor(smooth), view).permute(0, 2, 3, 1)
        assert np.abs(ours.astype(int) - theirs.cpu().numpy()).max() <= 1


def test_rows_may_be_tensors_and_repetitions_differ(smooth):
    same = tensor(np.repeat(smooth[:1], 3, axis=0))
    augmenter = DeviceAugmenter(Augment(size=32))
    rows, repeats = torch.tensor([4, 4, 4]), torch.tensor([0, 0, 1])
    out = augmenter.training(same, rows, 0, repeats)
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], out[2])


def test_the_batch_comes_in_channels_last_memory(smooth):
    out = DeviceAugmenter(Augment(size=32)).evaluation(tensor(smooth))
    assert out.dtype == torch.uint8
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_of_doubles_is_refused():
    with pytest.raises(MorphoscopeError, match=r"torch.float64; expected \(N, C, H, W\) uint8"):
        DeviceAugmenter(Augment()).evaluation(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
