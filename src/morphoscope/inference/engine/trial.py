"""Images that two engines are compared with: the same whatever the run.

Shape letters: N images, S × S pixels, C channels.
"""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-5
"""Largest difference of a probability that counts as rounding; of numbers above 1 the relative one."""


def trial_images(side: int, channels: int) -> list[np.ndarray]:
    """Batches of one, two and four: noise; black and white; discs with bulges on a noisy sky.

    Args:
        side: S.
        channels: C.

    Returns:
        (N, S, S, C) uint8 each.
    """
    rng = np.random.default_rng(20261121)
    noise = rng.integers(0, 256, (1, side, side, channels), np.uint8)
    flat = np.stack([np.full((side, side, channels), level, np.uint8) for level in (0, 255)])
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / side
    discs = []
    for angle, ratio, length in ((0.0, 1.0, 0.06), (0.7, 0.5, 0.1), (2.1, 0.2, 0.15), (1.2, 0.8, 0.2)):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        disc = 180 * np.exp(-np.hypot(along, across / ratio) / length)
        bulge = 120 * np.exp(-((x**2 + y**2) ** 0.25) / 0.12)
        colours = np.linspace(0.8, 1.1, channels)
        image = (disc + bulge)[:, :, None] * colours + rng.normal(12, 4, (side, side, channels))
        discs.append(np.clip(image, 0, 255).astype(np.uint8))
    return [noise, flat, np.stack(discs)]


def largest_difference(expected_NK: np.ndarray, found_NK: np.ndarray, scales_K: np.ndarray) -> float:
    """The largest difference of two predictions, in units of :data:`TOLERANCE`'s kind.

    Args:
        expected_NK: of one engine.
        found_NK: of the other.
        scales_K: how large the numbers of each output are, at least; concentrations reach a hundred, and
            above that the relative difference counts.

    Returns:
        The difference; infinite if a number is not finite, which must not pass for agreement.
    """
    unit_NK = np.maximum(scales_K, np.abs(expected_NK))
    difference = float((np.abs(found_NK - expected_NK) / unit_NK).max())
    return difference if np.isfinite(difference) else np.inf
