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


# A class is what people saw: where the PSF hides arms or a bar, a galaxy is called smooth. Half-light radii
# in arcsec, at the median seeing of DECaLS.
SMALLEST = {"Barred Spiral": 3.5, "Unbarred Tight Spiral": 4.8, "Unbarred Loose Spiral": 3.0}


def draw_galaxy(morphology: str, rng: np.random.Generator, seeing: float = 1.0) -> Galaxy:
    """A galaxy of one of the ten classes, named as in :data:`BUILDERS`.

    Args:
        morphology: the class.
        rng: of the galaxy.
        seeing: the survey's over that of DECaLS (:attr:`Survey.blur`); a worse one hides larger spirals.
    """
    galaxy = plain_galaxy(morphology, rng)
    radius = max(draw_radius(galaxy, rng), SMALLEST.get(morphology, 0.0) * seeing)
    return BUILDERS[morphology](galaxy, radius, rng)
