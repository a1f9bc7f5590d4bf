"""How large the source in the middle of an image is.

Networks are sensitive to scale: they recognise galaxies that fill as much of the image as those they learned
from. Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

_SEEING = 160.0  # sigma of the smoothing: one part in so many of the side,
_LEAST_SEEING = 0.8  # and at least so many pixels
_FINEST = 160  # pixels of a side: of images twice as large, blocks of pixels are averaged
_BORDER = 12  # the sky is measured on a frame as wide as one part in so many of the side
_MIDDLE = 10  # the source's brightest pixel lies within one part in so many of the side from the middle
_NOISES, _SHARE, _LEVELS = 3.0, 0.06, 2.0  # least brightness: noises, share of the peak, grey levels


@dataclass(frozen=True)
class CentralSource:
    """The source in the middle of an image.

    Attributes:
        size: its largest diameter, as a share of the image's shorter side: that of the ellipse with the area
            and elongation of the pixels that belong to it.
        signal: its brightest pixel above the sky, in units of the sky's noise (after smoothing).
    """

    size: float
    signal: float


def central_source(image_HWC: np.ndarray) -> CentralSource | None:
    """Measure the source in the middle of a picture, as it is shown to a network.

    The channels are averaged and smoothed a little. Level and noise of the sky come from a frame along the
    border. Pixels belong to the source if they are connected with the brightest one near the middle and lie
    above the sky by three noises, by 6 % of the peak and by two grey levels.

    Args:
        image_HWC: (H, W, C) uint8.

    Returns:
        None if there is nothing near the middle.
    """
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    if side < 2 * _MIDDLE:
        return None
    if side >= 2 * _FINEST:
        coarse = side // _FINEST
        image_HWC = cv2.resize(
            image_HWC, (width // coarse, height // coarse), interpolation=cv2.INTER_AREA
        ).reshape(height // coarse, width // coarse, -1)
        height, width = image_HWC.shape[:2]
        side = min(height, width)
    grey_HW = _mean_over_channels(image_HWC)
    grey_HW = np.asarray(cv2.GaussianBlur(grey_HW, (0, 0), max(_LEAST_SEEING, side / _SEEING)))
    frame = max(2, side // _BORDER)
    sky = np.concatenate(
        [
            grey_HW[:frame].ravel(),
            grey_HW[-frame:].ravel(),
            grey_HW[frame:-frame, :frame].ravel(),
            grey_HW[frame:-frame, -frame:].ravel(),
        ]
    )
    level = _median(sky)
    noise = 1.4826 * _median(np.abs(sky - level))
    reach = side // _MIDDLE
    top, left = height // 2 - reach, width // 2 - reach
    middle = grey_HW[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    peak = float(middle.max()) - level
    above_HW = grey_HW - level > max(_NOISES * noise, _SHARE * peak, _LEVELS)
    _, labels_HW = cv2.connectedComponents(above_HW.astype(np.uint8), connectivity=8)
    row, column = np.unravel_index(int(middle.argmax()), middle.shape)
    label = labels_HW[top + row, left + column]
    if label == 0:
        return None
    rows, columns = np.nonzero(labels_HW == label)
    radius = math.sqrt(len(rows) / math.pi * _elongation(rows, columns, grey_HW[rows, columns] - level))
    return CentralSource(size=2 * radius / side, signal=peak / max(noise, 1e-3))


def _median(values: np.ndarray) -> float:
    """As numpy.median, without its search for NaN."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    return float(np.partition(values, (half - 1, half))[half - 1 : half + 1].mean())


def _mean_over_channels(image_HWC: np.ndarray) -> np.ndarray:
    """As ``image_HWC.mean(axis=2)``, float32, several times as fast."""
    channels = cv2.split(image_HWC)
    total_HW = channels[0].astype(np.float32)
    for channel_HW in channels[1:]:
        total_HW += channel_HW
    total_HW /= len(channels)
    return total_HW


def _elongation(rows_P: np.ndarray, columns_P: np.ndarray, light_P: np.ndarray) -> float:
    """Square root of the ratio of the larger to the smaller second moment of P pixels' light."""
    if len(rows_P) < 2:
        return 1.0
    share_P = light_P.astype(np.float64) / light_P.sum(dtype=np.float64)
    y_P, x_P = rows_P - share_P @ rows_P, columns_P - share_P @ columns_P
    unbiased = 1 - share_P @ share_P  # as numpy.cov with aweights
    a_pixel = 1 / 12  # has an extent of its own
    xx, yy, xy = (share_P @ moment / unbiased for moment in (x_P * x_P, y_P * y_P, x_P * y_P))
    mean, apart = (xx + yy) / 2 + a_pixel, math.hypot((xx - yy) / 2, xy)
    return math.sqrt((mean + apart) / (mean - apart))


def typical_size(images: Iterable[np.ndarray]) -> float | None:
    """The median size of the central sources of images (H, W, C) uint8; None if there are none."""
    found = [source.size for source in map(central_source, images) if source is not None]
    return float(np.median(found)) if found else None
