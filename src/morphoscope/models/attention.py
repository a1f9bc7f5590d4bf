"""Channel and spatial attention: the gates of the five papers, as small modules.

Shape letters: N galaxies, C channels, H × W positions, r the reduction ratio.

Woo et al. 2018 (CBAM), equations 1 to 3, which `tong` (eqs 1, 2), `yan` (eqs 1 to 4) and `ng` (section
IV.B) all build on::

    F'  = M_c(F) ⊗ F            M_c(F) = σ(W₁ relu(W₀ avg F) + W₁ relu(W₀ max F))        (N, C, 1, 1)
    F'' = M_s(F') ⊗ F'          M_s(F') = σ(conv₇ₓ₇[mean over C of F'; max over C of F'])  (N, 1, H, W)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Attention = Literal[
    "none", "channel", "spatial", "cbam", "tiled-cbam", "cbam-residual", "multi-scale", "eca", "bam", "gam"
]


class ChannelGate(nn.Module):
    """M_c(F) ⊗ F: one weight per channel, from a perceptron on the mean and maximum over positions.

    Args:
        channels: C.
        reduction: r; the hidden layer has C / r units. Both layers have biases.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.perceptron = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        mean = features_NCHW.mean((2, 3), keepdim=True)
        highest = features_NCHW.amax((2, 3), keepdim=True)
        gate = self.perceptron(mean) + self.perceptron(highest)
        return features_NCHW * gate.sigmoid()


class TiledChannelGate(nn.Module):
    """The channel gate that matches `tong`'s published count: from 4C channels to C weights, used four times.

    `tong`'s Table IV has 398,540 parameters more than the network without attention. Only one gate matches
    that number: the shared perceptron 4C → C/16 → C with biases, with r applied to the width C inside the
    bottleneck unit. Such a gate has C weights for a map of 4C channels; here weight c multiplies the channels
    c, c + C, c + 2C and c + 3C.

    Args:
        channels: 4C, of the unit's output.
        reduction: r; the hidden layer has C / r units.
        expansion: number of repetitions of the gate.
    """

    def __init__(self, channels: int, reduction: int, expansion: int = 4) -> None:
        super().__init__()
        inner = channels // expansion
        self.expansion = expansion
        self.perceptron = nn.Sequential(
            nn.Conv2d(channels, inner // reduction, 1), nn.ReLU(), nn.Conv2d(inner // reduction, inner, 1)
        )

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, 4C, H, W) → the same shape."""
        mean = features_NCHW.mean((2, 3), keepdim=True)
        highest = features_NCHW.amax((2, 3), keepdim=True)
        gate = (self.perceptron(mean) + self.perceptron(highest)).sigmoid()
        return features_NCHW * gate.repeat(1, self.expansion, 1, 1)


class SpatialGate(nn.Module):
    """M_s(F) ⊗ F: one weight per position, from a 7 × 7 convolution of the mean and maximum over channels.

    Args:
        bias: whether the convolution has one (it has in `ng`'s notebook, not in Woo et al. and `tong`).
    """

    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, bias=bias)

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        mean = features_NCHW.mean(1, keepdim=True)
        highest = features_NCHW.amax(1, keepdim=True)
        return features_NCHW * self.convolution(torch.cat([highest, mean], dim=1)).sigmoid()


class Residual(nn.Module):
    """F + A(F): attention added to its input (`ng`'s notebook; the paper does not mention it)."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        return features_NCHW + self.attention(features_NCHW)


class MultiScaleAttention(nn.Module):
    """Efficient multi-scale attention (Ouyang et al. 2023), the unreported third variant of `ng`'s notebook.

    The channels are split into groups of c = C / groups. In each group, one branch gates the map by its means
    along rows and columns (a shared 1 × 1 convolution, then group normalisation), the other is a 3 × 3
    convolution. The softmax over the c channels of each branch's mean over positions weights the other
    branch; the sum of the two (N, 1, H, W) maps, through a sigmoid, gates the group.

    Args:
        channels: C, a multiple of ``groups``.
        groups: ``factor`` in the notebook.
    """

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        inner = channels // groups
        self.groups = groups
        self.norm = nn.GroupNorm(inner, inner)
        self.along = nn.Conv2d(inner, inner, 1)
        self.local = nn.Conv2d(inner, inner, 3, padding=1)

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        images, _, height, width = features_NCHW.shape
        grouped = features_NCHW.reshape(images * self.groups, -1, height, width)
        rows = grouped.mean(3, keepdim=True)  # (N·groups, c, H, 1)
        columns = grouped.mean(2, keepdim=True).transpose(2, 3)  # (N·groups, c, W, 1)
        rows, columns = self.along(torch.cat([rows, columns], dim=2)).sigmoid().split([height, width], dim=2)
        crossed = self.norm(grouped * rows * columns.transpose(2, 3))
        local = self.local(grouped)
        weights = _weighed(crossed, local) + _weighed(local, crossed)
        return (grouped * weights.sigmoid()).reshape(features_NCHW.shape)


class BottleneckAttention(nn.Module):
    """BAM: F + F ⊗ σ(M_c(F) + M_s(F)) (Park et al. 2018, equations 1 to 4).

    M_c is a perceptron on the mean over positions, M_s four convolutions, the middle two 3 × 3 with dilation;
    batch normalisation ends both. The equations leave out the activations; a ReLU follows every layer but the
    last of each branch.

    Args:
        channels: C.
        reduction: r; the inner layers of both branches have C / r channels.
        dilation: of the 3 × 3 convolutions; the paper uses 4.
    """

    def __init__(self, channels: int, reduction: int, dilation: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.channel = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.channel_norm = nn.BatchNorm2d(channels)
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(inner, 1, 1),
        )
        self.spatial_norm = nn.BatchNorm2d(1)

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        by_channel = self.channel(features_NCHW.mean((2, 3), keepdim=True)).expand_as(features_NCHW)
        gate = self.channel_norm(by_channel) + self.spatial_norm(self.spatial(features_NCHW))
        return features_NCHW + features_NCHW * gate.sigmoid()


class GlobalAttention(nn.Module):
    """GAM: M_s(F') ⊗ F' of F' = M_c(F) ⊗ F, without any pooling (Liu et al. 2021, equations 1 and 2).

    M_c is a perceptron over the channels at each position, M_s two 7 × 7 convolutions through C / r channels
    with batch normalisation; a sigmoid ends both.

    Args:
        channels: C.
        reduction: r.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.channel = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, inner, 7, padding=3),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 7, padding=3),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same shape."""
        gated = features_NCHW * self.channel(features_NCHW).sigmoid()
        return gated * self.spatial(gated).sigmoid()


def _weighed(branch: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Σ_c softmax_c(mean over positions of ``branch``) · ``other``: (n, c, H, W) → (n, 1, H, W)."""
    shares = branch.mean((2, 3), keepdim=True).softmax(dim=1)
    return (shares * other).sum(1, keepdim=True)


def _efficient_channel_attention(channels: int) -> nn.Module:
    from timm.layers.eca import EcaModule  # here, so that quick_timm is asked for timm first

    return EcaModule(channels)


def attention(kind: Attention, channels: int, reduction: int = 16) -> nn.Module:
    """An attention module by name for maps of ``channels`` channels; "none" is the identity.

    ``cbam`` is a channel gate, then a spatial gate; ``channel`` and ``spatial`` are one of the two;
    ``tiled-cbam`` has `tong`'s gate of the published count; ``cbam-residual`` is `ng`'s (a bias in the 7 × 7
    convolution, the input added). ``eca`` is timm's efficient channel attention (Wang et al. 2020), whose
    one-dimensional convolution over the channels has no reduction ratio.
    """
    makers = {
        "none": nn.Identity,
        "channel": lambda: ChannelGate(channels, reduction),
        "spatial": SpatialGate,
        "cbam": lambda: nn.Sequential(ChannelGate(channels, reduction), SpatialGate()),
        "tiled-cbam": lambda: nn.Sequential(TiledChannelGate(channels, reduction), SpatialGate()),
        "cbam-residual": lambda: Residual(
            nn.Sequential(ChannelGate(channels, reduction), SpatialGate(bias=True))
        ),
        "multi-scale": lambda: MultiScaleAttention(channels),
        "eca": lambda: _efficient_channel_attention(channels),
        "bam": lambda: BottleneckAttention(channels, reduction),
        "gam": lambda: GlobalAttention(channels, reduction),
    }
    return makers[kind]()
