"""The gates against their equations, written out here with plain tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d

from morphoscope.models.attention import (
    BottleneckAttention,
    ChannelGate,
    GlobalAttention,
    MultiScaleAttention,
    SpatialGate,
    TiledChannelGate,
    attention,
)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 64, 5, 6, generator=torch.Generator().manual_seed(0))


def _perceptron(gate: ChannelGate | TiledChannelGate, pooled: torch.Tensor) -> torch.Tensor:
    first, _, last = gate.perceptron
    hidden = (pooled @ first.weight.flatten(1).T + first.bias).clamp(min=0)
    return hidden @ last.weight.flatten(1).T + last.bias


def test_channel_gate_is_equation_2_of_woo(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    gate = ChannelGate(64, 16)
    pooled = features.flatten(2)
    weights = torch.sigmoid(_perceptron(gate, pooled.mean(2)) + _perceptron(gate, pooled.max(2).values))
    torch.testing.assert_close(gate(features), features * weights[:, :, None, None])


def test_spatial_gate_is_equation_3_of_woo(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    gate = SpatialGate()
    both = torch.stack([features.max(1).values, features.mean(1)], dim=1)
    weights = torch.sigmoid(conv2d(both, gate.convolution.weight, padding=3))
    torch.testing.assert_close(gate(features), features * weights)


def test_tiled_gate_repeats_its_weights_over_the_expansion(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    gate = TiledChannelGate(64, 4)
    pooled = features.flatten(2)
    weights = torch.sigmoid(_perceptron(gate, pooled.mean(2)) + _perceptron(gate, pooled.max(2).values))
    assert weights.shape == (2, 16)
    out = gate(features)
    for group in range(4):
        channels = slice(16 * group, 16 * group + 16)
        torch.testing.assert_close(out[:, channels], features[:, channels] * weights[:, :, None, None])


def test_cbam_of_ng_adds_its_input(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = attention("cbam-residual", 64, 4)
    inner = module.get_submodule("attention")
    torch.testing.assert_close(module(features), features + inner(features))
    channel, spatial = inner.children()
    torch.testing.assert_close(inner(features), spatial(channel(features)))
    assert sum(p.numel() for p in attention("cbam-residual", 64, 4).parameters()) == 64**2 // 2 + 5 * 16 + 99


def test_multi_scale_attention_weighs_each_group_on_its_own(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = MultiScaleAttention(64, groups=32)
    changed = features.clone()
    changed[:, :2] = 0  # the first group's channels alone
    a, b = module(features), module(changed)
    torch.testing.assert_close(a[:, 2:], b[:, 2:])
    gate = a / features  # one weight for both channels of a group, between 0 and 1
    torch.testing.assert_close(gate[:, 0::2], gate[:, 1::2])
    assert bool(((gate > 0) & (gate < 1)).all())


@pytest.mark.parametrize(("channels", "count"), [(32, 14), (64, 48), (128, 176), (256, 672)])
def test_multi_scale_attention_has_the_counted_weights(channels: int, count: int) -> None:
    assert sum(p.numel() for p in MultiScaleAttention(channels).parameters()) == count


@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_the_gate_of_the_published_count(width: int) -> None:
    """`tong`: 5C²/16 + 17C/16 + 98 weights in a unit of inner width C."""
    counted = sum(p.numel() for p in attention("tiled-cbam", 4 * width).parameters())
    assert counted == 5 * width**2 // 16 + 17 * width // 16 + 98


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_bam_is_equations_1_to_4_of_park(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = BottleneckAttention(64, 16).eval()
    first, _, last = module.channel
    hidden = (features.mean((2, 3)) @ first.weight.flatten(1).T + first.bias).clamp(min=0)
    by_channel = (hidden @ last.weight.flatten(1).T + last.bias)[:, :, None, None]
    gate = by_channel / (1 + 1e-5) ** 0.5 + module.spatial_norm(module.spatial(features))
    torch.testing.assert_close(module(features), features * (1 + gate.sigmoid()))
    # C = 64, r = 16: 64·4 + 4 + 4·64 + 64 + 2·64 by channel, 64·4 + 4 + 2·(4·4·9 + 4) + 4 + 1 + 2 by position
    assert _count(module) == 708 + 563


def test_bam_sees_further_than_its_kernels(features: torch.Tensor) -> None:
    """Two 3 × 3 convolutions with dilation 4 reach eight pixels."""
    spatial = BottleneckAttention(8, 2).spatial.double()
    image = torch.randn(1, 8, 21, 21, dtype=torch.float64, requires_grad=True)
    spatial(image)[0, 0, 10, 10].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert seen.min() >= 2
    assert seen.max() <= 18


def test_gam_gates_channels_at_each_position_then_positions_in_each_channel(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = GlobalAttention(64, 16).eval()
    moved = torch.roll(features, 2, dims=3)
    torch.testing.assert_close(module.channel(moved), torch.roll(module.channel(features), 2, dims=3))
    gated = features * module.channel(features).sigmoid()
    torch.testing.assert_close(module(features), gated * module.spatial(gated).sigmoid())
    assert _count(module) == (64 * 4 + 4 + 4 * 64 + 64) + (49 * 64 * 4 + 4 + 8 + 49 * 4 * 64 + 64 + 128)


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (128, 5), (1280, 5), (2048, 7)])
def test_eca_has_the_kernel_of_its_equation(channels: int, kernel: int) -> None:
    """Wang et al. 2020, equation 12: |log2(C)/2 + 1/2|, the next odd number."""
    assert _count(attention("eca", channels)) == kernel
