"""How large the source in the middle of an image is."""

from __future__ import annotations

import numpy as np
import pytest

from morphoscope.images.central_source import central_source, typical_size


def sky_with(*discs: tuple[float, float, float, float], side: int = 120, seed: int = 0) -> np.ndarray:
    """Noise of 2 grey levels about 30, with ellipses: x, y, semi-major axis (pixels) and axis ratio."""
    y, x = np.mgrid[:side, :side]
    grey = np.random.default_rng(seed).normal(30, 2, (side, side))
    for middle_x, middle_y, radius, ratio in discs:
        grey[np.hypot((x - middle_x) / radius, (y - middle_y) / (radius * ratio)) <= 1] += 120
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(("radius", "ratio"), [(6, 1), (15, 1), (30, 1), (30, 0.5), (40, 0.25)])
def test_size_is_the_largest_diameter(radius: float, ratio: float) -> None:
    source = central_source(sky_with((60, 60, radius, ratio)))
    assert source is not None
    assert source.size == pytest.approx(2 * radius / 120, rel=0.12, abs=0.03)  # smoothing adds an edge
    assert source.signal > 20


def test_neighbours_and_position_do_not_matter() -> None:
    alone = central_source(sky_with((60, 60, 12, 1)))
    beside = central_source(sky_with((66, 55, 12, 1), (20, 20, 14, 1), (100, 95, 9, 1)))
    assert alone is not None
    assert beside is not None
    assert beside.size == pytest.approx(alone.size, rel=0.03)


def test_empty_sky_constants_and_specks_of_images_have_none() -> None:
    assert central_source(sky_with()) is None
    assert central_source(np.full((50, 50, 3), 7, np.uint8)) is None
    assert central_source(np.full((9, 9, 3), 200, np.uint8)) is None
    assert central_source(sky_with((15, 15, 10, 1))) is None  # not in the middle
    assert central_source(sky_with((60, 60, 10, 1))[..., :1]) is not None  # one band


def test_typical_size_is_the_median_of_those_that_are_seen() -> None:
    images = [sky_with((60, 60, radius, 1)) for radius in (10, 20, 30)]
    sizes = [central_source(image) for image in images]
    assert sizes[1] is not None
    assert typical_size([*images, sky_with()]) == sizes[1].size
    assert typical_size([sky_with()]) is None


@pytest.mark.parametrize("side", [319, 320, 500, 1100])
def test_large_images_are_measured_coarsely_with_the_same_result(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x = np.mgrid[:side, :side] - side / 2
    light = 20 + 200 * np.exp(-0.5 * ((x / (side / 12)) ** 2 + (y / (side / 25)) ** 2))
    light += np.random.default_rng(3).normal(0, 3, light.shape)
    image = np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    found = central_source(image)
    monkeypatch.setattr("morphoscope.images.central_source._FINEST", side)
    whole = central_source(image)
    assert found is not None
    assert whole is not None
    assert found.size == pytest.approx(whole.size, rel=0.03)
    assert found.signal == pytest.approx(whole.signal, rel=0.35)
    assert (found == whole) == (side < 320)
