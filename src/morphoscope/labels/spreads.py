"""Predicted spreads of measurements: their average over views or networks, and their calibration.

A prediction of T quantities is T means, then T standard deviations.

Shape letters: S views or networks, N galaxies, T quantities.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from morphoscope.labels.calibrators import Correction
from morphoscope.metrics.measurements import measurement_log_losses

_LARGEST_FACTOR = 20.0
_PRIOR_WIDTH = 1.0  # standard deviation of the logarithm of a factor; tens of galaxies outweigh it


def averaged(predictions_SNK: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of an equal mixture of S distributions, (N, 2T) float32.

    The variance is the mean of the variances plus the variance of the means, so it grows where the S disagree
    (Lakshminarayanan et al. 2017, section 2.4).
    """
    each = np.asarray(predictions_SNK, np.float64)
    means, deviations = np.split(each, 2, axis=-1)
    variance = np.square(deviations).mean(axis=0) + means.var(axis=0)
    together = np.concatenate([means.mean(axis=0), np.sqrt(variance)], axis=-1)
    same = (each == each[0]).all(axis=(0, 2))  # exactly the same, whatever rounding says
    return np.where(same[:, None], each[0], together).astype(np.float32)


class SpreadFactors(Correction, frozen=True):
    """One factor for each quantity by which its predicted standard deviation is multiplied."""

    method: Literal["spread"] = "spread"
    factors: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _positive(self) -> SpreadFactors:
        if min(self.factors) <= 0:
            raise ValueError("factors above 0 were expected")
        return self

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """The same means, other standard deviations, (N, 2T) float32."""
        means, deviations = np.split(np.asarray(predictions_NK, np.float64), 2, axis=-1)
        return np.concatenate([means, deviations * self.factors], axis=-1).astype(np.float32)

    @property
    def description(self) -> str:
        """One line for people."""
        low, high = min(self.factors), max(self.factors)
        by = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
        return f"predicted errors times {by}"


def fit_factors(
    targets: np.ndarray, predictions_NK: np.ndarray, degrees_of_freedom: float | None = None
) -> SpreadFactors:
    """The most probable factors given held-out measurements, with a weak prior for 1 (log-normal, width 1).

    A measurement's own error is not multiplied. A quantity without measurements keeps its spread.

    Args:
        targets: (N, 2T) measurements (NaN: none), then their errors.
        predictions_NK: (N, 2T) means, then standard deviations.
        degrees_of_freedom: of the predicted Student-t distributions; None: Gaussian.
    """
    values, errors = np.split(np.asarray(targets, np.float64), 2, axis=-1)
    means, deviations = np.split(np.asarray(predictions_NK, np.float64), 2, axis=-1)
    factors = []
    for k in range(values.shape[1]):
        rows = np.isfinite(values[:, k])
        if not rows.any():
            factors.append(1.0)
            continue
        value, error, mean, deviation = (
            each[rows, k : k + 1] for each in (values, errors, means, deviations)
        )
        factors.append(_factor(value, error, mean, deviation, degrees_of_freedom))
    return SpreadFactors(factors=tuple(factors))


def _factor(
    values: np.ndarray,
    errors: np.ndarray,
    means: np.ndarray,
    deviations: np.ndarray,
    degrees_of_freedom: float | None,
) -> float:
    from scipy.optimize import minimize_scalar

    def cost(logarithm: float) -> float:
        scaled = deviations * np.exp(logarithm)
        loss = measurement_log_losses(values, errors, means, scaled, degrees_of_freedom).sum()
        return float(loss + 0.5 * (logarithm / _PRIOR_WIDTH) ** 2)

    limit = np.log(_LARGEST_FACTOR)
    found = minimize_scalar(cost, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))
