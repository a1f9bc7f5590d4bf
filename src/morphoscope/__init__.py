"""Morphoscope: from galaxy images to morphology catalogues you can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from morphoscope.version import __version__

if TYPE_CHECKING:
    from morphoscope.api import LoadedRun, load, train
    from morphoscope.catalogue.formats.convert import convert
    from morphoscope.catalogue.formats.write import read_provenance
    from morphoscope.data.sources.simulated import simulate
    from morphoscope.data.store import Store, open_store
    from morphoscope.errors import MorphoscopeError, UsageError
    from morphoscope.recipes import Recipe
    from morphoscope.report.explain_report import explain
    from morphoscope.studies.reproduce import study


# What is heavy to import is imported when it is first used.
_PUBLIC = {
    "LoadedRun": "morphoscope.api",
    "MorphoscopeError": "morphoscope.errors",
    "Recipe": "morphoscope.recipes",
    "Store": "morphoscope.data.store",
    "UsageError": "morphoscope.errors",
    "convert": "morphoscope.catalogue.formats.convert",
    "explain": "morphoscope.report.explain_report",
    "load": "morphoscope.api",
    "open_store": "morphoscope.data.store",
    "read_provenance": "morphoscope.catalogue.formats.write",
    "simulate": "morphoscope.data.sources.simulated",
    "study": "morphoscope.studies.reproduce",
    "train": "morphoscope.api",
}
__all__ = [
    "LoadedRun",
    "MorphoscopeError",
    "Recipe",
    "Store",
    "UsageError",
    "__version__",
    "convert",
    "explain",
    "load",
    "open_store",
    "read_provenance",
    "simulate",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'morphoscope' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
