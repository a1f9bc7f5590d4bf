"""Heads: from pooled features to the K outputs of a label scheme."""

from __future__ import annotations

import itertools

from torch import nn


def head(features: int, hidden: tuple[int, ...], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers, ReLU between them.

    Dropout follows every hidden layer (`cheng`, Table 1; `yan`, section 2.3); a head without hidden
    layers has it before its only layer.

    Args:
        features: D, width of the pooled features.
        hidden: widths of the hidden layers, possibly none.
        outputs: K.
        dropout: share of units dropped in training.
    """
    layers: list[nn.Module] = []
    for width_in, width in itertools.pairwise((features, *hidden)):
        layers += [nn.Linear(width_in, width), nn.ReLU(), nn.Dropout(dropout)]
    if not hidden:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear((features, *hidden)[-1], outputs))
    return nn.Sequential(*layers)
