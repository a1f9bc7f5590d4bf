"""Surface brightness of a galaxy in g, r, z before the PSF.

Shape letters: P side of the padded frame, 3 the bands g, r, z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from morphoscope.simulation.galaxy import Colour, Disc, Galaxy, Spheroid
from morphoscope.simulation.profiles import Frame, edge_on, sersic
from morphoscope.simulation.substructure import (
    Plane,
    arm_pattern,
    bar_pattern,
    bridge_pattern,
    clumpy,
    dust_lane,
    knots,
    plane_from,
    plane_of,
    ring_pattern,
    shell_pattern,
    step,
    tail_pattern,
)
from morphoscope.simulation.survey import ZERO_POINT

KNOT_COLOUR = (-0.45, -0.35)
KNOT_SIZE = 0.45  # arcsec, standard deviation
RINGS = 4  # rings per pixel in growth curves
PETROSIAN_RATIO = 0.2

Parts = dict[str, np.ndarray]  # component → light in any unit, (3, P, P)


@dataclass(frozen=True, eq=False)
class Light:
    """Surface brightness before the PSF, nanomaggies per pixel.

    ``total_3PP`` is the sum; ``layers`` has the r-band image of each component that the masks name, (P, P).
    """

    total_3PP: np.ndarray
    layers: dict[str, np.ndarray]

    def add(self, component: str, layer_PP: np.ndarray) -> None:
        """Add an r-band image to a layer; the caller updates the total."""
        here = self.layers.get(component)
        self.layers[component] = layer_PP if here is None else here + layer_PP


def system_light(frame: Frame, galaxy: Galaxy) -> Light:
    """A galaxy with its companions; each companion is a single layer, except for its tails."""
    light = galaxy_light(frame, galaxy)
    for companion in galaxy.companions:
        other = galaxy_light(frame, companion)
        light.total_3PP[...] += other.total_3PP
        for component, layer_PP in other.layers.items():
            light.add("tail" if component == "tail" else "companion", layer_PP)
    return light


def galaxy_light(frame: Frame, galaxy: Galaxy) -> Light:
    """One galaxy.

    The parts' shares and colours are relative; the sum in each band is set by the galaxy's magnitude and
    colours. Light that falls beyond the frame counts as inside it.
    """
    rng = np.random.default_rng(galaxy.texture)
    parts: Parts = {}
    for spheroid in (galaxy.spheroid, galaxy.halo):
        if spheroid:
            _put(parts, "bulge", _spheroid(frame, galaxy, spheroid))
    if galaxy.disc:
        if galaxy.disc.thickness is None:
            _add_inclined_disc(frame, galaxy, galaxy.disc, parts, rng)
        else:
            _add_edge_on_disc(frame, galaxy, galaxy.disc, parts, rng)
    _add_debris(frame, galaxy, parts)
    total_3PP = np.zeros((3, frame.side, frame.side), np.float32)
    for part_3PP in parts.values():
        total_3PP += part_3PP
    r_flux = galaxy.flux_share * 10 ** (0.4 * (ZERO_POINT - galaxy.r_mag))
    wanted_3 = r_flux * band_ratios(galaxy.colour)
    scale_3 = (wanted_3 / total_3PP.sum(axis=(1, 2), dtype=np.float64)).astype(np.float32)
    total_3PP *= scale_3[:, None, None]
    return Light(total_3PP, {name: part_3PP[1] * scale_3[1] for name, part_3PP in parts.items()})


def band_ratios(colour: Colour) -> np.ndarray:
    """Flux in g, r, z over that in r for a colour (g−r, r−z), (3,) float64."""
    return 10 ** (0.4 * np.array([-colour[0], 0.0, colour[1]]))


def light_radii(frame: Frame, light_PP: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Radii in arcsec of the circles around (x, y) that hold 50 and 90 % of the frame's light."""
    growth = _growth(frame, light_PP, x, y)
    inner, outer = (_crossing(growth, share * growth[-1]) * frame.scale / RINGS for share in (0.5, 0.9))
    return inner, outer


def petrosian_radius_90(frame: Frame, light_PP: np.ndarray, x: float, y: float) -> float:
    """Radius in arcsec with 90 % of the Petrosian flux around (x, y).

    The Petrosian radius is where the mean brightness between 0.8 r and 1.25 r falls to a fifth of that
    within r, the outermost where there are several; the flux is what lies within two of them (Blanton et
    al. 2001, AJ 121, 2358; Strauss et al. 2002, AJ 124, 1810, section 3.2). Of a steep profile that is
    less than all: of de Vaucouleurs' 82 %.
    """
    growth = _growth(frame, light_PP, x, y)
    radius = np.arange(1.0, len(growth) + 1)  # in rings: growth[k] is the light within k + 1
    outer, inner = (np.interp(factor * radius, radius, growth) for factor in (1.25, 0.8))
    ratio = (outer - inner) / ((1.25**2 - 0.8**2) * np.maximum(growth, 1e-12))
    petrosian = radius[np.flatnonzero(ratio >= PETROSIAN_RATIO)[-1]]
    flux = np.interp(2 * petrosian, radius, growth)
    return _crossing(growth, 0.9 * float(flux)) * frame.scale / RINGS


def _growth(frame: Frame, light_PP: np.ndarray, x: float, y: float) -> np.ndarray:
    """Growth curve: flux within circles around (x, y)."""
    return np.cumsum(np.bincount(_rings(frame, x, y), weights=light_PP.ravel()))


@lru_cache(maxsize=8)  # nearly all galaxies lie in the middle
def _rings(frame: Frame, x: float, y: float) -> np.ndarray:
    radius_PP = np.hypot(frame.x_PP - np.float32(x), frame.y_PP - np.float32(y))
    return (radius_PP * (RINGS / frame.scale)).astype(np.int32).ravel()


def _crossing(growth: np.ndarray, wanted: float) -> float:
    """Where a growth curve reaches the given flux, in rings."""
    ring = int(np.searchsorted(growth, wanted))
    below = growth[ring - 1] if ring else 0.0
    return float(ring + (wanted - below) / (growth[ring] - below))


def _put(parts: Parts, component: str, light_3PP: np.ndarray) -> None:
    here = parts.get(component)
    parts[component] = light_3PP if here is None else here + light_3PP


def _coloured(image_PP: np.ndarray, share: float, colour: Colour) -> np.ndarray:
    """An image of any norm as light of the given share and colour, (3, P, P)."""
    factors = share / max(float(image_PP.sum(dtype=np.float64)), 1e-12) * band_ratios(colour)
    return factors.astype(np.float32)[:, None, None] * image_PP


def _spheroid(frame: Frame, galaxy: Galaxy, part: Spheroid) -> np.ndarray:
    angle = galaxy.angle + part.turn
    image_PP = sersic(frame, part.n, part.radius, part.axis_ratio, angle, galaxy.x, galaxy.y)
    return _coloured(image_PP, part.share, part.colour)


def _band_lengths(disc: Disc) -> tuple[float, float, float]:
    length, change = disc.scale_length, disc.scale_length * disc.gradient
    return length + change, length, length - change


def _add_inclined_disc(
    frame: Frame, galaxy: Galaxy, disc: Disc, parts: Parts, rng: np.random.Generator
) -> None:
    """Disc, ring and arms, which share the disc's light, and the bar."""
    plane = plane_of(frame, galaxy, galaxy.axis_ratio)
    smooth_3PP = np.stack([np.exp(plane.radius_PP * np.float32(-1 / h)) for h in _band_lengths(disc)])
    lopsidedness = galaxy.disturbance.lopsidedness
    if lopsidedness:
        smooth_3PP = 0.55 * smooth_3PP + 0.3 * _outer_disc(plane, disc, lopsidedness, rng)
    if disc.clumpiness:
        smooth_3PP *= clumpy(frame.side, disc.clumpiness, rng)
    smooth_3PP *= band_ratios(disc.colour).astype(np.float32)[:, None, None]
    norm = float(smooth_3PP[1].sum(dtype=np.float64))
    arms_3PP = np.zeros_like(smooth_3PP) if galaxy.arms is None else None
    if galaxy.arms:
        arms_3PP = _arms(frame, galaxy, disc, plane, norm, rng)
    assert arms_3PP is not None
    if galaxy.ring:
        ring_PP = ring_pattern(plane, galaxy.ring) * smooth_3PP[1] * galaxy.ring.contrast
        smooth_3PP += band_ratios(galaxy.ring.colour).astype(np.float32)[:, None, None] * ring_PP
    if galaxy.disturbance.clumps:
        where_PP = smooth_3PP[1] * clumpy(frame.side, 1.0, rng)
        clumps_PP = knots(frame, where_PP, galaxy.disturbance.clumps, 1.6 * KNOT_SIZE, rng)
        smooth_3PP += _coloured(clumps_PP, 0.015 * galaxy.disturbance.clumps * norm, KNOT_COLOUR)
    light = smooth_3PP[1].sum(dtype=np.float64) + arms_3PP[1].sum(dtype=np.float64)
    scale = np.float32(disc.share / light)
    _put(parts, "disc", smooth_3PP * scale)
    if galaxy.arms:
        _put(parts, "arms", arms_3PP * scale)
    if galaxy.bar:
        _put(parts, "bar", _coloured(bar_pattern(plane, galaxy.bar), galaxy.bar.share, galaxy.bar.colour))


def _outer_disc(plane: Plane, disc: Disc, lopsidedness: float, rng: np.random.Generator) -> np.ndarray:
    """A larger disc whose centre is shifted: what makes a galaxy lopsided."""
    direction = rng.uniform(0, 2 * math.pi)
    shift = lopsidedness * disc.scale_length
    x_PP = plane.x_PP - np.float32(shift * math.cos(direction))
    y_PP = plane.y_PP - np.float32(shift * math.sin(direction))
    shifted = plane_from(x_PP, y_PP)
    return np.stack([np.exp(shifted.radius_PP * np.float32(-0.75 / h)) for h in _band_lengths(disc)])


def _arms(
    frame: Frame, galaxy: Galaxy, disc: Disc, plane: Plane, norm: float, rng: np.random.Generator
) -> np.ndarray:
    """Arms and their star-forming knots, in units of the disc's central brightness, (3, P, P)."""
    arms = galaxy.arms
    assert arms is not None
    first = math.radians(galaxy.bar.turn) if galaxy.bar else rng.uniform(0, 2 * math.pi)
    pattern_PP = arm_pattern(plane, arms, first, rng)
    arms_PP = pattern_PP * np.exp(plane.radius_PP * np.float32(-0.8 / disc.scale_length))
    light_3PP = (arms.contrast * band_ratios(arms.colour)).astype(np.float32)[:, None, None] * arms_PP
    if arms.knots:
        knots_PP = knots(frame, arms_PP * np.sqrt(plane.radius_PP), arms.knots, KNOT_SIZE, rng)
        light_3PP += _coloured(knots_PP, 0.003 * arms.knots * norm * min(1.0, arms.contrast), KNOT_COLOUR)
    return light_3PP


def _add_edge_on_disc(
    frame: Frame, galaxy: Galaxy, disc: Disc, parts: Parts, rng: np.random.Generator
) -> None:
    """The disc from its edge; its dust dims what is there already (the bulge), too."""
    plane = plane_of(frame, galaxy, 1.0)
    assert disc.thickness is not None
    height = disc.thickness * disc.scale_length
    across_PP = plane.y_PP
    if disc.warp:
        reach = plane.x_PP / np.float32(3 * disc.scale_length)
        across_PP = across_PP - np.float32(disc.warp * height) * reach * np.abs(reach)
    bands_3PP = np.stack([edge_on(plane.x_PP, across_PP, h, height) for h in _band_lengths(disc)])
    end = disc.truncation * disc.scale_length
    bands_3PP *= step(-np.abs(plane.x_PP), -end, 0.07 * end)
    if disc.clumpiness:
        bands_3PP *= clumpy(frame.side, disc.clumpiness, rng)
    ratios = band_ratios(disc.colour) * disc.share / bands_3PP.sum(axis=(1, 2), dtype=np.float64)
    _put(parts, "disc", bands_3PP * ratios.astype(np.float32)[:, None, None])
    if galaxy.dust:
        own_plane = plane_from(plane.x_PP, across_PP)
        lane_3PP = dust_lane(own_plane, galaxy.dust, disc.scale_length, height, rng)
        for component in parts:
            parts[component] = parts[component] * lane_3PP


def _add_debris(frame: Frame, galaxy: Galaxy, parts: Parts) -> None:
    """Add tails, shells and a bridge, shares of the light that is there."""
    debris = galaxy.disturbance
    if not (debris.tails or debris.shells or debris.bridge):
        return
    norm = sum(float(part_3PP[1].sum(dtype=np.float64)) for part_3PP in parts.values())
    plane = plane_of(frame, galaxy, max(galaxy.axis_ratio, 0.7))
    for tail in debris.tails:
        _put(parts, "tail", _coloured(tail_pattern(plane, tail), tail.share * norm, tail.colour))
    for shell in debris.shells:
        _put(parts, "tail", _coloured(shell_pattern(plane, shell), shell.share * norm, (0.0, 0.0)))
    if debris.bridge:
        bridge_PP = bridge_pattern(frame, galaxy, debris.bridge)
        _put(parts, "tail", _coloured(bridge_PP, debris.bridge.share * norm, debris.bridge.colour))
