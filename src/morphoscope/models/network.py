"""The network every recipe trains: normalisation, backbone, head.

Shape letters: N galaxies, C channels, H × W pixels, D features, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Network(nn.Module):
    """Images in grey levels → K outputs; the normalisation is part of the network and of its weights.

    Args:
        backbone: a timm model without classifier; maps (N, C, H, W) to (N, D).
        head: maps (N, D) to (N, K).
        mean: per channel, as a share of full scale (0..1), as timm's configurations give it.
        std: the same.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, backbone: nn.Module, head: nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).mul(255).view(1, -1, 1, 1))

    def embed(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Pooled features, (N, D), of images in grey levels 0..255 (uint8 or floating point)."""
        return self.backbone((images_NCHW.to(self.mean.dtype) - self.mean) / self.std)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Outputs before the scheme makes probabilities of them, (N, K)."""
        return self.head(self.embed(images_NCHW))


def parameter_count(network: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of weights as torch counts them; running statistics are buffers and do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable_only)
