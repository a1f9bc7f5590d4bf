"""Moving average of the weights, with a warm-up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from morphoscope.models.network import Network


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
