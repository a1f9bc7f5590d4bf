"""From images to calibrated predictions: network, calibration, OOD score, ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Prediction, Predictor

__all__ = [
    "Ensemble",
    "Prediction",
    "Predictor",
]
_PUBLIC = {
    "Ensemble": "morphoscope.inference.ensemble",
    "Prediction": "morphoscope.inference.predictor",
    "Predictor": "morphoscope.inference.predictor",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
