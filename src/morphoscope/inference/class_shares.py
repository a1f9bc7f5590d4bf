"""Predictions for the class shares of the galaxies at hand, estimated from the predictions themselves.

:mod:`morphoscope.metrics.class_shares` has how. A catalogue says in its provenance which shares were
estimated, and from how many galaxies.

Shape letters: N galaxies, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.inference.ensemble import Ensemble
from morphoscope.inference.predictor import Predictor
from morphoscope.metrics.class_shares import KEPT, estimated_shares, with_shares

FEWEST = 200
"""Galaxies; the shares of fewer are too uncertain."""
_LEAST = 1e-4  # a class without a training galaxy would get an infinite weight
_DIGITS = 4  # of the shares, so that the provenance states those that were used


@dataclass(frozen=True, eq=False)
class ClassShares:
    """The class shares of some galaxies, beside the training's.

    Attributes:
        classes: K names.
        training_K: the training's shares.
        shares_K: the estimated ones.
        galaxies: how many they were estimated from.
    """

    classes: Sequence[str]
    training_K: np.ndarray
    shares_K: np.ndarray
    galaxies: int

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Probabilities for these shares, (N, K) float32, from those for the training's."""
        return with_shares(predictions_NK, self.training_K, self.shares_K).astype(np.float32)

    @property
    def description(self) -> str:
        """One line, for provenance and notes."""
        each = (
            f"{name} {share:.4f} ({trained:.4f})"
            for name, share, trained in zip(self.classes, self.shares_K, self.training_K, strict=True)
        )
        return (
            f"estimated from {self.galaxies} galaxies of the input by expectation maximisation, {KEPT:.0%} "
            f"kept as in the training (in brackets): {', '.join(each)}"
        )


def check_classes(predictor: Predictor | Ensemble) -> None:
    """Refuse a run without classes.

    Raises:
        UsageError: it predicts votes or measurements.
    """
    if predictor.scheme.class_names is None:
        raise UsageError(
            f"--estimate-shares is about the shares of classes; this run predicts {predictor.scheme.noun}"
        )


def training_shares(predictor: Predictor | Ensemble) -> np.ndarray:
    """The class shares that the predictions of a run are made for, (K,) with the sum 1.

    Those of the calibration, where it knows them; else the training galaxies', which are equal where the
    training balanced them. Of an ensemble the mean over its members.

    Raises:
        UsageError: the run predicts no classes, or does not record them.
    """
    check_classes(predictor)
    if isinstance(predictor, Ensemble):
        return np.mean([training_shares(member) for member in predictor.members], axis=0)
    run, classes = predictor.run, predictor.scheme.class_names
    assert classes is not None
    if predictor.calibration is not None and predictor.calibration.mixing is not None:
        counts = predictor.calibration.mixing.shares
    elif run.recipe.data.balance != "none":
        counts = (1.0,) * len(classes)
    else:
        with run.reading_results():
            known = run.metrics().get("counts", {}).get("train", {})
            counts = tuple(float(known.get(name, 0)) for name in classes)
    shares_K = np.array(counts, np.float64)
    if not shares_K.sum() > 0:
        raise UsageError(
            f"run '{run.name}' does not record how many galaxies of each class it was trained on, which "
            "--estimate-shares compares with; run 'morphoscope evaluate' on it, or leave the option out"
        )
    shares_K = np.maximum(shares_K / shares_K.sum(), _LEAST)
    return shares_K / shares_K.sum()


def class_shares_of(predictor: Predictor | Ensemble, probabilities_NK: np.ndarray) -> ClassShares:
    """The class shares of galaxies with these predictions.

    Args:
        predictor: which made them.
        probabilities_NK: a representative sample.

    Raises:
        UsageError: there are fewer than :data:`FEWEST`, or as for :func:`training_shares`.
    """
    training_K = training_shares(predictor)
    count = len(probabilities_NK)
    if count < FEWEST:
        raise UsageError(
            f"--estimate-shares needs at least {FEWEST} galaxies with a class, and {count} are here; the "
            "shares of fewer are too uncertain, so leave it out"
        )
    assert predictor.scheme.class_names is not None
    shares_K = np.round(estimated_shares(probabilities_NK, training_K), _DIGITS)
    return ClassShares(predictor.scheme.class_names, training_K, shares_K, count)
