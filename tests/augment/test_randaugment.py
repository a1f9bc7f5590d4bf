"""RandAugment: torchvision's operations, our random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from morphoscope.augment.cpu import Augmenter
from morphoscope.augment.gpu import DeviceAugmenter
from morphoscope.augment.randaugment import OPERATIONS, Operations, draw_operations, rand_augment
from morphoscope.errors import UsageError
from morphoscope.recipes import Augment

STILL = {
    "rotation": 0,
    "zoom": (1, 1),
    "shift": 0,
    "flip_horizontal": False,
    "flip_vertical": False,
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    y, x = np.mgrid[:40, :40]
    return np.dstack([x * 3, y * 4 + x, 60 + 40 * np.sin(x / 3) * np.cos(y / 5)]).astype(np.uint8)


def _only(name: str, negative: bool) -> Operations:
    return Operations(np.array([[list(OPERATIONS).index(name)]]), np.array([[negative]]))


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_operation_is_torchvisions(name: str, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    image = torch.from_numpy(picture).permute(2, 0, 1)
    theirs = v2.RandAugment(num_ops=1, magnitude=9)
    space = theirs._AUGMENTATION_SPACE
    assert list(space) == list(OPERATIONS)
    monkeypatch.setattr(theirs, "_get_random_item", lambda _: (name, space[name]))
    signed = space[name][1]
    for negative in (False, True):
        monkeypatch.setattr(torch, "rand", lambda *_, low=negative: torch.tensor(0.1 if low else 0.9))
        expected = theirs(image)
        ours = rand_augment(image[None], _only(name, negative), 9)[0]
        torch.testing.assert_close(ours, expected, rtol=0, atol=1 if name == "Color" else 0)  # rounding
        if not signed:
            break


def test_operations_are_drawn_alike_often_and_apart_from_the_rest():
    config = Augment(randaugment=2)
    drawn = draw_operations(config, 0, 0, np.arange(14_000))
    for round_N in drawn.which.T:
        counts = np.bincount(round_N, minlength=len(OPERATIONS))
        assert np.abs(counts - 1000).max() < 130  # four standard deviations
    assert abs(drawn.negative.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(drawn.which.T)[0, 1]) < 0.03


def test_both_paths_agree(picture: np.ndarray):
    config = Augment(size=40, randaugment=3, **STILL)
    images = np.stack([picture] * 24)
    ours = Augmenter(config, seed=1).training(images, np.arange(24), 0)
    theirs = DeviceAugmenter(config, seed=1).training(
        torch.from_numpy(images).permute(0, 3, 1, 2), np.arange(24), 0
    )
    np.testing.assert_array_equal(ours, theirs.permute(0, 2, 3, 1).numpy())
    assert len({image.tobytes() for image in ours}) > 20


def test_a_sample_does_not_depend_on_its_batch(picture: np.ndarray):
    augmenter = Augmenter(Augment(size=40, randaugment=2), seed=1)
    together = augmenter.training([picture] * 8, np.arange(8), 3)
    alone = augmenter.training([picture], np.array([5]), 3)
    np.testing.assert_array_equal(together[5], alone[0])


def test_evaluation_and_magnitude_zero_change_nothing_that_grows(picture: np.ndarray):
    config = Augment(size=40, randaugment=2, **STILL)
    np.testing.assert_array_equal(Augmenter(config).evaluation([picture])[0], picture)
    for name in ("ShearX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Posterize"):
        image = torch.from_numpy(picture).permute(2, 0, 1)[None]
        same = rand_augment(image, _only(name, True), 0)
        assert (same.int() - image.int()).abs().max() <= 1, name


def test_images_without_three_channels_are_refused():
    with pytest.raises(UsageError, match="the images have 4 channels"):
        rand_augment(torch.zeros(1, 4, 8, 8, dtype=torch.uint8), _only("Color", False), 9)
