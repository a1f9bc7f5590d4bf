"""The script that measures simulated and real pictures, on pictures of known contents."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from morphoscope.simulation.survey import DECALS, ZERO_POINT

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("simulator_statistics")


def _disc(magnitude: float, length: float) -> np.ndarray:
    """An exponential disc with the given magnitude in all bands and scale length in arcsec, (3, H, W)."""
    rows, columns = np.indices((256, 256))
    profile = np.exp(-np.hypot(rows - 128, columns - 128) * DECALS.pixel_scale / length)
    return np.stack([profile / profile.sum() * 10 ** (0.4 * (ZERO_POINT - magnitude))] * 3).astype(np.float32)


def test_the_stretch_is_undone(script):
    flux = _disc(17.0, 3.0)
    undone = script.fluxes(DECALS.stretch(flux))
    shown = DECALS.stretch(flux).max(axis=2) < 250
    assert np.abs(undone - flux)[:, shown].max() < 0.03 * flux.max()
    assert np.median(undone - flux) == pytest.approx(0, abs=2e-4)


def test_a_known_galaxy_is_measured(script):
    flux = _disc(17.0, 3.0) + np.random.default_rng(0).normal(0, 0.004, (3, 256, 256)).astype(np.float32)
    galaxy = dict(zip(script.GALAXY, script.measure(DECALS.stretch(flux)).galaxy, strict=True))
    assert galaxy["r"] == pytest.approx(17.0, abs=0.1)
    assert galaxy["g−r"] == pytest.approx(0.0, abs=0.05)
    assert galaxy["r50"] == pytest.approx(1.678 * 3.0, rel=0.1)
    assert galaxy["b/a"] > 0.9
    assert abs(galaxy["asymmetry"]) < 0.1


def test_a_lopsided_galaxy_is_asymmetric_and_nothing_is_nothing(script):
    flux = _disc(17.0, 3.0)
    flux[:, :, 150:] += _disc(18.0, 3.0)[:, :, 122:228]
    flux += np.random.default_rng(0).normal(0, 0.004, (3, 256, 256)).astype(np.float32)
    assert script.measure(DECALS.stretch(flux)).galaxy[-1] > 0.15
    noise = np.random.default_rng(1).normal(0, 0.004, (3, 256, 256)).astype(np.float32)
    assert script.measure(DECALS.stretch(noise)) is None


def test_only_what_is_between_the_marks_is_replaced(script):
    page = "a\n<!-- statistics -->\nold\n<!-- end of statistics -->\nb"
    filled = script.filled(page, "new")
    assert filled == "a\n<!-- statistics -->\nnew\n<!-- end of statistics -->\nb"
    assert script.filled(filled, "new") == filled
