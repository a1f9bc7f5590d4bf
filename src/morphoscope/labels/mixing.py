"""Class probabilities mixed with the class shares as the OOD score grows.

The farther a galaxy lies from those of the training, the less its predicted probabilities say. With the
out-of-distribution score s (:mod:`morphoscope.inference.ood`; 95 % of held-out galaxies have at most 1)

    p′ = (1 − λ) p + λ π,    λ(s) = 1 / (1 + (h / s)^k)

where π are the shares of the classes, h the score at which half is mixed in, and k how abruptly. Far from
every training galaxy only the shares are left; the most probable class never changes.

Shape letters: N galaxies, K classes.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morphoscope.labels.calibrators import Temperature

_TINY = 1e-12
_PRIOR = {"half": (3.0, 1.0), "power": (3.0, 0.7)}  # median, and standard deviation of the logarithm


class Mixing(BaseModel):
    """λ(s) and the class shares."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    half: float = Field(gt=0, description="h: the OOD score at which half of the class shares is mixed in")
    power: float = Field(gt=0, description="k: how abruptly λ rises about it")
    shares: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=2, description="π, which sum to 1")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Mixing:
        if abs(sum(self.shares) - 1) > 1e-3:
            raise ValueError(f"the class shares sum to {sum(self.shares):.4f} instead of 1")
        return self

    def weights(self, scores_N: np.ndarray) -> np.ndarray:
        """λ of OOD scores, (N,) float64: 0 at a score of 0, 1 at infinity."""
        scores_N = np.asarray(scores_N, np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            return 1 / (1 + (self.half / np.maximum(scores_N, 0)) ** self.power)

    def __call__(self, probabilities_NK: np.ndarray, scores_N: np.ndarray) -> np.ndarray:
        """Mixed probabilities, (N, K) float32, with the same most probable class.

        Where the shares would put another class on top, only so much is mixed in that it draws level.
        """
        p_NK = np.asarray(probabilities_NK, np.float64)
        shares_K = np.asarray(self.shares) / np.sum(self.shares)
        top_N1 = p_NK.argmax(axis=1)[:, None]
        lead_NK = np.take_along_axis(p_NK, top_N1, axis=1) - p_NK
        behind_NK = shares_K - shares_K[top_N1]
        with np.errstate(divide="ignore", invalid="ignore"):
            most_NK = np.where(behind_NK > 0, lead_NK / (lead_NK + behind_NK), np.inf)
        weight_N1 = np.minimum(self.weights(scores_N), most_NK.min(axis=1))[:, None]
        mixed_NK = ((1 - weight_N1) * p_NK + weight_N1 * shares_K).astype(np.float32)
        above_N1 = np.nextafter(mixed_NK.max(axis=1, keepdims=True), np.float32(2))  # ties and rounding
        changed_N1 = mixed_NK.argmax(axis=1)[:, None] != top_N1
        kept_N1 = np.where(changed_N1, above_N1, np.take_along_axis(mixed_NK, top_N1, axis=1))
        np.put_along_axis(mixed_NK, top_N1, kept_N1, axis=1)
        return mixed_NK

    @property
    def description(self) -> str:
        """One line for people."""
        return f"mixed with the class shares, half of them at an OOD score of {self.half:.2f}"


def fit_mixing(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, scores_N: np.ndarray, shares_K: np.ndarray
) -> tuple[Temperature, Mixing]:
    """The maximum a posteriori temperature, of at least 1, h and k, all three together.

    ln h and ln k have weak normal priors (a tenth of the galaxies outweighs them), so that galaxies
    that are all alike leave a curve that rises beyond them.

    Args:
        labels_N: class indices of galaxies that were not trained on, shifted away from the training's.
        probabilities_NK: the network's uncalibrated probabilities.
        scores_N: their OOD scores.
        shares_K: π.
    """
    from scipy.optimize import minimize
    from scipy.special import softmax

    logits_NK = np.log(np.maximum(np.asarray(probabilities_NK, np.float64), 1e-30))
    rows, log_s_N = np.arange(len(logits_NK)), np.log(np.maximum(np.asarray(scores_N, np.float64), _TINY))
    share_N = np.asarray(shares_K, np.float64)[labels_N]

    def cost(parameters: np.ndarray) -> float:
        log_t, log_h, log_k = parameters
        p_N = softmax(logits_NK / np.exp(log_t), axis=1)[rows, labels_N]
        weight_N = 1 / (1 + np.exp(np.clip(np.exp(log_k) * (log_h - log_s_N), -700, 700)))
        prior = sum(
            ((value - np.log(median)) / width) ** 2 / 2
            for value, (median, width) in zip((log_h, log_k), _PRIOR.values(), strict=True)
        )
        return float(prior + log_t**2 / 2 - np.log((1 - weight_N) * p_N + weight_N * share_N + _TINY).sum())

    start = np.array([0.0, *(np.log(median) for median, _ in _PRIOR.values())])
    limits = [0.0, np.log(20.0)], [np.log(0.1), np.log(100.0)], [np.log(0.3), np.log(20.0)]
    log_t, log_h, log_k = minimize(cost, start, method="L-BFGS-B", bounds=limits).x
    mixing = Mixing(half=float(np.exp(log_h)), power=float(np.exp(log_k)), shares=tuple(map(float, shares_K)))
    return Temperature(temperature=float(np.exp(log_t))), mixing
