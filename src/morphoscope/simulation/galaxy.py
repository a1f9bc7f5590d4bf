"""Simulated galaxies as data: components and their parameters.

Lengths are in arcsec, angles in degrees counter-clockwise from the image's +x axis; ``share`` is a
component's fraction of the galaxy's r-band flux, ``colour`` its (g−r, r−z) relative to the whole galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Colour = tuple[float, float]


@dataclass(frozen=True)
class Spheroid:
    """A Sérsic profile with elliptical isophotes: an elliptical galaxy, a bulge, a halo."""

    share: float
    n: float
    radius: float  # half-light radius along the major axis
    axis_ratio: float
    colour: Colour = (0.0, 0.0)
    turn: float = 0.0  # major axis relative to the galaxy's


@dataclass(frozen=True)
class Disc:
    """An exponential disc; edge-on where ``thickness`` (scale height over scale length) is given."""

    share: float
    scale_length: float
    colour: Colour = (0.0, 0.0)
    gradient: float = 0.05  # relative change of the scale length: longer in g, shorter in z than in r
    thickness: float | None = None
    clumpiness: float = 0.0  # standard deviation of ln(brightness) of its texture
    truncation: float = 4.0  # radius at which an edge-on disc ends, in scale lengths
    warp: float = 0.0  # an edge-on disc's bend at its ends, in scale heights


@dataclass(frozen=True)
class Arms:
    """Logarithmic spiral arms in the disc."""

    count: int
    pitch: float  # degrees; small is tightly wound
    winding: int  # +1: arms turn counter-clockwise outwards, −1: clockwise
    contrast: float  # peak brightness over the disc's
    sharpness: float  # concentration of an arm's cross-section (1 broad, 5 narrow)
    start: float
    end: float
    irregularity: float  # wander of the arms, radians
    flocculence: float  # standard deviation of ln(brightness) along the arms
    imbalance: float  # 0: all arms alike, 1: a single arm
    knots: int  # star-forming knots
    colour: Colour = (-0.2, -0.15)


@dataclass(frozen=True)
class Bar:
    """A bar through the centre of the disc, in the disc's plane."""

    share: float
    length: float  # half its length
    axis_ratio: float
    turn: float
    colour: Colour = (0.1, 0.05)


@dataclass(frozen=True)
class Ring:
    """A bright ring in the disc's plane."""

    radius: float
    width: float
    contrast: float
    colour: Colour = (-0.15, -0.1)


@dataclass(frozen=True)
class Dust:
    """A dust lane in an edge-on disc."""

    depth: float  # optical depth in V at the centre
    offset: float  # shift from the mid-plane in scale heights: the disc is not exactly edge-on
    width: float  # thickness in scale heights


@dataclass(frozen=True)
class Tail:
    """A tidal tail: one curved arm that leaves the galaxy's body."""

    start: float  # radius where it leaves the body
    end: float
    turn: float  # direction in which it starts
    curl: float  # degrees: 0 circles the galaxy, 90 leaves straight
    winding: int
    width: float
    share: float
    colour: Colour = (-0.1, -0.05)


@dataclass(frozen=True)
class Shell:
    """An arc with a sharp outer edge around an early-type galaxy."""

    radius: float
    turn: float
    opening: float  # degrees
    share: float


@dataclass(frozen=True)
class Bridge:
    """A slightly curved tidal bridge between this galaxy and another."""

    x: float  # position of the other galaxy
    y: float
    width: float  # standard deviation across it
    bow: float  # height of the arc over the straight line, share of its length
    share: float
    colour: Colour = (-0.05, -0.03)


@dataclass(frozen=True)
class Disturbance:
    """Effects of an interaction on a galaxy."""

    lopsidedness: float = 0.0  # offset of the outer disc from the inner, in scale lengths
    bend: float = 0.0  # curvature of the body: 0 straight, 1 a banana
    clumps: int = 0
    tails: tuple[Tail, ...] = ()
    shells: tuple[Shell, ...] = ()
    bridge: Bridge | None = None

    @property
    def strength(self) -> float:
        """How disturbed the galaxy would look to a person, 0 to about 1."""
        bridges = (self.bridge,) if self.bridge else ()
        light = sum(part.share for part in (*self.tails, *self.shells, *bridges))
        return min(1.0, 0.9 * self.lopsidedness + 0.8 * self.bend + 0.03 * self.clumps + 3 * light)


@dataclass(frozen=True)
class Galaxy:
    """One galaxy: brightness, position, orientation, components.

    ``flux_share`` is its fraction of the system's r-band flux (1 unless it merges with another).
    """

    morphology: str
    r_mag: float
    colour: Colour  # (g−r, r−z) of the whole
    axis_ratio: float  # apparent, of the disc or the spheroid
    angle: float
    texture: int  # seed of all its irregularities
    x: float = 0.0
    y: float = 0.0
    spheroid: Spheroid | None = None
    halo: Spheroid | None = None
    disc: Disc | None = None
    arms: Arms | None = None
    bar: Bar | None = None
    ring: Ring | None = None
    dust: Dust | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)
    companions: tuple[Galaxy, ...] = ()
    flux_share: float = 1.0


TRUTH = {
    "morphology": str,
    "r_mag": float,
    "g_r": float,
    "r_z": float,
    "half_light_radius": float,
    "light_radius_90": float,
    "axis_ratio": float,
    "position_angle": float,
    "sersic_index": float,
    "bulge_fraction": float,
    "disc_scale_length": float,
    "arm_count": int,
    "pitch_angle": float,
    "winding": int,
    "arm_contrast": float,
    "flocculence": float,
    "knots": int,
    "bar_length": float,
    "bar_fraction": float,
    "bar_angle": float,
    "ring_radius": float,
    "thickness": float,
    "dust_depth": float,
    "disturbance": float,
    "tails": int,
    "shells": int,
    "companions": int,
    "companion_distance": float,
}


# Columns with lengths in arcsec, which shrink for surveys whose galaxies are farther away than DECaLS's.
LENGTHS = (
    "half_light_radius",
    "light_radius_90",
    "disc_scale_length",
    "bar_length",
    "ring_radius",
    "companion_distance",
)


def truth(galaxy: Galaxy, radii: tuple[float, float]) -> dict[str, str | float | int]:
    """The true parameters for the table, named as in :data:`TRUTH`; NaN or 0 where absent.

    ``radii`` hold 50 and 90 % of the rendered light (arcsec, circular apertures, r band, without PSF).
    """
    nan = float("nan")
    spheroid, disc, arms, bar = galaxy.spheroid, galaxy.disc, galaxy.arms, galaxy.bar
    distances = [((c.x - galaxy.x) ** 2 + (c.y - galaxy.y) ** 2) ** 0.5 for c in galaxy.companions]
    debris = [member.disturbance for member in (galaxy, *galaxy.companions)]
    return {
        "morphology": galaxy.morphology,
        "r_mag": galaxy.r_mag,
        "g_r": galaxy.colour[0],
        "r_z": galaxy.colour[1],
        "half_light_radius": radii[0],
        "light_radius_90": radii[1],
        "axis_ratio": galaxy.axis_ratio,
        "position_angle": galaxy.angle % 180,
        "sersic_index": spheroid.n if spheroid else 1.0,
        "bulge_fraction": (spheroid.share if disc else 1.0) if spheroid else 0.0,
        "disc_scale_length": disc.scale_length if disc else nan,
        "arm_count": arms.count if arms else 0,
        "pitch_angle": arms.pitch if arms else nan,
        "winding": arms.winding if arms else 0,
        "arm_contrast": arms.contrast if arms else 0.0,
        "flocculence": arms.flocculence if arms else 0.0,
        "knots": arms.knots if arms else 0,
        "bar_length": bar.length if bar else 0.0,
        "bar_fraction": bar.share if bar else 0.0,
        "bar_angle": bar.turn if bar else nan,
        "ring_radius": galaxy.ring.radius if galaxy.ring else nan,
        "thickness": disc.thickness if disc and disc.thickness else nan,
        "dust_depth": galaxy.dust.depth if galaxy.dust else 0.0,
        "disturbance": galaxy.disturbance.strength,
        "tails": sum(len(part.tails) for part in debris),
        "shells": sum(len(part.shells) for part in debris),
        "companions": len(galaxy.companions),
        "companion_distance": min(distances, default=nan),
    }
