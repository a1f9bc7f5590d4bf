"""Precision, recall and F1 from counts, for one confusion matrix or for a thousand resamples at once.

Shape letters: N galaxies, K classes, R resamples.

scikit-learn computes the same for one set of labels (the tests compare the two); the bootstrap needs them
for every resample, and value and interval must come from the same formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
