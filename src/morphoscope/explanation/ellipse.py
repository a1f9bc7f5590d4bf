"""Does a map lie on the galaxy, and along it: what the papers say of their maps, as two numbers.

``ng`` (section 5) says that the maps of the network with attention follow the ellipse of the galaxy,
``cheng`` and ``yan`` that they lie on it, ``fu`` that they lose it when much is frozen. Needs no truth: the
galaxy is what stands out of the sky around the middle of the picture.

Shape letters: N galaxies, H × W pixels, C channels.
"""

from __future__ import annotations

import numpy as np

ABOVE_SKY = 3.0  # standard deviations of the smoothed sky
SMALLEST = 0.05  # of the side: the side of the square with the area of the smallest galaxy
REACH = 0.1  # of the side: how far from the middle the galaxy may begin
ROUND = 0.7  # axis ratio from which a galaxy has no direction worth following


def galaxies(images_NHWC: np.ndarray) -> np.ndarray:
    """The pixels of the central galaxy, (N, H, W) bool; none where nothing stands out near the middle.

    The galaxy is the connected region, three standard deviations above the sky after light smoothing, that
    holds or comes nearest to the middle. Sky and its deviation are median and scaled median absolute
    deviation of the picture's outer tenth.
    """
    return np.stack([_galaxy(image_HWC) for image_HWC in images_NHWC])


def _galaxy(image_HWC: np.ndarray) -> np.ndarray:
    import cv2

    light_HW = cv2.GaussianBlur(image_HWC.astype(np.float32).mean(axis=2), (0, 0), 1.0)
    height, width = light_HW.shape
    edge = max(1, min(height, width) // 10)
    border = np.ones((height, width), bool)
    border[edge:-edge, edge:-edge] = False
    sky = np.median(light_HW[border])
    deviation = 1.4826 * np.median(np.abs(light_HW[border] - sky))
    bright = (light_HW > sky + ABOVE_SKY * max(float(deviation), 1.0)).astype(np.uint8)
    _, labels_HW, regions, _ = cv2.connectedComponentsWithStats(bright)
    small = regions[:, cv2.CC_STAT_AREA] < (SMALLEST * min(height, width)) ** 2
    labels_HW[small[labels_HW]] = 0
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    distance[labels_HW == 0] = np.inf
    nearest = np.unravel_index(distance.argmin(), distance.shape)
    if not distance[nearest] <= REACH * min(height, width):
        return np.zeros((height, width), bool)
    return labels_HW == labels_HW[nearest]


def axes(maps_NHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axis ratio and position angle (radians) of each map's light, from its second moments, (N,) each.

    NaN for a map that is zero everywhere.
    """
    count, height, width = maps_NHW.shape
    y, x = np.mgrid[:height, :width]
    weight = maps_NHW.reshape(count, -1).astype(float)
    whole = weight.sum(axis=1, keepdims=True)
    weight = np.divide(weight, whole, out=np.full_like(weight, np.nan), where=whole > 0)
    dx = x.ravel() - (weight * x.ravel()).sum(axis=1, keepdims=True)
    dy = y.ravel() - (weight * y.ravel()).sum(axis=1, keepdims=True)
    xx, yy, xy = ((weight * product).sum(axis=1) for product in (dx * dx, dy * dy, dx * dy))
    spread = np.hypot((xx - yy) / 2, xy)
    middle = (xx + yy) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt(np.clip(middle - spread, 0, None) / (middle + spread))
    return ratio, 0.5 * np.arctan2(2 * xy, xx - yy)


def alignment(maps_NHW: np.ndarray, galaxies_NHW: np.ndarray) -> np.ndarray:
    """How well map and galaxy point the same way: cos 2Δ of the angle Δ between their long axes, (N,).

    1 along it, 0 by chance, −1 across. Of the map counts what is brighter than half its maximum. NaN
    where the galaxy is rounder than an axis ratio of 0.7 or was not found; 0 for a dead map.
    """
    largest = maps_NHW.max(axis=(1, 2), keepdims=True)
    bright = np.where(maps_NHW >= largest / 2, maps_NHW, 0)
    ratio, angle = axes(galaxies_NHW.astype(np.float32))
    _, map_angle = axes(bright)
    found = np.nan_to_num(np.cos(2 * (map_angle - angle)), nan=0.0)
    return np.where(ratio < ROUND, found, np.nan)
