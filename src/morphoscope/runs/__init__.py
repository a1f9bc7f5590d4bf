"""Runs on disk: opening and reading them, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.runs.run import Run, open_run

__all__ = [
    "Run",
    "open_run",
]
_PUBLIC = {
    "Run": "morphoscope.runs.run",
    "open_run": "morphoscope.runs.run",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
