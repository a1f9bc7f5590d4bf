"""Monte-Carlo dropout: predictions with units of the head dropped, in several samples.

Gal & Ghahramani 2016 (arXiv:1506.02142) draw new units for every image. Here sample s drops the same units
for all images, so that each sample is one fixed network: a prediction does not depend on the rest of its
batch, and a catalogue can be reproduced.

Shape letters: S samples, N images, D features, K outputs.
"""

from __future__ import annotations

import torch
from torch import nn

from morphoscope.errors import UsageError


class DropoutSamples:
    """S copies of a network's head with different units dropped; backbone and batch normalisation are fixed.

    Args:
        head: fully connected layers with dropout among them (:mod:`morphoscope.models.network`).
        samples: S, two or more.
        seed: of the units that are dropped.
        name: of the run, for messages.

    Raises:
        UsageError: the head has no dropout, or ``samples`` is less than two.
    """

    def __init__(self, head: nn.Module, samples: int, *, seed: int, name: str) -> None:
        if samples < 2:
            raise UsageError(
                f"--dropout-samples {samples}: 2 or more were expected, since samples are compared"
            )
        if not any(isinstance(module, nn.Dropout) and module.p > 0 for module in head.modules()):
            raise UsageError(
                f"--dropout-samples: the network of run '{name}' has no dropout (model.dropout is 0); "
                "an ensemble of runs that differ in their seed, 'RUN1,RUN2', measures uncertainty too"
            )
        self.head = head
        self.samples = samples
        self.seed = seed
        self._kept: dict[tuple[int, int], torch.Tensor] = {}

    def __call__(self, features_ND: torch.Tensor) -> torch.Tensor:
        """Outputs of every sample, (S, N, K)."""
        return torch.stack([self._one(features_ND, sample) for sample in range(self.samples)])

    def _one(self, values_NU: torch.Tensor, sample: int) -> torch.Tensor:
        for number, layer in enumerate(self.head.children()):
            if isinstance(layer, nn.Dropout):
                values_NU = values_NU * self._mask(sample, number, layer.p, values_NU)
            else:
                values_NU = layer(values_NU)
        return values_NU

    def _mask(self, sample: int, layer: int, share: float, values_NU: torch.Tensor) -> torch.Tensor:
        """1 / (1 − p) for units that are kept, 0 for the others, (U,)."""
        if (sample, layer) not in self._kept:
            generator = torch.Generator().manual_seed((self.seed * 1009 + sample) * 101 + layer)
            stay_U = torch.rand(values_NU.shape[1], generator=generator) >= share
            self._kept[sample, layer] = (stay_U / (1 - share)).to(values_NU)
        return self._kept[sample, layer]
