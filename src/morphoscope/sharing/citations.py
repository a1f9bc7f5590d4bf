"""Which papers to cite for a run: the study its recipe reproduces, the galaxies, the methods used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from morphoscope.studies.published import PAPERS, published

if TYPE_CHECKING:
    from morphoscope.training.run import Run

DATA = {
    "galaxy10": (
        "Galaxy10 DECaLS: H. Leung and J. Bovy; images of the DESI Legacy Imaging Surveys (Dey et al. 2019, "
        "AJ 157, 168), labels of Galaxy Zoo (Lintott et al. 2008, MNRAS 389, 1179)",
    ),
    "galaxy-zoo": (
        "Galaxy Zoo 2: Willett et al. 2013, MNRAS 435, 2835; images of the Sloan Digital Sky Survey",
    ),
    "simulator": ("Simulated with GalSim: Rowe et al. 2015, Astronomy and Computing 10, 121",),
}
METHODS = {
    "temperature": "Temperature: Guo et al. 2017, arXiv:1706.04599",
    "beta": "Beta curves: Kull, Silva Filho and Flach 2017, AISTATS",
    "isotonic": "Isotonic curves: Zadrozny and Elkan 2002, KDD",
}
SETS = "Sets of classes: Sadinle, Lei and Wasserman 2019, JASA 114, 223"


def citations(run: Run, methods: Iterable[str]) -> list[str]:
    """One line a paper.

    Args:
        run: the run.
        methods: of its calibrations.
    """
    found, study = [], run.recipe.name.partition("/")[0]
    if study in PAPERS:
        paper = published(study).paper
        about = [", ".join(paper.authors), paper.title, str(paper.year or ""), paper.identifier]
        found.append(f"The network: {', '.join(part for part in about if part)}")
    found += DATA.get(_data_set(run), ())
    found += [METHODS[method] for method in METHODS if method in set(methods)]
    if run.metrics().get("sets"):
        found.append(SETS)
    return found


def _data_set(run: Run) -> str:
    source, scheme = run.header.store.source.lower(), run.scheme.name
    if source == "simulator":
        return "simulator"
    if source.startswith("galaxy10") or scheme == "galaxy10":
        return "galaxy10"
    return "galaxy-zoo" if source.startswith("galaxy zoo") else ""
