"""World coordinates of a FITS image, from headers as surveys and programs really write them.

What is put right, each of which astropy reads as another place on the sky without an error:

- numbers written as text (``CRVAL1 = '150.0'``), which count as 0;
- SIP coefficients left over from before resampling, where CTYPE has no ``-SIP``: they do not apply;
- SCAMP's polynomials of first order (``RA---TAN`` with ``PV1_1``, ``PV2_1``), which are TPV's and not the
  native place of TAN's reference point;
- a celestial system under a letter (``CTYPE1A``) alone;
- a system in the primary header of which the image's extension has no word.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

_LOCK = threading.Lock()  # silencing warnings is not safe in two threads at once
_NUMBERS = re.compile(
    r"^(CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CD\d_\d|PC\d_\d|PV\d_\d+|LONPOLE|LATPOLE|EQUINOX)[A-Z]?$"
    r"|^[AB]P?_(ORDER|\d_\d)$"
)
_SIP = re.compile(r"^[AB]P?_(ORDER|DMAX|\d+_\d+)$")
_WORLD = re.compile(
    r"^(WCSAXES|CTYPE\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CUNIT\d|CD\d_\d|PC\d_\d|PV\d_\d+|LONPOLE|LATPOLE"
    r"|EQUINOX|RADESYS|RADECSYS)[A-Z]?$|^[AB]P?_(ORDER|DMAX|\d+_\d+)$"
)
_LOOKUP = re.compile(r"^(CPDIS\d|CPERR\d|DP\d|D2IM.*)$")
_SEXAGESIMAL = re.compile(r"^[+-]?\d{1,3}[: ]\d{1,2}[: ]\d{1,2}(\.\d*)?$")
_LETTERS = ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Celestial:
    """Where an image lies on the sky.

    Attributes:
        wcs: of its two axes; None where they cannot be had.
        reason: why not; empty where they can.
    """

    wcs: WCS | None
    reason: str = ""


def celestial_of(header: Header, units: Any = None, *, primary: Header | None = None) -> Celestial:
    """The celestial coordinates of an image's first two axes.

    Args:
        header: of the image.
        units: the open file, in which lookup tables of distortions lie; without it they are left out.
        primary: the file's first header, for an image in an extension that has none of its own. To be given
            only where it can mean this image alone.
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
    """Whether the first row of an image is the top of its picture: ``ROWORDER = 'TOP-DOWN'``."""
    return str(_value(header, "ROWORDER") or "").strip().upper().startswith("TOP")


def _value(header: Header, card: str) -> Any:
    try:
        return header.get(card)
    except Exception:  # a card that cannot be parsed
        return None


def _repaired(header: Header) -> Header:
    """The cards that can be read, numbers as numbers, without terms that do not apply."""
    from astropy.io.fits import Header

    repaired = Header()
    for card in header.cards:
        try:
            keyword, value = card.keyword, card.value
        except Exception:  # does not parse, and is not needed as long as another does not say so
            continue
        if keyword in ("COMMENT", "HISTORY", "") or keyword in repaired:
            continue
        if _NUMBERS.match(keyword) and isinstance(value, str):
            value = _number(value, keyword, header)
        try:
            repaired[keyword] = value
        except ValueError:  # longer than a card, so no coordinate
            continue
    if not any(str(repaired.get(f"CTYPE{axis}", "")).strip().endswith("-SIP") for axis in (1, 2)):
        repaired = _without_sip(repaired)
    for letter in _letters_of(repaired):
        _name_tpv(repaired, letter)
    return repaired


def _without_sip(header: Header) -> Header:
    """The same cards without SIP's, which belong to the system without a letter alone."""
    without = header.copy()
    for keyword in [keyword for keyword in without if _SIP.match(keyword)]:
        del without[keyword]
    return without


def _number(text: str, keyword: str, header: Header) -> float | str:
    """A number that is written as text, also ``J2000`` and 10:00:00.0."""
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
    """The systems of coordinates that a header names, the one without a letter first."""
    return [
        letter
        for letter in _LETTERS
        if all(str(header.get(f"CTYPE{axis}{letter}", "")).strip() for axis in (1, 2))
    ]


def _name_tpv(header: Header, letter: str) -> None:
    """Call a gnomonic projection with SCAMP's polynomials by its name, TPV."""
    types = [str(header[f"CTYPE{axis}{letter}"]).strip() for axis in (1, 2)]
    if not all(name.endswith("-TAN") for name in types):
        return
    longitude = 2 if types[0].startswith(("DEC", "GLAT", "ELAT")) else 1
    terms: list[dict[int, Any]] = [
        {m: header.get(f"PV{axis}_{m}{letter}") for m in range(40)} for axis in (1, 2)
    ]
    along, across = terms[longitude - 1], terms[2 - longitude]
    # TAN itself takes no terms of latitude; of longitude 1 and 2 are the native place of CRVAL: 0 and 90.
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
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, fobj=units, key=letter or " ")
            if wcs.naxis > 2:
                wcs = wcs.sub([1, 2])  # in this order: the sky's own order would turn pixels over
            if not wcs.has_celestial:
                return Celestial(None, f"{said}, which are no coordinates on the sky")
            if _no_size(header, letter) or not abs(np.linalg.det(wcs.pixel_scale_matrix)) > 0:
                return Celestial(None, "its pixels have no size (CD or CDELT are 0)")
            reference: Any = wcs.pixel_to_world(*(wcs.wcs.crpix - 1))
            middle = reference.icrs
            if not np.isfinite([middle.ra.deg, middle.dec.deg]).all():
                return Celestial(None, f"{said}, which give no place on the sky")
        except Exception as error:  # wcslib and astropy raise many kinds
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            return Celestial(None, f"{said}, which cannot be used ({reason[0].strip().rstrip('.')})")
    return Celestial(wcs)


def _no_size(header: Header, letter: str) -> bool:
    """Whether all terms of the scale are 0, which astropy reads as pixels of a degree."""
    scale = [header.get(f"CD{row}_{column}{letter}") for row in (1, 2) for column in (1, 2)]
    scale = [value for value in scale if value is not None]
    scale = scale or [value for axis in (1, 2) if (value := header.get(f"CDELT{axis}{letter}")) is not None]
    return bool(scale) and not any(scale)
