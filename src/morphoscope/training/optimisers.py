"""Optimisers from a recipe: weight decay, and the head's own learning rate."""

from __future__ import annotations

from typing import Any

import torch

from morphoscope.models.network import Network
from morphoscope.recipes import Optimiser


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
    for part, rate in ((network.backbone, recipe.lr), (network.head, recipe.lr * recipe.head_lr)):
        weights = [p for p in part.parameters() if p.requires_grad]
        for decays, decay in ((True, recipe.weight_decay), (False, 0.0)):
            chosen = [p for p in weights if (p.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups
