"""Random galaxies of a class: magnitudes, colours and sizes of the ten classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from morphoscope.simulation import interacting, isolated
from morphoscope.simulation.galaxy import Galaxy

# A builder takes a galaxy without components, its half-light radius in arcsec, and a generator.
BUILDERS: dict[str, Callable[[Galaxy, float, np.random.Generator], Galaxy]] = {
    "Disturbed": interacting.disturbed,
    "Merging": interacting.merging,
    "Round Smooth": isolated.round_smooth,
    "In-between Round Smooth": isolated.in_between_smooth,
    "Cigar Shaped Smooth": isolated.cigar_shaped,
    "Barred Spiral": isolated.barred_spiral,
    "Unbarred Tight Spiral": isolated.tight_spiral,
    "Unbarred Loose Spiral": isolated.loose_spiral,
    "Edge-on without Bulge": isolated.edge_on_without_bulge,
    "Edge-on with Bulge": isolated.edge_on_with_bulge,
}


# Classes are what people saw: a galaxy whose arms or bar the PSF hides is called smooth. Smallest half-light
# radii in arcsec, at the median seeing of DECaLS.
SMALLEST = {"Barred Spiral": 3.5, "Unbarred Tight Spiral": 4.8, "Unbarred Loose Spiral": 3.0}


def draw_galaxy(morphology: str, rng: np.random.Generator, seeing: float = 1.0) -> Galaxy:
    """Draw a galaxy of one of the ten classes (the keys of :data:`BUILDERS`).

    Args:
        morphology: the class.
        rng: random generator of this galaxy.
        seeing: relative to DECaLS (:attr:`morphoscope.simulation.survey.Survey.blur`); worse seeing
            hides larger spirals.
    """
    galaxy = plain_galaxy(morphology, rng)
    radius = max(draw_radius(galaxy, rng), SMALLEST.get(morphology, 0.0) * seeing)
    return BUILDERS[morphology](galaxy, radius, rng)


BRIGHTEST, FAINTEST = 13.8, 18.0  # in r; Galaxy Zoo DECaLS has galaxies brighter than r = 17.77


@dataclass(frozen=True)
class Photometry:
    """Medians of a class: r magnitude, colours, half-light radius in arcsec."""

    r_mag: float
    g_r: float
    r_z: float
    radius: float


# Medians of five images per class of Galaxy10 DECaLS, adjusted until simulated images, measured in the same
# way (scripts/simulator_statistics.py), have about the same medians: measured sizes include the PSF.
PHOTOMETRY = {
    "Disturbed": Photometry(16.8, 0.48, 0.34, 3.3),
    "Merging": Photometry(16.5, 0.89, 0.61, 4.2),
    "Round Smooth": Photometry(16.6, 0.69, 0.54, 2.5),
    "In-between Round Smooth": Photometry(16.9, 0.88, 0.65, 2.3),
    "Cigar Shaped Smooth": Photometry(16.8, 0.75, 0.53, 2.3),
    "Barred Spiral": Photometry(16.3, 0.69, 0.52, 5.6),
    "Unbarred Tight Spiral": Photometry(15.8, 0.74, 0.52, 5.4),
    "Unbarred Loose Spiral": Photometry(16.0, 0.57, 0.37, 6.1),
    "Edge-on without Bulge": Photometry(15.6, 0.74, 0.55, 8.0),
    "Edge-on with Bulge": Photometry(16.8, 0.95, 0.65, 4.3),
}


def plain_galaxy(morphology: str, rng: np.random.Generator) -> Galaxy:
    """A galaxy of a class with brightness, colour and orientation, but no components yet."""
    median = PHOTOMETRY[morphology]
    redder = rng.normal(0, 0.13)
    return Galaxy(
        morphology=morphology,
        r_mag=float(np.clip(rng.normal(median.r_mag, 0.7), BRIGHTEST, FAINTEST)),
        colour=(median.g_r + redder, median.r_z + 0.6 * redder + rng.normal(0, 0.05)),
        axis_ratio=1.0,
        angle=rng.uniform(0, 360),
        texture=int(rng.integers(2**62)),
    )


def draw_radius(galaxy: Galaxy, rng: np.random.Generator) -> float:
    """Half-light radius in arcsec, log-normal; brighter galaxies are closer or larger, R ∝ 10^(−0.13 m)."""
    median = PHOTOMETRY[galaxy.morphology]
    spread = np.exp(np.clip(rng.normal(0, 0.25), -0.5, 0.5))
    return float(median.radius * spread * 10 ** (-0.13 * (galaxy.r_mag - median.r_mag)))
