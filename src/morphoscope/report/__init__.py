"""Figures, tables and pages about a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.report.kinds import report_of
    from morphoscope.report.run_report import write_report
    from morphoscope.report.terminal import calibration_lines

__all__ = [
    "calibration_lines",
    "report_of",
    "write_report",
]
_PUBLIC = {
    "calibration_lines": "morphoscope.report.terminal",
    "report_of": "morphoscope.report.kinds",
    "write_report": "morphoscope.report.run_report",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
