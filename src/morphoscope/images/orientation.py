"""Where a single FITS image lies on the sky, and how to flip it so that north is up and east is left.

Only flips and turns by 90° are made, so that every pixel keeps its value; a picture may stay tilted by up to
45°.

Shape letters: H, W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.images.fits_bands import card, without_warnings
from morphoscope.images.fits_plain import PlainHeader
from morphoscope.images.wcs import celestial_of, rows_from_top

if TYPE_CHECKING:
    from astropy.io.fits import Header

_NEEDED = re.compile(
    r"NAXIS\d*|WCSAXES|C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA)\d|(?:CD|PC|PV)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX"
)
_WORDS = ("CTYPE", "CUNIT", "RADESYS")
_CD, _BESIDE_CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2"), ("PC", "CDELT", "CROTA")
_AS_GOOD = 1e-3  # relative gain below which an image is left as it is: one tilted by 45° has no better way up


@dataclass(frozen=True)
class Way:
    """How the rows of a file become a picture.

    Attributes:
        mirrored: left and right are exchanged, first.
        quarters: turns by 90° counterclockwise.
        top_first: the file's first row is the top one (only without a WCS; FITS counts rows from the bottom).
        known: a WCS says so.
    """

    mirrored: bool = False
    quarters: int = 0
    top_first: bool = False
    known: bool = False

    def picture(self, plane_HW: np.ndarray) -> np.ndarray:
        """The pixels of a file as a picture, row 0 at the top; a view."""
        shown_HW = plane_HW if self.top_first else plane_HW[::-1]
        return np.rot90(shown_HW[:, ::-1] if self.mirrored else shown_HW, self.quarters)

    @property
    def words(self) -> str | None:
        """What was done to the picture, for people; None where the file does not say where north is."""
        if not self.known:
            return "top row first" if self.top_first else None
        turned = f"turned {90 * self.quarters}°" if self.quarters else ""
        return ", ".join(filter(None, ("mirrored" * self.mirrored, turned))) or "as stored"


@dataclass(frozen=True)
class Placed:
    """An image on the sky.

    Attributes:
        way: to north up, east left.
        ra: right ascension of the middle of the image, degrees from 0 to 360 (ICRS); None if unknown.
        dec: declination, degrees.
    """

    way: Way
    ra: float | None = None
    dec: float | None = None


def placed(header: Header, shape: tuple[int, int]) -> Placed:
    """Where an image of (H, W) pixels lies, by the WCS in its header; without a WCS, by ROWORDER."""
    if isinstance(header, PlainHeader):
        return _placed(header, shape)
    with without_warnings():  # astropy verifies a card when its text is first asked for
        return _placed(header, shape)


def _placed(header: Header, shape: tuple[int, int]) -> Placed:
    if not any(name.startswith("CTYPE1") for name in header):
        return Placed(Way(top_first=rows_from_top(header)))
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    try:
        with np.errstate(all="ignore"):
            ra, dec = _sky(header)(np.array([[x, y], [x + 1, y], [x, y + 1]]))
    except Exception:  # wcslib and astropy raise anything at all on headers that bend the standard
        return Placed(Way(top_first=rows_from_top(header)))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all() and abs(dec[0]) <= 90):
        return Placed(Way(top_first=rows_from_top(header)))
    return Placed(_way(ra, dec), float(ra[0] % 360.0), float(dec[0]))


def _way(ra: np.ndarray, dec: np.ndarray) -> Way:
    """The best of the eight ways, by the sky at a pixel, at its right and above it."""
    east = ((ra[1:] - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0]))
    north = dec[1:] - dec[0]
    size = np.hypot(np.hypot(*east), np.hypot(*north))
    best, most = Way(known=True), -np.inf
    for mirrored in (False, True):
        right, up = np.array([-1.0 if mirrored else 1.0, 0.0]), np.array([0.0, 1.0])
        for quarters in range(4):
            agreement = (north @ up - east @ right) / size if size else 0.0
            if agreement > most + _AS_GOOD:
                best, most = Way(mirrored, quarters, known=True), agreement
            right, up = -up, right
    return best


def _sky(header: Header) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Pixels (x, y) from 0 to right ascension and declination, degrees (ICRS)."""
    from astropy.wcs import WcsError

    try:
        quick = _by_wcslib(header)
    except (WcsError, ValueError, TypeError):  # astropy mends some headers that wcslib refuses
        quick = None
    return quick if quick is not None else _by_astropy(header)


def _by_wcslib(header: Header) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None:
    """Through wcslib alone, a hundred times as fast as astropy; None for what needs more than that."""
    from astropy.wcs import WCSSUB_CELESTIAL, Wcsprm

    needed = [record for record in header.cards if _NEEDED.fullmatch(record.keyword)]
    if any(isinstance(r.value, str) and not r.keyword.startswith(_WORDS) for r in needed):
        return None  # a number that is written as text counts as 0
    types = [card(header, f"CTYPE{axis}") for axis in (1, 2)]
    frame = (card(header, "RADESYS") or card(header, "RADECSYS")).strip().upper()
    modern = frame == "ICRS" or (frame in ("", "FK5") and float(card(header, "EQUINOX") or 2000.0) == 2000.0)
    tangential = any(name.strip().endswith("-TAN") for name in types)  # where PV are SCAMP's, not TAN's own
    plain = sorted(name[:4] for name in types) == ["DEC-", "RA--"]
    if (
        not (modern and plain)
        or any("SIP" in name for name in types)
        or "CPDIS1" in header
        or "A_ORDER" in header
        or (tangential and any(record.keyword.startswith("PV") for record in needed))
    ):
        return None
    # Some write CD and PC beside each other; CD is the one that counts then.
    unused = _BESIDE_CD if any(name in header for name in _CD) else ()
    records = [record for record in needed if not record.keyword.startswith(unused)]
    if not all(_is_number_or_text(record.value, record.keyword) for record in records):
        return None  # wcslib would warn, and silencing it takes turns
    text = "".join(map(str, records))
    wcs = Wcsprm(text.encode("ascii", "replace"))
    wcs.fix()
    wcs = wcs.sub([WCSSUB_CELESTIAL])
    wcs.set()

    def sky(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        world = wcs.p2s(pixels, 0)["world"]
        return world[:, wcs.lng], world[:, wcs.lat]

    return sky


def _is_number_or_text(value: Any, keyword: str) -> bool:
    """Whether a card's value is of the kind that its keyword stands for."""
    if keyword.startswith(("CTYPE", "CUNIT", "RADESYS")):
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _by_astropy(header: Header) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    celestial = celestial_of(header)
    if celestial.wcs is None:
        raise ValueError(celestial.reason)
    wcs: Any = celestial.wcs

    def sky(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with without_warnings():
            places = wcs.pixel_to_world(*pixels.T).icrs
        return places.ra.deg, places.dec.deg

    return sky
