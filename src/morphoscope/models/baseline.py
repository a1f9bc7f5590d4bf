"""The convolutional baseline of `ng` (Fig 4), with or without attention."""

from __future__ import annotations

import torch
from torch import nn

from morphoscope.models.attention import Attention, attention

WIDTHS = (32, 64, 128, 256)
"""Channels of the four blocks."""
KERNELS = (17, 13, 9, 7)
"""Sides of their kernels, which the paper found better than smaller ones."""


class BaselineTrunk(nn.Module):
    """Four blocks of convolution, normalisation, ReLU, (attention,) 2 × 2 max pooling; a 1 × 1 bottleneck.

    (N, C, H, W) → (N, 96, H / 16, W / 16). Kernels shrink from 17 to 7 pixels (17, 13, 9, 7), all
    convolutions have biases, and there is no dropout (`ng`, section IV.A and its public notebook).

    Args:
        kind: attention in each block, before its pooling; none after the bottleneck.
        reduction: of the channel gate.
        kernels: sides of the four kernels; empty: the paper's.
    """

    num_features = 96

    def __init__(
        self, kind: Attention = "none", reduction: int = 4, kernels: tuple[int, ...] = (), channels: int = 3
    ) -> None:
        super().__init__()
        blocks = []
        for width, kernel in zip(WIDTHS, kernels or KERNELS, strict=True):
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, kernel, padding=kernel // 2),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    attention(kind, width, reduction),
                    nn.MaxPool2d(2),
                )
            )
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels, self.num_features, 1),
            nn.BatchNorm2d(self.num_features),
            nn.ReLU(inplace=True),
        )

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """The last feature map."""
        return self.bottleneck(self.blocks(images_NCHW))
