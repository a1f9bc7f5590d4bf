"""Statistics of a store's pixels."""

from __future__ import annotations

import numpy as np

from morphoscope.data.store import Store

SAMPLE = 2_000  # images are enough for four digits


def channel_statistics(
    store: Store, rows: np.ndarray, *, crop: int | None = None, sample: int = SAMPLE
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of some galaxies, as shares of full scale.

    Args:
        store: where the images lie.
        rows: galaxies to look at, of the training split; evenly spaced ones when there are many.
        crop: side of the centre crop that the network sees, stored pixels.
        sample: look at most at this many.

    Returns:
        (C,) means and (C,) standard deviations, the latter at least one grey level.
    """
    rows = np.asarray(rows)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(sample, len(rows))).astype(int))]
    height, width, channels = store.meta.image_shape
    top, left = ((side - min(crop or side, side)) // 2 for side in (height, width))
    total, squares, pixels = np.zeros(channels), np.zeros(channels), 0
    for row in chosen:
        image = store.images[row][top : height - top, left : width - left].astype(np.float64) / 255
        total += image.sum((0, 1))
        squares += np.square(image).sum((0, 1))
        pixels += image.shape[0] * image.shape[1]
    mean = total / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, (1 / 255) ** 2))
    return tuple(map(float, mean)), tuple(map(float, deviation))
