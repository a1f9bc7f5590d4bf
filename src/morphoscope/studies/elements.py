"""Where the code reproduces each element of a paper: tables, figures, claims and settings.

The table in docs/studies.md is made from this. A location is ``FILE: NAME`` below ``src/morphoscope``. An
element that departs from the paper, or fills a gap in it, names the deviation or reading that says how.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from morphoscope.studies.published import Published
from morphoscope.studies.registry import PAPERS, published


@dataclass(frozen=True)
class Element:
    """One table, figure, claim or setting of a paper.

    Attributes:
        name: the paper's name, such as "Table 2" or "Fig 6"; for a setting, a word such as "batch".
        what: what it shows or says.
        location: ``FILE: NAME`` in the package.
        declared: the deviation or reading on the study's page that says how it differs; empty if it does not.
    """

    name: str
    what: str
    location: str
    declared: str = ""


def elements_of(paper: str) -> tuple[Element, ...]:
    """A paper's listed elements and its claims."""
    listed: tuple[Element, ...] = importlib.import_module(f"morphoscope.studies.{paper}.elements").ELEMENTS
    return (*listed, *_claims(published(paper), paper))


def every_element() -> dict[str, tuple[Element, ...]]:
    """The elements of all papers, by short name."""
    return {paper: elements_of(paper) for paper in PAPERS}


def _claims(paper: Published, key: str) -> Iterable[Element]:
    for claim in paper.claims:
        asked = f" (asked of {claim.asked_of})" if claim.asked_of else ""
        declared = "" if claim.check is not None else claim.undecided
        yield Element("claim", claim.text + asked, f"studies/{key}/paper.py: CLAIMS", declared)
