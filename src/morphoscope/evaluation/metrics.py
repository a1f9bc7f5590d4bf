"""The numbers a finished network is judged by, each with n and a 95 % interval, ready for JSON.

Shape letters: N galaxies, K classes or answers, R resamples.

A number is ``{"value", "low", "high"}`` with plain floats. What is undefined is None with a ``reason``
beside it; NaN never appears.

Arrays that metrics can be computed from, or one sentence on what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation import calibration_error
from morphoscope.evaluation.bootstrap import resampled_sums, wilson_interval, with_interval
from morphoscope.evaluation.confusion import ClassCounts
from morphoscope.labels.scheme import Classes, VoteFractions

_TINY = float(np.finfo(np.float32).eps)  # log loss of a certain and wrong answer stays finite


def measure(
    scheme: Classes | VoteFractions,
    targets: np.ndarray,
    outputs_NK: np.ndarray,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The metrics that belong to a label scheme, by one of the two functions below.

    Args:
        scheme: what the labels mean.
        targets: (N,) class indices or (N, K) fractions.
        outputs_NK: the network's probabilities or fractions.
        bootstrap: R, resamples of the galaxies.
        seed: of the resampling.
    """
    if isinstance(scheme, Classes):
        return classification_metrics(targets, outputs_NK, scheme.classes, bootstrap=bootstrap, seed=seed)
    return regression_metrics(
        targets, outputs_NK, scheme.answers, questions_of(scheme), bootstrap=bootstrap, seed=seed
    )


def questions_of(scheme: VoteFractions) -> dict[str, tuple[str, ...]] | None:
    """The answer columns of each question of a scheme's decision tree; None for one without a tree."""
    if scheme.tree is None:
        return None
    from morphoscope.labels.decision_tree import GALAXY_ZOO_2

    return {
        question.text: tuple(GALAXY_ZOO_2.columns[piece])
        for question, piece in zip(GALAXY_ZOO_2.questions, GALAXY_ZOO_2.slices, strict=True)
    }


def classification_metrics(
    labels_N: np.ndarray,
    probabilities_NK: np.ndarray,
    classes: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything about N classified galaxies, JSON-able.

    Args:
        labels_N: true class indices, 0 to K − 1.
        probabilities_NK: rows sum to 1; the class chosen is the first of the greatest.
        classes: K names in the order of the columns.
        bootstrap: resamples of the galaxies for the intervals (95 %, percentiles); 0: none.
        seed: of the resampling; the same seed pairs the resamples of two networks.

    Returns:
        ``n``; ``accuracy``, ``macro_precision``, ``macro_recall``, ``macro_f1``, ``weighted_precision``,
        ``weighted_recall``, ``weighted_f1``, ``top2`` (truth among the two most probable), ``ece`` and
        ``adaptive_ece`` (see calibration_error.py), ``log_loss`` (nats) and ``brier`` (Σ_k (p_k − y_k)², 0
        to 2, Brier 1950), each ``{"value", "low", "high"}``; ``per_class``, a list of ``{name, precision,
        recall, recall_low, recall_high (Wilson), f1, support, predicted}``; ``confusion`` (K×K counts, rows
        the truth); ``reliability`` (bins); ``notes``, sentences on what these numbers cannot say.

        Macro averages follow scikit-learn with ``zero_division=0`` over the classes that occur in the truth
        or among the predictions, so a class that is called but has no galaxy here counts as zero; ``notes``
        names the classes without galaxies. In ``per_class`` what is 0/0 is None with a ``reason``.

    Raises:
        MorphoscopeError: no galaxies, shapes that do not fit, labels outside 0 to K − 1, rows that are not
            probabilities.
    """
    labels_N, probabilities_NK = checked_classes(labels_N, probabilities_NK, classes)
    count, size = probabilities_NK.shape
    rows = np.arange(count)
    predicted_N = probabilities_NK.argmax(axis=1)
    correct_N = predicted_N == labels_N
    confidence_N = probabilities_NK[rows, predicted_N]
    truth_N = probabilities_NK[rows, labels_N]
    one_hot = labels_N[:, None] == np.arange(size)
    edges = {
        "ece": calibration_error.equal_width_edges(),
        "adaptive_ece": calibration_error.adaptive_edges(confidence_N),
    }
    parts = {
        "counts": ClassCounts.columns(labels_N, predicted_N, size),
        "top2": (_rank(probabilities_NK, labels_N) < 2)[:, None],
        "log_loss": -np.log(np.clip(truth_N, _TINY, 1.0))[:, None],
        "brier": np.square(probabilities_NK - one_hot).sum(axis=1, keepdims=True),
    } | {name: calibration_error.gap_columns(confidence_N, correct_N, edge) for name, edge in edges.items()}

    measured = _numbers({name: part.sum(axis=0, dtype=np.float64) for name, part in parts.items()}, count)
    sums = resampled_sums(np.concatenate(list(parts.values()), axis=1), bootstrap, seed)
    widths = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
    resampled = _numbers(dict(zip(parts, np.split(sums, widths, axis=1), strict=True)), count)

    confusion = np.bincount(labels_N * size + predicted_N, minlength=size * size).reshape(size, size)
    return {
        "n": count,
        **{
            name: with_interval(float(value), resampled[name], count, biased_upward=name in edges)
            for name, value in measured.items()
        },
        "per_class": per_class(confusion, classes),
        "confusion": confusion.tolist(),
        "reliability": calibration_error.reliability(confidence_N, correct_N),
        "notes": _notes(confusion, classes),
    }


def _numbers(sums: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Metrics from sums over galaxies; the same formulas serve all galaxies and every resample."""
    counts = ClassCounts.of_sums(sums["counts"])
    return {
        "accuracy": counts.accuracy,
        **counts.averages(),
        **{name: sums[name][..., 0] / count for name in ("top2", "log_loss", "brier")},
        **{name: calibration_error.error_from_gaps(sums[name], count) for name in ("ece", "adaptive_ece")},
    }


def per_class(confusion_KK: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of galaxies of each class; 0/0 is None with a ``reason``."""
    counts = ClassCounts.of_confusion(confusion_KK)
    rows = []
    for k, name in enumerate(classes):
        truth, called = int(counts.truth[k]), int(counts.called[k])
        low, high = wilson_interval(int(counts.hits[k]), truth) or (None, None)
        row: dict[str, Any] = {
            "name": name,
            "precision": float(counts.precision[k]) if called else None,
            "recall": float(counts.recall[k]) if truth else None,
            "recall_low": low,
            "recall_high": high,
            "f1": float(counts.f1[k]) if truth + called else None,
            "support": truth,
            "predicted": called,
        }
        missing = ["the test set has no galaxy of this class"] if not truth else []
        missing += ["no galaxy was given this class"] if not called else []
        if missing:
            row["reason"] = "; ".join(missing)
        rows.append(row)
    return rows


def _notes(confusion_KK: np.ndarray, classes: Sequence[str]) -> list[str]:
    counts = ClassCounts.of_confusion(confusion_KK)
    notes = []
    absent = [name for name, truth in zip(classes, counts.truth, strict=True) if not truth]
    if absent:
        notes.append(
            f"the test set has no galaxy of {', '.join(absent)}: nothing is known about their recall, and "
            "macro averages leave them out, or count a class as zero that some galaxy was given"
        )
    hits, count = int(counts.hits.sum()), int(counts.truth.sum())
    if hits in (0, count):
        low, high = wilson_interval(hits, count) or (0.0, 1.0)
        notes.append(
            f"{'all' if hits else 'none'} of {count} galaxies are right, so a bootstrap has no width; the "
            f"Wilson interval of the accuracy is {low:.3f} to {high:.3f}"
        )
    return notes


def _rank(probabilities_NK: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """How many classes come before the true one, ties in the order of the classes as argmax breaks them."""
    truth = probabilities_NK[np.arange(len(labels_N)), labels_N][:, None]
    earlier = np.arange(probabilities_NK.shape[1]) < labels_N[:, None]
    return ((probabilities_NK > truth) | ((probabilities_NK == truth) & earlier)).sum(axis=1)


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
        targets_NK: true fractions, finite (leave galaxies without votes out).
        predictions_NK: the network's fractions.
        columns: K answers' names.
        questions: question → names of its answers; None: no questions.
        bootstrap: resamples of the galaxies for the intervals (95 %, percentiles); 0: none.
        seed: of the resampling.

    Returns:
        ``n``; ``rmse`` = sqrt(Σ se / (N·K)) exactly, over all galaxies at once and not batch by batch (`ng`,
        and the score of the Kaggle challenge), as ``{"value", "low", "high"}``; ``per_answer``, a list of
        ``{name, rmse, low, high, bias (mean of prediction − truth), spread (standard deviation of the truth:
        the RMSE of answering with the mean)}``; ``per_question``, a list of ``{name, answers, rmse, low,
        high}``; ``notes`` (empty).

    Raises:
        MorphoscopeError: no galaxies, shapes that do not fit, values that are not finite.
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


def checked_classes(
    labels_N: np.ndarray, probabilities_NK: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as (N,) int64 and probabilities as (N, K) float64.

    Raises:
        MorphoscopeError: no galaxies, shapes that do not fit, labels outside 0 to K − 1, rows that are not
            probabilities.
    """
    labels_N = np.asarray(labels_N)
    probabilities_NK = np.asarray(probabilities_NK, np.float64)
    count, size = len(labels_N), len(classes)
    _check_shape(probabilities_NK, (count, size), "probabilities")
    if labels_N.ndim != 1:
        raise MorphoscopeError(f"labels have shape {labels_N.shape}; one class index a galaxy was expected")
    labels_N = labels_N.astype(np.int64)
    outside = np.flatnonzero((labels_N < 0) | (labels_N >= size))
    if len(outside):
        raise MorphoscopeError(
            f"{len(outside)} of {count} labels lie outside 0 to {size - 1} (row {outside[0]}: "
            f"{labels_N[outside[0]]}); leave galaxies without a label out"
        )
    sums = probabilities_NK.sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) < 1e-3) | (probabilities_NK < 0).any(axis=1))
    if len(wrong):
        raise MorphoscopeError(
            f"{len(wrong)} of {count} rows are not probabilities: row {wrong[0]} sums to "
            f"{sums[wrong[0]]:.4g} or holds a negative value; values from 0 to 1 that sum to 1 were expected"
        )
    return labels_N, probabilities_NK


def checked_votes(
    targets_NK: np.ndarray, predictions_NK: np.ndarray, columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Votes and predictions as (N, K) float64.

    Raises:
        MorphoscopeError: no galaxies, shapes that do not fit, values that are not finite.
    """
    targets_NK = np.asarray(targets_NK, np.float64)
    predictions_NK = np.asarray(predictions_NK, np.float64)
    advice = "; leave galaxies without votes out"
    for name, array, hint in (("votes", targets_NK, advice), ("predictions", predictions_NK, "")):
        _check_shape(array, (len(targets_NK), len(columns)), name)
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, column = bad[0]
            raise MorphoscopeError(
                f"{len(bad)} {name} are not finite (the first: row {row}, {columns[column]}){hint}"
            )
    return targets_NK, predictions_NK


def _check_shape(array: np.ndarray, expected: tuple[int, int], name: str) -> None:
    if expected[0] == 0:
        raise MorphoscopeError("there are no galaxies to measure; a test set with at least one was expected")
    if array.shape != expected:
        raise MorphoscopeError(
            f"{name} have shape {array.shape}; {expected} was expected (galaxies, {expected[1]} outputs)"
        )
