"""The list behind docs/studies.md: every element of the papers has a location, and nothing is undeclared."""

from __future__ import annotations

import importlib

import pytest

from morphoscope.studies.registry import PAPERS, elements_of, published

# The tables and figures of each paper, from its own text.
IN_THE_PAPER = {
    "cheng": {*(f"Table {n}" for n in (1, 2, 3)), *(f"Fig {n}" for n in range(1, 10))},
    "tong": {*(f"Table {n}" for n in ("I", "II", "III", "IV", "V")), *(f"Fig {n}" for n in range(1, 8))},
    "yan": {*(f"Table {n}" for n in (1, 2)), *(f"Fig {n}" for n in range(1, 9))},
    "ng": {*(f"Table {n}" for n in ("I", "II")), *(f"Fig {n}" for n in range(1, 9))},
    "fu": {*(f"Table {n}" for n in (1, 2)), *(f"Fig {n}" for n in (1, 2, 3))},
}
# What the specification lists of every paper's recipe.
SETTINGS = {
    "cheng": {
        "data",
        "split",
        "image size",
        "augmentation",
        "loss",
        "optimiser",
        "schedule",
        "epochs",
        "batch",
    }
    | {"first epoch", "early stopping", "logs", "start", "dropout", "L2", "memory", "class folders"},
    "tong": {"data", "classes", "split", "image", "standardisation", "augmentation", "optimiser", "loss"}
    | {"learning rate", "regularisation", "epochs, batch", "start", "tested weights"},
    "yan": {"data", "split", "image", "augmentation", "pooling", "optimiser", "learning rate", "schedule"}
    | {"epochs, batch", "early stopping", "start", "progressive learning", "section 3, future work"},
    "ng": {
        "data",
        "split",
        "score",
        "grey levels",
        "crops",
        "16 views at the test",
        "scaled views",
        "baseline",
    }
    | {"larger kernels", "softmax, weighting layers", "CBAM", "DINOv2", "loss", "optimiser", "schedule"},
    "fu": {"data", "split", "image size", "augmentation", "k percent", "optimiser, epochs", "batch", "start"},
}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_figure_and_setting_is_listed(paper: str) -> None:
    names = {element.name for element in elements_of(paper)}
    assert IN_THE_PAPER[paper] - names == set()
    assert SETTINGS[paper] - names == set()
    listed = {(element.name, element.what) for element in elements_of(paper)}
    assert len(listed) == len(elements_of(paper))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_location_exists(paper: str) -> None:
    for element in elements_of(paper):
        file, name = element.location.split(": ")
        module = importlib.import_module(f"morphoscope.{file.removesuffix('.py').replace('/', '.')}")
        assert hasattr(module, name), element.location


@pytest.mark.parametrize("paper", PAPERS)
def test_nothing_is_undeclared(paper: str) -> None:
    """What differs is on the paper's page, and each deviation there belongs to an element."""
    known = published(paper)
    claims = {claim.undecided for claim in known.claims if claim.check is None}
    words = {each.what for each in (*known.deviations, *known.readings)}
    declared = {element.declared for element in elements_of(paper) if element.declared}
    assert declared - words - claims == set()
    assert {each.what for each in known.deviations} - declared == set()
    assert {each.what for each in known.readings} - declared == set()
