"""A galaxy's light in g, r, z before the sky and the PSF.

Shape letters: P side of the padded frame, 3 the bands g, r, z.
"""

from __future__ import annotations

import math

import numpy as np

from morphoscope.data.simulation.galaxies import Colour, Disc, Galaxy, Spheroid
from morphoscope.data.simulation.light import Frame, edge_on, sersic
from morphoscope.data.simulation.structure import (
    Plane,
    arm_pattern,
    bar_pattern,
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
from morphoscope.data.simulation.survey import ZERO_POINT

KNOT_COLOUR = (-0.45, -0.35)
KNOT_SIZE = 0.45  # arcsec, standard deviation


def system_light(frame: Frame, galaxy: Galaxy) -> np.ndarray:
    """The galaxy and what it merges with, nanomaggies per pixel, (3, P, P) float32."""
    light_3PP = galaxy_light(frame, galaxy)
    for companion in galaxy.companions:
        light_3PP += galaxy_light(frame, companion)
    return light_3PP


def galaxy_light(frame: Frame, galaxy: Galaxy) -> np.ndarray:
    """One galaxy, nanomaggies per pixel, (3, P, P) float32.

    The parts' shares and colours are relative; the sum in each band is set by the galaxy's magnitude and
    colours. Light that falls beyond the frame counts as inside it.
    """
    rng = np.random.default_rng(galaxy.texture)
    parts_3PP = np.zeros((3, frame.side, frame.side), np.float32)
    if galaxy.spheroid:
        parts_3PP += _spheroid(frame, galaxy, galaxy.spheroid)
    if galaxy.halo:
        parts_3PP += _spheroid(frame, galaxy, galaxy.halo)
    if galaxy.disc:
        if galaxy.disc.thickness is None:
            parts_3PP += _inclined_disc(frame, galaxy, galaxy.disc, rng)
        else:
            parts_3PP = _edge_on_disc(frame, galaxy, galaxy.disc, parts_3PP, rng)
    _add_debris(frame, galaxy, parts_3PP)
    r_flux = galaxy.flux_share * 10 ** (0.4 * (ZERO_POINT - galaxy.r_mag))
    wanted_3 = r_flux * band_ratios(galaxy.colour)
    total_3 = parts_3PP.sum(axis=(1, 2), dtype=np.float64)
    return parts_3PP * (wanted_3 / total_3).astype(np.float32)[:, None, None]


def band_ratios(colour: Colour) -> np.ndarray:
    """Flux in g, r, z over that in r for a colour (g−r, r−z), (3,) float64."""
    return 10 ** (0.4 * np.array([-colour[0], 0.0, colour[1]]))


def half_light_radius(frame: Frame, light_3PP: np.ndarray, x: float, y: float) -> float:
    """Radius in arcsec of the circle around (x, y) that holds half of the frame's r-band light."""
    radius_PP = np.hypot(frame.x_PP - np.float32(x), frame.y_PP - np.float32(y))
    ring = (radius_PP * (4 / frame.scale)).astype(np.int32).ravel()
    growth = np.cumsum(np.bincount(ring, weights=light_3PP[1].ravel()))
    inner = int(np.searchsorted(growth, growth[-1] / 2))
    below = growth[inner - 1] if inner else 0.0
    fraction = (growth[-1] / 2 - below) / (growth[inner] - below)
    return float((inner + fraction) * frame.scale / 4)


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


def _inclined_disc(frame: Frame, galaxy: Galaxy, disc: Disc, rng: np.random.Generator) -> np.ndarray:
    plane = plane_of(frame, galaxy, galaxy.axis_ratio)
    smooth_3PP = np.stack([np.exp(plane.radius_PP * np.float32(-1 / h)) for h in _band_lengths(disc)])
    lopsidedness = galaxy.disturbance.lopsidedness
    if lopsidedness:
        smooth_3PP = 0.55 * smooth_3PP + 0.3 * _outer_disc(plane, disc, lopsidedness, rng)
    if disc.clumpiness:
        smooth_3PP *= clumpy(frame.side, disc.clumpiness, rng)
    total_3PP = smooth_3PP * band_ratios(disc.colour).astype(np.float32)[:, None, None]
    norm = float(smooth_3PP[1].sum(dtype=np.float64))
    if galaxy.ring:
        ring_PP = ring_pattern(plane, galaxy.ring) * smooth_3PP[1] * galaxy.ring.contrast
        total_3PP += band_ratios(galaxy.ring.colour).astype(np.float32)[:, None, None] * ring_PP
    if galaxy.arms:
        total_3PP += _arms(frame, galaxy, disc, plane, norm, rng)
    if galaxy.disturbance.clumps:
        where_PP = smooth_3PP[1] * clumpy(frame.side, 1.0, rng)
        clumps_PP = knots(frame, where_PP, galaxy.disturbance.clumps, 1.6 * KNOT_SIZE, rng)
        total_3PP += _coloured(clumps_PP, 0.015 * galaxy.disturbance.clumps * norm, KNOT_COLOUR)
    total_3PP *= disc.share / float(total_3PP[1].sum(dtype=np.float64))
    if galaxy.bar:
        total_3PP += _coloured(bar_pattern(plane, galaxy.bar), galaxy.bar.share, galaxy.bar.colour)
    return total_3PP


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


def _edge_on_disc(
    frame: Frame, galaxy: Galaxy, disc: Disc, behind_3PP: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The disc and what shines through its dust (the bulge), (3, P, P)."""
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
    light_3PP = behind_3PP + bands_3PP * ratios.astype(np.float32)[:, None, None]
    if galaxy.dust:
        light_3PP *= dust_lane(plane_from(plane.x_PP, across_PP), galaxy.dust, disc.scale_length, height, rng)
    return light_3PP


def _add_debris(frame: Frame, galaxy: Galaxy, light_3PP: np.ndarray) -> None:
    """Add tails and shells, shares of the light that is there."""
    debris = galaxy.disturbance
    if not (debris.tails or debris.shells):
        return
    norm = float(light_3PP[1].sum(dtype=np.float64))
    plane = plane_of(frame, galaxy, max(galaxy.axis_ratio, 0.7))
    for tail in debris.tails:
        light_3PP += _coloured(tail_pattern(plane, tail), tail.share * norm, tail.colour)
    for shell in debris.shells:
        light_3PP += _coloured(shell_pattern(plane, shell), shell.share * norm, (0.0, 0.0))
