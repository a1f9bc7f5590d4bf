"""Dropout and stochastic depth that grow during a training (progressive learning, Tan & Le 2021)."""

from __future__ import annotations

from torch import nn

from morphoscope.models.quick_timm import timm

DropPath = timm.layers.drop.DropPath


def drop_rates(network: nn.Module) -> dict[str, float]:
    """The rate of every layer that drops something (units, or residual branches), by its name."""
    return {
        name: float(module.drop_prob or 0) if isinstance(module, DropPath) else module.p
        for name, module in network.named_modules()
        if isinstance(module, nn.Dropout | DropPath)
    }


def regularise(network: nn.Module, full_rates: dict[str, float], share: float) -> None:
    """Give these layers a share of their full rates."""
    for name, rate in full_rates.items():
        module = network.get_submodule(name)
        if isinstance(module, DropPath):
            module.drop_prob = rate * share
        elif isinstance(module, nn.Dropout):
            module.p = rate * share
