"""Whether a map is right: deletion and insertion, the pointing game, energy inside the truth, sanity checks.

Shape letters: N galaxies, H × W pixels, S steps, K outputs.

Does a map lie on the galaxy, and along it: what the papers say of their maps, as two numbers.

``ng`` (section 5) says that the maps of the network with attention follow the ellipse of the galaxy,
``cheng`` and ``yan`` that they lie on it, ``fu`` that they lose it when much is frozen. Needs no truth: the
galaxy is what stands out of the sky around the middle of the picture.

Shape letters: N galaxies, H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from morphoscope.models.network import Network

STEPS = 16
BASELINES = ("gaussian", "light", "random")

Answer = Callable[[np.ndarray], np.ndarray]
"""(N, H, W, C) uint8 images → (N,) probability or fraction of the explained output."""


def gaussian_map(count: int, height: int, width: int) -> np.ndarray:
    """A centred Gaussian of a sixth of the image's side, (N, H, W): what knows that galaxies are centred."""
    y, x = np.mgrid[:height, :width]
    square = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    one = np.exp(-square / (2 * (min(height, width) / 6) ** 2))
    return np.broadcast_to(one, (count, height, width)).astype(np.float32)


def light_map(images_NHWC: np.ndarray) -> np.ndarray:
    """The light above the sky, (N, H, W): what knows that galaxies shine."""
    light = images_NHWC.astype(np.float32).mean(axis=3)
    return np.maximum(light - np.median(light, axis=(1, 2), keepdims=True), 0)


def random_map(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise on a 7 × 7 grid, (N, H, W), as coarse as a class activation map."""
    import cv2

    draw = np.random.default_rng(seed)
    grids = draw.random((count, 7, 7), dtype=np.float32)
    return np.stack([cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) for grid in grids])


def baseline(name: str, images_NHWC: np.ndarray, seed: int = 0) -> np.ndarray:
    """One of :data:`BASELINES` for some images."""
    count, height, width = images_NHWC.shape[:3]
    if name == "gaussian":
        return gaussian_map(count, height, width)
    if name == "light":
        return light_map(images_NHWC)
    return random_map(count, height, width, seed)


# ------------------------------------------------------------------------------- deletion and insertion


def sky(images_NHWC: np.ndarray) -> np.ndarray:
    """What a removed pixel becomes: the median of the image's border, each channel, (N, 1, 1, C)."""
    count, channels = len(images_NHWC), images_NHWC.shape[3]
    edges = (images_NHWC[:, 0], images_NHWC[:, -1], images_NHWC[:, :, 0], images_NHWC[:, :, -1])
    border = np.concatenate(edges, axis=1)
    return np.median(border, axis=1).astype(images_NHWC.dtype).reshape(count, 1, 1, channels)


def curves(
    images_NHWC: np.ndarray, maps_NHW: np.ndarray, answer: Answer, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion curves (Petsiuk et al. 2018, section 3.3).

    Deletion takes the most important pixels away first (they become sky), insertion puts them on a blank
    sky first. A faithful map makes the first curve fall and the second rise early.

    Args:
        images_NHWC: uint8, as the network sees them.
        maps_NHW: the larger, the more important.
        answer: the explained output of changed images.
        steps: S; the curves have S + 1 points from 0 to all pixels.

    Returns:
        Two arrays (N, S + 1).
    """
    count, height, width = maps_NHW.shape
    rank = np.argsort(np.argsort(-maps_NHW.reshape(count, -1), axis=1, kind="stable"), axis=1)
    rank = rank.reshape(count, height, width, 1)
    blank = np.broadcast_to(sky(images_NHWC), images_NHWC.shape)
    whole, nothing = answer(images_NHWC), answer(blank)
    deleted, inserted = [whole], [nothing]
    for step in range(1, steps):
        first = rank < round(step / steps * height * width)
        deleted.append(answer(np.where(first, blank, images_NHWC)))
        inserted.append(answer(np.where(first, images_NHWC, blank)))
    return np.stack([*deleted, nothing], axis=1), np.stack([*inserted, whole], axis=1)


def area(curves_NS: np.ndarray) -> np.ndarray:
    """Area under each curve with the abscissa from 0 to 1, (N,), by the trapezoidal rule."""
    return np.trapezoid(curves_NS, dx=1 / (curves_NS.shape[1] - 1), axis=1)


# ------------------------------------------------------------------------------- against the truth


def pointing(maps_NHW: np.ndarray, truth_NHW: np.ndarray) -> np.ndarray:
    """The pointing game (Zhang et al. 2018, section 4.1): is the largest value in the truth, (N,) float.

    NaN where a galaxy has no such truth. A map of equal values points nowhere and misses.
    """
    flat, truth = maps_NHW.reshape(len(maps_NHW), -1), truth_NHW.reshape(len(maps_NHW), -1)
    hits = truth[np.arange(len(flat)), flat.argmax(axis=1)].astype(float)
    hits[flat.max(axis=1) <= flat.min(axis=1)] = 0.0
    hits[~truth.any(axis=1)] = np.nan
    return hits


def energy_inside(maps_NHW: np.ndarray, truth_NHW: np.ndarray) -> np.ndarray:
    """The share of the map's sum that lies in the truth (Wang et al. 2020, section 4.3), (N,).

    NaN where a galaxy has no such truth; 0 for a dead map.
    """
    flat, truth = maps_NHW.reshape(len(maps_NHW), -1), truth_NHW.reshape(len(maps_NHW), -1)
    whole = flat.sum(axis=1)
    share = np.divide((flat * truth).sum(axis=1), whole, out=np.zeros(len(flat)), where=whole > 0)
    return np.where(truth.any(axis=1), share, np.nan)


# ------------------------------------------------------------------------------- sanity


def randomised(network: Network, stages: int = 4, seed: int = 0) -> Iterator[tuple[float, Network]]:
    """Copies of a network whose weights are random from the top down (Adebayo et al. 2018, section 3).

    Args:
        network: trained.
        stages: how many copies; each randomises one more share of the layers, counted from the output.
        seed: of the weights.

    Yields:
        The share of layers that is random, and the copy.
    """
    import copy

    for stage in range(1, stages + 1):
        changed = copy.deepcopy(network)
        layers = [module for module in changed.modules() if hasattr(module, "reset_parameters")]
        first = len(layers) - round(stage / stages * len(layers))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in layers[first:]:
                reset: Callable[[], None] = module.reset_parameters  # type: ignore[assignment]
                reset()
        yield stage / stages, changed.eval()


def rank_correlation(first_NHW: np.ndarray, second_NHW: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two maps of each galaxy, (N,); NaN where one is constant."""
    from scipy.stats import rankdata

    first, second = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first_NHW, second_NHW))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), norm, out=np.full(len(norm), np.nan), where=norm > 0)


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
