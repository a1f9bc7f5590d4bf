from __future__ import annotations

import numpy as np
import pytest

from morphoscope.data.simulation.galaxies import TRUTH, Disc, Galaxy, Spheroid, truth
from morphoscope.data.simulation.light import frame_of
from morphoscope.data.simulation.populations import BUILDERS, draw_galaxy
from morphoscope.data.simulation.scene import galaxy_light, half_light_radius, system_light
from morphoscope.data.simulation.survey import DECALS, ZERO_POINT
from morphoscope.labels.galaxy10 import GALAXY10

FRAME = frame_of(DECALS)


def _galaxy(**parts: object) -> Galaxy:
    plain = {"morphology": "Round Smooth", "r_mag": 17.0, "colour": (0.6, 0.4), "axis_ratio": 1.0}
    return Galaxy(**(plain | {"angle": 0.0, "texture": 1} | parts))


def test_every_class_of_galaxy10_can_be_drawn():
    assert tuple(BUILDERS) == GALAXY10.classes


@pytest.mark.parametrize("morphology", BUILDERS)
def test_light_is_finite_positive_and_has_the_magnitude(morphology: str):
    galaxy = draw_galaxy(morphology, np.random.default_rng(7))
    light = system_light(FRAME, galaxy)
    assert np.isfinite(light).all()
    assert light.min() >= 0
    members = (galaxy, *galaxy.companions)
    wanted = sum(m.flux_share * 10 ** (0.4 * (ZERO_POINT - m.r_mag)) for m in members)
    assert light[1].sum() == pytest.approx(wanted, rel=1e-3)
    values = truth(galaxy, half_light_radius(FRAME, light, galaxy.x, galaxy.y))
    assert list(values) == list(TRUTH)
    assert all(isinstance(values[name], kind) for name, kind in TRUTH.items())


def test_classes_have_the_parts_that_define_them():
    drawn = {name: draw_galaxy(name, np.random.default_rng(1)) for name in BUILDERS}
    assert [name for name, g in drawn.items() if g.bar] == ["Barred Spiral"]
    assert [name for name, g in drawn.items() if g.companions] == ["Merging"]
    thin = [name for name, g in drawn.items() if g.disc and g.disc.thickness]
    assert thin == ["Edge-on without Bulge", "Edge-on with Bulge"]
    assert drawn["Edge-on with Bulge"].spheroid
    assert not drawn["Edge-on without Bulge"].spheroid
    assert drawn["Unbarred Tight Spiral"].arms.pitch < 15 < drawn["Unbarred Loose Spiral"].arms.pitch
    smooth = [drawn[name].axis_ratio for name in GALAXY10.classes[2:5]]
    assert smooth[0] > 0.8 > smooth[1] > 0.45 > smooth[2]
    assert drawn["Disturbed"].disturbance.strength > 0.2


def test_colours_of_the_whole_are_those_asked_for():
    light = galaxy_light(
        FRAME, _galaxy(spheroid=Spheroid(0.3, 2.0, 1.0, 0.9, (0.3, 0.2)), disc=Disc(0.7, 2.0))
    )
    g, r, z = light.sum(axis=(1, 2))
    assert -2.5 * np.log10(g / r) == pytest.approx(0.6, abs=1e-3)
    assert -2.5 * np.log10(r / z) == pytest.approx(0.4, abs=1e-3)
    inner = light[:, 142:146, 142:146].sum(axis=(1, 2))
    assert inner[0] / inner[1] < g / r  # the bulge is redder


def test_half_light_radius_of_a_known_profile():
    light = galaxy_light(FRAME, _galaxy(disc=Disc(1.0, 2.0, gradient=0.0)))
    assert half_light_radius(FRAME, light, 0.0, 0.0) == pytest.approx(1.678 * 2.0, rel=0.01)
    light = galaxy_light(FRAME, _galaxy(x=5.0, y=-3.0, spheroid=Spheroid(1.0, 1.0, 2.5, 1.0)))
    assert half_light_radius(FRAME, light, 5.0, -3.0) == pytest.approx(2.5, rel=0.01)


@pytest.mark.parametrize("winding", [-1, 1])
def test_arms_wind_as_their_sign_says(winding: int):
    """Arms turn counter-clockwise outwards for +1: a bright ridge moves to larger angles with radius."""
    from dataclasses import replace

    galaxy = draw_galaxy("Unbarred Loose Spiral", np.random.default_rng(4))
    arms = replace(
        galaxy.arms, winding=winding, count=2, pitch=20.0, irregularity=0.0, flocculence=0.0,
        imbalance=0.0, knots=0, contrast=3.0, start=2.0, end=20.0,
    )  # fmt: skip
    disc = replace(galaxy.disc, scale_length=4.0, clumpiness=0.0)
    light = galaxy_light(
        FRAME, replace(galaxy, axis_ratio=1.0, angle=0.0, arms=arms, disc=disc, spheroid=None)
    )
    angles = np.linspace(0, np.pi, 180, endpoint=False)
    ridges = []
    for radius in (5.0, 5.5):
        places = [FRAME.pixel(radius * np.cos(a), radius * np.sin(a)) for a in angles]
        ridges.append(angles[np.argmax([light[1, round(r), round(c)] for r, c in places])])
    moved = (ridges[1] - ridges[0] + np.pi / 2) % np.pi - np.pi / 2
    expected = winding * np.log(5.5 / 5.0) / np.tan(np.radians(20))
    assert moved == pytest.approx(expected, abs=0.12)
