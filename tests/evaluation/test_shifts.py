"""Shifted images, and a calibration that is fitted to them."""

from __future__ import annotations

import numpy as np

from morphoscope.evaluation.shifts import BLUR, GAIN, GAMMA, NOISE, SHARE, ZOOM, draw_shifts, shifted


def test_a_rows_changes_depend_on_seed_and_row_alone() -> None:
    together, alone = draw_shifts(range(50), 3), draw_shifts([17], 3)
    for name in ("zoom", "gamma", "noise", "blur", "noise_key"):
        assert np.all(getattr(together, name)[17] == getattr(alone, name)[0]), name
    assert (draw_shifts(range(50), 4).zoom != together.zoom).any()


def test_their_range_is_as_stated() -> None:
    drawn = draw_shifts(range(2000))
    for values, low, high, still in (
        (drawn.zoom[:, 0], 1 / ZOOM, ZOOM, 1.0),
        (drawn.noise, 0, NOISE, 0.0),
        (drawn.gamma, 1 / GAMMA, GAMMA, 1.0),
        (drawn.brightness, 1 / GAIN, GAIN, 1.0),
        (drawn.blur, 0, BLUR, 0.0),
    ):
        changed = values[values != still]
        assert abs(len(changed) / 2000 - SHARE) < 0.05
        assert low <= changed.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < changed.max() <= high
    assert abs((drawn.saturation == 0).mean() - SHARE) < 0.05


def test_images_keep_their_size_and_some_their_pixels() -> None:
    drawn = draw_shifts(range(4000))
    still = np.flatnonzero(
        (drawn.zoom[:, 0] == 1)
        & (drawn.noise == 0)
        & (drawn.gamma == 1)
        & (drawn.blur == 0)
        & (drawn.saturation == 1)
    )
    grey = np.flatnonzero((drawn.saturation == 0) & (drawn.noise == 0))[:20]
    assert 2 <= len(still) < 40
    rows = [*still, *grey]
    images = list(np.random.default_rng(0).integers(0, 256, (len(rows), 24, 24, 3), np.uint8))
    changed = shifted(images, rows)
    assert all(image.shape == (24, 24, 3) and image.dtype == np.uint8 for image in changed)
    for number, image in enumerate(changed):
        assert (image == images[number]).all() == (number < len(still))
        assert number < len(still) or np.ptp(image.astype(int), axis=2).max() <= 1
    assert shifted([], []) == []
