"""Bands of an image: what a request names, which is redder, where each is found, and the wavelengths of
photometric filters in nm.

A band is named as a filter ("g", "F814W", "HSC-I"), with its wavelength in nm if the filter is not listed
here ("foo@750"), or by the number of a plane, counted from 1.

Wavelengths are pivot wavelengths where the source gives them, else effective ones; they only decide the
order of bands in an image. A name stands for one wavelength although surveys differ by a few per cent.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError, listed

_SDSS = "SDSS, Doi et al. 2010, AJ 139, 1628"
_BESSELL = "Johnson–Cousins, Bessell 2005, ARA&A 43, 293"
_HSC = "HSC, Kawanomoto et al. 2018, PASJ 70, 66"
_EUCLID = "Euclid, Schirmer et al. 2022, A&A 662, A92; VIS: Scaramella et al. 2022, A&A 662, A112"
_VISTA = "VISTA, Sutherland et al. 2015, A&A 575, A25"
_2MASS = "2MASS, Cohen et al. 2003, AJ 126, 1090"
_WISE = "WISE, Wright et al. 2010, AJ 140, 1868"
_GALEX = "GALEX, Morrissey et al. 2007, ApJS 173, 682"
_IRAC = "Spitzer IRAC, Fazio et al. 2004, ApJS 154, 10"
_SWIFT = "Swift UVOT, Poole et al. 2008, MNRAS 383, 627"
_PS1 = "Pan-STARRS1, Tonry et al. 2012, ApJ 750, 99"
_LSST = "Rubin LSST, LSE-40"
_MID = "Johnson's infrared bands, Bessell & Brett 1988, PASP 100, 1134 (L, M); Tokunaga 2000 (N, Q)"
_PLATES = "photographic surveys, Morgan 1995, ASP Conf. Ser. 84, 137"
_JWST = "JWST user documentation, NIRCam and MIRI filters"
_HST = "Hubble instrument handbooks: the number in a filter's name"
_LINE = "rest wavelength of the line"

# name: (nm, source). Where surveys share a name, the most common is listed.
FILTERS: dict[str, tuple[float, str]] = {
    **{name: (nm, _GALEX) for name, nm in {"fuv": 152.8, "nuv": 227.1}.items()},
    **{name: (nm, _SWIFT) for name, nm in {"uvw2": 193, "uvm2": 225, "uvw1": 260}.items()},
    **{n: (nm, _SDSS) for n, nm in {"u": 355.1, "g": 468.6, "r": 616.6, "i": 748.0, "z": 893.2}.items()},
    **{
        n: (nm, _SDSS) for n, nm in {"up": 355, "gp": 469, "rp": 617, "ip": 748, "zp": 893, "zs": 868}.items()
    },
    **{n: (nm, _BESSELL) for n, nm in {"b": 436, "v": 545, "rc": 641, "ic": 798}.items()},
    **{name: (nm, _HSC) for name, nm in {"r2": 618, "i2": 769}.items()},
    **{
        n: (nm, _EUCLID)
        for n, nm in {"vis": 715, "ie": 715, "ye": 1080.9, "je": 1367.3, "he": 1771.4}.items()
    },
    "w": (608, _PS1),
    "y": (1020, _VISTA),  # 962 nm at Pan-STARRS1, 971 at LSST (LSE-40), 1009 at DES: always between z and J
    "zd": (926, "MzLS, Dey et al. 2019, AJ 157, 168"),
    **{name: (nm, _2MASS) for name, nm in {"j": 1235, "h": 1662, "k": 2159, "ks": 2159, "kp": 2124}.items()},
    **{name: (nm, _WISE) for name, nm in {"w1": 3353, "w2": 4603, "w3": 11561, "w4": 22088}.items()},
    **{f"irac{n}": (nm, _IRAC) for n, nm in enumerate((3550, 4493, 5731, 7872), start=1)},
    **{f"ch{n}": (nm, _IRAC) for n, nm in enumerate((3550, 4493, 5731, 7872), start=1)},
    **{n: (nm, _MID) for n, nm in {"l": 3450, "m": 4750, "n": 10_500, "q": 20_900}.items()},
    **{
        n: (nm, _PLATES)
        for n, nm in {
            "bj": 460,
            "rf": 650,
            "gg395": 460,
            "gg385": 460,
            "rg610": 650,
            "rg630": 670,
            "og590": 650,
        }.items()
    },
    **{name: (nm, _PLATES) for name, nm in {"rg715": 830, "rg9": 840}.items()},
    **{n: (nm, "the word") for n, nm in {"blue": 450, "green": 540, "red": 650}.items()},
    **dict.fromkeys(("ha", "halpha", "h-alpha"), (656.3, _LINE)),
    **{
        n: (nm, _LINE)
        for n, nm in {"hb": 486.1, "hbeta": 486.1, "oii": 372.7, "oiii": 500.7, "sii": 672.4}.items()
    },
    # JWST: the numbers are in 10 nm, as for NICMOS, WFC3/IR and Roman; Hubble's optical filters are in nm.
    **{
        f"f{number:03d}{kind}": (10.0 * number, _JWST)
        for kind, numbers in {
            "w": (70, 90, 115, 150, 200, 277, 356, 444, 560, 770, 1000, 1280, 1500, 1800, 2100),
            "m": (140, 162, 182, 210, 250, 300, 335, 360, 410, 430, 460, 480),
            "n": (164, 187, 212, 323, 405, 466, 470),
        }.items()
        for number in numbers
    },
    "f200lp": (497, "Hubble WFC3 instrument handbook, table 6.2: pivot wavelength"),
    "f350lp": (585, "Hubble WFC3 instrument handbook, table 6.2: pivot wavelength"),
    "f150w2": (1659, _JWST),
    "f322w2": (3232, _JWST),
    "f1130w": (11300, _JWST),
    "f2550w": (25500, _JWST),
}

# Bands that also have a simpler name: "i" stands for HSC-I2 too.
_PLAIN = {"i2": "i", "r2": "r", "zd": "z", "ks": "k", "kp": "k", "rc": "r", "ic": "i", "zs": "z"} | {
    f"{letter}p": letter for letter in "ugriz"
}

# Names that contain their wavelength; the first matching pattern is used. (pattern, nm per unit, source)
_NUMBERED: tuple[tuple[re.Pattern[str], float, str], ...] = (
    (re.compile(r"f(0\d\d|1\d\d)(?:[wmnx]|lp)?2?"), 10.0, _HST + " is in 10 nm below 200"),
    (re.compile(r"f(2[0-2]\d)[mn]"), 10.0, _HST + " (NICMOS is in 10 nm)"),
    (re.compile(r"f(\d{3,4})(?:[wmnx]|lp)"), 1.0, _HST),
    (re.compile(r"f(\d{3})"), 10.0, "Roman WFI: the number in the name is in 10 nm"),
    (re.compile(r"[rzyjhkw](\d{3})"), 10.0, "Roman WFI: the number in the name is in 10 nm"),
    (re.compile(r"nb?0?([3-9]\d\d)"), 1.0, "narrow bands: the number in the name"),
    (re.compile(r"nb?0?(1[01]\d\d)"), 1.0, "narrow bands: the number in the name"),
    (
        re.compile(r"nb?(1\d\d|2[0-2]\d)"),
        10.0,
        "infrared narrow bands (NB118): the number in the name is in 10 nm",
    ),
    (re.compile(r"i[ab](\d{3})"), 1.0, "Suprime-Cam intermediate bands, Taniguchi et al. 2015, PASJ 67, 104"),
    (re.compile(r"j0(\d{3})"), 1.0, "J-PLUS and S-PLUS, Cenarro et al. 2019, A&A 622, A176"),
    (re.compile(r"(?:ha|halpha|sii|oiii|oii)(\d{3})"), 1.0, "the number in the name"),
)

_INSTRUMENTS = (
    *(
        "2mass",
        "acs",
        "bessel",
        "bessell",
        "bok",
        "cfht",
        "comcam",
        "cousins",
        "cfhtls",
        "decam",
        "decals",
        "des",
    ),
    *("euclid", "galex", "hsc", "hst", "irac", "johnson", "jwst", "kids", "legacy", "ls", "lsst", "lsstcam"),
    *(
        "megacam",
        "megaprime",
        "miri",
        "mosaic",
        "mzls",
        "nir",
        "nircam",
        "nisp",
        "omegacam",
        "panstarrs",
        "ps",
        "ps1",
    ),
    *("rubin", "sdss", "skymapper", "sloan", "sm", "splus", "subaru", "suprimecam", "uk", "ukidss", "unwise"),
    *("uvis", "uvot", "vhs", "video", "viking", "vircam", "vista", "vst", "wfc3", "wfcam", "wise", "ztf"),
)
_PREFIX = re.compile(rf"(?:{'|'.join(sorted(_INSTRUMENTS, key=len, reverse=True))})[_\-:./ ]+(?=\w)")
_ATTACHED = re.compile(
    r"(?:sdss|sloan|ps1?|des|decam|hsc|lsst|kids|cfht|megacam)([ugrizy])"
    r"|([ugrizy])(?:sdss|sloan|ps1|des|decam|hsc|lsst|kids|cfht|megacam)"
)
_ENDING = re.compile(r"(?:\.mp\d+|\.\d+|['′´`]+|_?prime|[_\-](?:sdss|decam|band|filter))+$")


def filter_label(name: str) -> str:
    """A filter's name for comparison: its letters without instrument, prime, serial number or "band".

    >>> [filter_label(name) for name in ("r DECam SDSS c0002", "HSC-I", "g'", "NIR_Y", "i.MP9702", "rband",
    "I_E")] ['r', 'i', 'g', 'y', 'i', 'r', 'ie']
    """
    text = name.strip().strip("\"'").lower() if name.strip("\"' ") else ""
    text = _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
    word = (text.split() or [""])[0]
    for candidate in (word, _ENDING.sub("", word), word.removesuffix("band").strip("_-.")):
        for known in (candidate, candidate.replace("_", "").replace("-", "")):
            if known and (known in FILTERS or _numbered(known) is not None):
                return known
    attached = _ATTACHED.fullmatch(word)
    if attached:
        return attached[1] or attached[2]
    if re.fullmatch(r"bok[ugriz]", word):  # FILTER of the Bok telescope's 90prime
        return word[-1]
    return word.removesuffix("band").strip("_-") or word


def names_of(label: str) -> set[str]:
    """The labels by which a filter can be requested."""
    return {label, _PLAIN.get(label, label)} - {""}


def filter_wavelength(label: str) -> float | None:
    """The wavelength of a filter, nm, by its label; None if unknown."""
    known = FILTERS.get(label)
    return known[0] if known is not None else _numbered(label)


def _numbered(label: str) -> float | None:
    for pattern, unit, _ in _NUMBERED:
        found = pattern.fullmatch(label)
        if found is not None:
            return unit * float(found[1])
    return None


MOST_BANDS = 3  # a picture has red, green and blue
_FIELDS = re.compile(r"\{(id|band)\}")
_GIVEN = re.compile(r"(?P<name>[^@]+)@(?P<nm>\d+(?:\.\d+)?)(?:nm)?")
_ALIKE = 0.15  # relative difference of wavelengths below which two names may mean one filter


def parse_bands(words: str | Sequence[str] | None, most: int = MOST_BANDS) -> tuple[str, ...]:
    """The bands named by ``--bands g,r,z``; none for None.

    Raises:
        UsageError: there are more than ``most``, a name is empty or repeated, or only some wavelengths are
            known.
    """
    if words is None:
        return ()
    names = tuple(name.strip() for name in (words.split(",") if isinstance(words, str) else words))
    said = ",".join(names)
    if not 1 <= len(names) <= most or not all(names):
        count = "one, two or three" if most == MOST_BANDS else f"one to {most}"
        raise UsageError(f"--bands {said}: {count} names with commas between were expected")
    if len({band_label(name) for name in names}) < len(names):
        raise UsageError(f"--bands {said}: the same band is named twice")
    reddest_first(names)
    return names


def band_name(band: str) -> str:
    """A band's name in files and columns, without the wavelength given with it."""
    given = _GIVEN.fullmatch(band)
    return given["name"] if given else band


def band_label(name: str) -> str:
    """A band's name for comparison: "r DECam SDSS c0002", "R" and "r@620" are all "r"."""
    return filter_label(band_name(name))


def known_band(name: str) -> bool:
    """Whether the wavelength of a band is known."""
    return wavelength(name) is not None


def wavelength(name: str) -> float | None:
    """The wavelength of a band, nm; None if its name is unknown and no wavelength was given with it."""
    given = _GIVEN.fullmatch(name)
    return float(given["nm"]) if given else filter_wavelength(band_label(name))


def by_number(bands: Sequence[str]) -> bool:
    """Whether bands are plane numbers, reddest first."""
    return bool(bands) and all(band.isascii() and band.isdigit() for band in bands)


def reddest_first(names: Sequence[str]) -> list[int]:
    """The order of bands in an image: indices of ``names``, from red to blue.

    Bands are sorted by wavelength; plane numbers, and bands of which none is known, stay in the given order.

    Raises:
        UsageError: some are known and some are not.
    """
    found = {} if by_number(names) else {n: nm for n, name in enumerate(names) if (nm := wavelength(name))}
    if not found:
        return list(range(len(names)))
    if len(found) < len(names):
        unknown = [name for n, name in enumerate(names) if n not in found]
        raise UsageError(
            f"--bands {','.join(names)}: the wavelength of {', '.join(unknown)} is not known, so "
            f"neither is the order of the bands; give it in nm, as {unknown[0]}@750"
        )
    return sorted(range(len(names)), key=lambda band: -found[band])


@dataclass(frozen=True)
class Part:
    """What an HDU of a FITS file says about its bands.

    Attributes:
        labels: names by which it can be requested.
        depth: number of planes.
        letters: one letter per plane, from the header's BANDS; empty if there is none.
    """

    labels: frozenset[str] = field(default_factory=frozenset)
    depth: int = 1
    letters: str = ""


def find_bands(parts: Sequence[Part], bands: Sequence[str], name: str) -> list[tuple[int, int]]:
    """Find requested bands in a FITS file: HDU and plane of each, reddest first.

    The first rule that applies is used:

    1. numbers: planes of the first image if it is a cube, else images of the file, reddest first; 2. the
    file has one two-dimensional image and one band was named: that image, unless its name says it is
    another band; 3. extensions named as the bands by EXTNAME, FILTER or BAND ("r", "HSC-R", "rband", "r
    DECam SDSS …"); 4. the first image is a cube whose planes are named by letters in the header's BANDS, as
    in Legacy Surveys cutouts; 5. the cube has as many planes, or the file as many unnamed images, as bands
    were named: these, in that order.

    Raises:
        MorphoscopeError: a band is not there.
    """
    order = reddest_first(bands)
    first, labels = parts[0], [band_label(bands[band]) for band in order]
    if by_number(bands):
        numbers = [int(band) - 1 for band in bands]
        there = first.depth if first.depth > 1 else len(parts)
        if all(0 <= number < there for number in numbers):
            return [(0, number) if first.depth > 1 else (number, 0) for number in numbers]
        kind = "planes" if first.depth > 1 else "images"
        raise MorphoscopeError(f"{name}: has {there} {kind}, so --bands {','.join(bands)} are not all there")
    if len(parts) == len(bands) == 1 and first.depth == 1 and _may_be(first, bands[0]):
        return [(0, 0)]
    of_label = {label: number for number in reversed(range(len(parts))) for label in parts[number].labels}
    if all(label in of_label for label in labels):
        found = [of_label[label] for label in labels]
        if any(parts[number].depth != 1 for number in found):
            raise MorphoscopeError(f"{name}: an extension has several planes; one band in each was expected")
        return [(number, 0) for number in found]
    if len(first.letters) == first.depth > 1:
        letters = [band_label(letter) for letter in first.letters]
        if all(label in letters for label in labels):
            return [(0, letters.index(label)) for label in labels]
    elif first.depth == len(bands) and first.depth > 1:
        return [(0, band) for band in order]
    elif first.depth == 1 and len(parts) == len(bands) and not any(part.labels for part in parts):
        return [(band, 0) for band in order]
    named = set().union(*(part.labels for part in parts)) | {band_label(letter) for letter in first.letters}
    missing = [bands[band] for band in sorted(order) if band_label(bands[band]) not in named]
    there = listed(sorted(named)) or "they have no names"
    raise MorphoscopeError(
        f"{name}: no band {', '.join(missing or bands)} (bands there: {there}; {first.depth} planes, "
        f"{len(parts)} images; planes are also chosen by number, as --bands 3,2,1)"
    )


def _may_be(part: Part, band: str) -> bool:
    """Whether an image may be a band as far as its names go; names that are not filters say nothing."""
    filters = [nm for label in part.labels if (nm := filter_wavelength(label)) is not None]
    asked = wavelength(band)
    if not filters or asked is None or part.labels & names_of(band_label(band)):
        return True
    return any(abs(nm / asked - 1) < _ALIKE for nm in filters)


def is_pattern(source: str) -> bool:
    """Whether an input has one file per band, such as ``cutouts/{id}_{band}.fits``."""
    return "{band}" in source


def file_of_band(pattern: str, band: str, identity: str = "") -> str:
    """The file of one band (of one galaxy) that a pattern stands for."""
    return _FIELDS.sub(lambda found: band_name(band) if found[1] == "band" else identity, pattern)


def ids_of_pattern(pattern: str, bands: Sequence[str]) -> list[str]:
    """The ids of galaxies with a file in any of the bands, sorted.

    Raises:
        UsageError: the pattern has no ``{id}``, or no file matches.
    """
    if "{id}" not in pattern:
        raise UsageError(f"{pattern}: {{id}} was expected in place of the galaxy's name")
    found: set[str] = set()
    for band in bands:
        found.update(_ids_in_band(pattern, band))
    if not found:
        raise UsageError(
            f"{pattern}: no file matches for the bands {', '.join(bands)}; the first would be called "
            f"{Path(file_of_band(pattern, bands[0], 'ID')).name}, with the galaxy's name for ID"
        )
    return sorted(found)


def _ids_in_band(pattern: str, band: str) -> Iterator[str]:
    band = band_name(band)
    pieces = _FIELDS.split(pattern)  # text, field, text, field, …
    wanted, searched, seen = "", "", False
    for number, piece in enumerate(pieces):
        if number % 2 == 0:
            wanted, searched = wanted + re.escape(piece), searched + glob.escape(piece)
        elif piece == "band":
            wanted, searched = wanted + re.escape(band), searched + glob.escape(band)
        else:
            wanted, searched = wanted + ("(?P=id)" if seen else r"(?P<id>[^/]+)"), searched + "*"
            seen = True
    matching = re.compile(wanted)
    for name in glob.iglob(searched):
        if (match := matching.fullmatch(name)) is not None:
            yield match["id"]
