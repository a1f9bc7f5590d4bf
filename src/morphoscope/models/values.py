"""What a network is shown: how many channels, and how values as measured become levels inside it.

Stores of float32 images keep what a telescope measured. The stretch is the network's first layer, with a sky
level and a noise for each band that were measured once, on the training galaxies. So training, prediction,
explanations and every exported graph apply the same one, and a galaxy's colour survives.

Shape letters: N images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from morphoscope.images.stretch import SKY_LEVEL, SKY_NOISE, SOFTENING

Curve = Literal["asinh", "linear"]


@dataclass(frozen=True)
class Planes:
    """The channels of a network's images.

    Attributes:
        channels: C.
        sky: level of each band's sky in the training galaxies; empty for images in grey levels.
        noise: standard deviation of it.
    """

    channels: int = 3
    sky: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()

    @classmethod
    def unmeasured(cls, channels: int, dtype: str) -> Planes:
        """For a network whose sky and noise come with its trained weights."""
        if dtype == "uint8":
            return cls(channels)
        return cls(channels, (0.0,) * channels, (1.0,) * channels)


class Stretch(nn.Module):
    """Values as measured → levels, in the network.

    With z = (value − sky) / noise of each band alone, a level is 255 · arcsinh(Q · (0.03 + 0.01 · z)) / √Q,
    Q = 20: the curve of the stretch "lupton" for one band (Lupton et al. 2004, eq. 2), so the sky is at 33
    with a noise of 10 levels. Nothing is clipped: the core of a bright galaxy may exceed 255. "linear" leaves
    out the arcsinh.

    Args:
        planes: with sky and noise.
        curve: "asinh" or "linear".
    """

    sky: torch.Tensor
    noise: torch.Tensor

    def __init__(self, planes: Planes, curve: Curve = "asinh") -> None:
        super().__init__()
        self.curve = curve
        self.register_buffer("sky", torch.tensor(planes.sky, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("noise", torch.tensor(planes.noise, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, values_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same in levels."""
        scaled = SKY_LEVEL + SKY_NOISE * ((values_NCHW - self.sky) / self.noise)
        if self.curve == "asinh":
            scaled = torch.asinh(SOFTENING * scaled) / SOFTENING**0.5
        return 255.0 * scaled


def levels_of(
    values_HWC: np.ndarray, sky: Sequence[float], noise: Sequence[float], curve: Curve
) -> np.ndarray:
    """As :class:`Stretch`, of one image in numpy, float64."""
    scaled = SKY_LEVEL + SKY_NOISE * ((values_HWC.astype(np.float64) - sky) / np.asarray(noise))
    return 255.0 * (np.arcsinh(SOFTENING * scaled) / SOFTENING**0.5 if curve == "asinh" else scaled)
