"""How honest answers are, before and after a correction, for classes and for votes alike.

Shape letters: N galaxies, K answers, B bins, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from morphoscope.evaluation import calibration_error
from morphoscope.evaluation.bootstrap import resampled_sums, with_interval
from morphoscope.evaluation.metrics import checked_votes, classification_metrics
from morphoscope.inference.calibration import log_losses
from morphoscope.labels.scheme import Classes, VoteFractions

SCORES = ("ece", "adaptive_ece", "log_loss", "brier")


def calibration_scores(
    scheme: Classes | VoteFractions,
    targets: np.ndarray,
    predictions_NK: np.ndarray,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration error, log loss, Brier score and reliability diagram, JSON-able.

    Classes: as :func:`morphoscope.evaluation.metrics.classification_metrics` has them. Votes:

    - ``ece``: Σ_k Σ_b |Σ_{i in b} (p_ik − t_ik)| / (N·K), the calibration error of fractions (as Guo et al.
      2017, eq. 3, with the true fraction in place of right or wrong), the mean over the answers;
    - ``log_loss``: cross-entropy per answer in nats;
    - ``brier``: Σ (p − t)² / (N·K), the square of the RMSE;
    - ``reliability``: as for classes, over all answers together, ``accuracy`` being the mean true fraction
      (without limits: the answers of one galaxy are not independent).

    Returns:
        ``n``, the scores (``adaptive_ece`` for classes only) as ``{"value", "low", "high"}``,
        ``reliability``.
    """
    if isinstance(scheme, Classes):
        measured = classification_metrics(
            targets, predictions_NK, scheme.classes, bootstrap=bootstrap, seed=seed
        )
        return {name: measured[name] for name in ("n", *SCORES, "reliability")}
    truth_NK, stated_NK = checked_votes(targets, predictions_NK, scheme.answers)
    count, size = truth_NK.shape
    edges = calibration_error.equal_width_edges()
    gaps = [calibration_error.gap_columns(stated_NK[:, k], truth_NK[:, k], edges) for k in range(size)]
    parts = {
        "ece": np.concatenate(gaps, axis=1),
        "log_loss": log_losses(scheme, truth_NK, stated_NK)[:, None],
        "brier": np.square(stated_NK - truth_NK).mean(axis=1, keepdims=True),
    }
    scores: dict[str, Any] = {"n": count}
    for name, part in parts.items():
        sums_RM = resampled_sums(part, bootstrap, seed)
        totals = part.sum(axis=0)
        divisor = count * size if name == "ece" else count
        number = float(calibration_error.error_from_gaps(totals, divisor))  # the other two are never negative
        samples = calibration_error.error_from_gaps(sums_RM, divisor)
        scores[name] = with_interval(number, samples, count, biased_upward=name == "ece")
    scores["reliability"] = _pooled(stated_NK.ravel(), truth_NK.ravel(), edges)
    return scores


def _pooled(stated: np.ndarray, truth: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
    index = calibration_error.bin_of(stated, edges)
    size = len(edges) - 1
    counts = np.bincount(index, minlength=size)
    sums = [np.bincount(index, weights=values, minlength=size) for values in (stated, truth)]
    return [
        {
            "lower": float(edges[b]),
            "upper": float(edges[b + 1]),
            "count": int(counts[b]),
            "confidence": float(sums[0][b] / counts[b]) if counts[b] else None,
            "accuracy": float(sums[1][b] / counts[b]) if counts[b] else None,
            "accuracy_low": None,
            "accuracy_high": None,
        }
        for b in range(size)
    ]


def log_loss_change(
    scheme: Classes | VoteFractions,
    targets: np.ndarray,
    before_NK: np.ndarray,
    after_NK: np.ndarray,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Log loss after minus before, galaxy by galaxy, with its interval: below 0 the correction helps."""
    gains = log_losses(scheme, targets, after_NK) - log_losses(scheme, targets, before_NK)
    samples = resampled_sums(gains[:, None], bootstrap, seed)[:, 0] / len(gains)
    return with_interval(float(gains.mean()), samples, len(gains))
