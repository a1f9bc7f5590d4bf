"""Scores of maps for the papers' claims: a map that is zero everywhere does not look anywhere."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from morphoscope.explanation import explain
from morphoscope.explanation.explain import Maps
from morphoscope.inference import predictor
from morphoscope.studies import extra_scores

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
    study = SimpleNamespace(map_method="gradcam", map_target="a")
    return extra_scores.map_scores(study, SimpleNamespace(), SimpleNamespace(images=images))  # type: ignore[arg-type]


def test_dead_maps_are_counted_and_do_not_dilute_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((4, SIDE, SIDE), np.float32)
    values[0, 14:18, 6:26] = 1
    scores = _scores(monkeypatch, values)
    assert scores["dead_maps"] == 0.75
    assert scores["on_galaxy"] == pytest.approx(1)
    assert scores["alignment"] == pytest.approx(1)


def test_a_network_without_maps_has_no_scores_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _scores(monkeypatch, np.zeros((3, SIDE, SIDE), np.float32)) == {"dead_maps": 1.0}
