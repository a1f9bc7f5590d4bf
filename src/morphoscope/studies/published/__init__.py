"""What the five papers publish, as data: numbers, claims, contradictions, and the readings taken here."""

from __future__ import annotations

import importlib

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.studies.published.paper import Published

PAPERS = ("cheng", "tong", "yan", "ng", "fu")


def published(study: str) -> Published:
    """What the paper of a study publishes.

    Raises:
        UsageError: no such study.
    """
    if study not in PAPERS:
        raise UsageError(f"no paper '{study}'{did_you_mean(study, PAPERS, 'papers')}")
    return importlib.import_module(f"morphoscope.studies.published.{study}").PUBLISHED
