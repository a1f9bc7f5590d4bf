"""Calibrators: none, a temperature for classes, beta or isotonic curves for vote fractions.

Curves are fitted to true fractions, not only to 0 and 1: a galaxy in which a third of the volunteers saw a
bar counts as a third of a bar.

Shape letters: N galaxies, K outputs, M knots of an isotonic curve.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morphoscope.labels.tree import TREES, DecisionTree

_TINY = 1e-30  # a softmax in float32 can underflow to 0
_COLDEST, _HOTTEST = 0.05, 20.0


class Correction(BaseModel, ABC, frozen=True, extra="forbid", allow_inf_nan=False):
    """A fitted correction: maps predictions (N, K) to predictions (N, K)."""

    method: str

    @abstractmethod
    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Corrected predictions, (N, K) float32."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One line for people."""


class Unchanged(Correction, frozen=True):
    """The network's own predictions."""

    method: Literal["none"] = "none"

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """The predictions themselves."""
        return np.asarray(predictions_NK, np.float32)

    @property
    def description(self) -> str:
        """One line for people."""
        return "none"


class Temperature(Correction, frozen=True):
    """softmax(ln p / T), Guo et al. 2017 (arXiv:1706.04599), eq. 9; the most probable class stays the same.

    With one view ln p is the network's logits up to a constant, which softmax ignores; with several views it
    is the logarithm of the mean probability.
    """

    method: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Scaled probabilities: a temperature above 1 makes them less confident, below 1 more."""
        logarithms_NK = _logarithms(predictions_NK) / self.temperature
        shares_NK = np.exp(logarithms_NK - logarithms_NK.max(axis=1, keepdims=True))
        return (shares_NK / shares_NK.sum(axis=1, keepdims=True)).astype(np.float32)

    @property
    def description(self) -> str:
        """One line for people."""
        return f"temperature {self.temperature:.3f}"


class VoteCurves(Correction, frozen=True):
    """One curve per answer; with a decision tree, the corrected fractions satisfy its sums.

    With a tree, the curves correct the conditional fractions (of those who were asked), the answers of each
    question are scaled to sum to 1, and the cumulative fractions follow from the tree. The sums then hold by
    construction and every fraction stays between 0 and 1; correcting the cumulative fractions instead could
    make some negative, and an error at the root would propagate to every answer below it. Method "tree" does
    the same without curves. Without a tree there are no sums.
    """

    method: Literal["tree", "beta", "isotonic"]
    tree: str | None = None
    curves: tuple[Curve, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> VoteCurves:
        if self.tree is not None and self.tree not in TREES:
            raise ValueError(f"unknown decision tree '{self.tree}'")
        if (self.method == "tree") == bool(self.curves):
            raise ValueError("'beta' and 'isotonic' need curves, and 'tree' has none")
        return self

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Corrected fractions."""
        if self.tree is None:
            return self._curved(np.asarray(predictions_NK, np.float64)).astype(np.float32)
        tree = TREES[self.tree]
        conditional_NK = shares_of_questions(tree, predictions_NK)
        if self.curves:
            conditional_NK = shares_of_questions(tree, self._curved(conditional_NK))
        return tree.cumulative(conditional_NK).astype(np.float32)

    def _curved(self, stated_NK: np.ndarray) -> np.ndarray:
        return np.stack([curve(stated_NK[:, k]) for k, curve in enumerate(self.curves)], axis=1)

    @property
    def description(self) -> str:
        """One line for people."""
        if self.method == "tree":
            return "scaled to the sums of the decision tree"
        curves = {"beta": "a beta curve", "isotonic": "an isotonic curve"}[self.method]
        return f"{curves} for each answer" + (", then the sums of the decision tree" if self.tree else "")


def shares_of_questions(tree: DecisionTree, predictions_NK: np.ndarray) -> np.ndarray:
    """Each answer's share of its question's sum, (N, K) float64; equal shares where all are 0."""
    answers = np.clip(np.asarray(predictions_NK, np.float64), 0.0, None)
    shares = np.empty_like(answers)
    for piece in tree.slices:
        sums = answers[:, piece].sum(axis=1, keepdims=True)
        equal = np.full_like(answers[:, piece], 1 / (piece.stop - piece.start))
        shares[:, piece] = np.divide(answers[:, piece], sums, out=equal, where=sums > 0)
    return shares


def fit_vote_curves(
    method: str, tree: DecisionTree | None, targets_NK: np.ndarray, predictions_NK: np.ndarray
) -> VoteCurves:
    """Fit one of the methods of :class:`VoteCurves`.

    Args:
        method: "tree", "beta" or "isotonic".
        tree: decision tree of the answers; None: independent fractions.
        targets_NK: true fractions, without missing values.
        predictions_NK: the network's uncalibrated predictions.
    """
    name = None if tree is None else tree.name
    if method == "tree":
        return VoteCurves(method="tree", tree=name)
    stated, truth = np.asarray(predictions_NK, np.float64), np.asarray(targets_NK, np.float64)
    weight = np.ones_like(truth)
    if tree is not None:
        stated = shares_of_questions(tree, stated)
        weight = tree.expected_sums(truth)[:, tree.question_of]
        truth = tree.conditional(truth)
    fit = fit_beta if method == "beta" else fit_isotonic
    curves = tuple(fit(stated[:, k], truth[:, k], weight[:, k]) for k in range(truth.shape[1]))
    return VoteCurves(method="beta" if method == "beta" else "isotonic", tree=name, curves=curves)


def fit_temperature(labels_N: np.ndarray, probabilities_NK: np.ndarray) -> float:
    """The maximum-likelihood temperature, 0.05 to 20, with Platt's targets.

    The true class has the target 1 − 1/(N + 2) and the most probable other class the rest (after Platt 1999,
    section 2.2), as if one more typical galaxy had been right and one wrong: if all of a few galaxies are
    right, the likelihood alone would make the network certain.

    Args:
        labels_N: class indices.
        probabilities_NK: the network's uncalibrated probabilities.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = _logarithms(probabilities_NK)
    rows, rest = np.arange(len(logits)), 1 / (len(logits) + 2)
    others = logits.copy()
    others[rows, labels_N] = -np.inf
    wanted = np.zeros_like(logits)
    wanted[rows, labels_N], wanted[rows, others.argmax(axis=1)] = 1 - rest, rest

    def cost(log_temperature: float) -> float:
        return -float((wanted * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(cost, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def _logarithms(probabilities_NK: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities_NK, np.float64), _TINY))


_CLIP = 1e-6  # keeps logarithms of fractions finite
_PRIOR_WIDTH = 1.0  # standard deviation of a, b and c around the identity; tens of galaxies outweigh it


class BetaCurve(BaseModel):
    """logit q = a ln p − b ln(1 − p) + c (Kull, Silva Filho & Flach 2017, AISTATS).

    a = b = 1, c = 0 is the identity. Monotone, since neither a nor b is negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["beta"] = "beta"
    a: float = Field(ge=0)
    b: float = Field(ge=0)
    c: float

    def __call__(self, stated_N: np.ndarray) -> np.ndarray:
        """Corrected fractions in (0, 1), (N,) float64."""
        logits_N = _beta_terms(stated_N) @ (self.a, self.b, self.c)
        return np.exp(-np.logaddexp(0.0, -logits_N))


class IsotonicCurve(BaseModel):
    """A non-decreasing piecewise linear curve through M knots, constant beyond the first and the last."""

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
    """The maximum a posteriori beta curve, with a weak prior for no correction.

    a, b and c have a normal prior of standard deviation 1 around the identity, so that an answer with hardly
    any votes stays as predicted; with many galaxies the prior is negligible.

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
    """The isotonic least-squares curve (Zadrozny & Elkan 2002, KDD), kept away from 0 and 1.

    Least squares and maximum likelihood give the same isotonic curve (Robertson, Wright & Dykstra 1988,
    theorem 1.5.1). Its ends are kept 1/(W + 2) away from 0 and 1, where W is the sum of weights: an answer
    that did not occur among W galaxies is not impossible.

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

    Galaxies with the same predicted fraction are one point; of each constant segment only the ends are kept.
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
    """The terms multiplied by a, b and c, (N, 3) float64."""
    p = np.clip(np.asarray(stated_N, np.float64), _CLIP, 1 - _CLIP)
    return np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
