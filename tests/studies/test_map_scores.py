"""Scores of maps for the papers' claims: a map that is zero everywhere does not look anywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from morphoscope.explanation import explain
from morphoscope.explanation.explain import Maps
from morphoscope.inference import predictor
from morphoscope.studies import extra_scores
from morphoscope.studies.study import find_study

SIDE = 32


def _scores(monkeypatch: pytest.MonkeyPatch, values_NHW: np.ndarray) -> dict[str, float]:
    """The scores of some maps of a long galaxy that lies along x."""
    images = np.full((len(values_NHW), SIDE, SIDE, 3), 10, np.uint8)
    images[:, 12:20, 4:28] = 200
    count = len(values_NHW)
    maps = Maps("gradcam", "", values_NHW, images, ("a",) * count, np.zeros((count, 1)), ("a",))
    monkeypatch.setattr(explain, "choose_galaxies", lambda *_: (np.arange(count), "a"))
    monkeypatch.setattr(predictor, "Predictor", lambda *_, **__: None)
    monkeypatch.setattr(explain, "Explainer", lambda _: lambda *_, **__: maps)
    monkeypatch.setattr(extra_scores, "kept", lambda *given: given[-1]())
    store: Any = SimpleNamespace(images=images)
    return extra_scores.map_scores("gradcam", "a", SimpleNamespace(), store)  # type: ignore[arg-type]


def test_dead_maps_are_counted_and_do_not_dilute_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((4, SIDE, SIDE), np.float32)
    values[0, 14:18, 6:26] = 1
    scores = _scores(monkeypatch, values)
    assert scores["dead_maps"] == 0.75
    assert scores["error: dead_maps"] == pytest.approx(0.25)  # 0, 1, 1, 1: √(¼ / 4)
    assert "error: on_galaxy" not in scores  # a single map
    assert scores["on_galaxy"] == pytest.approx(1)
    assert scores["alignment"] == pytest.approx(1)


def test_a_network_without_maps_has_no_scores_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = _scores(monkeypatch, np.zeros((3, SIDE, SIDE), np.float32))
    assert scores == {"dead_maps": 1.0, "error: dead_maps": 0.0}


def test_rows_that_are_compared_are_explained_for_the_same_class() -> None:
    """The class that the best row knows best, not each row's own."""

    def run(accuracy: float, best: str) -> Any:
        test = {"accuracy": {"value": accuracy}, "best": best}
        scheme = SimpleNamespace(output_to_explain=lambda test: test["best"])
        return SimpleNamespace(metrics=lambda: {"test": test}, scheme=scheme)

    runs = {"fu/densenet121-0": run(0.5, "Round"), "fu/densenet121-20": run(0.8, "Spiral")}
    runs |= {"fu/efficientnet-lite0-0": run(0.9, "Disc")}
    targets = [extra_scores.map_target(find_study("fu"), name, runs) for name in runs]
    assert targets == ["Spiral", "Spiral", "Disc"]
    assert extra_scores.map_target(find_study("ng"), "ng/baseline", runs) == "Class4.1"
