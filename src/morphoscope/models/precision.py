"""The device to compute on, and the precision that is fast there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from morphoscope.processes import started

MUCH_DEPTHWISE = 0.06
"""Share of multiply-adds above which training on a CPU is slower in bf16 (EXPERIMENTS.md, 2026-11-21): as
fast as fp32 at 0.055 (ConvNeXt), 0.8 times at 0.065 (MobileNetV2), 0.5 times at 0.086 (EfficientNet). Where
exactly it turns is not known."""


def best_device() -> torch.device:
    """The GPU if there is one (of several, the one of this process), otherwise the CPU."""
    if torch.cuda.is_available():
        process = started()
        if process is not None:
            return torch.device("cuda", process.local % torch.cuda.device_count())
        return torch.device("cuda")
    return torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware on ``device``.

    Without such instructions (most laptops before 2022) bf16 is emulated and several times slower
    than fp32, so it is not used there.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))
    return False


def autocast_type(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> torch.dtype | None:
    """The type for autocast in prediction, or None for plain fp32."""
    if precision == "bf16" or (precision == "auto" and fast_bf16(device)):
        return torch.bfloat16
    return None


def training_type(
    precision: Literal["auto", "bf16", "fp32"], device: torch.device, network: nn.Module, image_size: int
) -> torch.dtype | None:
    """The type for autocast in training, or None for plain fp32.

    As :func:`autocast_type`, but on a CPU "auto" is fp32 for networks with many depthwise convolutions, whose
    gradients are slow in bf16 there. Prediction with the same networks is faster in bf16.

    Args:
        precision: the recipe's.
        device: where it trains.
        network: maps (N, 3, H, W) to outputs.
        image_size: side of the input, pixels.
    """
    chosen = autocast_type(precision, device)
    if chosen is None or precision != "auto" or device.type != "cpu":
        return chosen
    return None if depthwise_share(network, image_size) > MUCH_DEPTHWISE else chosen


def depthwise_share(network: nn.Module, image_size: int) -> float:
    """Share of depthwise convolutions in the multiply-adds of all convolutions and linear layers."""
    total = depthwise = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total, depthwise
        if isinstance(layer, nn.Conv2d):
            work = output.numel() * layer.weight[0].numel()
            depthwise += work if 1 < layer.groups == layer.in_channels else 0
        else:
            assert isinstance(layer, nn.Linear)
            work = output.numel() * layer.in_features
        total += work

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    weight = next(network.parameters())
    mean = getattr(network, "mean", None)
    channels = mean.shape[1] if isinstance(mean, torch.Tensor) else 3
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, image_size, image_size, device=weight.device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return depthwise / total if total else 0.0
