"""A square cutout of a mosaic: north up, east left, at a chosen pixel scale.

Shape letters: S × S pixels of the cutout.
"""

from __future__ import annotations

import cv2
import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.images.mosaic import Mosaic

MOST_PIXELS = 30_000  # of the mosaic along one side of a cutout: OpenCV's limit
_FINEST = 4096  # pixels along a side before averaging, so that a very large cutout fits into memory


def sky_square(
    mosaic: Mosaic, x: float, y: float, steps: np.ndarray, *, arcsec: float, side: int
) -> np.ndarray:
    """A square around a position, oriented by the mosaic's local axes.

    The projection is taken as linear across the square. Where the mosaic's pixels are smaller than the
    square's, they are averaged (sampled linearly, at least as finely as they are), which keeps the mean
    surface brightness; larger ones are interpolated linearly.

    Args:
        mosaic: one band.
        x: column of the middle, pixels from 0 at the centre of the first.
        y: row of the middle.
        steps: the local axes, [[x to the east, x to the north], [y …, y …]], pixels per arcsec, (2, 2).
        arcsec: side of the square on the sky.
        side: S.

    Returns:
        (S, S) float32 in the mosaic's units; NaN beyond its edge and where no exposure covers it.

    Raises:
        MorphoscopeError: the square covers more pixels than can be handled.
    """
    pixels = arcsec * np.sqrt(abs(np.linalg.det(steps)))
    finer = int(np.clip(np.ceil(pixels / side), 1, max(1, _FINEST // side)))
    count = side * finer
    step = arcsec / count
    middle = (count - 1) / 2
    # Column i lies (middle − i) steps to the east, row j (middle − j) steps to the north.
    matrix = np.empty((2, 3))
    matrix[:, :2] = -step * steps
    matrix[:, 2] = np.array([x, y]) + middle * step * steps.sum(axis=1)
    corners = matrix @ np.array([[0, count, 0, count], [0, 0, count, count], [1, 1, 1, 1]])
    low = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 3, mosaic.shape[::-1])
    if (high <= low).any():
        return np.full((side, side), np.nan, np.float32)
    if (high - low).max() > MOST_PIXELS:
        raise MorphoscopeError(f"a cutout of {arcsec:g}″ is {pixels:.0f} pixels of {mosaic.name}: too large")
    box = mosaic.box(slice(low[1], high[1]), slice(low[0], high[0]))
    matrix[:, 2] -= low
    fine = cv2.warpAffine(
        np.ascontiguousarray(box),
        matrix,
        (count, count),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return fine.reshape(side, finer, side, finer).mean(axis=(1, 3))
