"""Shapes of galaxies measured on their fluxes: concentration, asymmetry, Gini, M20 and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.measurement.segment import Segment, central_segment
    from morphoscope.measurement.shapes import SHAPE_COLUMNS, ShapeSettings, measure_shape

__all__ = ["SHAPE_COLUMNS", "Segment", "ShapeSettings", "central_segment", "measure_shape"]
_PUBLIC = {
    "SHAPE_COLUMNS": "morphoscope.measurement.shapes",
    "Segment": "morphoscope.measurement.segment",
    "ShapeSettings": "morphoscope.measurement.shapes",
    "central_segment": "morphoscope.measurement.segment",
    "measure_shape": "morphoscope.measurement.shapes",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
