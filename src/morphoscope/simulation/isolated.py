"""Isolated galaxies: smooth galaxies, spirals, edge-on discs.

The parameters follow the papers cited beside them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from morphoscope.simulation.galaxy import Arms, Bar, Disc, Dust, Galaxy, Ring, Spheroid

# Share of spirals with many short arms: half of all (Elmegreen et al. 2011, ApJ 737, 32), fewer among those
# whose arms a person sees.
FLOCCULENT = {"Unbarred Tight Spiral": 0.25, "Unbarred Loose Spiral": 0.2}
# Share of the smooth galaxies that are discs without arms: people call most lenticulars smooth (Willett et
# al. 2013, MNRAS 435, 2835), and those are about as many as ellipticals (Nair & Abraham 2010,
# ApJS 186, 427).
LENTICULAR = 0.35
NEARLY_EDGE_ON = 0.35  # share of the edge-on discs
NEAR_COSINES = (0.09, 0.26)  # of their inclination, 75° to 85°
EXPONENTIAL_HALF_LIGHT = 1.678  # half-light radius over scale length of an exponential disc


def round_smooth(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A round galaxy: axis ratio 0.82 to 1; blue ones are discs (n near 1), red ones E or S0.

    Most are red: the colours of galaxies have two peaks, about 0.3 apart in g−r (Blanton et al.
    2003, ApJ 594, 186, figures 7 and 8, also for the Sérsic index, which rises with colour).
    """
    q = rng.uniform(0.82, 1.0)
    if rng.uniform() < LENTICULAR:
        return lenticular(galaxy, 1.2 * radius, q, rng)
    if rng.uniform() < 0.6:
        redder = (galaxy.colour[0] + 0.22, galaxy.colour[1] + 0.12)
        return elliptical(replace(galaxy, colour=redder), 1.15 * radius, q, rng.uniform(2.2, 6.0), rng)
    redness = np.clip((galaxy.colour[0] - 0.45) / 0.45, 0, 1)
    n = float(np.clip(rng.normal(0.8 + 1.4 * redness, 0.4), 0.6, 4.0))
    return elliptical(galaxy, radius, q, n, rng)


def in_between_smooth(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """An elliptical or lenticular galaxy neither round nor cigar-shaped."""
    q = rng.uniform(0.48, 0.70)
    if rng.uniform() < LENTICULAR:
        return lenticular(galaxy, 1.2 * radius / q**0.3, q, rng)
    n = rng.uniform(2.5, 6.0) if rng.uniform() < 0.5 else rng.uniform(1.0, 3.0)
    return elliptical(galaxy, radius / q**0.3, q, n, rng)


def cigar_shaped(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A smooth galaxy of axis ratio 0.24 to 0.38, rounder than an edge-on disc."""
    q = rng.uniform(0.24, 0.38)
    return elliptical(galaxy, radius * 1.35, q, rng.uniform(0.8, 1.8), rng)


def elliptical(
    galaxy: Galaxy, radius: float, axis_ratio: float, n: float, rng: np.random.Generator
) -> Galaxy:
    """A Sérsic profile in a rounder, larger and bluer halo: galaxies become bluer outwards.

    Outer components: Huang et al. 2013 (ApJ 766, 47). Bluer outwards: La Barbera et al.
    2010 (AJ 140, 1528).
    """
    halo = rng.uniform(0.0, 0.3) if n > 1.5 else rng.uniform(0.0, 0.1)
    body = Spheroid(1 - halo, n, radius * 0.85, axis_ratio, colour=(0.03, 0.02))
    wider = radius * rng.uniform(1.5, 2.3)
    outer = Spheroid(halo, 1.0, wider, axis_ratio**0.8, colour=(-0.06, -0.03), turn=rng.normal(0, 4))
    return replace(galaxy, axis_ratio=axis_ratio, spheroid=body, halo=outer)


def lenticular(galaxy: Galaxy, radius: float, axis_ratio: float, rng: np.random.Generator) -> Galaxy:
    """A smooth disc without arms around a bulge of 5 to 60 % of the light, red more often than not.

    Bulges: Laurikainen et al. 2010 (MNRAS 405, 1089), and smaller ones for the blue discs in which
    a picture shows no arms.
    """
    if rng.uniform() < 0.6:
        galaxy = replace(galaxy, colour=(galaxy.colour[0] + 0.15, galaxy.colour[1] + 0.08))
    galaxy = disc_galaxy(galaxy, radius, rng.uniform(0.05, 0.6), axis_ratio, rng)
    assert galaxy.disc is not None
    return replace(galaxy, disc=replace(galaxy.disc, clumpiness=rng.uniform(0.0, 0.04)))


def face_on(rng: np.random.Generator, lowest: float) -> float:
    """Axis ratio of a randomly inclined disc, cos i uniform, limited so that its arms can be seen."""
    return rng.uniform(lowest, 1.0)


def disc_galaxy(
    galaxy: Galaxy, radius: float, bulge: float, axis_ratio: float, rng: np.random.Generator
) -> Galaxy:
    """A disc with a bulge of the given share of the light.

    Bulges: n 1 to 3 and radii of about 0.2 disc scale lengths, growing with their share (Gadotti 2009,
    MNRAS 393, 1531; Graham & Worley 2008, MNRAS 388, 1708); redder than the disc.
    """
    length = radius / EXPONENTIAL_HALF_LIGHT * (1 + 0.5 * bulge)
    redder = rng.uniform(0.1, 0.35)  # bulge against disc: MacArthur et al. 2004 (ApJS 152, 175)
    part = Spheroid(
        bulge,
        rng.uniform(1.0, 3.0),
        max(0.35, length * (0.15 + 0.5 * bulge) * rng.lognormal(0, 0.2)),
        max(axis_ratio, rng.uniform(0.75, 1.0)),
        colour=(redder, 0.6 * redder),
    )
    # Discs shrink with wavelength by about a tenth from g to z: Fathi et al. 2010 (MNRAS 406, 1595).
    disc = Disc(1 - bulge, length, clumpiness=rng.uniform(0.04, 0.12), gradient=rng.uniform(0.02, 0.14))
    return replace(galaxy, axis_ratio=axis_ratio, spheroid=part, disc=disc)


def barred_spiral(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A bar with two arms that start at its ends, often with a ring around it."""
    galaxy = disc_galaxy(galaxy, radius, rng.uniform(0.02, 0.14), face_on(rng, 0.62), rng)
    assert galaxy.disc is not None
    length = galaxy.disc.scale_length
    # Bars of the longer and stronger half, which a person sees: Erwin 2005 (MNRAS 364, 283) for half-lengths
    # in scale lengths, Gadotti 2011 (MNRAS 415, 3308) for axis ratios and shares of the light.
    bar = Bar(
        rng.uniform(0.12, 0.25),
        length * rng.uniform(1.0, 1.9),
        rng.uniform(0.15, 0.28),
        rng.uniform(0, 180),
        colour=(0.14, 0.08),
    )
    arms = Arms(
        count=2,
        pitch=rng.uniform(9, 26),
        winding=int(rng.choice([-1, 1])),
        contrast=rng.uniform(0.4, 1.5),
        sharpness=rng.uniform(1.5, 3.5),
        start=bar.length * 0.95,
        end=length * rng.uniform(2.8, 4.2),
        irregularity=rng.uniform(0.15, 0.5),
        flocculence=rng.uniform(0.2, 0.6),
        imbalance=rng.uniform(0, 0.3),
        knots=int(rng.integers(0, 20)),
    )
    # Rings lie at the bar's ends: Comerón et al. 2014 (A&A 562, A121), who find them in many barred discs.
    ring = Ring(bar.length, 0.16 * bar.length, rng.uniform(0.5, 1.4)) if rng.uniform() < 0.35 else None
    return replace(galaxy, bar=bar, arms=arms, ring=ring)


def tight_spiral(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A disc with tightly wound arms and a large bulge."""
    galaxy = disc_galaxy(galaxy, radius, rng.uniform(0.12, 0.35), face_on(rng, 0.6), rng)
    assert galaxy.disc is not None
    length = galaxy.disc.scale_length
    # Pitch angles: Sa–Sb about 6 to 14° (Kennicutt 1981, AJ 86, 1847). Arms are 2πr·tan(pitch)/count apart,
    # here, but for flocculent ones, at least 1.4 times the seeing 1.5 scale lengths out: closer ones are seen
    # as a smooth disc.
    count = int(rng.choice([2, 2, 2, 3]))
    arms = Arms(
        count=count,
        pitch=rng.uniform(7 if count == 2 else 10, 14),
        winding=int(rng.choice([-1, 1])),
        contrast=rng.uniform(1.0, 2.1),
        sharpness=rng.uniform(1.4, 3.0),
        start=length * rng.uniform(0.4, 0.7),
        end=length * rng.uniform(2.4, 3.6),
        irregularity=rng.uniform(0.1, 0.5),
        flocculence=rng.uniform(0.2, 0.6),
        imbalance=rng.uniform(0, 0.3),
        knots=int(rng.integers(0, 14)),
    )
    ring = None
    if rng.uniform() < 0.2:  # tightly wound arms often close to a ring
        ring = Ring(length * rng.uniform(1.0, 2.2), 0.2 * length, rng.uniform(0.3, 0.9))
    if rng.uniform() < FLOCCULENT["Unbarred Tight Spiral"]:
        pitch = rng.uniform(9, 16)
        arms = flocculent(replace(arms, pitch=pitch, count=int(rng.integers(3, 5))), rng)
    return replace(galaxy, arms=arms, ring=ring)


def flocculent(arms: Arms, rng: np.random.Generator) -> Arms:
    """The same arms, broken into many short segments."""
    return replace(
        arms,
        contrast=rng.uniform(0.6, 1.5),
        sharpness=rng.uniform(1.0, 2.0),
        irregularity=rng.uniform(0.9, 1.6),
        flocculence=rng.uniform(0.8, 1.2),
        imbalance=rng.uniform(0, 0.3),
        knots=int(rng.integers(15, 50)),
    )


def loose_spiral(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A blue disc with open, irregular arms and a small bulge."""
    galaxy = disc_galaxy(galaxy, radius, rng.uniform(0.03, 0.15), face_on(rng, 0.5), rng)
    assert galaxy.disc is not None
    length = galaxy.disc.scale_length
    # Pitch angles: Sbc–Sd about 15 to 35° (Kennicutt 1981, AJ 86, 1847).
    arms = Arms(
        count=int(rng.choice([1, 2, 2, 2, 2, 3, 4])),
        pitch=rng.uniform(18, 36),
        winding=int(rng.choice([-1, 1])),
        contrast=rng.uniform(1.0, 3.0),
        sharpness=rng.uniform(1.5, 4.0),
        start=length * rng.uniform(0.3, 0.6),
        end=length * rng.uniform(2.8, 4.5),
        irregularity=rng.uniform(0.3, 0.9),
        flocculence=rng.uniform(0.3, 0.8),
        imbalance=rng.uniform(0, 0.8),
        knots=int(rng.integers(5, 40)),
    )
    if rng.uniform() < FLOCCULENT["Unbarred Loose Spiral"]:
        arms = flocculent(replace(arms, count=int(rng.integers(4, 8))), rng)
    return replace(galaxy, arms=arms)


def _edge_on_disc(galaxy: Galaxy, radius: float, bulge: Spheroid | None, rng: np.random.Generator) -> Galaxy:
    """An edge-on disc: z₀/h of 0.13 to 0.27 (Kregel et al. 2002, MNRAS 334, 646), usually dusty.

    Some are inclined by 75° to 85° alone and look thicker: people find ten times as many edge-on discs
    as cigars (3,296 and 334 in Galaxy10 DECaLS), so most of what is as thin as a cigar is called a disc.
    """
    thickness = rng.uniform(0.13, 0.27)
    inclined = rng.uniform() < NEARLY_EDGE_ON
    if inclined:
        thickness = math.hypot(thickness, rng.uniform(*NEAR_COSINES))
    disc = Disc(
        1 - (bulge.share if bulge else 0.0),
        radius / 1.25,
        gradient=rng.uniform(0.04, 0.24),
        truncation=rng.uniform(2.6, 4.0),
        thickness=thickness,
        clumpiness=rng.uniform(0.05, 0.2),
        warp=rng.normal(0, 0.5),
    )
    dust = None
    if rng.uniform() < (0.3 if inclined else 0.65):
        dust = Dust(rng.uniform(0.6, 3.0), rng.normal(0, 0.18), rng.uniform(0.2, 0.4))
    return replace(galaxy, axis_ratio=thickness, spheroid=bulge, disc=disc, dust=dust)


def edge_on_without_bulge(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """An edge-on disc of uniform thickness."""
    return _edge_on_disc(galaxy, radius, None, rng)


def edge_on_with_bulge(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """An edge-on disc with a prominent bulge."""
    radius = radius * 1.25
    share = rng.uniform(0.27, 0.52)
    bulge = Spheroid(
        share,
        rng.uniform(1.0, 3.0),
        radius * rng.uniform(0.22, 0.40),
        rng.uniform(0.55, 0.9),
        colour=(0.08, 0.05),
    )
    return _edge_on_disc(galaxy, radius, bulge, rng)
