"""The examples run as they stand, with fewer galaxies."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope.recipes import Recipe, presets

pytestmark = pytest.mark.usefixtures("undrawn")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(params=["a small network", pytest.param("its own network", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipes of the examples with a network of a few thousand parameters, or as they stand."""
    if request.param == "its own network":
        return
    small: dict[str, Any] = {"name": "test_resnet", "start": None, "pretrained": False}

    def with_small_network(recipe: Callable[[], Recipe]) -> Callable[[], Recipe]:
        return lambda: recipe().changed(model=small)

    monkeypatch.setattr(presets, "RECIPES", tuple(map(with_small_network, presets.RECIPES)))


def _example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_every_example_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    names = [path.name for path in sorted(EXAMPLES.glob("*.py"))]
    assert names
    assert [name for name in names if f'_example("{name}")' not in tested] == []


@pytest.mark.usefixtures("network")
def test_own_images_then_a_catalogue_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = _example("01_own_images.py")["main"](tmp_path, count=100, epochs=1)
    assert run.metrics()["test"]["n"] == 20
    assert (tmp_path / "run" / "report.html").is_file()

    catalogue = tmp_path / "catalogue.parquet"
    _example("02_catalogue.py")["main"](tmp_path / "run", tmp_path / "images", catalogue)
    assert pq.read_table(catalogue).num_rows == 100
    assert "100 galaxies, 0 unreadable" in capsys.readouterr().out


@pytest.mark.slow
def test_an_honest_comparison(tmp_path: Path):
    result = _example("03_honest_comparison.py")["main"](tmp_path, count=100, epochs=1)
    assert [run["name"] for run in result["runs"]] == ["augmented", "as-they-are"]


@pytest.mark.usefixtures("network")
def test_own_votes(tmp_path: Path):
    run = _example("04_own_votes.py")["main"](tmp_path, count=60, epochs=1)
    assert run.classes == ("smooth", "edge_on", "spiral_arms")
    answers = run.predict(list(run.run.store().images[:3]))
    assert answers.shape == (3, 3)
    assert np.isfinite(answers).all()
    assert np.abs(answers - 0.5).max() <= 0.5
