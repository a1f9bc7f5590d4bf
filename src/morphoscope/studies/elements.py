"""Where each element of a paper is in the code: its tables, figures, claims and settings.

The table of docs/studies.md is made from this. A place is ``FILE: NAME`` below ``src/morphoscope``; what is
not as in the paper names the deviation, or the reading of what the paper leaves open, that declares it.
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
        name: as the paper names it: "Table 2", "Fig 6"; of settings a word such as "batch".
        what: it shows or says.
        place: ``FILE: NAME`` in the package.
        declared: the deviation or reading of the paper's page that says how it differs; empty: it does not.
    """

    name: str
    what: str
    place: str
    declared: str = ""


def elements_of(paper: str) -> tuple[Element, ...]:
    """The elements of a paper: those listed for it, and its claims."""
    listed: tuple[Element, ...] = importlib.import_module(f"morphoscope.studies.{paper}.elements").ELEMENTS
    return (*listed, *_claims(published(paper), paper))


def every_element() -> dict[str, tuple[Element, ...]]:
    """The elements of all papers, by their short names."""
    return {paper: elements_of(paper) for paper in PAPERS}


def _claims(paper: Published, key: str) -> Iterable[Element]:
    for claim in paper.claims:
        asked = f" (asked of {claim.asked_of})" if claim.asked_of else ""
        declared = "" if claim.check is not None else claim.undecided
        yield Element("claim", claim.text + asked, f"studies/{key}/paper.py: CLAIMS", declared)
