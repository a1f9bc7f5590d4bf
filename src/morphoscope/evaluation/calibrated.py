"""A run's calibration: fitted on its validation galaxies, and what it does to galaxies held out.

Shape letters: V views, N galaxies, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from morphoscope.data.split_file import Split
from morphoscope.evaluation.calibration import FEWEST, Calibration, fit_calibration
from morphoscope.evaluation.calibration_scores import calibration_scores, log_loss_change
from morphoscope.evaluation.conformal import SCORE, measured_sets
from morphoscope.evaluation.corrections import Temperature
from morphoscope.evaluation.predictor import Predictor, mean_over_views
from morphoscope.labels.scheme import Classes
from morphoscope.progress import note


def fit_views(
    predictor: Predictor, split: Split, targets: np.ndarray, answers_VNK: np.ndarray
) -> dict[int, Calibration]:
    """Calibrations for the predictor's views and every smaller number of views that is part of them.

    Galaxies that are in the test as well (some published splits) are left out: a correction fitted on the
    galaxies it is judged by would look better than it is.

    Args:
        predictor: of the run; knows its views.
        split: the run's.
        targets: labels of the whole store.
        answers_VNK: the network's own answers for the validation galaxies.

    Returns:
        number of views → calibration; empty, with a note, where fewer than twenty galaxies are left.
    """
    alone = ~np.isin(split.validation, split.test)
    labels = targets[split.validation[alone]]
    if len(labels) < FEWEST:
        note(
            f"not calibrated: {len(labels)} validation galaxies that are not in the test, and "
            f"{FEWEST} are the fewest to learn from (data.validation)"
        )
        return {}
    fitted = {}
    for number, places in predictor.views_within().items():
        answers_NK = mean_over_views(answers_VNK[places][:, alone])
        calibration = fit_calibration(
            predictor.scheme, labels, answers_NK, seed=predictor.run.recipe.data.split_seed
        )
        if calibration is not None:
            fitted[number] = calibration
    return fitted


def calibration_results(
    predictor: Predictor, targets: np.ndarray, own_NK: np.ndarray, answers_NK: np.ndarray
) -> dict[str, Any] | None:
    """What the calibration did, JSON-able; None without one.

    Args:
        predictor: that answered.
        targets: of N galaxies that the calibration was not fitted on.
        own_NK: the network's own answers.
        answers_NK: the corrected ones.

    Returns:
        ``method``, ``words`` (for people), ``galaxies`` (validation galaxies it was fitted on),
        ``temperature`` (or None), ``held_out`` (candidate → cross-validated log loss), ``before`` and
        ``after`` (see :func:`morphoscope.evaluation.calibration_scores.calibration_scores`),
        ``log_loss_change``.
    """
    calibration, scheme = predictor.calibration, predictor.scheme
    if calibration is None:
        return None
    correction = calibration.correction
    return {
        "method": correction.method,
        "words": calibration.words,
        "galaxies": calibration.galaxies,
        "temperature": correction.temperature if isinstance(correction, Temperature) else None,
        "held_out": calibration.held_out,
        "before": calibration_scores(scheme, targets, own_NK),
        "after": calibration_scores(scheme, targets, answers_NK),
        "log_loss_change": log_loss_change(scheme, targets, own_NK, answers_NK),
    }


def set_results(
    predictor: Predictor, targets: np.ndarray, answers_NK: np.ndarray, coverage: float
) -> dict[str, Any] | None:
    """Prediction sets measured on galaxies with known classes, JSON-able; None where none can be made.

    Returns:
        ``coverage`` (as asked), ``score``, ``galaxies`` (validation galaxies that set the thresholds),
        ``marginal`` and ``per_class`` (see :func:`morphoscope.evaluation.conformal.measured_sets`).
    """
    calibration, scheme = predictor.calibration, predictor.scheme
    if calibration is None or calibration.scores is None or not isinstance(scheme, Classes):
        return None

    def measured(*, per_class: bool) -> dict[str, Any]:
        assert calibration is not None
        assert calibration.scores is not None
        return measured_sets(
            calibration.scores, targets, answers_NK, scheme.classes, coverage, per_class=per_class
        )

    return {
        "coverage": coverage,
        "score": SCORE,
        "galaxies": calibration.galaxies,
        "marginal": measured(per_class=False),
        "per_class": measured(per_class=True),
    }
