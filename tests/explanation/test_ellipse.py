from __future__ import annotations

import numpy as np
import pytest

from morphoscope.explanation import faithfulness

SIDE = 96


def _body(angle: float, axis_ratio: float, x: float = 0.0, y: float = 0.0, size: float = 8.0) -> np.ndarray:
    """A Gaussian body; ``angle`` in degrees from +x towards +y (downwards)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    dx, dy = columns - (SIDE - 1) / 2 - x, rows - (SIDE - 1) / 2 - y
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = dx * cosine + dy * sine, (dy * cosine - dx * sine) / axis_ratio
    return np.exp(-(along**2 + across**2) / (2 * size**2)).astype(np.float32)


def _image(*bodies: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(20, 3, (SIDE, SIDE))
    light = noise + 180 * np.maximum.reduce(bodies) if bodies else noise
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def test_the_galaxy_is_the_region_in_the_middle():
    middle, neighbour = _body(30, 0.5), _body(0, 1.0, x=36, y=-36, size=4)
    found = faithfulness.galaxies(np.stack([_image(middle, neighbour), _image(neighbour), _image()]))
    assert found[0][SIDE // 2, SIDE // 2]
    assert not found[0][:20, -20:].any()
    assert (middle > 0.3)[~found[0]].sum() == 0
    assert not found[1:].any()  # a galaxy far from the middle, and an empty sky, are none
    white = faithfulness.galaxies(np.full((1, SIDE, SIDE, 3), 255, np.uint8))
    assert not white.any()


@pytest.mark.parametrize("angle", [0, 25, 90, 140])
def test_axes_of_known_ellipses(angle: float):
    ratio, turned = faithfulness.axes(_body(angle, 0.4)[None])
    assert ratio[0] == pytest.approx(0.4, rel=0.03)
    assert np.cos(2 * (turned[0] - np.radians(angle))) == pytest.approx(1, abs=1e-3)


def test_alignment_is_one_along_the_galaxy_and_minus_one_across():
    galaxies = np.stack([_body(30, 0.4)] * 5 + [_body(30, 0.9)]) > 0.2
    maps = np.stack(
        [
            _body(30, 0.6),
            _body(120, 0.6),
            _body(75, 0.6),
            _body(30, 0.6, x=20),
            np.zeros((SIDE, SIDE)),
            _body(30, 0.6),
        ]
    )
    found = faithfulness.alignment(maps, galaxies)
    assert found[:5] == pytest.approx([1, -1, 0, 1, 0], abs=0.04)
    assert np.isnan(found[5])  # too round to have a direction
    assert np.isnan(faithfulness.alignment(maps, np.zeros_like(galaxies))).all()
