"""Shares of the classes in new galaxies, estimated from their probabilities without a label.

A classifier's probabilities hold for the class shares of its training. Where the classes come in other
shares π and galaxies of a class look as they did, Bayes' theorem gives p′_k ∝ p_k π_k / π⁰_k, and the
likelihood of π is maximised by expectation maximisation: π is the mean of p′, and so on (Saerens, Latinne and
Decaestecker 2002, Neural Computation 14, 21, eq. 2.8; with calibrated probabilities, Alexandari, Kundaje and
Shrikumar 2020, arXiv:1901.06852).

Shape letters: N galaxies, K classes.
"""

from __future__ import annotations

import numpy as np

KEPT = 0.02
"""Share of the galaxies that is taken to have the training's class shares: a Dirichlet prior of N / 49
galaxies. So no class becomes more than fifty times rarer than in the training, however few of it are seen."""
_STEPS, _SMALL = 2000, 1e-7


def estimated_shares(
    probabilities_NK: np.ndarray, training_K: np.ndarray, *, kept: float = KEPT
) -> np.ndarray:
    """The class shares that the probabilities imply, (K,) float64 with the sum 1.

    Args:
        probabilities_NK: calibrated, for the training's shares.
        training_K: the training's shares, all above 0.
        kept: see :data:`KEPT`; 0 is maximum likelihood.
    """
    p_NK = np.asarray(probabilities_NK, np.float64)
    training_K = np.asarray(training_K, np.float64) / np.sum(training_K)
    shares_K = training_K
    for _ in range(_STEPS):
        found_K = kept * training_K + (1 - kept) * with_shares(p_NK, training_K, shares_K).mean(axis=0)
        moved, shares_K = float(np.abs(found_K - shares_K).max()), found_K
        if moved < _SMALL:
            break
    return shares_K / shares_K.sum()


def with_shares(probabilities_NK: np.ndarray, training_K: np.ndarray, shares_K: np.ndarray) -> np.ndarray:
    """Probabilities for other class shares than the training's, (N, K) float64.

    Args:
        probabilities_NK: for the training's shares; a galaxy whose probabilities are all 0 stays as it is.
        training_K: the training's shares, all above 0.
        shares_K: the other ones.
    """
    moved_NK = np.asarray(probabilities_NK, np.float64) * (np.asarray(shares_K) / np.asarray(training_K))
    sums_N1 = moved_NK.sum(axis=1, keepdims=True)
    return moved_NK / np.where(sums_N1 > 0, sums_N1, 1)
