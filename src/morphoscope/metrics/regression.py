"""Scores of predicted vote fractions with n and 95 % intervals, and paired comparison of two networks.

Shape letters: N galaxies, K answers, B bins, R resamples.

A number is ``{"value", "low", "high"}`` with plain floats, ready for JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from morphoscope.metrics import calibration_error
from morphoscope.metrics.bootstrap import resampled_sums, with_interval
from morphoscope.metrics.checks import checked_votes

_TINY = 1e-7  # keeps the log loss of a predicted 0 or 1 finite


def regression_metrics(
    targets_NK: np.ndarray,
    predictions_NK: np.ndarray,
    columns: Sequence[str],
    questions: Mapping[str, Sequence[str]] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Errors of vote fractions, JSON-able.

    Args:
        targets_NK: true fractions, finite (leave out galaxies without votes).
        predictions_NK: the network's fractions.
        columns: K answers' names.
        questions: question → names of its answers; None: no questions.
        bootstrap: resamples of the galaxies for the intervals (95 %, percentiles); 0: none.
        seed: of the resampling.

    Returns:
        ``n``; ``rmse`` = sqrt(Σ se / (N·K)) exactly, over all galaxies at once and not batch by batch (`ng`,
        and the score of the Kaggle challenge), as ``{"value", "low", "high"}``; ``per_answer``, a list of
        ``{name, rmse, low, high, bias (mean of prediction − truth), spread (standard deviation of the truth:
        the RMSE of always predicting the mean)}``; ``per_question``, a list of ``{name, answers, rmse, low,
        high}``; ``notes`` (empty).

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, values that are not finite.
    """
    targets_NK, predictions_NK = checked_votes(targets_NK, predictions_NK, columns)
    count = len(targets_NK)
    errors_NK = predictions_NK - targets_NK
    squared_NK = np.square(errors_NK)
    sums_RK = resampled_sums(squared_NK, bootstrap, seed)

    def rmse(chosen: Sequence[int] | slice) -> dict[str, Any]:
        samples = np.sqrt(sums_RK[:, chosen].mean(axis=1) / count)
        return with_interval(float(np.sqrt(squared_NK[:, chosen].mean())), samples, count)

    def row(name: str, chosen: Sequence[int], **more: Any) -> dict[str, Any]:
        number = rmse(chosen)
        return {"name": name, "rmse": number["value"], "low": number["low"], "high": number["high"], **more}

    index = {name: k for k, name in enumerate(columns)}
    return {
        "n": count,
        "rmse": rmse(slice(None)),
        "per_answer": [
            row(name, [k], bias=float(errors_NK[:, k].mean()), spread=float(targets_NK[:, k].std()))
            for name, k in index.items()
        ],
        "per_question": [
            row(name, [index[answer] for answer in answers], answers=list(answers))
            for name, answers in (questions or {}).items()
        ],
        "notes": [],
    }


def fraction_log_losses(targets_NK: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
    """−Σ_k [t_k ln p_k + (1 − t_k) ln(1 − p_k)] / K of each galaxy in nats, (N,) float64.

    The binary cross-entropy of each answer, averaged over the answers.
    """
    p = np.clip(np.asarray(predictions_NK, np.float64), _TINY, 1 - _TINY)
    t = np.asarray(targets_NK, np.float64)
    return -(t * np.log(p) + (1 - t) * np.log1p(-p)).mean(axis=1)


def fraction_calibration(
    targets_NK: np.ndarray,
    predictions_NK: np.ndarray,
    columns: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration of predicted fractions, JSON-able.

    Returns:
        ``n``; as ``{"value", "low", "high"}``

        - ``ece``: Σ_k Σ_b |Σ_{i in b} (p_ik − t_ik)| / (N·K), the calibration error of fractions (as Guo et
          al. 2017, eq. 3, with the true fraction instead of right or wrong), the mean over the answers;
        - ``log_loss``: cross-entropy per answer in nats;
        - ``brier``: Σ (p − t)² / (N·K), the square of the RMSE;

        and ``reliability``: as of a classification, over all answers together, ``accuracy`` being the mean
        true fraction (without limits: the answers of one galaxy are not independent).

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, values that are not finite.
    """
    truth_NK, stated_NK = checked_votes(targets_NK, predictions_NK, columns)
    count, size = truth_NK.shape
    edges = calibration_error.equal_width_edges()
    gaps = [calibration_error.gap_columns(stated_NK[:, k], truth_NK[:, k], edges) for k in range(size)]
    parts = {
        "ece": np.concatenate(gaps, axis=1),
        "log_loss": fraction_log_losses(truth_NK, stated_NK)[:, None],
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


def compare_regressions(
    truth_NK: np.ndarray,
    first_NK: np.ndarray,
    second_NK: np.ndarray,
    columns: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Second minus first on the same galaxies, resampled together, JSON-able.

    Args:
        truth_NK: fractions.
        first_NK: the first network's.
        second_NK: the second's.
        columns: K answers.
        bootstrap: R, resamples of the galaxies.
        seed: of the resampling.

    Returns:
        ``difference`` (of the RMSE) as ``{"value", "low", "high"}``, ``closer`` (share of galaxies whose own
        RMSE is lower in the second), ``per_answer`` (differences of RMSE).
    """
    size, count = len(columns), len(truth_NK)
    squared = [np.square(predicted_NK - truth_NK) for predicted_NK in (first_NK, second_NK)]
    sums = resampled_sums(np.concatenate(squared, axis=1), bootstrap, seed)
    totals = np.concatenate(squared, axis=1).sum(axis=0)

    def difference(chosen: slice) -> dict[str, Any]:
        def rmse(values: np.ndarray) -> np.ndarray:
            return np.sqrt(values[..., chosen].mean(axis=-1) / count)

        value = rmse(totals[size:]) - rmse(totals[:size])
        return with_interval(float(value), rmse(sums[:, size:]) - rmse(sums[:, :size]), count)

    per_galaxy = [part.sum(axis=1) for part in squared]
    return {
        "difference": difference(slice(None)),
        "closer": float(np.mean(per_galaxy[1] < per_galaxy[0])),
        "per_answer": [{"name": name, **difference(slice(k, k + 1))} for k, name in enumerate(columns)],
    }
