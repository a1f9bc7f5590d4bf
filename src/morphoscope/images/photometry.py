"""The unit of flux of an image, from its FITS header, so that bands can share one scale."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from morphoscope.images.stretch import ASSUMED, PUBLISHED, Flux

_NANOMAGGY_JY = 3631e-9  # one nanomaggy (AB magnitude 22.5) in janskys
_UNITS = {
    **dict.fromkeys(
        ("nanomaggy", "nanomaggies", "nmgy", "nanomaggy/pix", "nanomaggies/pixel", "nmaggy"), 1.0
    ),
    **dict.fromkeys(("maggy", "maggies"), 1e9),
    "jy": 1 / _NANOMAGGY_JY,
    "mjy": 1e-3 / _NANOMAGGY_JY,
    **dict.fromkeys(("ujy", "µjy", "microjy"), 1e-6 / _NANOMAGGY_JY),
    **dict.fromkeys(("njy", "nanojansky"), 1e-9 / _NANOMAGGY_JY),
}
# If no unit is given, cards like these show that the values are detector counts.
_OF_A_DETECTOR = ("GAIN", "GAINA", "RDNOISE", "RDNOISEA", "READNOIS", "SATURATE", "EXPTIME", "CCDGAIN")
_COUNTS = re.compile(
    r"(?:adu|dn|counts?|cts?|e-?|electrons?|photons?|ph)(?:[/*]?(?:s|sec|seconds?|pix(?:el)?)(?:\^?-1)?|s-1|\.s-1)*"
)
# AB or Vega magnitude of one unit; the same system is assumed for the bands of one picture.
_ZERO_POINTS = ("MAGZERO", "MAGZP", "MAGZPT", "PHOTZP", "MAG_ZERO", "ZEROPNT", "ZEROPT", "ZPTMAG")
_SURVEYS = {"decals": "legacy", "legacysurvey": "legacy", "legacy survey": "legacy", "bass mzls": "legacy"}


def flux_of(card: Callable[[str], str], band: str) -> Flux:
    """The unit of an image's values.

    The conversion to nanomaggies follows from BUNIT (maggies, janskys), a zero point (MAGZERO, MAGZP,
    PHOTZP, …), FLUXMAG0 (HSC), PHOTFNU, PHOTFLAM and PHOTPLAM (Hubble), or a survey that is known to use
    them.

    Bands whose headers name neither a unit nor a detector are assumed to share one unit; counts are not,
    unless they are in one file.

    Args:
        card: returns a card's value as text, empty if absent.
        band: the filter's label; empty if unknown.
    """
    survey = _survey(card)
    unit = "".join(card("BUNIT").split())
    if _COUNTS.fullmatch(unit.lower()):
        unit = ""
    elif not unit and not any(card(name) for name in _OF_A_DETECTOR):
        unit = ASSUMED
    factor = _UNITS.get(unit.lower() if unit != "MJy" else "")
    if factor is None and survey in PUBLISHED:
        factor = 1.0
    if factor is None and not unit.endswith("/sr"):
        factor = _from_zero_point(card)
    return Flux(band, unit, factor, survey)


def _survey(card: Callable[[str], str]) -> str:
    """The survey whose published scales apply; only for images in nanomaggies."""
    if card("LEGPIPEV"):
        return "legacy"
    if card("NMGY") and card("ORIGIN").strip().upper() == "SDSS":  # a corrected frame
        return "sdss"
    return _SURVEYS.get(card("SURVEY").strip().lower(), "")


def _from_zero_point(card: Callable[[str], str]) -> float | None:
    points = (_positive(card(name)) for name in _ZERO_POINTS)
    magnitude = next((point for point in points if point is not None), None)
    if magnitude is not None and magnitude < 60:
        return 10 ** (-0.4 * (magnitude - 22.5))
    if (flux := _positive(card("FLUXMAG0"))) is not None:
        return 1e9 / flux
    if (jansky := _positive(card("PHOTFNU"))) is not None:
        return jansky / _NANOMAGGY_JY
    inverse, pivot = _positive(card("PHOTFLAM")), _positive(card("PHOTPLAM"))
    if inverse is not None and pivot is not None:  # erg/s/cm²/Å and Å; 2.998e18 Å/s; 1e23 Jy
        return inverse * pivot**2 / 2.99792458e18 * 1e23 / _NANOMAGGY_JY
    return None


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
