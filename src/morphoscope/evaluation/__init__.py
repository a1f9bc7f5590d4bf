"""Evaluate and compare runs, with n and intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.evaluation.compare import Aligned, align
    from morphoscope.evaluation.evaluate import evaluate_elsewhere, evaluate_ensemble, prediction_table

__all__ = [
    "Aligned",
    "align",
    "evaluate_elsewhere",
    "evaluate_ensemble",
    "prediction_table",
]
_PUBLIC = {
    "Aligned": "morphoscope.evaluation.compare",
    "align": "morphoscope.evaluation.compare",
    "evaluate_elsewhere": "morphoscope.evaluation.evaluate",
    "evaluate_ensemble": "morphoscope.evaluation.evaluate",
    "prediction_table": "morphoscope.evaluation.evaluate",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
