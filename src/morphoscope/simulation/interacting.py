"""Disturbed and merging galaxies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from morphoscope.simulation.galaxy import Bar, Bridge, Disturbance, Galaxy, Shell, Spheroid, Tail
from morphoscope.simulation.isolated import disc_galaxy, elliptical, face_on, lenticular, loose_spiral

# Kinds of disturbed galaxies and their shares.
KINDS = {"irregular": 0.28, "magellanic": 0.14, "debris": 0.32, "shells": 0.13, "stream": 0.13}
SMALLEST_SPIRAL = 3.0  # arcsec, half-light radius of a merger's disc


def _tail(radius: float, rng: np.random.Generator, share: float) -> Tail:
    """A narrow tail that leaves the body: straighter than any arm (Toomre & Toomre 1972, ApJ 178, 623)."""
    return Tail(
        start=radius * rng.uniform(0.7, 1.2),
        end=radius * rng.uniform(3.0, 6.0),
        turn=rng.uniform(0, 360),
        curl=rng.uniform(42, 80),
        winding=int(rng.choice([-1, 1])),
        width=radius * rng.uniform(0.15, 0.35),
        share=share,
    )


def _plume(radius: float, rng: np.random.Generator, share: float) -> Tail:
    """A broad faint fan of stars on one side."""
    tail = _tail(radius, rng, share)
    out = radius * rng.uniform(2.0, 3.2)
    return replace(tail, end=out, curl=85.0, width=radius * rng.uniform(0.6, 1.1), colour=(0.0, 0.0))


def _shells(radius: float, rng: np.random.Generator) -> tuple[Shell, ...]:
    """Shells on alternating sides, each further out (Hernquist & Quinn 1988, ApJ 331, 682)."""
    axis, shells = rng.uniform(0, 360), []
    reach = radius * rng.uniform(1.6, 2.2)
    for number in range(int(rng.integers(2, 5))):
        turn = axis + 180 * (number % 2) + rng.normal(0, 15)
        shells.append(Shell(reach, turn, rng.uniform(60, 120), rng.uniform(0.03, 0.07)))
        reach *= rng.uniform(1.25, 1.5)
    return tuple(shells)


def disturbed(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A bright body with debris, an irregular disc or one with a bar off its centre, or an early type with
    shells or a stream.

    Unlike spirals they have no pattern around the centre: debris lies on one side.
    Shells against tails and streams about as 1 to 4: Kado-Fong et al. 2018 (ApJ 866, 103).
    """
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "magellanic":
        return _magellanic(galaxy, radius, rng)
    if kind == "stream":
        return _with_stream(galaxy, radius, rng)
    if kind == "shells":
        redder = (galaxy.colour[0] + 0.2, galaxy.colour[1] + 0.12)
        q = rng.uniform(0.6, 0.95)
        galaxy = elliptical(replace(galaxy, colour=redder), radius, q, rng.uniform(2.0, 4.0), rng)
        plumes = (_plume(radius, rng, rng.uniform(0.06, 0.14)),) if rng.uniform() < 0.7 else ()
        return replace(galaxy, disturbance=Disturbance(tails=plumes, shells=_shells(radius, rng)))
    galaxy = disc_galaxy(galaxy, radius, rng.uniform(0.02, 0.15), face_on(rng, 0.35), rng)
    assert galaxy.disc is not None
    if kind == "irregular":
        disc = replace(galaxy.disc, clumpiness=rng.uniform(0.15, 0.45))
        debris = Disturbance(
            lopsidedness=rng.uniform(0.7, 1.5),
            bend=rng.uniform(0.0, 0.8),
            clumps=int(rng.integers(2, 12)),
            tails=(_tail(radius, rng, rng.uniform(0.03, 0.10)),) if rng.uniform() < 0.4 else (),
        )
        return replace(galaxy, spheroid=None, disc=replace(disc, share=1.0), disturbance=debris)
    # A compact bright body: interactions drive gas inwards (Barton et al. 2000, ApJ 530, 660).
    length = 0.7 * galaxy.disc.scale_length
    body = replace(galaxy.disc, scale_length=length, clumpiness=rng.uniform(0.1, 0.35))
    tails = tuple(_tail(0.8 * radius, rng, rng.uniform(0.03, 0.12)) for _ in range(int(rng.integers(1, 3))))
    if rng.uniform() < 0.6:
        tails += (_plume(0.8 * radius, rng, rng.uniform(0.08, 0.2)),)
    debris = Disturbance(rng.uniform(0.3, 1.2), rng.uniform(0.0, 0.6), int(rng.integers(0, 6)), tails)
    return replace(galaxy, disc=body, disturbance=debris)


def _magellanic(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A patchy disc whose middle is beside that of its bar, without a bulge (de Vaucouleurs & Freeman 1972,
    Vistas in Astronomy 14, 163).
    """
    galaxy = disc_galaxy(galaxy, radius, 0.0, face_on(rng, 0.4), rng)
    assert galaxy.disc is not None
    length = galaxy.disc.scale_length
    bar = Bar(
        rng.uniform(0.08, 0.25),
        length * rng.uniform(0.6, 1.4),
        rng.uniform(0.2, 0.4),
        rng.uniform(0, 180),
        colour=(0.03, 0.02),
    )
    disc = replace(galaxy.disc, share=1 - bar.share, clumpiness=rng.uniform(0.2, 0.5))
    debris = Disturbance(
        lopsidedness=rng.uniform(0.9, 1.8), bend=rng.uniform(0.0, 0.4), clumps=int(rng.integers(3, 14))
    )
    return replace(galaxy, spheroid=None, disc=disc, bar=bar, disturbance=debris)


def _with_stream(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """A smooth galaxy with a stream or fans of stars: what a minor merger leaves (Atkinson et al. 2013,
    ApJ 765, 28).
    """
    q = rng.uniform(0.45, 1.0)
    if rng.uniform() < 0.5:
        galaxy = elliptical(galaxy, radius, q, rng.uniform(1.5, 4.0), rng)
    else:
        galaxy = lenticular(galaxy, 1.2 * radius, q, rng)
    tails: tuple[Tail, ...] = ()
    if rng.uniform() < 0.65:
        stream = _tail(radius, rng, rng.uniform(0.03, 0.10))
        tails += (replace(stream, curl=rng.uniform(60, 90), colour=(-0.05, -0.02)),)
    while len(tails) < 1 or (len(tails) < 3 and rng.uniform() < 0.4):
        tails += (_plume(radius, rng, rng.uniform(0.08, 0.2)),)
    return replace(galaxy, disturbance=Disturbance(tails=tails))


def merging(galaxy: Galaxy, radius: float, rng: np.random.Generator) -> Galaxy:
    """Two galaxies, sometimes three, that overlap, with tidal tails, bridges and a common halo.

    Mostly of comparable mass, as those that Galaxy Zoo found (Darg et al. 2010, MNRAS 401, 1043); here the
    ratio of the fluxes goes down to 1:5.
    """
    ratio = float(np.exp(rng.uniform(np.log(0.2), 0)))  # of the fluxes
    third = 0.15 if rng.uniform() < 0.15 else 0.0
    share = (1 - third) / (1 + ratio)
    direction, distance = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.7, 2.8)
    apart = np.array([np.cos(direction), np.sin(direction)]) * distance
    centred = rng.uniform(0.0, 0.6)  # 0: the cutout is centred on the first, 0.5: between the two
    first = _member(galaxy, radius, tuple(-centred * apart), share, rng)
    second = _member(galaxy, radius * ratio**0.4, tuple((1 - centred) * apart), share * ratio, rng)
    companions = [second]
    if third:
        further = apart * rng.uniform(-0.9, -0.5) + rng.normal(0, 0.5 * radius, 2)
        companions.append(_member(galaxy, radius * 0.5, tuple(further), third, rng))
    halo = Spheroid(rng.uniform(0.08, 0.25), 1.0, 1.1 * distance + radius, 0.8, colour=(-0.05, 0.0))
    if rng.uniform() < 0.5:
        width, bow = radius * rng.uniform(0.12, 0.3), rng.uniform(-0.2, 0.2)
        bridge = Bridge(second.x, second.y, width, bow, rng.uniform(0.04, 0.12))
        first = replace(first, disturbance=replace(first.disturbance, bridge=bridge))
    return replace(first, halo=halo, companions=tuple(companions))


def _member(
    galaxy: Galaxy, radius: float, position: tuple[float, float], flux_share: float, rng: np.random.Generator
) -> Galaxy:
    """One galaxy of a merger: an early type, or a disc with arms; most have a tidal tail."""
    bluer = rng.normal(0, 0.15)
    galaxy = replace(
        galaxy,
        x=float(position[0]),
        y=float(position[1]),
        angle=rng.uniform(0, 360),
        texture=int(rng.integers(2**62)),
        colour=(galaxy.colour[0] - bluer, galaxy.colour[1] - 0.6 * bluer),
        flux_share=flux_share,
    )
    radius = 0.6 * radius
    tails = (_tail(radius, rng, rng.uniform(0.03, 0.12)),) if rng.uniform() < 0.6 else ()
    if rng.uniform() < 0.5:
        member = elliptical(galaxy, radius, rng.uniform(0.55, 1.0), rng.uniform(2.5, 4.5), rng)
        return replace(member, disturbance=Disturbance(tails=tails))
    debris = Disturbance(lopsidedness=rng.uniform(0, 0.7), tails=tails)
    return replace(loose_spiral(galaxy, max(radius, SMALLEST_SPIRAL), rng), disturbance=debris)
