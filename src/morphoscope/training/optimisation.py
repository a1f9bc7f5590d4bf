"""Optimiser, learning-rate schedule, moving average of the weights, and dropout that grows during training
(progressive learning, Tan & Le 2021), from a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from morphoscope.models.blocks import block_numbers
from morphoscope.models.network import Network
from morphoscope.models.quick_timm import timm
from morphoscope.recipes import Optimiser, Schedule


def optimiser(recipe: Optimiser, network: Network) -> torch.optim.Optimizer:
    """The recipe's optimiser for the network's trainable parameters.

    Biases and normalisation (tensors of one dimension) do not decay (He et al. 2019, section 3.1).
    AdamW's decay is decoupled (Loshchilov & Hutter 2019); Adam's and SGD's is an L2 term.
    """
    groups = _groups(recipe, network)
    if recipe.name == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


def _groups(recipe: Optimiser, network: Network) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    parts = [
        *_backbone_parts(recipe, network),
        (list(network.head.parameters()), recipe.lr * recipe.head_lr),
    ]
    for parameters, rate in parts:
        weights = [p for p in parameters if p.requires_grad]
        for decays, decay in ((True, recipe.weight_decay), (False, 0.0)):
            chosen = [p for p in weights if (p.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups


def _backbone_parts(recipe: Optimiser, network: Network) -> list[tuple[list[nn.Parameter], float]]:
    """The backbone's parameters with their learning rate, the last block first (Howard & Ruder 2018)."""
    if recipe.layer_decay == 1:
        return [(list(network.backbone.parameters()), recipe.lr)]
    numbers = block_numbers(network.backbone)
    last = max(numbers.values(), default=0)
    blocks: dict[int, list[nn.Parameter]] = {}
    for name, parameter in network.backbone.named_parameters():
        blocks.setdefault(numbers[name], []).append(parameter)
    return [
        (blocks[number], recipe.lr * recipe.layer_decay ** (last - number))
        for number in sorted(blocks, reverse=True)
    ]


def schedule(recipe: Schedule, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at step 0, 1, ..., steps − 1.

    - ``one-cycle``: a cosine rise over the ``warmup`` share of the steps, then a cosine fall to
      ``final`` (Smith & Topin 2018, the two-phase form).
    - ``cosine``: the cosine fall alone, after a linear rise over ``warmup``
      (Loshchilov & Hutter 2017, eq. 5, without restarts).
    - ``constant``: 1, after a linear rise over ``warmup``.
    - ``keras-decay``: 1 / (1 + decay · step), the ``decay`` argument of Keras' legacy optimisers
      (`cheng`, `yan`).
    """
    rise = recipe.warmup * steps

    def one_cycle(step: int) -> float:
        if step < rise:
            return 0.04 + 0.96 * _half_cosine(step / rise)
        return _fall(step)

    def cosine(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else _fall(step)

    def constant(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else 1.0

    def keras_decay(step: int) -> float:
        return 1.0 / (1.0 + recipe.decay * step)

    def _fall(step: int) -> float:
        through = min(1.0, (step - rise) / max(1.0, steps - 1 - rise))
        return recipe.final + (1.0 - recipe.final) * (1.0 - _half_cosine(through))

    return {"one-cycle": one_cycle, "cosine": cosine, "constant": constant, "keras-decay": keras_decay}[
        recipe.name
    ]


def _half_cosine(through: float) -> float:
    """0 → 1 along half a cosine wave."""
    return 0.5 * (1.0 - math.cos(math.pi * through))


def averaged(network: Network, decay: float) -> AveragedModel:
    """A moving average of a network's weights and running statistics.

    The number of updates is part of its state, so a resumed training continues the average exactly.
    """
    return AveragedModel(network, multi_avg_fn=_warmed_up(decay), use_buffers=True)


def decay_after(updates: int, decay: float) -> float:
    """The decay after n updates: min(decay, (1 + n) / (10 + n)).

    With a constant decay of 0.999 the average was dominated for thousands of steps by a barely trained
    network and the running statistics of its first batches. The formula is that of TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``.
    """
    return min(decay, (1 + updates) / (10 + updates))


Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def _warmed_up(decay: float) -> Callable[[Tensors, Tensors, torch.Tensor | int], None]:
    def average(averages: Tensors, currents: Tensors, updates: torch.Tensor | int) -> None:
        get_ema_multi_avg_fn(decay_after(int(updates), decay))(averages, currents, updates)

    return average


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
