"""Any number of channels, grey levels or values as measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from morphoscope.augment.cpu import LEVELS_OF_NOISE, Augmenter, sky_and_noise
from morphoscope.augment.gpu import DeviceAugmenter
from morphoscope.augment.params import draw_params, identity
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment

CHANNELS = (1, 2, 3, 5, 8)
KINDS = [(channels, dtype) for channels in CHANNELS for dtype in ("uint8", "float32")]
EVERYTHING = Augment(
    size=24,
    crop=44,
    rotation=180,
    zoom=(0.7, 1.4),
    shift=0.2,
    shear=10,
    brightness=0.3,
    contrast=0.2,
    gamma=0.2,
    channel_shift=12,
    channel_gain=0.2,
    saturation=0.3,
    blur=1.5,
    noise=12,
)
ALIKE = EVERYTHING.model_copy(
    update={"channels_alike": True, "channel_gain": 0.0, "noise": 0.0, "saturation": 0.0}
)


def galaxies(channels: int, dtype: str, count: int = 3, side: int = 50) -> list[np.ndarray]:
    rng = np.random.default_rng(channels)
    y, x = np.mgrid[:side, :side] - side / 2
    disc = np.exp(-np.hypot(x, y / 0.6) / 6)[:, :, None] * np.linspace(1.0, 2.0, channels)
    levels = [40 + 90 * disc + rng.normal(0, 8, disc.shape) for _ in range(count)]
    if dtype == "float32":  # fluxes over a sky far from zero, one band ten times as bright as the next
        return [(image / 8 * 10.0 ** np.arange(channels) + 3).astype(np.float32) for image in levels]
    return [np.clip(image, 0, 255).astype(np.uint8) for image in levels]


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_each_channel_is_warped_as_if_it_were_alone(channels: int, dtype: str) -> None:
    images, rows = galaxies(channels, dtype), [0, 1, 2]
    together = Augmenter(ALIKE, seed=4).training(images, rows, epoch=2)
    assert together.shape == (3, 24, 24, channels)
    assert together.dtype == dtype
    for channel in range(channels):
        one = [np.ascontiguousarray(image[:, :, [channel]]) for image in images]
        alone = Augmenter(ALIKE, seed=4).training(one, rows, epoch=2)
        np.testing.assert_allclose(together[..., channel], alone[..., 0], rtol=2e-5, atol=3)


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_the_batch_on_a_device_is_the_same(channels: int, dtype: str) -> None:
    images, rows = galaxies(channels, dtype), [0, 1, 2]
    expected = Augmenter(EVERYTHING, seed=4).training(images, rows, epoch=1)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    found = DeviceAugmenter(EVERYTHING, seed=4).training(batch, rows, epoch=1).permute(0, 2, 3, 1).numpy()
    assert found.dtype == dtype
    if dtype == "uint8":
        assert np.mean(np.abs(found.astype(int) - expected) > 1) < 0.02
    else:
        noise = np.stack([sky_and_noise(image)[1] for image in images])[:, None, None, :]
        differ = np.abs((found - expected) / noise)
        assert np.mean(differ > 0.05) < 0.01  # OpenCV rounds positions to 1/32 of a pixel
        assert differ.max() < 0.5


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_nothing_changes_without_augmentation(channels: int, dtype: str) -> None:
    images = galaxies(channels, dtype)
    plain = Augmenter(Augment(size=50)).evaluation(images)
    np.testing.assert_array_equal(plain, np.stack(images))


def test_beyond_the_border_of_values_lies_the_sky() -> None:
    image = galaxies(5, "float32")[0]
    params = replace(identity(1), zoom=np.full((1, 2), 3.0))
    shown = Augmenter(Augment(size=50)).apply([image], params)[0]
    np.testing.assert_allclose(shown[0, 0], sky_and_noise(image)[0], rtol=1e-6)


def test_the_sky_and_its_noise_are_those_that_were_drawn() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal([2.0, -5.0], [0.5, 3.0], (128, 128, 2)).astype(np.float32)
    image[50:80, 50:80] += 100
    sky, noise = sky_and_noise(image)
    np.testing.assert_allclose(sky, [2.0, -5.0], atol=0.3)
    np.testing.assert_allclose(noise, [0.5, 3.0], rtol=0.15)


def test_noise_and_brightness_of_values_are_in_units_of_their_sky() -> None:
    image = galaxies(2, "float32", side=64)[0]
    sky, noise = sky_and_noise(image)
    augmenter = Augmenter(Augment(size=64))
    noisy = augmenter.apply([image], replace(identity(1), noise=np.array([20.0])))[0]
    np.testing.assert_allclose((noisy - image).std(axis=(0, 1)), 20 / LEVELS_OF_NOISE * noise, rtol=0.05)
    bright = augmenter.apply([image], replace(identity(1), brightness=np.array([2.0])))[0]
    np.testing.assert_allclose(bright - sky, 2 * (image - sky), rtol=1e-3, atol=1e-3 * float(noise.max()))


def test_the_first_four_channels_are_drawn_as_ever() -> None:
    few, many = (draw_params(EVERYTHING, 3, 1, range(20), channels=count) for count in (3, 8))
    assert few.channel_shift.shape == (20, 4)
    assert many.channel_shift.shape == (20, 8)
    np.testing.assert_array_equal(many.channel_shift[:, :4], few.channel_shift)
    assert len(np.unique(many.channel_gain)) == 160


def test_one_type_in_a_batch() -> None:
    levels, values = galaxies(2, "uint8")[0], galaxies(2, "float32")[0]
    with pytest.raises(MorphoscopeError, match="image 1 of the batch is float32, the first is uint8"):
        Augmenter(Augment(size=24)).evaluation([levels, values])
    with pytest.raises(MorphoscopeError, match="1 to 8 channels"):
        Augmenter(Augment(size=24)).evaluation([np.zeros((30, 30, 9), np.uint8)])
