"""One warp: rotation, flip, zoom, shear, shift, centre crop and resize as one resampling; then colour.

Shape letters: N images, H × W stored pixels, C channels, S the side of the output.

Geometry. With ``p`` an output pixel centre measured from the middle of the output, and ``side`` the side
of the centre crop in stored pixels, the source position measured from the middle of the image is

    R(angle) · (side · zoom / S · Shear · Flip · p  +  side · shift)

so the picture is resampled once, whatever is asked. Pixel centres are integers and the middle of an
image is at ((W − 1)/2, (H − 1)/2): at equal size the undisturbed picture comes back bit by bit, and
quarter turns and flips are exact permutations of it.

Conventions, those of Keras' ``ImageDataGenerator`` where the five papers used it:

- ``zoom`` multiplies the crop's side, equally on both axes (1.2 shows more sky, galaxies get smaller);
  `ng`'s crops of 184 to 352 pixels about 256 are ``crop=256, zoom=(184/256, 352/256)``.
- ``shear`` by an angle a is (x, y) → (cos(a)·x, y − sin(a)·x), which stays regular up to 90°.
- a positive angle turns the picture counter-clockwise on a screen, as ``numpy.rot90`` does.

What is drawn, and from what, stands in :mod:`morphoscope.augment.params`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np

from morphoscope.augment.params import MAX_CHANNELS, Draws, View, draw, still, views
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment

__all__ = ["Augmenter", "Draws", "View", "draw", "matrices", "still", "views"]

BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
}
LUMA = (0.299, 0.587, 0.114)
LEAST_BLUR = 0.25  # pixels; a neighbour gets less than a part in a thousand
NOISE_VALUES = 1 << 20  # a table of normal deviates: 4 MiB, some twenty times a 128-pixel image


class Images(Protocol):
    """Anything that gives (H, W, C) uint8 images by position: a list, a store's map, a lazy reader."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


def matrices(
    config: Augment, draws: Draws, source_hw: tuple[int, int], size: int | None = None
) -> np.ndarray:
    """The (N, 2, 3) float64 matrices that take output pixel centres (x, y, 1) to stored pixels (x, y)."""
    side = crop_side(config, source_hw)
    whole = side * _unit_matrices(draws, size or config.size)
    whole[:, :, 2] += _middle(source_hw)
    return whole


def crop_side(config: Augment, source_hw: tuple[int, int]) -> int:
    """Side of the centre crop in stored pixels: the recipe's, or the image's shorter side."""
    return config.crop or min(source_hw)


def reduction(side: float, size: int, source_hw: Sequence[int]) -> int:
    """By which whole number an image is averaged down before the warp.

    Bilinear sampling looks at 2 × 2 pixels: from a scale of two on it skips pixels, and the grain of the
    sky turns into more noise than the image has (aliasing). The mean over blocks of this many pixels
    leaves the warp a scale from one to two. Against an ideal area average (60 real Kaggle images, and
    the same with noise of 8 levels) this choice has the smallest or nearly the smallest error at every
    scale: at 424 → 128 pixels an RMS of 0.6 levels (1.4 noisy) instead of 1.2 (3.9) without it.

    It follows from the recipe and not from a sample's zoom, so that zooming never changes the
    sharpness by a step.
    """
    return max(1, min(int(side / size / 2) + 1, *source_hw))


def colour_tables(draws: Draws, channels: int) -> np.ndarray:
    """Gamma, then gains, contrast and channel shift, (N, 256, C) uint8: the new level of every level."""
    levels = np.linspace(0, 1, 256)[None, :, None] ** draws.gamma[:, None, None] * 255
    gain = (draws.brightness * draws.contrast)[:, None, None] * draws.channel_gain[:, None, :channels]
    offset = (127.5 - 127.5 * draws.contrast)[:, None] + draws.channel_shift[:, :channels]
    changed = levels * gain + offset[:, None, :]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def is_plain(draws: Draws) -> bool:
    """Whether no draw changes a level by itself, whatever the levels beside it."""
    factors = (draws.brightness, draws.contrast, draws.channel_gain, draws.gamma)
    return all(bool((factor == 1).all()) for factor in factors) and not draws.channel_shift.any()


def saturation_matrices(draws: Draws, channels: int) -> np.ndarray | None:
    """(N, 3, 3) that move red, green and blue away from grey or towards it; None where none moves.

    Grey is the luma of ITU-R BT.601. Pictures of one or two channels have no colour to change.
    """
    if channels != len(LUMA) or bool((draws.saturation == 1).all()):
        return None
    factor = draws.saturation[:, None, None]
    return factor * np.eye(channels) + (1 - factor) * np.array(LUMA)[None, None, :]


def blur_kernels(draws: Draws) -> np.ndarray | None:
    """(N, L) weights of a Gaussian along one axis; None where no image is blurred visibly.

    L is odd and the same for all, enough for three standard deviations of the widest.
    """
    widest = float(draws.blur.max(initial=0.0))
    if widest < LEAST_BLUR:
        return None
    reach = int(np.ceil(3 * widest))
    steps = np.arange(-reach, reach + 1)
    deviation = np.maximum(draws.blur, LEAST_BLUR / 2)[:, None]  # of which the neighbours get nothing
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def noise_table(values: int) -> np.ndarray:
    """Standard normal deviates, float32, that images of ``values`` numbers take their noise from.

    Each image reads a stretch from a place of its own (:func:`noise_starts`). Drawing every image's
    deviates afresh would cost eight times the warp; two images share a place once in a million.
    """
    length = max(NOISE_VALUES, 1 << (4 * values - 1).bit_length())
    return _normal_deviates(length)


def noise_starts(draws: Draws, values: int) -> np.ndarray:
    """Where each image's noise of ``values`` deviates begins in ``noise_table(values)``, (N,) int64."""
    room = len(noise_table(values)) - values
    return (draws.noise_key % np.uint64(room)).astype(np.int64)


class Augmenter:
    """Turns stored images into the network's input on the CPU.

    Args:
        config: the recipe's ``augment``.
        seed: the training's seed.
        threads: threads that share a batch. The loader's threads prepare whole batches, so it is 1 there.
    """

    def __init__(self, config: Augment, seed: int = 0, threads: int = 1) -> None:
        self.config, self.seed, self.threads = config, seed, threads
        # OpenCV would start threads of its own for large images, inside each of ours.
        cv2.setNumThreads(1)

    def training(
        self,
        images: Images,
        rows: np.ndarray | Sequence[int],
        epoch: int,
        occurrences: np.ndarray | Sequence[int] | None = None,
        size: int | None = None,
    ) -> np.ndarray:
        """An augmented batch.

        Args:
            images: N images (H, W, C) uint8, C from 1 to 4; read one at a time.
            rows: (N,) their rows in the store, which seed the draws.
            epoch: not negative.
            occurrences: (N,) repetitions of a row, see :func:`draw`.
            size: side of the output; none: the recipe's.

        Returns:
            (N, size, size, C) uint8.
        """
        return self.apply(images, draw(self.config, self.seed, epoch, rows, occurrences), size)

    def evaluation(self, images: Images, view: View | None = None, size: int | None = None) -> np.ndarray:
        """The centre crops of N images, undisturbed or in one of :func:`views`; (N, size, size, C) uint8."""
        return self.apply(images, still(len(images), view), size)

    def apply(self, images: Images, draws: Draws, size: int | None = None) -> np.ndarray:
        """Do to each image what ``draws`` says; (N, size, size, C) uint8."""
        size = size or self.config.size
        count = len(images)
        if count == 0:
            return np.empty((0, size, size, 3), np.uint8)
        if count != len(draws):
            raise MorphoscopeError(f"{count} images came with {len(draws)} draws; expected one for each")
        first = _checked(images[0], 0, None)
        channels = first.shape[2]
        out = np.empty((count, size, size, channels), np.uint8)
        unit = _unit_matrices(draws, size)
        colours = None if is_plain(draws) else colour_tables(draws, channels)
        hues, kernels = saturation_matrices(draws, channels), blur_kernels(draws)
        noise = None
        if draws.noise.any():
            noise = noise_table(out[0].size), noise_starts(draws, out[0].size)

        def work(part: range) -> None:
            for index in part:
                image = first if index == 0 else _checked(images[index], index, channels)
                self._warp(image, unit[index], out[index])
                if kernels is not None and draws.blur[index] >= LEAST_BLUR:
                    _blur(out[index], kernels[index])
                if hues is not None:
                    cv2.transform(out[index], hues[index], dst=out[index])
                if colours is not None:
                    cv2.LUT(out[index], colours[index, None], dst=out[index])
                if noise is not None:
                    _add_noise(out[index], noise[0], noise[1][index], draws.noise[index])

        _shared_out(work, count, self.threads)
        return out

    def _warp(self, image: np.ndarray, unit: np.ndarray, out: np.ndarray) -> None:
        source_hw = image.shape[:2]
        size = len(out)
        side = crop_side(self.config, source_hw)
        matrix = side * unit
        matrix[:, 2] += _middle(source_hw)
        factor = reduction(side, size, source_hw)
        part, matrix = _part_seen(image, matrix, factor, size, whole=self.config.border == "reflect")
        cv2.warpAffine(
            part,
            matrix,
            (size, size),
            dst=out,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=BORDERS[self.config.border],
        )


def _middle(source_hw: tuple[int, ...]) -> tuple[float, float]:
    return (source_hw[1] - 1) / 2, (source_hw[0] - 1) / 2


def _unit_matrices(draws: Draws, size: int) -> np.ndarray:
    """(N, 2, 3): output pixel centres → source positions from the middle, in units of the crop's side."""
    cos, sin = _exact_cos_sin(draws.angle)
    shear_cos, shear_sin = _exact_cos_sin(draws.shear)
    scale = draws.zoom / size
    # Shear · Flip, each a 2 × 2 matrix, written out
    across = np.where(draws.flip_horizontal, -scale, scale)
    down = np.where(draws.flip_vertical, -scale, scale)
    xx, yx, yy = shear_cos * across, -shear_sin * across, down
    unit = np.empty((len(draws), 2, 3))
    unit[:, 0, 0] = cos * xx - sin * yx
    unit[:, 0, 1] = -sin * yy
    unit[:, 1, 0] = sin * xx + cos * yx
    unit[:, 1, 1] = cos * yy
    half = (size - 1) / 2
    shift_x, shift_y = draws.shift[:, 0], draws.shift[:, 1]
    unit[:, 0, 2] = cos * shift_x - sin * shift_y - half * (unit[:, 0, 0] + unit[:, 0, 1])
    unit[:, 1, 2] = sin * shift_x + cos * shift_y - half * (unit[:, 1, 0] + unit[:, 1, 1])
    return unit


def _exact_cos_sin(degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine that are exactly 0 and ±1 at quarter turns, so those move whole pixels."""
    radians = np.deg2rad(degrees)
    cos, sin = np.cos(radians), np.sin(radians)
    cos[np.abs(cos) < 1e-15] = 0.0
    sin[np.abs(sin) < 1e-15] = 0.0
    return cos, sin


def _part_seen(
    image: np.ndarray, matrix: np.ndarray, factor: int, size: int, *, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the warp looks at, averaged over factor × factor pixels, and its matrix.

    Without a reduction the part is copied all the same: a turned warp walks across the rows of an image
    that lies in slow memory or in the page cache, and took three times as long without the copy.

    Rows and columns beyond the last whole block (fewer than ``factor``) are left out. With ``whole``
    the part is the whole image (a reflecting border may need any of it).
    """
    matrix /= factor
    matrix[:, 2] -= (factor - 1) / (2 * factor)
    low, high = [0, 0], [image.shape[1] // factor, image.shape[0] // factor]
    if not whole:
        for axis in (0, 1):
            a, b, offset = matrix[axis].tolist()
            a, b = a * (size - 1), b * (size - 1)
            least = int(np.floor(offset + min(a, 0) + min(b, 0)))
            most = int(np.floor(offset + max(a, 0) + max(b, 0))) + 2
            blocks = high[axis]
            low[axis] = min(max(least, 0), blocks - 1)
            high[axis] = max(min(most, blocks), low[axis] + 1)
    part = image[low[1] * factor : high[1] * factor, low[0] * factor : high[0] * factor]
    matrix[:, 2] -= low
    if factor == 1:
        return part.copy(), matrix
    small = (high[0] - low[0], high[1] - low[1])
    return cv2.resize(part, small, interpolation=cv2.INTER_AREA), matrix


def _blur(image: np.ndarray, kernel: np.ndarray) -> None:
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    image[...] = np.rint(blurred).reshape(image.shape)


def _add_noise(image: np.ndarray, table: np.ndarray, start: int, deviation: float) -> None:
    rows = image.reshape(len(image), -1)
    noise = table[start : start + image.size].reshape(rows.shape)
    cv2.addWeighted(rows, 1.0, noise, float(deviation), 0.0, dst=rows, dtype=cv2.CV_8U)


def _checked(image: np.ndarray, position: int, channels: int | None) -> np.ndarray:
    shape = image.shape
    if image.dtype != np.uint8 or len(shape) != 3 or not 1 <= shape[2] <= MAX_CHANNELS or not image.size:
        raise MorphoscopeError(
            f"image {position} of the batch is {shape} {image.dtype}; expected (H, W, C) uint8 "
            f"with 1 to {MAX_CHANNELS} channels"
        )
    if channels is not None and shape[2] != channels:
        raise MorphoscopeError(
            f"image {position} of the batch has {shape[2]} channels, the first has {channels}; "
            "expected the same for all"
        )
    return image


def _shared_out(work: Callable[[range], None], count: int, threads: int) -> None:
    """Run ``work(range)`` over slices of 0..count in up to ``threads`` threads."""
    threads = min(threads, count, os.cpu_count() or 1)
    if threads <= 1:
        work(range(count))
        return
    edges = np.linspace(0, count, threads + 1).astype(int).tolist()
    parts = [range(start, stop) for start, stop in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


@lru_cache(maxsize=2)
def _normal_deviates(length: int) -> np.ndarray:
    return np.random.default_rng(20260117).standard_normal(length, dtype=np.float32)
