"""The likelihood by which a network learns measurements, and R² over the batches of an epoch.

Shape letters: N galaxies, T quantities, K = 2T outputs: standardised means, then logarithms of spreads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torchmetrics import Metric

# Spreads lie within a factor e⁶ = 400 of the training galaxies' own, however large the output.
LARGEST_LOG_SPREAD = 6.0
_NEAREST = 0.99  # of that, so that its output is finite

Standard = tuple[Sequence[float], Sequence[float]]
"""Centres and scales of the T quantities."""


def standard_predictions(outputs_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised means and standard deviations, (N, T) float32 each."""
    means, logarithms = outputs_NK.float().chunk(2, dim=1)
    return means, (LARGEST_LOG_SPREAD * (logarithms / LARGEST_LOG_SPREAD).tanh()).exp()


def spreads_of(outputs: np.ndarray) -> np.ndarray:
    """Standardised standard deviations of outputs of any shape, as of :func:`standard_predictions`."""
    return np.exp(LARGEST_LOG_SPREAD * np.tanh(np.asarray(outputs, np.float64) / LARGEST_LOG_SPREAD))


def log_spread_outputs(spreads: np.ndarray) -> np.ndarray:
    """The inverse of :func:`spreads_of`; spreads beyond its range are its ends."""
    floor = np.exp(-_NEAREST * LARGEST_LOG_SPREAD)
    share = np.log(np.maximum(spreads, floor)) / LARGEST_LOG_SPREAD
    return LARGEST_LOG_SPREAD * np.arctanh(np.minimum(share, _NEAREST))


def predictions(outputs_NK: torch.Tensor, standard: Standard) -> torch.Tensor:
    """Means, then standard deviations, in the units of the quantities, (N, 2T) float32."""
    import torch

    means, spreads = standard_predictions(outputs_NK)
    centres, scales = (means.new_tensor(each) for each in standard)
    return torch.cat([centres + scales * means, scales * spreads], dim=1)


def measurement_losses(
    outputs_NK: torch.Tensor, targets: torch.Tensor, standard: Standard, degrees_of_freedom: float | None
) -> torch.Tensor:
    """−ln p of a galaxy's standardised values: the sum over its known quantities divided by T, (N,).

    Args:
        outputs_NK: of the network.
        targets: (N, 2T) values (NaN: none), then their errors, which are added to the predicted spread in
            quadrature.
        standard: centres and scales.
        degrees_of_freedom: of the Student-t distribution, whose standard deviation is predicted; None:
            Gaussian.
    """
    import torch

    means, spreads = standard_predictions(outputs_NK)
    centres, scales = (means.new_tensor(each) for each in standard)
    values, errors = targets.float().chunk(2, dim=1)
    known = values.isfinite()
    # Replaced before anything is computed: the gradient of a masked NaN is NaN.
    residuals = (torch.where(known, values, centres) - centres) / scales - means
    variance = spreads.square() + (torch.where(known, errors, 0.0) / scales).square()
    if degrees_of_freedom is None:
        losses = 0.5 * (math.log(2 * math.pi) + variance.log() + residuals.square() / variance)
    else:
        nu = degrees_of_freedom
        square = variance * ((nu - 2) / nu)
        constant = math.lgamma(nu / 2) - math.lgamma((nu + 1) / 2) + 0.5 * math.log(nu * math.pi)
        losses = constant + 0.5 * square.log() + (nu + 1) / 2 * (residuals.square() / square / nu).log1p()
    return torch.where(known, losses, 0.0).sum(dim=1) / values.shape[1]


def epoch_r2(standard: Standard) -> Metric:
    """R², the mean over the quantities; 0 for one whose values so far are all the same."""
    import torch
    from torchmetrics import Metric

    size = len(standard[0])

    class R2(Metric):
        sums: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.add_state("sums", torch.zeros(4, size), dist_reduce_fx="sum")

        def update(self, predicted: torch.Tensor, targets: torch.Tensor) -> None:
            """With means and measurements, as every epoch's metric is."""
            centres, scales = (predicted.new_tensor(each) for each in standard)
            values = (targets[:, :size].float() - centres) / scales
            means = (predicted[:, :size].float() - centres) / scales
            known = values.isfinite()
            errors = torch.where(known, values - means, 0.0).square()
            values = torch.where(known, values, 0.0)
            parts = (known.float(), values, values.square(), errors)
            self.sums += torch.stack([each.sum(dim=0) for each in parts])

        def compute(self) -> torch.Tensor:
            """Of all galaxies so far."""
            count, total, square, errors = self.sums
            apart = square - total.square() / count.clamp(min=1)
            return torch.where(apart > 0, 1 - errors / apart.clamp(min=1e-12), 0.0).mean()

    return R2()
