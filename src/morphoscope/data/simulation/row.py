"""One row of a simulated store: its class, its picture, its labels, its truth.

Everything about a row follows from (seed, row) alone, with a generator of its own for each purpose, so
it is the same galaxy however many rows there are and whoever renders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from morphoscope.data.simulation.galaxies import truth
from morphoscope.data.simulation.light import frame_of
from morphoscope.data.simulation.populations import draw_galaxy
from morphoscope.data.simulation.scene import half_light_radius, system_light
from morphoscope.data.simulation.sky import add_field, observe
from morphoscope.data.simulation.survey import Survey

# Purposes of the random generators of one row; never renumber them.
GALAXY, FIELD, OBSERVATION, VOTES, ORDER = range(5)


@dataclass(frozen=True)
class Plan:
    """What a whole simulation shares."""

    survey: Survey
    size: int
    seed: int
    scheme: str
    block: tuple[int, ...]  # classes of consecutive rows, shuffled anew in every block


@dataclass(frozen=True)
class Job:
    """Some rows to render."""

    plan: Plan
    start: int
    stop: int


def render_rows(job: Job) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Render a job's rows: (N, size, size, 3) uint8 and what the table says of each."""
    rendered = [render_row(job.plan, row) for row in range(job.start, job.stop)]
    return np.stack([image for image, _ in rendered]), [values for _, values in rendered]


def render_row(plan: Plan, row: int) -> tuple[np.ndarray, dict[str, Any]]:
    """One galaxy: (size, size, 3) uint8 RGB and its row of the table."""
    from morphoscope.labels.galaxy10 import GALAXY10

    frame = frame_of(plan.survey)
    label = class_of(plan, row)
    galaxy = draw_galaxy(GALAXY10.classes[label], _generator(plan, row, GALAXY))
    light_3PP = system_light(frame, galaxy)
    radius = half_light_radius(frame, light_3PP, galaxy.x, galaxy.y)
    add_field(light_3PP, frame, _generator(plan, row, FIELD))
    image_HWC = observe(light_3PP, frame, _generator(plan, row, OBSERVATION))
    values: dict[str, Any] = {
        "id": f"simulated-{plan.seed}-{row:07d}",
        "source": f"simulation {plan.seed}, row {row}",
        **truth(galaxy, radius),
    }
    if plan.scheme == "votes":
        from morphoscope.data.simulation.votes import draw_votes
        from morphoscope.labels.decision_tree import GALAXY_ZOO_2

        fractions_K, volunteers = draw_votes(galaxy, radius, _generator(plan, row, VOTES))
        values |= dict(zip(GALAXY_ZOO_2.columns, fractions_K.tolist(), strict=True))
        values["volunteers"] = volunteers
    else:
        values["label"] = label
    return resample(image_HWC, plan.size), values


def class_of(plan: Plan, row: int) -> int:
    """The class index of a row: the block of classes, shuffled by (seed, block)."""
    return _shuffled(plan.block, plan.seed, row // len(plan.block))[row % len(plan.block)]


@lru_cache(maxsize=64)
def _shuffled(block: tuple[int, ...], seed: int, number: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, number, ORDER]).permutation(len(block))
    return tuple(block[place] for place in order)


def _generator(plan: Plan, row: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([plan.seed, row, purpose])


def resample(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """The survey's cutout at another number of pixels, as one would scale the downloaded picture."""
    if size == image_HWC.shape[0]:
        return image_HWC
    method = cv2.INTER_AREA if size < image_HWC.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image_HWC, (size, size), interpolation=method)
