"""What disturbs a smooth profile: arms, bars, rings, knots, texture, dust, tails and shells.

Shape letters: P side of the padded frame. Patterns are (P, P) float32 on a :class:`Plane`, the galaxy's
disc seen at its inclination.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from morphoscope.simulation.galaxy import Arms, Bar, Bridge, Dust, Galaxy, Ring, Shell, Tail
from morphoscope.simulation.profiles import Frame, add_point, smooth_field

TEXTURE = 128  # side of the log-polar texture in cells
SMALLEST, LARGEST = 0.3, 60.0  # arcsec, radii the texture spans
# A_λ/A_V of g, r, z: Schlafly & Finkbeiner 2011 (ApJ 737, 103), DECam bands, R_V = 3.1.
EXTINCTION = np.array([1.18, 0.79, 0.44], np.float32)


@dataclass(frozen=True, eq=False)
class Plane:
    """Coordinates in the plane of a disc: arcsec along the major axis and, deprojected, across it."""

    x_PP: np.ndarray
    y_PP: np.ndarray
    radius_PP: np.ndarray
    log_radius_PP: np.ndarray
    angle_PP: np.ndarray  # radians

    def elongated(self, power: float, axis_ratio: float, turn: float) -> np.ndarray:
        """The generalised elliptical radius (|x|ᵖ + |y/q|ᵖ)^(1/p) about an axis at ``turn`` degrees."""
        cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        along = np.abs(self.x_PP * cosine + self.y_PP * sine)
        across = np.abs(self.y_PP * cosine - self.x_PP * sine) / axis_ratio
        return (along**power + across**power) ** (1 / power)


def plane_of(frame: Frame, galaxy: Galaxy, axis_ratio: float) -> Plane:
    """The plane of a galaxy's disc, with the bend of a disturbed body."""
    dx, dy = frame.x_PP - np.float32(galaxy.x), frame.y_PP - np.float32(galaxy.y)
    cosine, sine = math.cos(math.radians(galaxy.angle)), math.sin(math.radians(galaxy.angle))
    x_PP = dx * np.float32(cosine) + dy * np.float32(sine)
    y_PP = dy * np.float32(cosine) - dx * np.float32(sine)
    bend = galaxy.disturbance.bend
    if bend and galaxy.disc:
        y_PP = y_PP - np.float32(0.18 * bend / galaxy.disc.scale_length) * x_PP**2
    return plane_from(x_PP, y_PP / np.float32(axis_ratio))


def plane_from(x_PP: np.ndarray, y_PP: np.ndarray) -> Plane:
    """A plane from Cartesian coordinates in it."""
    square_PP = x_PP * x_PP + y_PP * y_PP + np.float32(1e-3)
    return Plane(x_PP, y_PP, np.sqrt(square_PP), 0.5 * np.log(square_PP), np.arctan2(y_PP, x_PP))


def step(values: np.ndarray, edge: float, width: float) -> np.ndarray:
    """A smooth step from 0 to 1 at ``edge``."""
    return 1 / (1 + np.exp(np.clip((edge - values) / width, -30, 30)))


def arm_phase(plane: Plane, winding: int, pitch: float, start: float, angle: float) -> np.ndarray:
    """Angle from a logarithmic spiral of the given pitch that passes ``angle`` (radians) at ``start``."""
    slope = winding / math.tan(math.radians(pitch))
    return plane.angle_PP - np.float32(angle) - np.float32(slope) * (plane.log_radius_PP - math.log(start))


def arm_pattern(plane: Plane, arms: Arms, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Spiral arms: 0 between them, about 1 on their ridges.

    The cross-section is a von Mises curve in the angle between arms, so an arm widens outwards.
    ``angle`` (radians) is where the first arm starts: a bar's end, where there is a bar.
    """
    side = plane.radius_PP.shape[0]
    phase = arm_phase(plane, arms.winding, arms.pitch, arms.start, angle)
    wander = smooth_field(rng, side, 9) * np.float32(arms.irregularity)
    ridge = np.exp(np.float32(arms.sharpness) * (np.cos(arms.count * phase + wander) - 1))
    preferred = np.float32(rng.uniform(0, 2 * math.pi))
    strength = 1 + np.float32(arms.imbalance) * np.cos(phase - preferred)
    inside = step(plane.log_radius_PP, math.log(arms.start), 0.08)
    ends = np.log(plane.radius_PP / np.float32(arms.end)) + 0.25 * np.sin(phase + preferred)
    pattern = ridge * strength * inside * step(-ends, 0.0, 0.12)
    return pattern * _texture(plane, phase, arms.flocculence, rng)


def _texture(plane: Plane, phase: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Clumps stretched along the arms: a log-normal texture in (phase, log radius), mean about 1."""
    noise = rng.standard_normal((TEXTURE, TEXTURE), dtype=np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), sigmaX=4, sigmaY=7, borderType=cv2.BORDER_REFLECT)
    fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=2, sigmaY=2.5, borderType=cv2.BORDER_REFLECT)
    texture = coarse / coarse.std() + 0.7 * fine / fine.std()
    texture = np.exp(np.float32(spread) * texture / texture.std() - spread**2 / 2)
    # The phase is folded onto half a turn and back, so the texture has no seam.
    folded = np.abs((phase / (2 * math.pi)) % 1 - 0.5) * (2 * (TEXTURE - 1))
    span = math.log(LARGEST / SMALLEST)
    radial = (plane.log_radius_PP - math.log(SMALLEST)) * np.float32((TEXTURE - 1) / span)
    return cv2.remap(
        texture, folded.astype(np.float32), radial, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def bar_pattern(plane: Plane, bar: Bar) -> np.ndarray:
    """A boxy bar, flat along its length and cut off at its ends (peak about 1)."""
    radius = plane.elongated(2.6, bar.axis_ratio, bar.turn) / np.float32(bar.length)
    return step(-radius, -0.9, 0.08) * np.exp(-0.6 * radius)


def ring_pattern(plane: Plane, ring: Ring) -> np.ndarray:
    """A ring with a Gaussian cross-section, peak 1."""
    return np.exp(-0.5 * ((plane.radius_PP - ring.radius) / ring.width) ** 2)


def knots(
    frame: Frame, where_PP: np.ndarray, count: int, size: float, rng: np.random.Generator
) -> np.ndarray:
    """Star-forming knots of log-normal flux, placed in proportion to ``where_PP``; total flux 1."""
    image_PP = np.zeros_like(where_PP)
    total = np.cumsum(where_PP, dtype=np.float64)
    if count == 0 or not total[-1] > 0:
        return image_PP
    pixels = np.searchsorted(total, rng.uniform(0, total[-1], count))
    fluxes = rng.lognormal(0, 0.8, count)
    jitter = rng.uniform(-0.5, 0.5, (2, count))
    for pixel, flux, down, across in zip(pixels, fluxes / fluxes.sum(), *jitter, strict=True):
        row, column = divmod(int(pixel), frame.side)
        add_point(image_PP, row + down, column + across, flux)
    return cv2.GaussianBlur(image_PP, (0, 0), size / frame.scale)


def clumpy(side: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """A log-normal texture for a whole disc, mean about 1."""
    field = 0.7 * smooth_field(rng, side, 25) + 0.7 * smooth_field(rng, side, 55)
    return np.exp(np.float32(spread) * field - spread**2 / 2)


def dust_lane(plane: Plane, dust: Dust, length: float, height: float, rng: np.random.Generator) -> np.ndarray:
    """Transmission of a dust lane in g, r, z, (3, P, P); a quarter of the light is in front of it."""
    side = plane.radius_PP.shape[0]
    distance = (plane.y_PP / np.float32(height) - dust.offset) / dust.width
    ragged = np.exp(0.35 * smooth_field(rng, side, 40))
    depth = dust.depth * ragged * np.exp(-0.5 * distance**2 - np.abs(plane.x_PP) / (1.6 * length))
    return 0.25 + 0.75 * np.exp(-EXTINCTION[:, None, None] * depth)


def tail_pattern(plane: Plane, tail: Tail) -> np.ndarray:
    """A tidal tail that widens and fades outwards (unnormalised)."""
    phase = arm_phase(plane, tail.winding, tail.curl, tail.start, math.radians(tail.turn))
    phase = (phase + math.pi) % (2 * math.pi) - math.pi
    away = plane.radius_PP * np.float32(math.sin(math.radians(tail.curl))) * phase
    width = tail.width * (0.6 + 0.5 * plane.radius_PP / tail.end)
    reach = (plane.radius_PP - tail.start) / (tail.end - tail.start)
    along = step(reach, 0.0, 0.05) * step(-reach, -1.0, 0.08) * np.exp(-1.2 * np.maximum(reach, 0))
    return np.exp(-0.5 * (away / width) ** 2) * along


def shell_pattern(plane: Plane, shell: Shell) -> np.ndarray:
    """An arc, bright inside a sharp outer edge, around the direction ``turn`` (unnormalised)."""
    depth = (shell.radius - plane.radius_PP) / shell.radius
    edge = step(depth, 0.0, 0.012) * np.exp(-np.maximum(depth, 0) / 0.12)
    away = (plane.angle_PP - math.radians(shell.turn) + math.pi) % (2 * math.pi) - math.pi
    return edge * np.exp(-0.5 * (away / math.radians(shell.opening / 2)) ** 2)


def bridge_pattern(frame: Frame, galaxy: Galaxy, bridge: Bridge) -> np.ndarray:
    """A bowed strip of light between the galaxy and the bridge's other end (unnormalised)."""
    dx, dy = bridge.x - galaxy.x, bridge.y - galaxy.y
    length = max(math.hypot(dx, dy), 1e-3)
    from_x, from_y = frame.x_PP - np.float32(galaxy.x), frame.y_PP - np.float32(galaxy.y)
    along = (from_x * np.float32(dx) + from_y * np.float32(dy)) / np.float32(length**2)
    across = (from_y * np.float32(dx) - from_x * np.float32(dy)) / np.float32(length)
    across = across - np.float32(4 * bridge.bow * length) * along * (1 - along)
    return np.exp(-0.5 * (across / bridge.width) ** 2) * step(along, 0.0, 0.06) * step(-along, -1.0, 0.06)
