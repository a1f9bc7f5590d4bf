"""The prediction sets that a catalogue was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.catalogue.columns import Sets
from morphoscope.errors import UsageError
from morphoscope.evaluation.conformal import check_coverage, least_probabilities
from morphoscope.labels.scheme import Classes

if TYPE_CHECKING:
    from morphoscope.evaluation.ensemble import Ensemble
    from morphoscope.evaluation.predictor import Predictor


def sets_of(
    predictor: Predictor | Ensemble, coverage: float | None, *, per_class: bool = False
) -> Sets | None:
    """Thresholds for a coverage from the run's calibration; None where no sets were asked for.

    Raises:
        UsageError: the coverage is not between 0 and 1, the run answers with votes, or it was not
            calibrated for these views.
    """
    if coverage is None:
        if per_class:
            raise UsageError("sets within every class need a coverage; add --coverage, such as 0.9")
        return None
    check_coverage(coverage)
    if not isinstance(predictor.scheme, Classes):
        raise UsageError("--coverage makes sets of classes; this run answers with vote fractions")
    calibration = predictor.calibration
    if calibration is None or calibration.scores is None:
        raise UsageError(
            f"--coverage needs a calibrated run; calibration of '{predictor.run.name}' is "
            f"{predictor.calibration_words}. See 'morphoscope calibrate --help'"
        )
    least_K = least_probabilities(calibration.scores, predictor.scheme.classes, coverage, per_class=per_class)
    return Sets(coverage, per_class, least_K)
