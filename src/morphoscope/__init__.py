"""Morphoscope: from galaxy images to morphology catalogues you can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports
from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.api import LoadedRun, load, train
    from morphoscope.catalogue.active_learning import label_next
    from morphoscope.catalogue.formats.convert import convert
    from morphoscope.catalogue.formats.write import read_provenance
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.data.audit import audit
    from morphoscope.data.sources.folder import ingest_folder
    from morphoscope.data.sources.simulated import simulate
    from morphoscope.data.sources.table import ingest_table
    from morphoscope.data.store import Store, open_store
    from morphoscope.errors import MorphoscopeError, UsageError
    from morphoscope.evaluation.compare import compare
    from morphoscope.explorer.server import explore
    from morphoscope.images.decode import read_image
    from morphoscope.recipes import Recipe
    from morphoscope.report.explain_report import explain
    from morphoscope.runs.run import open_run
    from morphoscope.studies.registry import find_recipe
    from morphoscope.studies.reproduce import study

__all__ = [
    "CatalogueRequest",
    "LoadedRun",
    "MorphoscopeError",
    "Recipe",
    "Store",
    "UsageError",
    "__version__",
    "audit",
    "compare",
    "convert",
    "explain",
    "explore",
    "find_recipe",
    "ingest_folder",
    "ingest_table",
    "label_next",
    "load",
    "open_run",
    "open_store",
    "read_image",
    "read_provenance",
    "simulate",
    "study",
    "train",
]
_PUBLIC = {
    "CatalogueRequest": "morphoscope.catalogue.request",
    "LoadedRun": "morphoscope.api",
    "MorphoscopeError": "morphoscope.errors",
    "Recipe": "morphoscope.recipes",
    "Store": "morphoscope.data.store",
    "UsageError": "morphoscope.errors",
    "audit": "morphoscope.data.audit",
    "compare": "morphoscope.evaluation.compare",
    "convert": "morphoscope.catalogue.formats.convert",
    "explain": "morphoscope.report.explain_report",
    "explore": "morphoscope.explorer.server",
    "find_recipe": "morphoscope.studies.registry",
    "ingest_folder": "morphoscope.data.sources.folder",
    "ingest_table": "morphoscope.data.sources.table",
    "label_next": "morphoscope.catalogue.active_learning",
    "load": "morphoscope.api",
    "open_run": "morphoscope.runs.run",
    "open_store": "morphoscope.data.store",
    "read_image": "morphoscope.images.decode",
    "read_provenance": "morphoscope.catalogue.formats.write",
    "simulate": "morphoscope.data.sources.simulated",
    "study": "morphoscope.studies.reproduce",
    "train": "morphoscope.api",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
