"""Cutouts of surveys round positions on the sky, from the surveys' own services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.cutouts.download import CutoutSummary, fetch_cutouts
    from morphoscope.cutouts.fetch import CutoutSource
    from morphoscope.cutouts.services import Service, find_service, service_names
    from morphoscope.cutouts.targets import CutoutRequest

__all__ = [
    "CutoutRequest",
    "CutoutSource",
    "CutoutSummary",
    "Service",
    "fetch_cutouts",
    "find_service",
    "service_names",
]
_PUBLIC = {
    "CutoutRequest": "morphoscope.cutouts.targets",
    "CutoutSource": "morphoscope.cutouts.fetch",
    "CutoutSummary": "morphoscope.cutouts.download",
    "Service": "morphoscope.cutouts.services",
    "fetch_cutouts": "morphoscope.cutouts.download",
    "find_service": "morphoscope.cutouts.services",
    "service_names": "morphoscope.cutouts.services",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
