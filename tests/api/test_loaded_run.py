"""What a loaded run does with its arguments, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from morphoscope import api
from morphoscope.api import load_and_train
from morphoscope.api.loaded_run import LoadedRun
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import UsageError
from morphoscope.recipes import Recipe
from morphoscope.runs.run import open_run

OLD = Path(__file__).parents[1] / "compatibility" / "v0_1"


def stand_in(**options: Any) -> LoadedRun:
    return LoadedRun([SimpleNamespace(path=Path("run"))], **options)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda run: run.catalogue(CatalogueRequest("in", "c.csv"), "d.csv"),
            "the request says what is written",
        ),
        (lambda run: run.catalogue(CatalogueRequest("in", "c.csv"), resume=True), "the request says what is"),
        (lambda run: run.catalogue("in"), "the catalogue to write is missing"),
    ],
)
def test_a_catalogue_has_one_description_and_one_name(call: Callable[[LoadedRun], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call(stand_in())


@pytest.mark.parametrize(("engine", "said"), [("onnx", "--engine torch"), ("ray", "not reach the workers")])
def test_a_network_is_adapted_where_it_can_be_changed(engine: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        stand_in(engine=engine).adapt([])


def test_several_runs_do_what_makes_sense_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morphoscope.inference.ensemble.check_members", lambda runs: None)
    runs: Any = [SimpleNamespace(path=Path(name)) for name in ("one", "two")]
    loaded = LoadedRun(runs)
    with pytest.raises(UsageError, match="this takes one run"):
        loaded.embed([])
    with pytest.raises(UsageError, match="calibrated one at a time; 2 were"):
        loaded.calibrate()


@pytest.mark.parametrize("framed", [False, True])
def test_an_image_is_embedded_as_those_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch, framed: bool
) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    asked: list[tuple[int | None, str, str]] = []
    catalogue = SimpleNamespace(provenance={"scale": "auto: as in training"} if framed else {})

    def embed(self: LoadedRun, images: list[np.ndarray], *, scale: str) -> np.ndarray:
        asked.append((self.views, self.engine, scale))
        return np.ones((len(images), 4), np.float32)

    def galaxies_like(*_: object, embed: Callable[..., Any], **__: object) -> Any:
        return [embed(image, views).shape for views in (None, 2, 8)]

    monkeypatch.setattr(LoadedRun, "embed", embed)
    monkeypatch.setattr("morphoscope.catalogue.similar.EmbeddedCatalogue", lambda _: catalogue)
    monkeypatch.setattr("morphoscope.catalogue.similar.galaxies_like", galaxies_like)
    loaded = LoadedRun(open_run(OLD / "run-galaxy10"), views=2, engine="torch")
    assert loaded.similar("c.parquet", image) == [(4,)] * 3
    scale = "auto" if framed else "trained"
    assert asked == [(2, "torch", scale), (2, "torch", scale), (8, "torch", scale)]


@pytest.mark.parametrize(
    ("rank", "test", "kept", "done"),
    [
        (0, 0.2, None, ["evaluated", "graph", "report"]),
        (0, 0.2, "kept", ["graph", "report"]),
        (0, 0.0, None, ["calibrated", "graph", "report"]),
        (0, 0.0, "kept", ["graph", "report"]),
        (1, 0.2, None, []),
    ],
)
def test_a_training_ends_with_what_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, rank: int, test: float, kept: str | None, done: list[str]
) -> None:
    did: list[str] = []
    recipe = Recipe().changed({"data.test": test})
    run: Any = SimpleNamespace(path=Path("run"), metrics=lambda: kept, recipe=recipe)
    for place, name, stands_in in (
        ("evaluation.evaluate", "evaluate", lambda *_: did.append("evaluated")),
        ("evaluation.evaluate", "calibrate", lambda *_: did.append("calibrated")),
        ("inference.calibration", "read_calibration", lambda _: kept),
        ("inference.ood", "read_distribution", lambda _: kept),
        ("report.run_report", "write_report", lambda *_: did.append("report")),
    ):
        monkeypatch.setattr(f"morphoscope.{place}.{name}", stands_in)
    monkeypatch.setattr("morphoscope.training.fit.fit", lambda *_, **__: run)
    monkeypatch.setattr(load_and_train, "leave_graph", lambda _: did.append("graph"))
    monkeypatch.setattr(load_and_train, "training_split", lambda *_: None)
    monkeypatch.setattr(load_and_train, "is_rank_0", lambda: rank == 0)
    monkeypatch.setattr(load_and_train, "LoadedRun", lambda run: run)
    monkeypatch.setattr(load_and_train, "as_store", lambda store: store)
    assert api.train(recipe, "galaxies", "run") is run
    assert did == done
