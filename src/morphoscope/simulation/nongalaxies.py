"""Cutouts without a central galaxy: stars, empty sky, and artefacts of cameras.

Shape letters: N cutouts, H × W pixels, 3 the survey's bands from blue to red.

They test the detection of out-of-distribution samples, and some kinds teach the packaged network what has
no class (``scripts/adapt_default_body.py``). Strengths are in units of the survey's noise, so they are
visible in every survey.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.simulation.observation import (
    WINGS,
    WINGS_RADIUS,
    add_field,
    observe,
    resample,
    serve,
    star_flux,
)
from morphoscope.simulation.profiles import Frame, add_point, frame_of, sersic
from morphoscope.simulation.rendering import Light
from morphoscope.simulation.survey import SURVEYS, Survey

STARS = (12.5, 17.5)  # r magnitudes, about as bright as the galaxies
BLEEDING = (9.5, 12.0)
RADII = (5.0, 12.0)  # arcsec, 90 % light radii of the galaxy that would be there: they set the field shown

Defect = Callable[[np.ndarray, Survey, np.random.Generator], None]


def non_galaxies(kind: str, survey: str | Survey, count: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Simulate images of one kind, as the survey would serve them.

    Image i depends on (kind, survey, seed, i) alone.

    Args:
        kind: one of :data:`KINDS`.
        survey: "decals", "sdss" or "euclid", or any other with its properties.
        count: N.
        size: pixels along a side.
        seed: 0 or more.

    Returns:
        (N, size, size, 3) uint8 RGB.

    Raises:
        UsageError: no such kind or survey.
    """
    named = () if isinstance(survey, Survey) else (("survey", survey, tuple(SURVEYS)),)
    for what, name, known in (("kind of non-galaxy", kind, KINDS), *named):
        if name not in known:
            raise UsageError(f"no {what} '{name}' to simulate{did_you_mean(name, known, 'known')}")
    shown_in = survey if isinstance(survey, Survey) else SURVEYS[survey]
    images_NHWC = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        rng = np.random.default_rng([seed, number, KINDS.index(kind)])
        images_NHWC[number] = resample(_picture(kind, shown_in, rng), size)
    return images_NHWC


def _picture(kind: str, survey: Survey, rng: np.random.Generator) -> np.ndarray:
    shown = survey.pixels_shown(rng.uniform(*RADII))
    if kind == "one colour":
        return _one_colour(shown, rng)
    frame = frame_of(survey)
    flux_3HW = observe(_field(kind, frame, rng), frame, rng)
    if kind in _DEFECTS:
        edge = (survey.side - shown) // 2
        _DEFECTS[kind](flux_3HW[:, edge : edge + shown, edge : edge + shown], survey, rng)
    return serve(survey, flux_3HW, shown)


def _field(kind: str, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Surface brightness of the field, with a central star for the kinds that have one, (3, P, P)."""
    light = Light(np.zeros((3, frame.side, frame.side), np.float32), {})
    add_field(light, frame, rng)
    if kind in ("star", "bleeding star"):
        magnitude = rng.uniform(*(STARS if kind == "star" else BLEEDING))
        x, y = rng.normal(0, 0.3, 2)
        flux_3 = star_flux(magnitude, rng)
        add_point(light.total_3PP, *frame.pixel(x, y), (1 - WINGS) * flux_3)
        # On the whole frame: a stamp would cut off the wings of bright stars.
        wings_PP = sersic(frame, 1.5, WINGS_RADIUS, 1.0, 0.0, x, y)
        light.total_3PP[...] += (WINGS * flux_3).astype(np.float32)[:, None, None] * wings_PP
    return light.total_3PP


def _one_colour(side: int, rng: np.random.Generator) -> np.ndarray:
    """A frame without data: black, white or some colour, whole or on one side of an edge."""
    colour = rng.choice([np.zeros(3), np.full(3, 255), rng.integers(0, 256, 3)])
    image_HWC = np.full((side, side, 3), colour, np.uint8)
    if rng.uniform() < 0.3:
        image_HWC[:, : rng.integers(1, side)] = rng.integers(0, 60, 3)
    return image_HWC


def _noise_of(survey: Survey) -> np.ndarray:
    return np.asarray(survey.noise, np.float32)


def _some_bands(rng: np.random.Generator) -> np.ndarray:
    """Relative strength in each band, (3,): an artefact is in one exposure, so rarely in all bands."""
    bands_3 = (rng.uniform(size=3) < 0.5).astype(np.float32)
    bands_3[rng.integers(3)] = 1
    return bands_3


def _trail(flux_3HW: np.ndarray, survey: Survey, rng: np.random.Generator) -> None:
    """Satellite trail: a straight line near the centre, as wide as the seeing."""
    side = flux_3HW.shape[1]
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.15, 0.15) * side
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    across_HW = x * np.sin(angle) - y * np.cos(angle) - offset
    width = rng.uniform(0.4, 0.9) * survey.seeing[1] / survey.pixel_scale
    profile_HW = np.exp(-0.5 * (across_HW / width) ** 2).astype(np.float32)
    strength_3 = 10 ** rng.uniform(0.8, 2.2) * _noise_of(survey) * _some_bands(rng)
    flux_3HW += strength_3[:, None, None] * profile_HW


def _bleed(flux_3HW: np.ndarray, survey: Survey, rng: np.random.Generator) -> None:
    """Charge bleeding along the columns of a saturated star."""
    side = flux_3HW.shape[1]
    half, width = rng.integers(side // 10, side // 2), rng.integers(1, 5)
    left = side // 2 - width // 2
    for band in np.flatnonzero(_some_bands(rng)):
        flux_3HW[band, side // 2 - half : side // 2 + half, left : left + width] = (
            10 ** rng.uniform(2, 3) * survey.noise[band]
        )


def _bad_columns(flux_3HW: np.ndarray, survey: Survey, rng: np.random.Generator) -> None:
    """Dead or hot columns or rows."""
    plane_3HW = flux_3HW if rng.uniform() < 0.7 else flux_3HW.transpose(0, 2, 1)
    side = flux_3HW.shape[1]
    for _ in range(rng.integers(1, 7)):
        left, width = rng.integers(side // 8, side - side // 8), rng.integers(1, 6)
        value = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(1, 2.5)
        for band in np.flatnonzero(_some_bands(rng)):
            plane_3HW[band, :, left : left + width] += value * survey.noise[band]


def _ghost(flux_3HW: np.ndarray, survey: Survey, rng: np.random.Generator) -> None:
    """Ghost: the pupil's image by reflection between the optics, a faint disc with the mirror's shadow in
    it.
    """
    side = flux_3HW.shape[1]
    middle = side / 2 + rng.uniform(-0.12, 0.12, 2) * side
    radius = rng.uniform(0.12, 0.35) * side
    hole = radius * rng.uniform(0.25, 0.5)
    shift = rng.uniform(-0.2, 0.2, 2) * radius
    y, x = np.mgrid[:side, :side].astype(np.float32)
    disc_HW = np.hypot(x - middle[0], y - middle[1]) < radius
    hole_HW = np.hypot(x - middle[0] - shift[0], y - middle[1] - shift[1]) < hole
    pupil_HW = cv2.GaussianBlur((disc_HW & ~hole_HW).astype(np.float32), (0, 0), 1.5)
    slope_HW = 1 + rng.uniform(-0.4, 0.4) * (x - middle[0]) / radius
    strength_3 = rng.uniform(2, 15) * _noise_of(survey) * np.maximum(_some_bands(rng), 0.4)
    flux_3HW += strength_3[:, None, None] * pupil_HW * np.maximum(slope_HW, 0).astype(np.float32)


_DEFECTS: dict[str, Defect] = {
    "satellite trail": _trail,
    "bleeding star": _bleed,
    "bad columns": _bad_columns,
    "ghost": _ghost,
}
KINDS = ("star", "empty sky", *_DEFECTS, "one colour")
