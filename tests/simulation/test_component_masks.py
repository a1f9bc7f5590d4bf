from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from morphoscope.data.sources.simulated import block_of
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.simulation.galaxy import Bar, Disc, Galaxy, Spheroid
from morphoscope.simulation.profiles import frame_of
from morphoscope.simulation.rendering import system_light
from morphoscope.simulation.rows import COMPONENTS, Plan, class_of, component_mask, render_row, scaled_mask
from morphoscope.simulation.sampling import draw_galaxy
from morphoscope.simulation.survey import DECALS

FRAME = frame_of(DECALS)


def _plane(mask: np.ndarray, component: str) -> np.ndarray:
    return (mask >> COMPONENTS.index(component)) & 1 > 0


def _mask(galaxy: Galaxy) -> np.ndarray:
    return component_mask(system_light(FRAME, galaxy).layers, FRAME, DECALS.noise[1])


def test_the_mask_of_a_bar_lies_in_the_bar():
    bar = Bar(0.25, length=7.0, axis_ratio=0.25, turn=0.0)
    galaxy = Galaxy("Barred Spiral", 15.5, (0.6, 0.4), 1.0, 20.0, 1, disc=Disc(0.75, 5.0), bar=bar)
    mask = _plane(_mask(galaxy), "bar")
    x, y = FRAME.cut(FRAME.x_PP), FRAME.cut(FRAME.y_PP)
    angle = np.radians(20.0)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    seeing = DECALS.seeing[1]
    assert np.abs(along[mask]).max() < 7.0 + seeing
    assert np.abs(across[mask]).max() < 0.25 * 7.0 + seeing
    assert np.abs(along[mask]).max() > 5.5
    core = (np.abs(along) < 4) & (np.abs(across) < 0.8)
    assert mask[core].mean() > 0.95


def test_masks_tell_bulge_from_disc_and_leave_the_sky_out():
    bulge = Spheroid(0.4, 1.0, 1.0, 1.0)
    disc = Disc(0.6, 5.0)
    galaxy = Galaxy("Unbarred Tight Spiral", 16.0, (0.6, 0.4), 1.0, 0.0, 1, spheroid=bulge, disc=disc)
    mask = _mask(galaxy)
    radius = np.hypot(FRAME.cut(FRAME.x_PP), FRAME.cut(FRAME.y_PP))
    assert _plane(mask, "bulge")[radius < 0.5].all()
    assert not _plane(mask, "bulge")[radius > 4].any()
    assert _plane(mask, "disc")[(radius > 5) & (radius < 8)].all()
    assert not mask[radius > 31].any()
    fainter = _mask(replace(galaxy, r_mag=18.0))
    assert _plane(fainter, "disc").sum() < _plane(mask, "disc").sum()


@pytest.mark.parametrize(
    ("morphology", "has", "lacks"),
    [
        ("Disturbed", {"disc"}, {"bar", "companion", "arms"}),
        ("Merging", {"companion"}, {"bar"}),
        ("Round Smooth", {"bulge"}, {"arms", "bar", "companion", "tail"}),
        ("Barred Spiral", {"disc", "arms", "bar"}, {"companion", "tail"}),
        ("Unbarred Loose Spiral", {"disc", "arms"}, {"bar", "companion", "tail"}),
        ("Edge-on with Bulge", {"disc", "bulge"}, {"arms", "bar", "companion", "tail"}),
    ],
)
def test_classes_have_the_masks_of_their_parts(morphology: str, has: set[str], lacks: set[str]):
    mask = _mask(replace(draw_galaxy(morphology, np.random.default_rng(11)), r_mag=15.0))
    seen = {name for name in COMPONENTS if _plane(mask, name).any()}
    assert has <= seen
    assert not lacks & seen


def test_rendered_rows_carry_their_masks_at_any_size():
    plan = Plan((DECALS,), 256, 3, "galaxy10", block_of("equal"), masks=True)
    row = next(n for n in range(10) if GALAXY10.classes[class_of(plan, n)] == "Barred Spiral")
    full = render_row(plan, row)
    small = render_row(replace(plan, size=64), row)
    assert full.mask_HW is not None
    assert small.mask_HW is not None
    assert small.mask_HW.shape == (64, 64)
    for component in ("disc", "neighbour"):
        whole = _plane(full.mask_HW, component).reshape(64, 4, 64, 4).mean(axis=(1, 3))
        assert np.abs(whole - _plane(small.mask_HW, component)).mean() < 0.05
    assert render_row(replace(plan, masks=False), row).mask_HW is None
    assert np.array_equal(render_row(replace(plan, masks=False), row).image_HWC, full.image_HWC)


def test_scaling_keeps_bits_apart():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 1 << 3
    mask[4:] = 1 << 7 | 1
    assert np.array_equal(scaled_mask(mask, 8), mask)
    small, large = scaled_mask(mask, 4), scaled_mask(mask, 16)
    assert small.tolist() == mask[::2, ::2].tolist()
    assert set(np.unique(large)) == {8, 129}
