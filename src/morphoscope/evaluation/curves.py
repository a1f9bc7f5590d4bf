"""Curves that turn a stated fraction into an honest one: beta calibration and isotonic regression.

Shape letters: N galaxies, M knots of an isotonic curve. Fractions, and not only zeros and ones, may be the
truth: a galaxy of which a third of its volunteers said "bar" counts as a third of a bar.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

_TINY = 1e-6  # a stated fraction of 0 or 1 has no logarithm
_PRIOR_WIDTH = 1.0  # standard deviation of a, b and c around no correction; outvoted by some tens of galaxies


class BetaCurve(BaseModel):
    """logit q = a ln p − b ln(1 − p) + c (Kull, Silva Filho & Flach 2017, AISTATS).

    a = b = 1, c = 0 leaves every fraction as it is. Monotone, since neither a nor b is negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["beta"] = "beta"
    a: float = Field(ge=0)
    b: float = Field(ge=0)
    c: float

    def __call__(self, stated_N: np.ndarray) -> np.ndarray:
        """Corrected fractions in (0, 1), (N,) float64."""
        from scipy.special import expit

        return expit(_beta_terms(stated_N) @ (self.a, self.b, self.c))


class IsotonicCurve(BaseModel):
    """A rising line through M knots, constant beyond the first and the last."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["isotonic"] = "isotonic"
    stated: tuple[float, ...] = Field(min_length=1)
    corrected: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> IsotonicCurve:
        if len(self.stated) != len(self.corrected):
            raise ValueError("an isotonic curve needs as many corrected as stated fractions")
        return self

    def __call__(self, stated_N: np.ndarray) -> np.ndarray:
        """Corrected fractions, (N,) float64."""
        return np.interp(np.asarray(stated_N, np.float64), self.stated, self.corrected)


Curve = Annotated[BetaCurve | IsotonicCurve, Field(discriminator="kind")]


def fit_beta(stated_N: np.ndarray, truth_N: np.ndarray, weight_N: np.ndarray) -> BetaCurve:
    """The most probable beta curve: greatest likelihood with a weak preference for no correction.

    a, b and c have a normal prior of standard deviation 1 around the identity, so that an answer that
    hardly any galaxy was asked about stays as the network gave it; on many galaxies the prior is lost.

    Args:
        stated_N: the network's fractions.
        truth_N: true fractions, in [0, 1]; ignored where the weight is 0.
        weight_N: how much each galaxy counts, 0 to 1.
    """
    from scipy.optimize import minimize

    used = np.asarray(weight_N) > 0
    terms = _beta_terms(np.asarray(stated_N)[used])
    truth, weight = np.asarray(truth_N, np.float64)[used], np.asarray(weight_N, np.float64)[used]
    identity = np.array([1.0, 1.0, 0.0])

    def cost(curve: np.ndarray) -> tuple[float, np.ndarray]:
        logits = terms @ curve
        loss = weight @ (np.logaddexp(0, logits) - truth * logits)
        share = 0.5 * (1 + np.tanh(logits / 2))  # the logistic function, without overflow
        slope = terms.T @ (weight * (share - truth))
        away = (curve - identity) / _PRIOR_WIDTH
        return float(loss + 0.5 * away @ away), slope + away / _PRIOR_WIDTH

    found = minimize(
        cost, identity, jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None), (None, None)]
    ).x
    return BetaCurve(a=max(0.0, float(found[0])), b=max(0.0, float(found[1])), c=float(found[2]))


def fit_isotonic(stated_N: np.ndarray, truth_N: np.ndarray, weight_N: np.ndarray) -> IsotonicCurve:
    """The rising curve of least squares (Zadrozny & Elkan 2002, KDD), never quite 0 or 1.

    Least squares and greatest likelihood give the same rising curve (Robertson, Wright & Dykstra 1988,
    theorem 1.5.1). Its ends are held 1/(W + 2) away from 0 and 1, W being the sum of weights: that an
    answer was never given by W galaxies does not make it impossible.

    Args:
        stated_N: the network's fractions.
        truth_N: true fractions, in [0, 1]; ignored where the weight is 0.
        weight_N: how much each galaxy counts, 0 to 1.
    """
    used = np.asarray(weight_N) > 0
    if not used.any():
        return IsotonicCurve(stated=(0.0, 1.0), corrected=(0.0, 1.0))
    weight = np.asarray(weight_N, np.float64)[used]
    stated, corrected = isotonic_knots(
        np.asarray(stated_N, np.float64)[used], np.asarray(truth_N, np.float64)[used], weight
    )
    margin = 1 / (weight.sum() + 2)
    corrected = np.clip(corrected, margin, 1 - margin)
    return IsotonicCurve(stated=tuple(stated.tolist()), corrected=tuple(corrected.tolist()))


def isotonic_knots(
    stated_N: np.ndarray, truth_N: np.ndarray, weight_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted isotonic regression by pooling adjacent violators, as two (M,) arrays of knots.

    Galaxies with the same stated fraction are one point; of each level stretch only its ends are kept.
    """
    from scipy.optimize import isotonic_regression

    stated_M, point_N = np.unique(stated_N, return_inverse=True)
    weight_M = np.bincount(point_N, weights=weight_N)
    mean_M = np.bincount(point_N, weights=weight_N * truth_N) / weight_M
    level_M = isotonic_regression(mean_M, weights=weight_M).x
    inner = np.r_[False, (level_M[1:-1] == level_M[:-2]) & (level_M[1:-1] == level_M[2:]), False]
    keep = ~inner[: len(level_M)]
    return stated_M[keep], level_M[keep]


def _beta_terms(stated_N: np.ndarray) -> np.ndarray:
    """What a, b and c multiply, (N, 3) float64."""
    p = np.clip(np.asarray(stated_N, np.float64), _TINY, 1 - _TINY)
    return np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
