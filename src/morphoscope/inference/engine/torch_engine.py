"""The engine torch: for GPUs, processors with bf16, and anything that needs the network itself.

Shape letters: M members (samples of dropout), N images, S × S pixels, C channels, K outputs, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.mc_dropout import DropoutSamples
from morphoscope.models.precision import autocast_type, best_device

if TYPE_CHECKING:
    from morphoscope.runs.run import Run


class TorchEngine(Engine):
    """A run's network in torch.

    Args:
        run: a finished run.
        device: device to use; None: the GPU if there is one.
        dropout_samples: Monte-Carlo samples with different units of the head dropped
            (:mod:`morphoscope.inference.mc_dropout`); 0: no dropout.
        precision: "auto", as the recipe says, or "fp32".

    Raises:
        UsageError: samples are requested of a network without dropout.
        MorphoscopeError: the weights are damaged or for another network.
    """

    name = "torch"

    def __init__(
        self,
        run: Run,
        *,
        device: torch.device | None = None,
        dropout_samples: int = 0,
        precision: str = "auto",
    ) -> None:
        self.scheme = run.scheme
        self.device = device or best_device()
        number_type = "fp32" if precision == "fp32" else run.recipe.training.precision
        self.precision = autocast_type(number_type, self.device)
        self.channels_last = run.recipe.training.channels_last
        self.network = run.network().to(self.device)
        if self.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.dropout = None
        if dropout_samples:
            self.dropout = DropoutSamples(
                self.network.head, dropout_samples, seed=run.recipe.seed, name=run.name
            )
            self.member_count = self.dropout.samples
        self.feature_count = self.network.described_width

    @property
    def precision_description(self) -> str:
        """Such as "bf16, channels_last on cuda"; it changes probabilities in the third digit."""
        precision = "bf16" if self.precision is torch.bfloat16 else "fp32"
        order = ", channels_last" if self.channels_last else ""
        return f"{precision}{order} on {self.device.type}"

    @property
    def description(self) -> str:
        """Such as "torch 2.15.0"."""
        return f"torch {torch.__version__}"

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        outputs, features = self._outputs(torch.from_numpy(images_NSSC).permute(0, 3, 1, 2).to(self.device))
        predictions = self.scheme.probabilities(outputs)
        predictions = predictions.view(self.member_count, len(images_NSSC), -1)
        return predictions.cpu().numpy(), features.cpu().numpy()

    def autocast(self) -> torch.autocast:
        """The precision of the run's predictions, as a context."""
        enabled = self.precision is not None
        return torch.autocast(self.device.type, dtype=self.precision or torch.float32, enabled=enabled)

    @torch.inference_mode()
    def _outputs(self, images_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of a batch, for each sample of dropout in turn, and features."""
        with self.autocast():
            features = self.network.embed(images_NCHW)
            if self.dropout is None:
                outputs = self.network.head(features)
            else:
                outputs = self.dropout(features).flatten(0, 1)
            return outputs.float(), self.network.described(features).float()
