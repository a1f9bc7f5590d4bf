"""Shifted images: what a network's own galaxies look like in another survey.

A calibration fitted on held-out galaxies of the training's survey says how often the network is right there,
and nothing about other images. Here each image is shown at another scale, with more noise, in grey, with
another stretch or less sharp, drawn at random, so that the calibration says how often it is right on those.
The changes reach beyond the augmentation of the usual recipes: what a network has learned from is no shift.

Shape letters: N images, H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morphoscope.augment.cpu import Augmenter
from morphoscope.augment.params import MAX_CHANNELS, AugmentParams
from morphoscope.processes import available_cores
from morphoscope.recipes import Augment

SHARE = 0.7
"""Probability of each of the five changes."""
ZOOM = 2.5
"""The image shows between 1/ZOOM and ZOOM times as much sky along a side."""
NOISE = 25.0
"""Largest standard deviation of added noise, grey levels."""
GAMMA, GAIN = 2.2, 1.6
"""Largest power of the grey levels and factor on them, and the inverses of the smallest."""
BLUR = 3.0
"""Largest standard deviation of a Gaussian blur, pixels of the stored image."""
DESCRIPTION = (
    f"images at 1/{ZOOM:g} to {ZOOM:g} times their scale, with noise of up to {NOISE:g} grey levels, in "
    f"grey, with another stretch, blurred by up to {BLUR:g} pixels"
)


def draw_shifts(rows: np.ndarray | Sequence[int], seed: int = 0) -> AugmentParams:
    """Draw the changes of N images; those of a row depend on (seed, row) alone.

    Args:
        rows: (N,) of the store.
        seed: not negative.
    """
    drawn = np.array([np.random.default_rng([seed, int(row)]).uniform(size=11) for row in rows])
    drawn = drawn.reshape(-1, 11)
    scaled, noisy, grey, stretched, blurred = (drawn[:, :5] < SHARE).T
    count, signed = len(drawn), 2 * drawn[:, 5:] - 1
    zeros, ones = np.zeros(count), np.ones(count)
    zoom = np.where(scaled, ZOOM ** signed[:, 0], 1.0)
    return AugmentParams(
        angle=zeros,
        flip_horizontal=np.zeros(count, bool),
        flip_vertical=np.zeros(count, bool),
        zoom=np.stack([zoom, zoom], axis=1),
        shear=zeros,
        shift=np.zeros((count, 2)),
        brightness=np.where(stretched, GAIN ** signed[:, 1], 1.0),
        contrast=ones,
        channel_shift=np.zeros((count, MAX_CHANNELS)),
        channel_gain=np.ones((count, MAX_CHANNELS)),
        gamma=np.where(stretched, GAMMA ** signed[:, 2], 1.0),
        saturation=np.where(grey, 0.0, 1.0),
        blur=np.where(blurred, BLUR * drawn[:, 8], 0.0),
        noise=np.where(noisy, NOISE * drawn[:, 9], 0.0),
        noise_key=(drawn[:, 10] * 2.0**53).astype(np.uint64),
    )


def shifted(
    images: Sequence[np.ndarray], rows: np.ndarray | Sequence[int], seed: int = 0
) -> list[np.ndarray]:
    """Stored images with the changes of :func:`draw_shifts`, each (H, H, C) of their type.

    Beyond the edge of an image that is shown smaller lies its mirror image.

    Args:
        images: N square images (H, H, C) as stored.
        rows: (N,) of the store, which seed the changes.
        seed: not negative.
    """
    if not len(images):
        return []
    recipe = Augment(size=max(8, images[0].shape[0]), border="reflect")
    return list(Augmenter(recipe, threads=available_cores()).apply(images, draw_shifts(rows, seed)))
