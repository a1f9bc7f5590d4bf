"""One row of a simulated store: class, image, labels, true parameters.

A row depends on (seed, row) alone, with a separate random generator for each purpose, so it is the same
galaxy whatever the number of rows or workers.

Masks of the components of a simulated galaxy: the ground truth for attribution maps.

Shape letters: P side of the padded frame, H and W those of the cutout, S of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from morphoscope.simulation.galaxy import LENGTHS, Galaxy, truth
from morphoscope.simulation.observation import add_field, observe, resample, serve
from morphoscope.simulation.profiles import Frame, frame_of
from morphoscope.simulation.rendering import Light, light_radii, petrosian_radius_90, system_light
from morphoscope.simulation.sampling import draw_galaxy
from morphoscope.simulation.survey import Survey

# Bit k of a mask stands for the k-th name. "bulge" includes whole ellipticals; "tail" everything tidal:
# tails, shells, bridges; "neighbour" chance projections.
COMPONENTS = ("bulge", "disc", "arms", "bar", "companion", "tail", "star", "neighbour")
LEAST_SHARE = 1 / 3  # of a pixel's flux that a component must contribute
_FWHM = 2.3548  # full width at half maximum over standard deviation of a Gaussian


def component_mask(layers: dict[str, np.ndarray], frame: Frame, faintest: float) -> np.ndarray:
    """The bit mask of a cutout, (H, W) uint8.

    A component has a pixel where its r-band flux, at the survey's median seeing, exceeds the noise of one
    pixel and a third of the total flux there. So masks overlap (arms on a disc), and what cannot be seen is
    in none.

    Args:
        layers: r-band image of each component before the PSF, (P, P).
        frame: of the layers.
        faintest: noise, in the units of the layers.
    """
    sigma = frame.survey.seeing[1] / _FWHM / frame.survey.pixel_scale
    blurred = {
        name: cv2.GaussianBlur(frame.cut(layer_PP), (0, 0), sigma) for name, layer_PP in layers.items()
    }
    all_HW = sum(blurred.values(), np.zeros((frame.survey.side,) * 2, np.float32))
    limit_HW = np.maximum(np.float32(LEAST_SHARE) * all_HW, np.float32(faintest))
    mask_HW = np.zeros(limit_HW.shape, np.uint8)
    for name, layer_HW in blurred.items():
        mask_HW |= (layer_HW > limit_HW).astype(np.uint8) << np.uint8(COMPONENTS.index(name))
    return mask_HW


def scaled_mask(mask_HW: np.ndarray, size: int) -> np.ndarray:
    """A resized bit mask, (S, S) uint8: a bit is set where it covers at least half of the pixel."""
    if size == mask_HW.shape[0]:
        return mask_HW
    method = cv2.INTER_AREA if size < mask_HW.shape[0] else cv2.INTER_LINEAR
    scaled_SS = np.zeros((size, size), np.uint8)
    for bit in range(len(COMPONENTS)):
        plane_HW = ((mask_HW >> bit) & 1) * np.uint8(255)
        if plane_HW.any():
            plane_SS = cv2.resize(plane_HW, (size, size), interpolation=method)
            scaled_SS |= (plane_SS >= 128).astype(np.uint8) << np.uint8(bit)
    return scaled_SS


PSF_RADIUS_90 = 0.91  # radius with 90 % of a Gaussian's light over its full width at half maximum

# Purposes of the random generators of one row; never renumber them.
GALAXY, FIELD, OBSERVATION, VOTES, ORDER, SURVEY = range(6)


@dataclass(frozen=True)
class Plan:
    """Parameters common to all rows of a simulation."""

    surveys: tuple[Survey, ...]  # each row uses one, drawn at random
    size: int
    seed: int
    scheme: str
    block: tuple[int, ...]  # classes of consecutive rows, reshuffled in every block
    masks: bool = False


@dataclass(frozen=True)
class Job:
    """A range of rows to render."""

    plan: Plan
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Rendered:
    """Image (size, size, 3) uint8 RGB, table row, and bit mask if requested."""

    image_HWC: np.ndarray
    values: dict[str, Any]
    mask_HW: np.ndarray | None = None


def render_rows(job: Job) -> list[Rendered]:
    """Render the rows of a job, in order."""
    return [render_row(job.plan, row) for row in range(job.start, job.stop)]


def render_row(plan: Plan, row: int) -> Rendered:
    """Render one galaxy; deterministic in plan and row."""
    survey = survey_of(plan, row)
    frame = frame_of(survey)
    galaxy = galaxy_of(plan, row)
    light = system_light(frame, galaxy)
    radii = light_radii(frame, light.total_3PP[1], galaxy.x, galaxy.y)
    shown = _pixels_shown(survey, light, frame, galaxy)
    add_field(light, frame, _generator(plan, row, FIELD))
    flux_3HW = observe(light.total_3PP, frame, _generator(plan, row, OBSERVATION))
    image_HWC = resample(serve(survey, flux_3HW, shown), plan.size)
    values = {
        "id": f"simulated-{plan.seed}-{row:07d}",
        "source": f"simulation {plan.seed}, row {row}",
        "survey": survey.name,
        "pixel_scale": shown * survey.pixel_scale / plan.size,
        **as_observed(truth(galaxy, radii), survey),
        **_labels(plan, row, galaxy, radii[0]),
    }
    return Rendered(image_HWC, values, _mask(plan, survey, light, frame, shown) if plan.masks else None)


def _pixels_shown(survey: Survey, light: Light, frame: Frame, galaxy: Galaxy) -> int:
    """Side, in pixels, of the part of the cutout that the image shows."""
    if survey.view is None:
        return survey.side
    radius = petrosian_radius_90(frame, light.total_3PP[1], galaxy.x, galaxy.y)
    return survey.pixels_shown(math.hypot(radius, PSF_RADIUS_90 * survey.seeing[1] * survey.distance))


def as_observed(values: dict[str, Any], survey: Survey) -> dict[str, Any]:
    """Parameters as observed at the survey's distance: fainter and smaller."""
    smaller = {name: values[name] / survey.distance for name in LENGTHS}
    return values | smaller | {"r_mag": values["r_mag"] + survey.dimming}


def survey_of(plan: Plan, row: int) -> Survey:
    """The survey of a row."""
    if len(plan.surveys) == 1:
        return plan.surveys[0]
    return plan.surveys[int(_generator(plan, row, SURVEY).integers(len(plan.surveys)))]


def galaxy_of(plan: Plan, row: int) -> Galaxy:
    """The parameters of a row's galaxy."""
    from morphoscope.labels.galaxy10 import GALAXY10

    name = GALAXY10.classes[class_of(plan, row)]
    return draw_galaxy(name, _generator(plan, row, GALAXY), seeing=survey_of(plan, row).blur)


def _labels(plan: Plan, row: int, galaxy: Galaxy, half_light_radius: float) -> dict[str, Any]:
    if plan.scheme == "measurements":
        return {}  # they are among the true parameters
    if plan.scheme not in ("votes", "vote-counts"):
        return {"label": class_of(plan, row)}
    from morphoscope.labels.tree import GALAXY_ZOO_2
    from morphoscope.simulation.votes import answer_chances, chance_column, count_column, draw_votes

    votes = draw_votes(galaxy, half_light_radius, _generator(plan, row, VOTES))
    if plan.scheme == "vote-counts":
        names = _count_names()
        chances = answer_chances(galaxy, half_light_radius)
        chances_K = np.concatenate([chances[question.key] for question in GALAXY_ZOO_2.questions])
        counted = {f"{name}_count": count for name, count in zip(names, votes.counts_K.tolist(), strict=True)}
        true = {chance_column(name): chance for name, chance in zip(names, chances_K.tolist(), strict=True)}
        return counted | true | {"volunteers": votes.volunteers}
    columns = GALAXY_ZOO_2.columns
    fractions = dict(zip(columns, votes.fractions_K.tolist(), strict=True))
    counts = dict(zip(map(count_column, columns), votes.counts_K.tolist(), strict=True))
    return fractions | counts | {"volunteers": votes.volunteers}


@lru_cache(maxsize=1)
def _count_names() -> tuple[str, ...]:
    """The answers of Galaxy Zoo 2 as vote counts name them, in the order of its 37 columns."""
    from morphoscope.labels.tree_files import tree_file

    return tree_file("gz2").tree().columns


def _mask(plan: Plan, survey: Survey, light: Light, frame: Frame, shown: int) -> np.ndarray:
    faintest = survey.noise[1] * 10 ** (0.4 * survey.dimming)
    mask_HW = component_mask(light.layers, frame, faintest)
    edge = (survey.side - shown) // 2
    return scaled_mask(mask_HW[edge : edge + shown, edge : edge + shown], plan.size)


def class_of(plan: Plan, row: int) -> int:
    """The class index of a row: the block of classes, shuffled by (seed, block)."""
    return _shuffled(plan.block, plan.seed, row // len(plan.block))[row % len(plan.block)]


@lru_cache(maxsize=64)
def _shuffled(block: tuple[int, ...], seed: int, number: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, number, ORDER]).permutation(len(block))
    return tuple(block[index] for index in order)


def _generator(plan: Plan, row: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([plan.seed, row, purpose])
