"""Photometric filters: what their names mean and where they lie, in nm.

Wavelengths are pivot wavelengths where the source gives them, else effective ones; they decide the order of
bands in a picture, nothing else. A name stands for one wavelength although surveys differ by some per cent.
"""

from __future__ import annotations

import re

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

# name: (nm, source). Where surveys share a name, the one listed is the commonest.
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
    # JWST: the numbers are in 10 nm, as of NICMOS, WFC3/IR and Roman; Hubble's optical filters are in nm.
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

# Bands that go by a plainer name as well: who asks for "i" means the image of HSC-I2.
_PLAIN = {"i2": "i", "r2": "r", "zd": "z", "ks": "k", "kp": "k", "rc": "r", "ic": "i", "zs": "z"} | {
    f"{letter}p": letter for letter in "ugriz"
}

# Names that carry their wavelength; the first pattern that matches counts. (pattern, nm per unit, source)
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
    """A filter's name as it is compared: its letters without instrument, prime, serial number or "band".

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
    """The labels under which a filter may be asked for."""
    return {label, _PLAIN.get(label, label)} - {""}


def filter_wavelength(label: str) -> float | None:
    """Where a filter lies, nm, by its label; None if its name is not known."""
    known = FILTERS.get(label)
    return known[0] if known is not None else _numbered(label)


def _numbered(label: str) -> float | None:
    for pattern, unit, _ in _NUMBERED:
        found = pattern.fullmatch(label)
        if found is not None:
            return unit * float(found[1])
    return None
