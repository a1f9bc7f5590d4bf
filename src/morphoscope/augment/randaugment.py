"""RandAugment: a few operations for each training image, drawn out of fourteen (Cubuk et al. 2020).

Operations, ranges and defaults are those of ``torchvision.transforms.v2.RandAugment``, whose public functions
do the work. torchvision draws from torch's one global generator, which threads would share; here each draw is
a hash of (seed, epoch, row, occurrence), as all augmentation is (:mod:`morphoscope.augment.params`).

Shape letters: N images, C channels, H × W pixels, R operations for each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from morphoscope.augment.params import draw_choices
from morphoscope.errors import UsageError
from morphoscope.recipes import Augment

if TYPE_CHECKING:
    import torch

HIGHEST = 30
"""Magnitudes run from 0 to this."""
_COLOURS = 3


class Operations(NamedTuple):
    """What happens to N images, R operations each, one after another."""

    which: np.ndarray  # (N, R) positions in OPERATIONS
    negative: np.ndarray  # (N, R) bool: in the other direction, where an operation has two


def draw_operations(
    config: Augment,
    seed: int,
    epoch: int,
    rows: np.ndarray | Sequence[int],
    occurrences: np.ndarray | Sequence[int] | None = None,
) -> Operations:
    """Draw the operations of a training batch; the arguments are those of ``draw_params``."""
    uniform_NR2 = draw_choices(seed, epoch, rows, occurrences, 2 * config.randaugment).reshape(
        len(rows), config.randaugment, 2
    )
    which = (uniform_NR2[..., 0] * len(OPERATIONS)).astype(int)
    return Operations(which, uniform_NR2[..., 1] < 0.5)


def rand_augment(images_NCHW: torch.Tensor, operations: Operations, magnitude: float) -> torch.Tensor:
    """Apply the operations to a batch.

    Args:
        images_NCHW: uint8 of three channels, on any device.
        operations: of each image.
        magnitude: from 0, no change, to 30; beyond that 30.

    Returns:
        A new batch of the same shape.

    Raises:
        UsageError: the images have no three channels.
    """
    if images_NCHW.shape[1] != _COLOURS:
        raise UsageError(
            f"augment.randaugment changes colours, and the images have {images_NCHW.shape[1]} channels "
            "instead of 3; set it to 0"
        )
    share = min(magnitude / HIGHEST, 1.0)
    images_NCHW = images_NCHW.clone()
    for which_N, negative_N in zip(operations.which.T, operations.negative.T, strict=True):
        for place, (signed, operation) in enumerate(OPERATIONS.values()):
            for negative in (False, True) if signed else (None,):
                chosen = which_N == place
                if negative is not None:
                    chosen &= negative_N == negative
                if chosen.any():
                    rows = np.flatnonzero(chosen).tolist()
                    images_NCHW[rows] = operation(images_NCHW[rows], -share if negative else share)
    return images_NCHW


def rand_augmented_arrays(images_NHWC: np.ndarray, operations: Operations, magnitude: float) -> np.ndarray:
    """:func:`rand_augment` of numpy images, (N, H, W, 3) uint8."""
    import torch

    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
    changed_NCHW = rand_augment(images_NCHW, operations, magnitude)
    return np.ascontiguousarray(changed_NCHW.permute(0, 2, 3, 1).numpy())


def _functions() -> Any:
    from torchvision.transforms.v2 import functional

    return functional


def _affine(images: torch.Tensor, *, shear: Sequence[float] = (0, 0), shift: Sequence[int] = (0, 0)) -> Any:
    corner = [0, 0] if any(shear) else None
    return _functions().affine(
        images, angle=0.0, translate=list(shift), scale=1.0, shear=list(shear), center=corner
    )


def _sheared(images: torch.Tensor, x: float, y: float) -> Any:
    return _affine(images, shear=[math.degrees(math.atan(0.3 * share)) for share in (x, y)])


def _shifted(images: torch.Tensor, x: float, y: float) -> Any:
    height, width = images.shape[-2:]
    furthest = 150 / 331  # of the side, as in AutoAugment's images of 331 pixels
    return _affine(images, shift=[int(x * furthest * width), int(y * furthest * height)])


OPERATIONS: dict[str, tuple[bool, Callable[[Any, float], Any]]] = {
    "Identity": (False, lambda images, share: images),
    "ShearX": (True, lambda images, share: _sheared(images, share, 0)),
    "ShearY": (True, lambda images, share: _sheared(images, 0, share)),
    "TranslateX": (True, lambda images, share: _shifted(images, share, 0)),
    "TranslateY": (True, lambda images, share: _shifted(images, 0, share)),
    "Rotate": (True, lambda images, share: _functions().rotate(images, angle=30 * share)),
    "Brightness": (True, lambda images, share: _functions().adjust_brightness(images, 1 + 0.9 * share)),
    "Color": (True, lambda images, share: _functions().adjust_saturation(images, 1 + 0.9 * share)),
    "Contrast": (True, lambda images, share: _functions().adjust_contrast(images, 1 + 0.9 * share)),
    "Sharpness": (True, lambda images, share: _functions().adjust_sharpness(images, 1 + 0.9 * share)),
    "Posterize": (False, lambda images, share: _functions().posterize(images, bits=round(8 - 4 * share))),
    "Solarize": (False, lambda images, share: _functions().solarize(images, threshold=255 * (1 - share))),
    "AutoContrast": (False, lambda images, share: _functions().autocontrast(images)),
    "Equalize": (False, lambda images, share: _functions().equalize(images)),
}
"""Name → whether its direction is drawn, and the function of a batch and the share of the full magnitude."""
