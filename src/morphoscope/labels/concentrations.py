"""Concentrations of Dirichlet distributions: their average over views or networks, and their calibration.

Shape letters: S views or networks, N galaxies, K answers of all questions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from morphoscope.labels.calibrators import Correction
from morphoscope.metrics.vote_counts import by_question, count_log_losses

_LARGEST_SCALE = 50.0
_PRIOR_WIDTH = 1.0  # standard deviation of the logarithm of a scale; tens of galaxies outweigh it


def averaged(concentrations_SNK: np.ndarray, slices: Sequence[slice]) -> np.ndarray:
    """The Dirichlet distribution closest to a mixture of S equally weighted ones, (N, K) float32.

    Of each question the expected fractions are the mean of the S expected fractions, and the sum A of
    the concentrations is chosen so that the fractions' variances add up to those of the mixture (moment
    matching): with means m and mixture variances v, A = (1 − Σ m²) / Σ v − 1. So intervals widen where the S
    disagree. It is an approximation: a mixture can have several peaks, a Dirichlet distribution of
    concentrations above 1 has one.
    """
    alpha = np.asarray(concentrations_SNK, np.float64)
    parts = []
    for piece in slices:
        own = alpha[..., piece]
        total = own.sum(axis=-1, keepdims=True)
        mean = own / total
        variance = mean * (1 - mean) / (total + 1)
        middle = mean.mean(axis=0)
        spread = (variance.mean(axis=0) + mean.var(axis=0)).sum(axis=-1, keepdims=True)
        precision = (1 - np.square(middle).sum(axis=-1, keepdims=True)) / spread - 1
        parts.append(middle * precision)
    together = np.concatenate(parts, axis=-1)
    same = (alpha == alpha[0]).all(axis=(0, 2))  # exactly the same, whatever rounding says
    return np.where(same[:, None], alpha[0], together).astype(np.float32)


class ConcentrationScales(Correction, frozen=True):
    """One factor for each question by which its concentrations are multiplied.

    The expected fractions stay as they are; a factor below 1 widens the intervals, one above 1 narrows them.
    """

    method: Literal["concentrations"] = "concentrations"
    answers: tuple[int, ...] = Field(min_length=1, description="of each question")
    scales: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> ConcentrationScales:
        if len(self.answers) != len(self.scales) or min((*self.answers, *self.scales)) <= 0:
            raise ValueError("one positive factor for each question was expected")
        return self

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Concentrations times their factors, (N, K) float32."""
        return (np.asarray(predictions_NK) * np.repeat(self.scales, self.answers)).astype(np.float32)

    @property
    def description(self) -> str:
        """One line for people."""
        low, high = min(self.scales), max(self.scales)
        return f"concentrations of each question times {low:.2f} to {high:.2f}"


def fit_scales(
    slices: Sequence[slice], counts_NK: np.ndarray, concentrations_NK: np.ndarray
) -> ConcentrationScales:
    """The most probable factors given held-out votes, with a weak prior for 1 (log-normal, width 1).

    A question that nobody was asked keeps its concentrations.
    """
    asked_NQ = by_question(counts_NK, slices)
    counts_NK, alpha_NK = np.asarray(counts_NK), np.asarray(concentrations_NK, np.float64)
    scales = []
    for number, piece in enumerate(slices):
        rows = asked_NQ[:, number] > 0
        scales.append(_scale(counts_NK[rows, piece], alpha_NK[rows, piece]) if rows.any() else 1.0)
    return ConcentrationScales(
        answers=tuple(piece.stop - piece.start for piece in slices), scales=tuple(scales)
    )


def _scale(counts_NA: np.ndarray, alpha_NA: np.ndarray) -> float:
    """The factor of one question with A answers."""
    from scipy.optimize import minimize_scalar

    question = [slice(0, counts_NA.shape[1])]

    def cost(logarithm: float) -> float:
        loss = count_log_losses(counts_NA, alpha_NA * np.exp(logarithm), question).sum()
        return float(loss + 0.5 * (logarithm / _PRIOR_WIDTH) ** 2)

    limit = np.log(_LARGEST_SCALE)
    found = minimize_scalar(cost, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))
