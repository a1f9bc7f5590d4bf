"""Linear models on features, fitted to the optimum: multinomial logistic regression for classes, fractional
logistic regression for fractions (Papke & Wooldridge 1996), ridge regression for any numbers (Hoerl & Kennard
1970), all with an L2 penalty.

Shape letters: N galaxies, D features, K classes or fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(float(strength) for strength in 10.0 ** np.arange(1.0, -5.5, -0.5))
"""λ to choose from, strongest first, of standardised features."""
_MOST_STEPS = 500
_LEAST_SPREAD = 1e-6  # of a feature, in units of its mean; below it is constant but for rounding


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Outputs = features · weightᵀ + bias.

    Attributes:
        weight_KD: of the features as they are, not standardised.
        bias_K: likewise.
    """

    weight_KD: np.ndarray
    bias_K: np.ndarray

    def __call__(self, features_ND: np.ndarray) -> np.ndarray:
        """Outputs before the activation, (N, K) float64."""
        return np.asarray(features_ND, np.float64) @ self.weight_KD.T + self.bias_K


Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
"""Outputs and targets, (N, K) each → mean loss per galaxy, and its gradient by the outputs."""


def softmax(outputs_NK: np.ndarray) -> np.ndarray:
    """Probabilities that sum to 1, (N, K)."""
    powers_NK = np.exp(outputs_NK - outputs_NK.max(axis=-1, keepdims=True))
    return powers_NK / powers_NK.sum(axis=-1, keepdims=True)


def sigmoid(outputs_NK: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * outputs_NK))


def cross_entropy(outputs_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[float, np.ndarray]:
    """Of probabilities by a softmax; targets are one-hot, or weights of the galaxies times that."""
    count = len(outputs_NK)
    shifted_NK = outputs_NK - outputs_NK.max(axis=1, keepdims=True)
    log_sum_N = np.log(np.exp(shifted_NK).sum(axis=1))
    weight_N = targets_NK.sum(axis=1)
    loss = float(weight_N @ log_sum_N - (targets_NK * shifted_NK).sum()) / count
    gradient_NK = weight_N[:, None] * np.exp(shifted_NK - log_sum_N[:, None]) - targets_NK
    return loss, gradient_NK / count


def binary_cross_entropy(outputs_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[float, np.ndarray]:
    """Of fractions by a sigmoid, summed over the K outputs; targets lie between 0 and 1."""
    count = len(outputs_NK)
    loss = float((np.logaddexp(0, outputs_NK) - targets_NK * outputs_NK).sum()) / count
    return loss, (sigmoid(outputs_NK) - targets_NK) / count


def squared_error(outputs_NK: np.ndarray, targets_NK: np.ndarray) -> tuple[float, np.ndarray]:
    """Half of it, summed over the K outputs; targets that are NaN count nothing."""
    count = len(outputs_NK)
    residuals_NK = np.where(np.isfinite(targets_NK), outputs_NK - targets_NK, 0.0)
    return 0.5 * float(np.square(residuals_NK).sum()) / count, residuals_NK / count


class LinearFit:
    """Features of galaxies, prepared once for fits of several strengths.

    Each feature is standardised. Where galaxies are fewer than features, the fit is made in the space that
    the galaxies span, which gives the same model in less time: what is orthogonal to all of them has no
    weight under an L2 penalty.

    Args:
        features_ND: finite.
        targets_NK: one-hot classes, fractions, or any numbers.
        loss: :func:`cross_entropy`, :func:`binary_cross_entropy` or :func:`squared_error`; for the last one
            targets may be NaN.

    Raises:
        ValueError: features or targets that are not finite, or not of the same N.
    """

    def __init__(self, features_ND: np.ndarray, targets_NK: np.ndarray, loss: Loss) -> None:
        features_ND, targets_NK = np.asarray(features_ND, np.float64), np.asarray(targets_NK, np.float64)
        if len(features_ND) != len(targets_NK) or not len(features_ND):
            raise ValueError("features and targets of the same galaxies were expected, at least one")
        known = targets_NK[~np.isnan(targets_NK)] if loss is squared_error else targets_NK
        if not (np.isfinite(features_ND).all() and np.isfinite(known).all()):
            raise ValueError("features and targets must be finite")
        self._loss, self._targets_NK = loss, targets_NK
        self._mean_D = features_ND.mean(axis=0)
        spread_D = features_ND.std(axis=0)
        varies_D = spread_D > _LEAST_SPREAD * np.abs(self._mean_D)
        self._scale_D = np.where(varies_D, 1 / np.where(varies_D, spread_D, 1), 0.0)
        standard_ND = (features_ND - self._mean_D) * self._scale_D
        self._basis_RD: np.ndarray | None = None
        if len(standard_ND) < standard_ND.shape[1]:
            left_NR, sizes_R, self._basis_RD = np.linalg.svd(standard_ND, full_matrices=False)
            standard_ND = left_NR * sizes_R
        self._design_NR = standard_ND
        self._start: np.ndarray | None = None

    def __call__(self, strength: float) -> LinearModel:
        """Minimise mean loss + ½ λ ‖W‖², the bias free, by L-BFGS (Liu & Nocedal 1989).

        Args:
            strength: λ > 0; scikit-learn's ``C`` is 1 / (λ N). A fit starts from the last one.
        """
        from scipy.optimize import minimize

        design_NR, outputs = self._design_NR, self._targets_NK.shape[1]
        width = design_NR.shape[1]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            parameters = flat.reshape(outputs, width + 1)
            weight_KR = parameters[:, :width]
            loss, by_output_NK = self._loss(design_NR @ weight_KR.T + parameters[:, width], self._targets_NK)
            gradient = np.empty_like(parameters)
            gradient[:, :width] = by_output_NK.T @ design_NR + strength * weight_KR
            gradient[:, width] = by_output_NK.sum(axis=0)
            return loss + 0.5 * strength * float((weight_KR**2).sum()), gradient.ravel()

        start = np.zeros(outputs * (width + 1)) if self._start is None else self._start
        options = {"maxiter": _MOST_STEPS, "ftol": 1e-9, "gtol": 1e-6}
        self._start = np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)
        parameters = self._start.reshape(outputs, width + 1)
        weight_KD = parameters[:, :width]
        if self._basis_RD is not None:
            weight_KD = weight_KD @ self._basis_RD
        weight_KD = weight_KD * self._scale_D
        return LinearModel(weight_KD, parameters[:, width] - weight_KD @ self._mean_D)
