"""From a class and a seed to a galaxy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morphoscope.data.simulation import interacting, single
from morphoscope.data.simulation.galaxies import Galaxy
from morphoscope.data.simulation.photometry import draw_radius, plain_galaxy

# A class's builder takes a galaxy without parts, its half-light radius in arcsec, and a generator.
BUILDERS: dict[str, Callable[[Galaxy, float, np.random.Generator], Galaxy]] = {
    "Disturbed": interacting.disturbed,
    "Merging": interacting.merging,
    "Round Smooth": single.round_smooth,
    "In-between Round Smooth": single.in_between_smooth,
    "Cigar Shaped Smooth": single.cigar_shaped,
    "Barred Spiral": single.barred_spiral,
    "Unbarred Tight Spiral": single.tight_spiral,
    "Unbarred Loose Spiral": single.loose_spiral,
    "Edge-on without Bulge": single.edge_on_without_bulge,
    "Edge-on with Bulge": single.edge_on_with_bulge,
}


def draw_galaxy(morphology: str, rng: np.random.Generator) -> Galaxy:
    """A galaxy of one of the ten classes, named as in :data:`BUILDERS`."""
    galaxy = plain_galaxy(morphology, rng)
    return BUILDERS[morphology](galaxy, draw_radius(galaxy, rng), rng)
