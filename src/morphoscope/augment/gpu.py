"""The warp of :mod:`morphoscope.augment.cpu` on a whole batch of tensors, for training on a GPU.

Parameters and matrices are the same, and the images agree to within a grey level: both round to whole levels
after reduction, warp, blur, saturation, colour and noise. (At a rounding tie OpenCV and torch may choose
different neighbours; strong contrast multiplies that one level.)

Shape letters: N images, C channels, H × W stored pixels, S the side of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, pad

from morphoscope.augment.cpu import (
    LEVELS_OF_NOISE,
    blur_kernels,
    colour_tables,
    crop_side,
    is_plain,
    matrices,
    noise_starts,
    noise_table,
    reduction,
    saturation_matrices,
    sky_step,
)
from morphoscope.augment.params import AugmentParams, View, draw_params, identity
from morphoscope.augment.randaugment import draw_operations, rand_augment
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment

PADDING = {"constant": "zeros", "replicate": "border", "reflect": "reflection"}


class DeviceAugmenter:
    """Turns batches of stored images into the network's input, on the device that holds them.

    Args:
        config: the recipe's ``augment``.
        seed: the training seed.
    """

    def __init__(self, config: Augment, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self._noise = torch.empty(0)

    def training(
        self,
        images_NCHW: torch.Tensor,
        rows: torch.Tensor | np.ndarray | Sequence[int],
        epoch: int,
        occurrences: torch.Tensor | np.ndarray | Sequence[int] | None = None,
        size: int | None = None,
        strength: float = 1.0,
    ) -> torch.Tensor:
        """An augmented batch, (N, C, S, S) of the images' type, in channels_last memory.

        Args:
            images_NCHW: stored images, uint8 or float32, on any device.
            rows: (N,) their rows in the store. Best left on the CPU, where the parameters are drawn:
                fetching rows from a GPU waits for all its queued work.
            epoch: not negative.
            occurrences: (N,) repetitions of a row, see :func:`morphoscope.augment.params.draw_params`.
            size: side of the output; none: the recipe's.
            strength: factor on all magnitudes, see :func:`morphoscope.augment.params.draw_params`.
        """
        rows, repeats = _numbers(rows), None if occurrences is None else _numbers(occurrences)
        channels = images_NCHW.shape[1]
        params = draw_params(self.config, self.seed, epoch, rows, repeats, strength, channels)
        warped = self.apply(images_NCHW, params, size)
        if not self.config.randaugment:
            return warped
        operations = draw_operations(self.config, self.seed, epoch, rows, repeats)
        magnitude = self.config.randaugment_magnitude * self.config.strength * strength
        return rand_augment(warped, operations, magnitude)

    def evaluation(
        self, images_NCHW: torch.Tensor, view: View | None = None, size: int | None = None
    ) -> torch.Tensor:
        """Centre crops, unchanged or in one of the views; (N, C, S, S), channels_last."""
        return self.apply(images_NCHW, identity(len(images_NCHW), view), size)

    @torch.no_grad()
    def apply(
        self, images_NCHW: torch.Tensor, params: AugmentParams, size: int | None = None
    ) -> torch.Tensor:
        """Apply ``params`` to the images; (N, C, S, S) of their type, channels_last."""
        if images_NCHW.dtype not in (torch.uint8, torch.float32) or images_NCHW.ndim != 4:
            raise MorphoscopeError(
                f"the batch is {tuple(images_NCHW.shape)} {images_NCHW.dtype}; expected (N, C, H, W) uint8 "
                "or float32"
            )
        size = size or self.config.size
        if images_NCHW.dtype == torch.float32:
            return self._measured(images_NCHW, params, size).contiguous(memory_format=torch.channels_last)
        levels = self._warped(images_NCHW, params, size).round_().clamp_(0, 255)
        kernels = blur_kernels(params)
        if kernels is not None:
            levels = _blurred(levels, kernels).round_().clamp_(0, 255)
        hues = saturation_matrices(params, levels.shape[1])
        if hues is not None:
            turn = torch.from_numpy(hues).float().to(levels.device)
            levels = torch.einsum("nij,njhw->nihw", turn, levels).round_().clamp_(0, 255)
        if not is_plain(params):
            levels = _recoloured(levels, colour_tables(params, levels.shape[1]))
        if params.noise.any():
            levels = self._with_noise(levels, params)
        return levels.to(torch.uint8).contiguous(memory_format=torch.channels_last)

    def _warped(self, images_NCHW: torch.Tensor, params: AugmentParams, size: int) -> torch.Tensor:
        height, width = images_NCHW.shape[2:]
        theta = matrices(self.config, params, (height, width), size)
        pixels = images_NCHW.float()
        factor = reduction(crop_side(self.config, (height, width)), size, (height, width))
        if factor > 1:
            pixels = avg_pool2d(pixels, factor)
            if images_NCHW.dtype == torch.uint8:
                # OpenCV rounds halves up in its path for 2 × 2 and to even in all others.
                pixels = pixels.add_(0.5).floor_() if factor == 2 else pixels.round_()
            theta /= factor
            theta[:, :, 2] -= (factor - 1) / (2 * factor)
        grid = _grid(theta, pixels.shape[2:], size, pixels.device)
        padding = PADDING[self.config.border]
        return grid_sample(pixels, grid, "bilinear", padding, align_corners=False)

    def _measured(self, values_NCHW: torch.Tensor, params: AugmentParams, size: int) -> torch.Tensor:
        """The warp of float32 images; beyond a constant border lies each band's sky."""
        device, channels = values_NCHW.device, values_NCHW.shape[1]
        sky, noise = _sky_and_noise(values_NCHW)
        fluxes = self._warped(values_NCHW - sky, params, size)
        kernels = blur_kernels(params)
        if kernels is not None:
            fluxes = _blurred(fluxes, kernels)
        gains = params.brightness[:, None] * params.channel_gain[:, :channels]
        shifts = params.channel_shift[:, :channels] / LEVELS_OF_NOISE
        gain, shift = (
            torch.from_numpy(np.ascontiguousarray(each)).float().to(device)[:, :, None, None]
            for each in (gains, shifts)
        )
        fluxes = fluxes * gain + shift * noise
        if params.noise.any():
            deviation = torch.from_numpy(params.noise / LEVELS_OF_NOISE).float().to(device)
            fluxes = fluxes + deviation[:, None, None, None] * noise * self._deviates(fluxes, params)
        return fluxes + sky

    def _with_noise(self, levels_NCSS: torch.Tensor, params: AugmentParams) -> torch.Tensor:
        deviation = torch.from_numpy(params.noise).float().to(levels_NCSS.device)
        noise = self._deviates(levels_NCSS, params)
        return (levels_NCSS + deviation[:, None, None, None] * noise).round_().clamp_(0, 255)

    def _deviates(self, levels_NCSS: torch.Tensor, params: AugmentParams) -> torch.Tensor:
        count, channels, size, _ = levels_NCSS.shape
        values = channels * size * size
        table = noise_table(values)
        if self._noise.device != levels_NCSS.device or len(self._noise) != len(table):
            self._noise = torch.from_numpy(table).to(levels_NCSS.device)
        starts = torch.from_numpy(noise_starts(params, values)).to(levels_NCSS.device)
        steps = torch.arange(values, device=levels_NCSS.device)
        return self._noise[starts[:, None] + steps].view(count, size, size, channels).permute(0, 3, 1, 2)


def _sky_and_noise(values_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`morphoscope.augment.cpu.sky_and_noise`, (N, C, 1, 1) each."""
    step = sky_step(values_NCHW.shape[2:])
    sample = values_NCHW[:, :, ::step, ::step].flatten(2).sort(dim=2).values
    level, quarter = (sample[:, :, sample.shape[2] // part] for part in (2, 4))
    noise = ((level - quarter) * 1.4826).clamp(min=torch.finfo(torch.float32).tiny)
    return level[:, :, None, None], noise[:, :, None, None]


def _grid(theta: np.ndarray, source_hw: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
    """(N, S, S, 2) positions for ``grid_sample``, whose −1 and 1 are the outer edges of the image."""
    height, width = source_hw
    scaled = theta * np.array([2 / width, 2 / height])[None, :, None]
    scaled[:, :, 2] += np.array([1 / width, 1 / height]) - 1
    turn = torch.from_numpy(scaled).float().to(device)[:, None, None]  # (N, 1, 1, 2, 3)
    steps = torch.arange(size, device=device, dtype=torch.float32)
    x, y = steps[None, None, :, None], steps[None, :, None, None]
    return turn[..., 0] * x + turn[..., 1] * y + turn[..., 2]


def _blurred(levels_NCSS: torch.Tensor, kernels_NL: np.ndarray) -> torch.Tensor:
    """Blur each image with its own kernel: images and channels become channels of one grouped convolution."""
    count, channels, size, _ = levels_NCSS.shape
    weights = torch.from_numpy(kernels_NL).to(levels_NCSS.device).repeat_interleave(channels, 0)
    reach = kernels_NL.shape[1] // 2
    planes = pad(levels_NCSS, (reach, reach, reach, reach), "reflect").view(
        1, count * channels, size + 2 * reach, -1
    )
    planes = conv2d(planes, weights[:, None, None, :], groups=count * channels)
    planes = conv2d(planes, weights[:, None, :, None], groups=count * channels)
    return planes.view(levels_NCSS.shape)


def _recoloured(levels_NCSS: torch.Tensor, tables_N256C: np.ndarray) -> torch.Tensor:
    tables = torch.from_numpy(tables_N256C).to(levels_NCSS.device).permute(0, 2, 1)
    chosen = tables.gather(2, levels_NCSS.flatten(2).long())
    return chosen.view(levels_NCSS.shape).float()


def _numbers(values: torch.Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
