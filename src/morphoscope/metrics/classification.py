"""Classification scores with n and 95 % intervals, and paired comparison of two classifications.

Shape letters: N galaxies, K classes, R resamples.

A number is ``{"value", "low", "high"}`` with plain floats, ready for JSON. Undefined values are None with a
``reason``, never NaN. Precision, recall and F1 are computed from counts, for one confusion matrix or for a
thousand resamples at once, so that value and interval come from the same formula; the tests compare them with
scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from morphoscope.metrics import calibration_error
from morphoscope.metrics.bootstrap import resampled_sums, wilson_interval, with_interval
from morphoscope.metrics.checks import checked_classes

EXACT_BELOW = 25  # discordant galaxies; fewer are tested exactly
_TINY = float(np.finfo(np.float32).eps)  # keeps the log loss of a certain and wrong prediction finite


def classification_metrics(
    labels_N: np.ndarray,
    probabilities_NK: np.ndarray,
    classes: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All scores of N classified galaxies, JSON-able.

    Args:
        labels_N: true class indices, 0 to K − 1.
        probabilities_NK: rows sum to 1; the predicted class is the first with the highest probability.
        classes: K names in the order of the columns.
        bootstrap: resamples of the galaxies for the intervals (95 %, percentiles); 0: none.
        seed: of the resampling; the same seed pairs the resamples of two networks.

    Returns:
        ``n``; ``accuracy``, ``macro_precision``, ``macro_recall``, ``macro_f1``, ``weighted_precision``,
        ``weighted_recall``, ``weighted_f1``, ``top2`` (truth among the two most probable), ``ece`` and
        ``adaptive_ece`` (see calibration_error.py), ``log_loss`` (nats) and ``brier`` (Σ_k (p_k − y_k)², 0
        to 2, Brier 1950), each ``{"value", "low", "high"}``; ``per_class``, a list of ``{name, precision,
        recall, recall_low, recall_high (Wilson), f1, support, predicted}``; ``confusion`` (K×K counts, rows
        the truth); ``reliability`` (bins); ``notes``, caveats as sentences.

        Macro averages follow scikit-learn with ``zero_division=0`` over the classes that occur in the truth
        or among the predictions, so a class that is predicted but has no galaxies counts as zero; ``notes``
        names the classes without galaxies. In ``per_class``, 0/0 is None with a ``reason``.

    Raises:
        MorphoscopeError: no galaxies, wrong shapes, labels outside 0 to K − 1, rows that are not
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
        missing += ["the class was never predicted"] if not called else []
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
            f"the test set has no galaxy of {', '.join(absent)}: their recall is unknown, and macro averages "
            "leave them out, or count them as zero if they were predicted"
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
    """How many classes rank before the true one; ties in the order of the classes, as in argmax."""
    truth = probabilities_NK[np.arange(len(labels_N)), labels_N][:, None]
    earlier = np.arange(probabilities_NK.shape[1]) < labels_N[:, None]
    return ((probabilities_NK > truth) | ((probabilities_NK == truth) & earlier)).sum(axis=1)


def compare_classifications(
    truth_N: np.ndarray,
    first_N: np.ndarray,
    second_N: np.ndarray,
    classes: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Second minus first on the same galaxies, resampled together, JSON-able.

    Args:
        truth_N: class indices.
        first_N: the first network's predictions.
        second_N: the second's.
        classes: K names.
        bootstrap: R, resamples of the galaxies.
        seed: of the resampling.

    Returns:
        ``difference`` (of the accuracy) and ``macro_f1`` as ``{"value", "low", "high"}``, ``mcnemar``
        (:func:`mcnemar`), ``per_class`` (differences of recall and F1).
    """
    size, count = len(classes), len(truth_N)
    columns = [ClassCounts.columns(truth_N, predicted_N, size) for predicted_N in (first_N, second_N)]
    pair = np.concatenate(columns, axis=1)
    before, after = (ClassCounts.of_sums(part) for part in np.split(pair.sum(axis=0), 2))
    sums = resampled_sums(pair, bootstrap, seed)
    before_R, after_R = (ClassCounts.of_sums(part) for part in np.split(sums, 2, axis=1))
    return {
        "difference": with_interval(
            float(after.accuracy - before.accuracy), after_R.accuracy - before_R.accuracy, count
        ),
        "macro_f1": with_interval(
            float(after.averages()["macro_f1"] - before.averages()["macro_f1"]),
            after_R.averages()["macro_f1"] - before_R.averages()["macro_f1"],
            count,
        ),
        "mcnemar": mcnemar(first_N == truth_N, second_N == truth_N),
        "per_class": [_class_row(name, k, before, after) for k, name in enumerate(classes)],
    }


def _class_row(name: str, k: int, before: ClassCounts, after: ClassCounts) -> dict[str, Any]:
    support = int(before.truth[k])
    row: dict[str, Any] = {"name": name, "support": support}
    if not support:
        return {**row, "recall": None, "f1": None, "reason": "the test set has no galaxy of this class"}
    for score in ("recall", "f1"):
        row[score] = float(getattr(after, score)[k] - getattr(before, score)[k])
    return row


def mcnemar(first_correct_N: np.ndarray, second_correct_N: np.ndarray) -> dict[str, Any]:
    """McNemar's test of two networks' accuracy on the same galaxies (McNemar 1947, Psychometrika 12, 153).

    Only galaxies that exactly one of the two gets right count. Fewer than 25 of them: the exact two-sided
    binomial test; else chi-square with one degree of freedom and the continuity correction of Edwards 1948
    (Psychometrika 13, 185): (|b − c| − 1)² / (b + c).

    Returns:
        ``only_first`` (b), ``only_second`` (c), ``method`` ("exact" or "chi-square"), ``statistic`` (None for
        the exact test) and ``p`` (1 where the two never differ).
    """
    first_correct_N, second_correct_N = np.asarray(first_correct_N, bool), np.asarray(second_correct_N, bool)
    b = int((first_correct_N & ~second_correct_N).sum())
    c = int((~first_correct_N & second_correct_N).sum())
    discordant = b + c
    counts = {"only_first": b, "only_second": c}
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(b, c) + 1)) / 2**discordant
        return {**counts, "method": "exact", "statistic": None, "p": min(1.0, 2 * tail)}
    statistic = max(abs(b - c) - 1, 0) ** 2 / discordant
    return {
        **counts,
        "method": "chi-square",
        "statistic": statistic,
        "p": math.erfc(math.sqrt(statistic / 2)),
    }


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m − k + 1, never decreasing."""
    corrected = [1.0] * len(p)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return corrected


@dataclass(frozen=True)
class ClassCounts:
    """Counts for precision and recall; each array is (..., K), leading axes being resamples."""

    hits: np.ndarray
    """Galaxies of the class that were predicted as it."""
    truth: np.ndarray
    """Galaxies of the class."""
    called: np.ndarray
    """Galaxies that were predicted as the class."""

    @staticmethod
    def columns(labels_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
        """Each galaxy's contribution as zeros and ones, (N, 3K); :meth:`of_sums` takes their sum."""
        named = np.arange(classes)
        truth = labels_N[:, None] == named
        called = predicted_N[:, None] == named
        return np.concatenate([truth & called, truth, called], axis=1)

    @staticmethod
    def of_sums(sums: np.ndarray) -> ClassCounts:
        """From sums of :meth:`columns` over galaxies, (..., 3K)."""
        return ClassCounts(*np.split(sums, 3, axis=-1))

    @staticmethod
    def of_confusion(confusion_KK: np.ndarray) -> ClassCounts:
        """From a confusion matrix, rows the truth, columns the predictions."""
        confusion_KK = np.asarray(confusion_KK)
        return ClassCounts(np.diagonal(confusion_KK), confusion_KK.sum(axis=1), confusion_KK.sum(axis=0))

    @property
    def accuracy(self) -> np.ndarray:
        """Fraction of correct predictions, (...)."""
        return self.hits.sum(axis=-1) / self.truth.sum(axis=-1)

    @property
    def precision(self) -> np.ndarray:
        """Hits over predicted, (..., K); 0 where the class was never predicted."""
        return _ratio(self.hits, self.called)

    @property
    def recall(self) -> np.ndarray:
        """Hits over truth, (..., K); 0 where the class has no galaxies."""
        return _ratio(self.hits, self.truth)

    @property
    def f1(self) -> np.ndarray:
        """2 · hits over truth plus predicted, (..., K); 0 where both are 0."""
        return _ratio(2 * self.hits, self.truth + self.called)

    def averages(self) -> dict[str, np.ndarray]:
        """macro_precision, …, weighted_f1, each (...).

        Macro: the plain mean over the classes that occur in the truth or among the predictions, as
        scikit-learn does with ``zero_division=0``; F1 is the mean of the classes' F1, not the harmonic mean
        of the other two (`tong`, Table V). Weighted: by the number of galaxies of each class.
        """
        occurs = (self.truth + self.called) > 0
        weights = self.truth / self.truth.sum(axis=-1, keepdims=True)
        result = {}
        for name in ("precision", "recall", "f1"):
            score = getattr(self, name)
            result[f"macro_{name}"] = (score * occurs).sum(axis=-1) / occurs.sum(axis=-1)
            result[f"weighted_{name}"] = (score * weights).sum(axis=-1)
        return result


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
