"""Two galaxies in one training image: MixUp and CutMix.

Shape letters: N galaxies, C channels, H × W pixels, K outputs.
"""

from __future__ import annotations

import numpy as np
import torch


def mix(
    images_NCHW: torch.Tensor,
    targets_NK: torch.Tensor,
    *,
    mixup: float,
    cutmix: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every galaxy of a batch with another one of the same batch.

    Each batch uses one method; if both are on, each has the same probability.

    Args:
        images_NCHW: grey levels.
        targets_NK: shares of the classes, or vote fractions.
        mixup: alpha of Beta(alpha, alpha) for λ in λ·x + (1 − λ)·x′ (Zhang et al. 2018, eq. 1); 0: off.
        cutmix: the same for the area of a pasted rectangle (Yun et al. 2019, eq. 1 and 2); 0: off.
        generator: source of the random numbers, on the CPU.

    Returns:
        Mixed images (floating point) and targets of the same shapes.
    """
    if not (mixup or cutmix):
        return images_NCHW, targets_NK
    paste = cutmix > 0 and (mixup == 0 or bool(torch.rand((), generator=generator) < 0.5))
    keep = _beta(cutmix if paste else mixup, generator)
    partner = torch.randperm(len(images_NCHW), generator=generator).to(images_NCHW.device)
    if paste:
        height, width = images_NCHW.shape[-2:]
        top, bottom = _side(height, keep, generator)
        left, right = _side(width, keep, generator)
        images_NCHW = images_NCHW.clone(memory_format=torch.preserve_format)
        images_NCHW[:, :, top:bottom, left:right] = images_NCHW[partner, :, top:bottom, left:right]
        keep = 1.0 - (bottom - top) * (right - left) / (height * width)
    else:
        images_NCHW = torch.lerp(images_NCHW[partner].float(), images_NCHW.float(), keep)
    return images_NCHW, torch.lerp(targets_NK[partner], targets_NK, keep)


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _side(length: int, keep: float, generator: torch.Generator) -> tuple[int, int]:
    """Start and end of the rectangle along one axis; clipped at the image's edge."""
    half = 0.5 * length * (1.0 - keep) ** 0.5
    centre = float(torch.rand((), generator=generator)) * length
    return max(0, round(centre - half)), min(length, round(centre + half))
