"""World coordinates of a FITS image, from headers as surveys and programs really write them, and how to
flip the image so that north is up and east is left.

Mended here, since astropy reads each as another position on the sky without an error:

- numbers written as text (``CRVAL1 = '150.0'``), which count as 0;
- SIP coefficients left over from before resampling, where CTYPE has no ``-SIP``: they do not apply;
- SCAMP's polynomials of first order (``RA---TAN`` with ``PV1_1``, ``PV2_1``), which are TPV's and not the
  native coordinates of TAN's reference point;
- a celestial system only under a letter (``CTYPE1A``);
- a system that is only in the primary header and not in the image's extension.

Images are only flipped and rotated by 90°, so that every pixel keeps its value; an image may stay tilted by
up to 45°.

Shape letters: H, W pixels.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.images.fits_bands import card, without_warnings
from morphoscope.images.fits_headers import PlainHeader

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

_LOCK = threading.Lock()  # silencing warnings is not safe in two threads at once
_NUMBERS = re.compile(
    r"^(CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CD\d_\d|PC\d_\d|PV\d_\d+|LONPOLE|LATPOLE|EQUINOX)[A-Z]?$"
    r"|^[AB]P?_(ORDER|\d_\d)$"
)
_MOST_ORDER = 9  # of SIP's polynomials (Shupe et al. 2005); astropy would go through all terms of any
_SIP = re.compile(r"^[AB]P?_(ORDER|DMAX|\d+_\d+)$")
_ORDERS = re.compile(r"^[AB]P?_ORDER$")
_WORLD = re.compile(
    r"^(WCSAXES|CTYPE\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CUNIT\d|CD\d_\d|PC\d_\d|PV\d_\d+|LONPOLE|LATPOLE"
    r"|EQUINOX|RADESYS|RADECSYS)[A-Z]?$|^[AB]P?_(ORDER|DMAX|\d+_\d+)$"
)
_LOOKUP = re.compile(r"^(CPDIS\d|CPERR\d|DP\d|D2IM.*)$")
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")  # astropy takes others for patterns
_SEXAGESIMAL = re.compile(r"^[+-]?\d{1,3}[: ]\d{1,2}[: ]\d{1,2}(\.\d*)?$")
_LETTERS = ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Celestial:
    """The celestial coordinates of an image.

    Attributes:
        wcs: WCS of its two axes; None if there is no usable one.
        reason: why not; empty if there is one.
    """

    wcs: WCS | None
    reason: str = ""


def celestial_of(header: Header, units: Any = None, *, primary: Header | None = None) -> Celestial:
    """The celestial coordinates of an image's first two axes.

    Args:
        header: the image's header.
        units: the open file, which may have lookup tables of distortions; without it they are ignored.
        primary: the primary header, for an extension without coordinates of its own. Pass it only if it can
            refer to no other image.
    """
    repaired = _repaired(header)
    if units is None:
        for keyword in [keyword for keyword in repaired if _LOOKUP.match(keyword)]:
            del repaired[keyword]
    letters = _letters_of(repaired)
    if not letters and primary is not None:
        first = _repaired(primary)
        letters = _letters_of(first)
        for card, value in first.items():
            if _WORLD.match(card):
                repaired[card] = value
    if not letters:
        return Celestial(None, "the header has no world coordinates (CTYPE1, CRVAL1, …)")
    first = _celestial(repaired, letters[0], units)
    if first.wcs is not None:
        return first
    others = (_celestial(_without_sip(repaired), letter, units) for letter in letters[1:])
    return next((one for one in others if one.wcs is not None), first)


def rows_from_top(header: Header) -> bool:
    """Whether the first row of an image is its top: ``ROWORDER = 'TOP-DOWN'``."""
    return str(_value(header, "ROWORDER") or "").strip().upper().startswith("TOP")


def _value(header: Header, card: str) -> Any:
    try:
        return header.get(card)
    except Exception:  # a card that cannot be parsed
        return None


def _repaired(header: Header) -> Header:
    """The readable cards, with numbers as numbers and without terms that do not apply."""
    from astropy.io.fits import Header

    repaired = Header()
    for each in header.cards:
        try:
            keyword, value = each.keyword, each.value
        except Exception:  # unparsable; if it is needed, another check says so
            continue
        if keyword in ("COMMENT", "HISTORY") or not _KEYWORD.fullmatch(keyword) or keyword in repaired:
            continue
        if keyword.startswith("WCSAXES") and not _is_few(value):
            continue
        if _NUMBERS.match(keyword) and isinstance(value, str):
            value = _number(value, keyword, header)
        try:
            repaired[keyword] = value
        except ValueError:  # longer than a card, so not a coordinate
            continue
    if not any(str(repaired.get(f"CTYPE{axis}", "")).strip().endswith("-SIP") for axis in (1, 2)):
        repaired = _without_sip(repaired)
    for letter in _letters_of(repaired):
        _name_tpv(repaired, letter)
    return repaired


def _is_few(axes: Any) -> bool:
    """Whether so many axes can have names of two digits; wcslib takes memory for the square of any number."""
    return isinstance(axes, int) and axes < 100


def _without_sip(header: Header) -> Header:
    """The same cards without SIP's, which only apply to the system without a letter."""
    without = header.copy()
    for keyword in [keyword for keyword in without if _SIP.match(keyword)]:
        del without[keyword]
    return without


def _number(text: str, keyword: str, header: Header) -> float | str:
    """A number written as text, including ``J2000`` and 10:00:00.0."""
    text = text.strip()
    try:
        return float(text.lstrip("JB") if keyword.startswith("EQUINOX") else text)
    except ValueError:
        pass
    if not (keyword.startswith("CRVAL") and _SEXAGESIMAL.match(text)):
        return text
    from astropy.coordinates import Angle

    hours = str(_value(header, keyword.replace("CRVAL", "CTYPE"))).startswith("RA")
    return float(np.asarray(Angle(text, unit="hourangle" if hours else "deg").degree))


def _letters_of(header: Header) -> list[str]:
    """The letters of a header's coordinate systems, the one without a letter first."""
    return [
        letter
        for letter in _LETTERS
        if all(str(header.get(f"CTYPE{axis}{letter}", "")).strip() for axis in (1, 2))
    ]


def _name_tpv(header: Header, letter: str) -> None:
    """Rename a gnomonic projection with SCAMP's polynomials to TPV."""
    types = [str(header[f"CTYPE{axis}{letter}"]).strip() for axis in (1, 2)]
    if not all(name.endswith("-TAN") for name in types):
        return
    longitude = 2 if types[0].startswith(("DEC", "GLAT", "ELAT")) else 1
    terms: list[dict[int, Any]] = [
        {m: header.get(f"PV{axis}_{m}{letter}") for m in range(40)} for axis in (1, 2)
    ]
    along, across = terms[longitude - 1], terms[2 - longitude]
    # TAN itself has no latitude terms; longitude terms 1 and 2 are the native coordinates of CRVAL: 0 and 90.
    first = along[1] is not None and abs(along[1] - 1) < 0.5 and abs(along[2] or 0) < 1
    if not first and all(value is None for value in across.values()):
        return
    for axis, name in enumerate(types, start=1):
        header[f"CTYPE{axis}{letter}"] = name.removesuffix("TAN") + "TPV"
        header.setdefault(f"PV{axis}_1{letter}", 1.0)


def _celestial(header: Header, letter: str, units: Any) -> Celestial:
    from astropy.wcs import WCS

    types = " and ".join(f"'{str(header[f'CTYPE{axis}{letter}']).strip()}'" for axis in (1, 2))
    said = f"CTYPE1{letter} and CTYPE2{letter} are {types}"
    wrong = [card for card in header if _NUMBERS.match(card) and isinstance(header[card], str)]
    if wrong:
        return Celestial(None, f"{wrong[0]} is '{header[wrong[0]]}', and a number was expected")
    orders = {card: header[card] for card in header if _ORDERS.match(card)}
    high = [card for card, value in orders.items() if isinstance(value, int | float) and value > _MOST_ORDER]
    if high:
        return Celestial(None, f"{high[0]} is {header[high[0]]}, and at most {_MOST_ORDER} was expected")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, fobj=units, key=letter or " ")
            if wcs.naxis > 2:
                wcs = wcs.sub(
                    [1, 2]
                )  # in this order: sorting the axes by coordinate would transpose the pixels
            if not wcs.has_celestial:
                return Celestial(None, f"{said}, which are not celestial coordinates")
            if _no_size(header, letter) or not abs(np.linalg.det(wcs.pixel_scale_matrix)) > 0:
                return Celestial(None, "its pixels have no size (CD or CDELT are 0)")
            reference: Any = wcs.pixel_to_world(*(wcs.wcs.crpix - 1))
            middle = reference.icrs
            if not np.isfinite([middle.ra.deg, middle.dec.deg]).all():
                return Celestial(None, f"{said}, which give no position on the sky")
        except Exception as error:  # wcslib and astropy raise many types
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            return Celestial(None, f"{said}, which cannot be used ({reason[0].strip().rstrip('.')})")
    return Celestial(wcs)


def _no_size(header: Header, letter: str) -> bool:
    """Whether all scale terms are 0, which astropy reads as one degree per pixel."""
    scale = [header.get(f"CD{row}_{column}{letter}") for row in (1, 2) for column in (1, 2)]
    scale = [value for value in scale if value is not None]
    scale = scale or [value for axis in (1, 2) if (value := header.get(f"CDELT{axis}{letter}")) is not None]
    return bool(scale) and not any(scale)


_NEEDED = re.compile(
    r"NAXIS\d*|WCSAXES|C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA)\d|(?:CD|PC|PV)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX"
)
_WORDS = ("CTYPE", "CUNIT", "RADESYS")
_CD, _BESIDE_CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2"), ("PC", "CDELT", "CROTA")
_AS_GOOD = (
    1e-3  # relative gain below which an image is left as it is: at a tilt of 45° no orientation is better
)


@dataclass(frozen=True)
class Orientation:
    """How to flip and rotate the pixels of a file to show north up.

    Attributes:
        mirrored: swap left and right, before rotating.
        quarters: rotations by 90°, counterclockwise.
        top_first: the file's first row is the top (only without a WCS; FITS counts rows from the bottom).
        known: whether a WCS determines it.
    """

    mirrored: bool = False
    quarters: int = 0
    top_first: bool = False
    known: bool = False

    def picture(self, plane_HW: np.ndarray) -> np.ndarray:
        """The pixels of a file with row 0 at the top; a view."""
        shown_HW = plane_HW if self.top_first else plane_HW[::-1]
        return np.rot90(shown_HW[:, ::-1] if self.mirrored else shown_HW, self.quarters)

    @property
    def words(self) -> str | None:
        """What was done to the image, for display; None if the direction of north is unknown."""
        if not self.known:
            return "top row first" if self.top_first else None
        turned = f"turned {90 * self.quarters}°" if self.quarters else ""
        return ", ".join(filter(None, ("mirrored" * self.mirrored, turned))) or "as stored"


@dataclass(frozen=True)
class SkyPosition:
    """Orientation and position of an image on the sky.

    Attributes:
        orientation: to north up, east left.
        ra: right ascension of the image's centre, degrees from 0 to 360 (ICRS); None if unknown.
        dec: declination, degrees.
    """

    orientation: Orientation
    ra: float | None = None
    dec: float | None = None


def sky_position(header: Header, shape: tuple[int, int]) -> SkyPosition:
    """Orientation and position of an image of (H, W) pixels from the WCS in its header, or else ROWORDER."""
    if isinstance(header, PlainHeader):
        return _sky_position(header, shape)
    with without_warnings():  # astropy verifies a card when its text is first used
        return _sky_position(header, shape)


def _sky_position(header: Header, shape: tuple[int, int]) -> SkyPosition:
    if not any(name.startswith("CTYPE1") for name in header):
        return SkyPosition(Orientation(top_first=rows_from_top(header)))
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    try:
        with np.errstate(all="ignore"):
            ra, dec = _sky(header)(np.array([[x, y], [x + 1, y], [x, y + 1]]))
    except Exception:  # wcslib and astropy may raise anything on headers that bend the standard
        return SkyPosition(Orientation(top_first=rows_from_top(header)))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all() and abs(dec[0]) <= 90):
        return SkyPosition(Orientation(top_first=rows_from_top(header)))
    return SkyPosition(_orientation(ra, dec), float(ra[0] % 360.0), float(dec[0]))


def _orientation(ra: np.ndarray, dec: np.ndarray) -> Orientation:
    """The best of the eight orientations, from the sky positions of a pixel and of those right of and above
    it.
    """
    east = ((ra[1:] - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0]))
    return orientation_of(east, dec[1:] - dec[0])


def orientation_of(east: np.ndarray, north: np.ndarray) -> Orientation:
    """The best of the eight orientations.

    Args:
        east: how far east the pixels to the right of one and above it lie, (2,), in any unit.
        north: how far north, (2,).
    """
    size = np.hypot(np.hypot(*east), np.hypot(*north))
    best, most = Orientation(known=True), -np.inf
    for mirrored in (False, True):
        right, up = np.array([-1.0 if mirrored else 1.0, 0.0]), np.array([0.0, 1.0])
        for quarters in range(4):
            agreement = (north @ up - east @ right) / size if size else 0.0
            if agreement > most + _AS_GOOD:
                best, most = Orientation(mirrored, quarters, known=True), agreement
            right, up = -up, right
    return best


def _sky(header: Header) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Right ascension and declination, degrees (ICRS), of pixels (x, y) counted from 0."""
    from astropy.wcs import WcsError

    try:
        quick = _by_wcslib(header)
    except (WcsError, ValueError, TypeError):  # astropy repairs some headers that wcslib refuses
        quick = None
    return quick if quick is not None else _by_astropy(header)


def _by_wcslib(header: Header) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None:
    """The same with wcslib alone, a hundred times as fast as astropy; None if that is not enough."""
    from astropy.wcs import WCSSUB_CELESTIAL, Wcsprm

    needed = [record for record in header.cards if _NEEDED.fullmatch(record.keyword)]
    if any(isinstance(r.value, str) and not r.keyword.startswith(_WORDS) for r in needed):
        return None  # a number written as text counts as 0
    if not all(_is_few(r.value) for r in needed if r.keyword == "WCSAXES"):
        return None
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
    # Some headers have both CD and PC; then CD applies.
    unused = _BESIDE_CD if any(name in header for name in _CD) else ()
    records = [record for record in needed if not record.keyword.startswith(unused)]
    if not all(_is_number_or_text(record.value, record.keyword) for record in records):
        return None  # wcslib would warn, and silencing warnings needs a lock
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
    """Whether a card's value has the type that its keyword requires."""
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
            positions = wcs.pixel_to_world(*pixels.T).icrs
        return positions.ra.deg, positions.dec.deg

    return sky
