"""The moving average of the weights, warmed up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from morphoscope.models.network import Network


def averaged(network: Network, decay: float) -> AveragedModel:
    """A copy of a network that follows it: weights and running statistics averaged over the last steps.

    Its number of updates is part of its state, so that a resumed training averages on as if never stopped.
    """
    return AveragedModel(network, multi_avg_fn=_warmed_up(decay), use_buffers=True)


def decay_after(updates: int, decay: float) -> float:
    """The share of the average that stays: min(decay, (1 + n) / (10 + n)) after n updates.

    With a decay of 0.999 throughout, the average was for thousands of steps that of a network that had hardly
    learned, with the running statistics of its first batches. The formula is that of TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``.
    """
    return min(decay, (1 + updates) / (10 + updates))


Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def _warmed_up(decay: float) -> Callable[[Tensors, Tensors, torch.Tensor | int], None]:
    def average(averages: Tensors, currents: Tensors, updates: torch.Tensor | int) -> None:
        get_ema_multi_avg_fn(decay_after(int(updates), decay))(averages, currents, updates)

    return average
