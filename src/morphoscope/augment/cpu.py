"""One warp: rotation, flip, zoom, shear, shift, centre crop and resize as one resampling; then colour.

Shape letters: N images, H × W stored pixels, C channels, S the side of the output.

Geometry. With ``p`` an output pixel centre measured from the middle of the output, and ``side`` the side
of the centre crop in stored pixels, the source position measured from the middle of the image is

    R(angle) · (side · zoom / S · Shear · Flip · p  +  side · shift)

so the image is resampled once, whatever the combination. Pixel centres are integers and the middle of an
image is at ((W − 1)/2, (H − 1)/2): at equal size the identity returns the image bit for bit, and quarter
turns and flips are exact permutations of its pixels.

Planes of bands, uint8 or float32, are treated alike. In float32 images, which are values as measured, a
grey level is a tenth of the image's own sky noise in each band (:data:`LEVELS_OF_NOISE`), brightness and
gains are factors on what is above the sky, and beyond a constant border lies the sky; gamma and contrast,
which are about grey levels, do nothing.

With ``randaugment`` each training image then goes through operations of RandAugment
(:mod:`morphoscope.augment.randaugment`).

Conventions follow Keras' ``ImageDataGenerator`` where the five papers used it:

- ``zoom`` multiplies the crop's side, equally on both axes unless ``zoom_apart`` (1.2 shows more sky,
  galaxies get smaller); `ng`'s crops of 184 to 352 pixels about 256 are ``crop=256,
  zoom=(184/256, 352/256)``.
- ``shear`` by an angle a is (x, y) → (cos(a)·x, y − sin(a)·x), which stays regular up to 90°.
- a positive angle rotates the image counter-clockwise on a screen, as ``numpy.rot90`` does.

The parameters, and how they are drawn, are in :mod:`morphoscope.augment.params`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import cv2
import numpy as np

from morphoscope.augment.params import MAX_CHANNELS, AugmentParams, View, draw_params, identity, views
from morphoscope.augment.randaugment import draw_operations, rand_augmented_arrays
from morphoscope.errors import MorphoscopeError
from morphoscope.processes import available_cores
from morphoscope.recipes import Augment

__all__ = ["AugmentParams", "Augmenter", "View", "draw_params", "identity", "matrices", "views"]

BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
}
LUMA = (0.299, 0.587, 0.114)
_OPENCV_CHANNELS = 4  # what OpenCV's warp takes with a border of several values
LEVELS_OF_NOISE = 10.0
"""Grey levels to a standard deviation of the sky, as the stretch "lupton" has them (33 and 10 of 255)."""
_SKY_SAMPLE = 2048  # pixels, about
LEAST_BLUR = 0.25  # pixels; a neighbour gets less than a part in a thousand
NOISE_VALUES = 1 << 20  # a table of normal deviates: 4 MiB, some twenty times a 128-pixel image


class Images(Protocol):
    """Any sequence of (H, W, C) images, uint8 or float32: a list, a memory-mapped store, a lazy reader."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


def matrices(
    config: Augment, params: AugmentParams, source_hw: tuple[int, int], size: int | None = None
) -> np.ndarray:
    """(N, 2, 3) float64 matrices that map output pixel centres (x, y, 1) to stored pixels (x, y)."""
    side = crop_side(config, source_hw)
    whole = side * _unit_matrices(params, size or config.size)
    whole[:, :, 2] += _middle(source_hw)
    return whole


def crop_side(config: Augment, source_hw: tuple[int, int]) -> int:
    """Side of the centre crop in stored pixels: the recipe's, or the image's shorter side."""
    return config.crop or min(source_hw)


def reduction(side: float, size: int, source_hw: Sequence[int]) -> int:
    """The integer factor by which an image is block-averaged before the warp.

    Bilinear sampling reads 2 × 2 pixels: beyond a scale of two it skips pixels and aliases sky noise.
    Averaging over blocks of this many pixels leaves the warp a scale between one and two. Against an ideal
    area average (60 real Kaggle images, and the same with added noise of 8 levels) this choice has the
    smallest or nearly the smallest error at every scale: at 424 → 128 pixels an RMS of 0.6 levels (1.4
    noisy) instead of 1.2 (3.9) without it.

    It depends on the recipe and not on a sample's zoom, so that sharpness never jumps with zoom.
    """
    return max(1, min(int(side / size / 2) + 1, *source_hw))


def colour_tables(params: AugmentParams, channels: int) -> np.ndarray:
    """Gamma, then gains, contrast and channel shift, (N, 256, C) uint8: the new level of every level."""
    levels = np.linspace(0, 1, 256)[None, :, None] ** params.gamma[:, None, None] * 255
    gain = (params.brightness * params.contrast)[:, None, None] * params.channel_gain[:, None, :channels]
    offset = (127.5 - 127.5 * params.contrast)[:, None] + params.channel_shift[:, :channels]
    changed = levels * gain + offset[:, None, :]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def is_plain(params: AugmentParams) -> bool:
    """Whether no parameter changes the level of a single pixel on its own (gamma, gain, offset)."""
    factors = (params.brightness, params.contrast, params.channel_gain, params.gamma)
    return all(bool((factor == 1).all()) for factor in factors) and not params.channel_shift.any()


def saturation_matrices(params: AugmentParams, channels: int) -> np.ndarray | None:
    """(N, 3, 3) matrices that move colours away from grey or towards it; None where saturation is unchanged.

    Grey is the luma of ITU-R BT.601. Images of one or two channels have no colour to change.
    """
    if channels != len(LUMA) or bool((params.saturation == 1).all()):
        return None
    factor = params.saturation[:, None, None]
    return factor * np.eye(channels) + (1 - factor) * np.array(LUMA)[None, None, :]


def blur_kernels(params: AugmentParams) -> np.ndarray | None:
    """(N, L) weights of a Gaussian along one axis; None if no image is noticeably blurred.

    L is odd and the same for all, enough for three standard deviations of the widest.
    """
    widest = float(params.blur.max(initial=0.0))
    if widest < LEAST_BLUR:
        return None
    reach = int(np.ceil(3 * widest))
    steps = np.arange(-reach, reach + 1)
    deviation = np.maximum(params.blur, LEAST_BLUR / 2)[
        :, None
    ]  # narrow enough to leave neighbours unchanged
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def noise_table(values: int) -> np.ndarray:
    """Standard normal deviates, float32, from which images of ``values`` numbers take their noise.

    Each image reads a slice at its own offset (:func:`noise_starts`). Drawing fresh deviates for every image
    would cost eight times the warp; two images share an offset once in a million.
    """
    length = max(NOISE_VALUES, 1 << (4 * values - 1).bit_length())
    return _normal_deviates(length)


def noise_starts(params: AugmentParams, values: int) -> np.ndarray:
    """Where each image's noise of ``values`` deviates begins in ``noise_table(values)``, (N,) int64."""
    room = len(noise_table(values)) - values
    return (params.noise_key % np.uint64(room)).astype(np.int64)


class Augmenter:
    """Turns stored images into the network's input on the CPU.

    Args:
        config: the recipe's ``augment``.
        seed: the training seed.
        threads: threads that share a batch; 1 in training, where the loader's threads prepare whole batches.
    """

    def __init__(self, config: Augment, seed: int = 0, threads: int = 1) -> None:
        self.config, self.seed, self.threads = config, seed, threads

    def training(
        self,
        images: Images,
        rows: np.ndarray | Sequence[int],
        epoch: int,
        occurrences: np.ndarray | Sequence[int] | None = None,
        size: int | None = None,
        strength: float = 1.0,
    ) -> np.ndarray:
        """An augmented batch.

        Args:
            images: N images, (H, W, C) uint8 or float32 with C from 1 to 8; read one at a time.
            rows: (N,) their rows in the store, which seed the parameters.
            epoch: not negative.
            occurrences: (N,) repetitions of a row, see :func:`draw_params`.
            size: side of the output; none: the recipe's.
            strength: factor on all magnitudes, see :func:`draw_params`.

        Returns:
            (N, size, size, C) of the images' type.
        """
        channels = np.shape(images[0])[-1] if len(images) else 3
        params = draw_params(self.config, self.seed, epoch, rows, occurrences, strength, channels)
        warped = self.apply(images, params, size)
        if not (self.config.randaugment and len(warped)):
            return warped
        operations = draw_operations(self.config, self.seed, epoch, rows, occurrences)
        magnitude = self.config.randaugment_magnitude * self.config.strength * strength
        return rand_augmented_arrays(warped, operations, magnitude)

    def evaluation(self, images: Images, view: View | None = None, size: int | None = None) -> np.ndarray:
        """Centre crops of N images, unchanged or in one of :func:`views`; (N, size, size, C)."""
        return self.apply(images, identity(len(images), view), size)

    def apply(self, images: Images, params: AugmentParams, size: int | None = None) -> np.ndarray:
        """Apply ``params`` to the images; (N, size, size, C) of their type."""
        size = size or self.config.size
        count = len(images)
        if count == 0:
            return np.empty((0, size, size, 3), np.uint8)
        if count != len(params):
            raise MorphoscopeError(
                f"{count} images came with {len(params)} sets of augmentation parameters; expected one each"
            )
        first = _checked(images[0], 0, None)
        channels = first.shape[2]
        out = np.empty((count, size, size, channels), first.dtype)
        measured, nothing_C = first.dtype == np.float32, np.zeros(channels, np.float32)
        unit = _unit_matrices(params, size)
        colours = None if measured or is_plain(params) else colour_tables(params, channels)
        hues, kernels = saturation_matrices(params, channels), blur_kernels(params)
        noise = None
        if params.noise.any():
            noise = noise_table(out[0].size), noise_starts(params, out[0].size)

        def work(part: range) -> None:
            for index in part:
                image = first if index == 0 else _checked(images[index], index, first)
                sky_C, noise_C = sky_and_noise(image) if measured else (nothing_C, nothing_C)
                self._warp(image, unit[index], out[index], sky_C)
                if kernels is not None and params.blur[index] >= LEAST_BLUR:
                    _blur(out[index], kernels[index])
                if measured:
                    _change_fluxes(out[index], params, index, sky_C, noise_C)
                if hues is not None and not measured:
                    cv2.transform(out[index], hues[index], dst=out[index])
                if colours is not None:
                    cv2.LUT(out[index], colours[index, None], dst=out[index])
                if noise is not None and measured:
                    drawn = noise[0][noise[1][index] :][: out[0].size].reshape(out[0].shape)
                    out[index] += drawn * np.float32(params.noise[index] / LEVELS_OF_NOISE) * noise_C
                elif noise is not None:
                    _add_noise(out[index], noise[0], noise[1][index], params.noise[index])

        _shared_out(work, count, self.threads)
        return out

    def _warp(self, image: np.ndarray, unit: np.ndarray, out: np.ndarray, outside_C: np.ndarray) -> None:
        source_hw = image.shape[:2]
        size = len(out)
        side = crop_side(self.config, source_hw)
        matrix = side * unit
        matrix[:, 2] += _middle(source_hw)
        factor = reduction(side, size, source_hw)
        if factor == 1 and _whole_pixels(image, matrix, out):
            return
        part, matrix = _part_seen(image, matrix, factor, size, whole=self.config.border == "reflect")
        options: dict[str, Any] = {
            "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            "borderMode": BORDERS[self.config.border],
        }
        if image.shape[2] <= _OPENCV_CHANNELS:
            border = outside_C.astype(float).tolist()
            cv2.warpAffine(part, matrix, (size, size), dst=out, borderValue=border, **options)
            return
        for start in range(0, image.shape[2], _OPENCV_CHANNELS):
            few = slice(start, start + _OPENCV_CHANNELS)
            some, border = np.ascontiguousarray(part[:, :, few]), outside_C[few].astype(float).tolist()
            warped = cv2.warpAffine(some, matrix, (size, size), borderValue=border, **options)
            out[:, :, few] = warped.reshape(size, size, -1)


def _whole_pixels(image: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> bool:
    """Fill ``out`` if a warp only turns by right angles, mirrors and moves whole pixels of the image.

    The pixels are those of the warp, in a tenth of its time.

    Returns:
        Whether it did.
    """
    turned, size = matrix[0, 0] == 0, len(out)
    (x_step, x_start), (y_step, y_start) = (
        (matrix[axis, axis ^ int(turned)], matrix[axis, 2]) for axis in (0, 1)
    )
    if image.shape[2] > _OPENCV_CHANNELS or matrix[0, int(not turned)] or matrix[1, int(turned)]:
        return False
    ranges = []
    for step, start, length in ((y_step, y_start, image.shape[0]), (x_step, x_start, image.shape[1])):
        if abs(step) != 1 or start != int(start):
            return False
        first = int(start) if step > 0 else int(start) - size + 1
        if first < 0 or first + size > length:
            return False
        ranges.append(slice(first, first + size))
    part, mirrored = image[tuple(ranges)], (y_step < 0, x_step < 0)
    if turned:
        part, mirrored = cv2.transpose(part).reshape(out.shape), mirrored[::-1]
    if any(mirrored):
        cv2.flip(part, -1 if all(mirrored) else int(mirrored[1]), dst=out)
    else:
        out[...] = part
    return True


def _middle(source_hw: tuple[int, ...]) -> tuple[float, float]:
    return (source_hw[1] - 1) / 2, (source_hw[0] - 1) / 2


def _unit_matrices(params: AugmentParams, size: int) -> np.ndarray:
    """(N, 2, 3): output pixel centres → source positions from the middle, in units of the crop's side."""
    cos, sin = _exact_cos_sin(params.angle)
    shear_cos, shear_sin = _exact_cos_sin(params.shear)
    scale_x, scale_y = params.zoom.T / size
    # Shear · Flip, each a 2 × 2 matrix, written out
    across = np.where(params.flip_horizontal, -scale_x, scale_x)
    down = np.where(params.flip_vertical, -scale_y, scale_y)
    xx, yx, yy = shear_cos * across, -shear_sin * across, down
    unit = np.empty((len(params), 2, 3))
    unit[:, 0, 0] = cos * xx - sin * yx
    unit[:, 0, 1] = -sin * yy
    unit[:, 1, 0] = sin * xx + cos * yx
    unit[:, 1, 1] = cos * yy
    half = (size - 1) / 2
    shift_x, shift_y = params.shift[:, 0], params.shift[:, 1]
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
    """The region that the warp reads, averaged over factor × factor pixels, and the matrix for it.

    Without a reduction the region is still copied: a rotated warp jumps between the rows of an image in the
    page cache, which took three times as long without the copy.

    Rows and columns beyond the last whole block (fewer than ``factor``) are dropped. With ``whole`` the
    region is the whole image (a reflecting border may need any of it).
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
    averaged = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    return averaged.reshape(small[1], small[0], image.shape[2]), matrix


def _blur(image: np.ndarray, kernel: np.ndarray) -> None:
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    image[...] = (blurred if image.dtype == np.float32 else np.rint(blurred)).reshape(image.shape)


def sky_and_noise(image_HWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level and noise of the sky in each band of a float32 image, (C,) each, from a sample of its pixels.

    The level is the median, which a galaxy that fills less than half of the image hardly moves; the noise
    comes from the quartile below it.
    """
    height, width, channels = image_HWC.shape
    step = sky_step((height, width))
    sample_PC = image_HWC[::step, ::step].reshape(-1, channels)
    half, quarter = len(sample_PC) // 2, len(sample_PC) // 4
    sorted_PC = np.partition(sample_PC, (quarter, half), axis=0)
    level_C = sorted_PC[half]
    noise_C = (level_C - sorted_PC[quarter]) * np.float32(1.4826)
    return level_C, np.maximum(noise_C, np.finfo(np.float32).tiny)


def sky_step(source_hw: Sequence[int]) -> int:
    """Every so many pixels along each side are sampled for the sky."""
    return max(1, int((source_hw[0] * source_hw[1] / _SKY_SAMPLE) ** 0.5))


def _change_fluxes(
    image_HWC: np.ndarray, params: AugmentParams, index: int, sky_C: np.ndarray, noise_C: np.ndarray
) -> None:
    """Brightness and gains on what is above the sky, and the shift of each band, in place."""
    channels = image_HWC.shape[2]
    gain_C = (params.brightness[index] * params.channel_gain[index, :channels]).astype(np.float32)
    offset_C = (params.channel_shift[index, :channels] / LEVELS_OF_NOISE).astype(np.float32) * noise_C
    if (gain_C == 1).all() and not offset_C.any():
        return
    image_HWC *= gain_C
    image_HWC += sky_C * (1 - gain_C) + offset_C


def _add_noise(image: np.ndarray, table: np.ndarray, start: int, deviation: float) -> None:
    rows = image.reshape(len(image), -1)
    noise = table[start : start + image.size].reshape(rows.shape)
    cv2.addWeighted(rows, 1.0, noise, float(deviation), 0.0, dst=rows, dtype=cv2.CV_8U)


def _checked(image: np.ndarray, position: int, first: np.ndarray | None) -> np.ndarray:
    shape, known = image.shape, image.dtype in (np.uint8, np.float32)
    if not known or len(shape) != 3 or not 1 <= shape[2] <= MAX_CHANNELS or not image.size:
        raise MorphoscopeError(
            f"image {position} of the batch is {shape} {image.dtype}; expected (H, W, C) uint8 or float32 "
            f"with 1 to {MAX_CHANNELS} channels"
        )
    if first is not None and shape[2] != first.shape[2]:
        raise MorphoscopeError(
            f"image {position} of the batch has {shape[2]} channels, the first has {first.shape[2]}; "
            "expected the same for all"
        )
    if first is not None and image.dtype != first.dtype:
        raise MorphoscopeError(
            f"image {position} of the batch is {image.dtype}, the first is {first.dtype}; expected one type"
        )
    return image


def _shared_out(work: Callable[[range], None], count: int, threads: int) -> None:
    """Run ``work(range)`` over slices of 0..count in up to ``threads`` threads."""
    threads = min(threads, count, available_cores())
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
