from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import gammaincinv

from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.simulation.galaxy import (
    TRUTH,
    Bar,
    Bridge,
    Disc,
    Disturbance,
    Dust,
    Galaxy,
    Ring,
    Spheroid,
    truth,
)
from morphoscope.simulation.interacting import KINDS
from morphoscope.simulation.profiles import frame_of
from morphoscope.simulation.rendering import (
    Light,
    galaxy_light,
    light_radii,
    petrosian_radius_90,
    system_light,
)
from morphoscope.simulation.rows import COMPONENTS
from morphoscope.simulation.sampling import BUILDERS, draw_galaxy
from morphoscope.simulation.survey import DECALS, ZERO_POINT

FRAME = frame_of(DECALS)


def _galaxy(**parts: object) -> Galaxy:
    plain = {"morphology": "Round Smooth", "r_mag": 17.0, "colour": (0.6, 0.4), "axis_ratio": 1.0}
    return Galaxy(**(plain | {"angle": 0.0, "texture": 1} | parts))


def test_every_class_of_galaxy10_can_be_drawn():
    assert tuple(BUILDERS) == GALAXY10.classes


@pytest.mark.parametrize("morphology", BUILDERS)
def test_light_is_finite_positive_and_has_the_magnitude(morphology: str):
    galaxy = draw_galaxy(morphology, np.random.default_rng(7))
    light = system_light(FRAME, galaxy).total_3PP
    assert np.isfinite(light).all()
    assert light.min() >= 0
    members = (galaxy, *galaxy.companions)
    wanted = sum(m.flux_share * 10 ** (0.4 * (ZERO_POINT - m.r_mag)) for m in members)
    assert light[1].sum() == pytest.approx(wanted, rel=1e-3)
    values = truth(galaxy, light_radii(FRAME, light[1], galaxy.x, galaxy.y))
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
    ).total_3PP
    g, r, z = light.sum(axis=(1, 2))
    assert -2.5 * np.log10(g / r) == pytest.approx(0.6, abs=1e-3)
    assert -2.5 * np.log10(r / z) == pytest.approx(0.4, abs=1e-3)
    inner = light[:, 142:146, 142:146].sum(axis=(1, 2))
    assert inner[0] / inner[1] < g / r  # the bulge is redder


def test_radii_of_known_profiles():
    """An exponential disc has half its light within 1.678 h and 90 % within 3.890 h."""
    light = galaxy_light(FRAME, _galaxy(disc=Disc(1.0, 2.0, gradient=0.0))).total_3PP[1]
    assert light_radii(FRAME, light, 0.0, 0.0) == pytest.approx((1.678 * 2.0, 3.890 * 2.0), rel=0.01)
    light = galaxy_light(FRAME, _galaxy(x=5.0, y=-3.0, spheroid=Spheroid(1.0, 1.0, 2.5, 1.0))).total_3PP[1]
    assert light_radii(FRAME, light, 5.0, -3.0)[0] == pytest.approx(2.5, rel=0.01)


@pytest.mark.parametrize(("n", "share"), [(1.0, 0.994), (4.0, 0.824)])
def test_petrosian_radii_of_known_profiles(n: float, share: float):
    """Within two Petrosian radii lie 99.4 % of an exponential's and 82.4 % of de Vaucouleurs' light."""
    light = galaxy_light(FRAME, _galaxy(x=2.0, y=1.0, spheroid=Spheroid(1.0, n, 2.0, 1.0))).total_3PP[1]
    coefficient = gammaincinv(2 * n, 0.5)
    expected = 2.0 * (gammaincinv(2 * n, 0.9 * share) / coefficient) ** n
    assert petrosian_radius_90(FRAME, light, 2.0, 1.0) == pytest.approx(expected, rel=0.04)


def test_petrosian_radius_is_the_disc_s_where_a_bulge_stands_out():
    parts = {"spheroid": Spheroid(0.3, 1.0, 0.3, 1.0), "disc": Disc(0.7, 3.0, gradient=0.0)}
    light = galaxy_light(FRAME, _galaxy(**parts)).total_3PP[1]
    assert petrosian_radius_90(FRAME, light, 0.0, 0.0) > 8.0


def test_a_worse_seeing_hides_small_spirals():
    def radii(seeing: float) -> list[float]:
        drawn = (draw_galaxy("Unbarred Tight Spiral", np.random.default_rng(s), seeing) for s in range(40))
        return [galaxy.disc.scale_length for galaxy in drawn]

    sharp, soft = radii(1.0), radii(1.5)
    assert min(soft) > 1.4 * min(sharp)
    assert max(soft) == max(sharp)


@pytest.mark.parametrize(
    "morphology",
    [
        pytest.param(name, marks=() if name in ("Barred Spiral", "Merging") else pytest.mark.slow)
        for name in BUILDERS
    ],
)
def test_layers_add_up_to_the_light(morphology: str):
    light = system_light(FRAME, draw_galaxy(morphology, np.random.default_rng(5)))
    assert set(light.layers) <= set(COMPONENTS)
    assert sum(light.layers.values()) == pytest.approx(light.total_3PP[1], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("winding", [-1, 1])
@pytest.mark.parametrize("pitch", [10.0, 20.0, 30.0])
def test_arms_have_their_winding_and_pitch_angle(winding: int, pitch: float):
    """A ridge r = r₀·exp(±θ·tan pitch) moves by ln(r₂/r₁)/tan(pitch), counter-clockwise outwards for +1."""
    galaxy = draw_galaxy("Unbarred Loose Spiral", np.random.default_rng(4))
    arms = replace(
        galaxy.arms, winding=winding, count=2, pitch=pitch, irregularity=0.0, flocculence=0.0,
        imbalance=0.0, knots=0, contrast=3.0, start=2.0, end=25.0,
    )  # fmt: skip
    disc = replace(galaxy.disc, scale_length=6.0, clumpiness=0.0)
    light = galaxy_light(FRAME, _galaxy(arms=arms, disc=disc)).layers["arms"]
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radii = np.linspace(5.0, 9.0, 41)
    phases = []
    for radius in radii:
        row, column = FRAME.pixel(radius * np.cos(angles), radius * np.sin(angles))
        ring = light[np.round(row).astype(int), np.round(column).astype(int)]
        phases.append(np.angle((ring * np.exp(2j * angles)).sum()) / 2)  # of the two-armed wave
    slope = np.polyfit(np.log(radii), np.unwrap(phases, period=np.pi), 1)[0]
    assert np.sign(slope) == winding
    assert np.degrees(np.arctan(1 / abs(slope))) == pytest.approx(pitch, abs=0.5)


def test_a_bar_is_as_long_as_it_says_and_lies_along_its_angle():
    bar = Bar(0.3, length=8.0, axis_ratio=0.2, turn=30.0)
    light = galaxy_light(FRAME, _galaxy(disc=Disc(0.7, 4.0), bar=bar)).layers["bar"]
    bright = light > 0.2 * light.max()
    radius = np.hypot(FRAME.x_PP, FRAME.y_PP)[bright].max()
    assert radius == pytest.approx(8.0, rel=0.1)
    inertia = [(light * f).sum() for f in (FRAME.x_PP**2 - FRAME.y_PP**2, 2 * FRAME.x_PP * FRAME.y_PP)]
    assert np.degrees(np.arctan2(inertia[1], inertia[0]) / 2) == pytest.approx(30, abs=1)


def test_rings_knots_and_bridges_lie_where_they_should():
    galaxy = _galaxy(disc=Disc(1.0, 4.0), ring=Ring(10.0, 1.0, 30.0))
    light = galaxy_light(FRAME, galaxy).total_3PP[1]
    rows = [FRAME.pixel(radius, 0.0) for radius in (6.0, 10.0, 14.0)]
    inner, on, outer = (light[round(row), round(column)] for row, column in rows)
    assert on > inner > outer
    bridge = Bridge(x=12.0, y=9.0, width=1.0, bow=0.0, share=0.2)
    galaxy = _galaxy(spheroid=Spheroid(1.0, 1.0, 2.0, 1.0), disturbance=Disturbance(bridge=bridge))
    tail = galaxy_light(FRAME, galaxy).layers["tail"]
    centre = [(tail * axis).sum() / tail.sum() for axis in (FRAME.x_PP, FRAME.y_PP)]
    assert centre == pytest.approx([6.0, 4.5], abs=0.1)
    assert galaxy.disturbance.strength > 0.5


def test_dust_dims_the_bulge_and_reddens():
    plain = _galaxy(spheroid=Spheroid(0.4, 1.0, 3.0, 0.8), disc=Disc(0.6, 5.0, thickness=0.2))
    dusty = replace(plain, dust=Dust(2.0, 0.0, 0.4))
    clear, lane = (galaxy_light(FRAME, galaxy).total_3PP for galaxy in (plain, dusty))
    row, column = (round(place) for place in FRAME.pixel(0.0, 0.0))
    assert lane[1, row, column] < 0.7 * clear[1, row, column]
    assert lane[0, row, column] / lane[2, row, column] < clear[0, row, column] / clear[2, row, column]


def test_layers_gather_what_belongs_together():
    light = Light(np.zeros((3, 2, 2)), {})
    light.add("tail", np.ones((2, 2)))
    light.add("tail", np.ones((2, 2)))
    assert light.layers["tail"].tolist() == [[2, 2], [2, 2]]


def test_disturbed_galaxies_are_of_all_kinds_and_show_it():
    drawn = [draw_galaxy("Disturbed", np.random.default_rng(seed)) for seed in range(300)]
    barred = [g for g in drawn if g.bar]
    assert len(barred) / len(drawn) == pytest.approx(KINDS["magellanic"], abs=0.06)
    assert all(g.spheroid is None and g.disturbance.lopsidedness > 0.8 for g in barred)
    with_shells = [g for g in drawn if g.disturbance.shells]
    assert len(with_shells) / len(drawn) == pytest.approx(KINDS["shells"], abs=0.06)
    smooth = [g for g in drawn if g.spheroid and not g.disturbance.shells and not g.disturbance.lopsidedness]
    assert len(smooth) / len(drawn) == pytest.approx(KINDS["stream"], abs=0.06)
    assert all(g.disturbance.tails and not g.arms for g in smooth)
    assert sum(KINDS.values()) == pytest.approx(1)
    assert min(g.disturbance.strength for g in drawn) > 0.05
