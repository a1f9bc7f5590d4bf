"""Residual networks with configurable units: shortcuts, biases, attention.

He et al. 2016, equation 1, and `cheng`, equations 1 and 2: a unit computes y = relu(F(x) + S(x)), where F
is two 3 × 3 convolutions (basic unit) or 1 × 1, 3 × 3, 1 × 1 (bottleneck) and S the shortcut. timm has
the standard form; the published networks differ from it (`tong`: a convolution in every shortcut; `cheng`:
biases), and their comparisons need networks that timm lacks (no shortcut, attention inside a unit). Tensors
are named as in timm and torchvision, so their ImageNet weights load into the standard form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from morphoscope.models.attention import Attention, attention

Shortcut = Literal["standard", "projection", "none"]

DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Residual units in each of the four stages, by the number of weighted layers."""


@dataclass(frozen=True)
class Units:
    """Options shared by all residual units of a network.

    Attributes:
        shortcut: "standard": the identity, or a 1 × 1 convolution where the shape changes; "projection": a
            1 × 1 convolution in every unit (`tong`); "none": a plain network (`cheng` on degradation).
        bias: convolutions have biases, as Keras gives them by default.
        attention: applied to F(x) before the shortcut is added.
        reduction: of the channel gate.
    """

    shortcut: Shortcut = "standard"
    bias: bool = False
    attention: Attention = "none"
    reduction: int = 16


class Unit(nn.Module):
    """relu(A(F(x)) + S(x)), the common part of both kinds of units.

    Args:
        channels_in: C of x.
        width: C of the convolutions inside.
        channels: C of the output.
        stride: of the unit.
        units: shortcut, biases and attention.
    """

    def __init__(self, channels_in: int, width: int, channels: int, stride: int, units: Units) -> None:
        super().__init__()
        self.layers(channels_in, width, channels, stride, units.bias)
        self.attention = attention(units.attention, channels, units.reduction)
        changes = stride > 1 or channels_in != channels
        self.downsample: nn.Module | None = nn.Identity()
        if units.shortcut == "projection" or (units.shortcut == "standard" and changes):
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=units.bias), nn.BatchNorm2d(channels)
            )
        if units.shortcut == "none":
            self.downsample = None
        self.act = nn.ReLU(inplace=True)

    def layers(self, channels_in: int, width: int, channels: int, stride: int, bias: bool) -> None:
        """Make the convolutions and normalisations of F."""
        raise NotImplementedError

    def inner(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """F(x), normalised, before the last ReLU."""
        raise NotImplementedError

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C, H / stride, W / stride)."""
        out = self.attention(self.inner(features_NCHW))
        if self.downsample is not None:
            out = out + self.downsample(features_NCHW)
        return self.act(out)


class Basic(Unit):
    """F = two 3 × 3 convolutions (ResNet-18, -34)."""

    expansion = 1

    def layers(self, channels_in: int, width: int, channels: int, stride: int, bias: bool) -> None:
        """3 × 3, 3 × 3."""
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, channels, 3, 1, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)

    def inner(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """F(x)."""
        out = self.bn1(self.conv1(features_NCHW)).relu()
        return self.bn2(self.conv2(out))


class Bottleneck(Unit):
    """F = 1 × 1 down to C, 3 × 3, 1 × 1 up to 4C (ResNet-50, -101, -152); the 3 × 3 carries the stride."""

    expansion = 4

    def layers(self, channels_in: int, width: int, channels: int, stride: int, bias: bool) -> None:
        """1 × 1, 3 × 3, 1 × 1."""
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(channels)

    def inner(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """F(x)."""
        out = self.bn1(self.conv1(features_NCHW)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return self.bn3(self.conv3(out))


class ResidualTrunk(nn.Module):
    """7 × 7 stem, max pooling, four stages of units: (N, 3, H, W) → (N, C, H / 32, W / 32).

    Args:
        depth: 18, 34, 50, 101 or 152 weighted layers.
        units: options of the units.
        channels: of the images.
    """

    def __init__(self, depth: int, units: Units, channels: int = 3) -> None:
        super().__init__()
        kind: Callable[..., Unit] = Basic if depth < 50 else Bottleneck
        expansion = Basic.expansion if depth < 50 else Bottleneck.expansion
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=units.bias)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(DEPTHS[depth]):
            width = 64 << stage
            made = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                made.append(kind(channels, width, width * expansion, stride, units))
                channels = width * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
        self.num_features = channels
        self.apply(_initialised)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """The last feature map."""
        features = self.maxpool(self.act1(self.bn1(self.conv1(images_NCHW))))
        for stage in range(len(DEPTHS[18])):
            features = self.get_submodule(f"layer{stage + 1}")(features)
        return features


def _initialised(module: nn.Module) -> None:
    """He et al. 2015: variance 2 / fan-out for convolutions, zero for biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
