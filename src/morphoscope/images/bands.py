"""Names of photometric bands: which is redder, and which files belong to one galaxy."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from morphoscope.errors import UsageError

MOST_BANDS = 3  # a picture has red, green and blue

# Effective wavelengths in nm, for the order alone.
_WAVELENGTHS = {
    "fuv": 154,
    "nuv": 232,
    "u": 355,
    "b": 440,
    "g": 475,
    "v": 550,
    "r": 622,
    "vis": 715,
    "i": 763,
    "z": 905,
    "y": 1020,
    "j": 1250,
    "h": 1650,
    "k": 2160,
    "ks": 2160,
    "w1": 3400,
    "w2": 4600,
}
_SURELY_NM, _SURELY_10_NM = 500, 200
_SPACE_FILTER = re.compile(r"^f(\d{3,4})(?:w|m|n|lp|x)\d?$")  # F606W of Hubble, F150W of JWST
_FIELDS = re.compile(r"\{(id|band)\}")


def parse_bands(words: str | Sequence[str] | None) -> tuple[str, ...]:
    """The bands that ``--bands g,r,z`` names; none for None.

    Raises:
        UsageError: more than three, an empty name, or the same one twice.
    """
    if words is None:
        return ()
    names = tuple(name.strip() for name in (words.split(",") if isinstance(words, str) else words))
    said = ",".join(names)
    if not 1 <= len(names) <= MOST_BANDS or not all(names):
        raise UsageError(f"--bands {said}: one, two or three names with commas between were expected")
    if len({band_label(name) for name in names}) < len(names):
        raise UsageError(f"--bands {said}: the same band is named twice")
    return names


def band_label(name: str) -> str:
    """A band's name as it is compared: "r DECam SDSS c0002" and "R" are both "r"."""
    word = (name.lower().split() or [""])[0]
    return word.removesuffix("band").strip("_-") or word


def known_band(name: str) -> bool:
    """Whether a name says of which wavelength the band is."""
    return band_label(name) in _WAVELENGTHS or _SPACE_FILTER.match(band_label(name)) is not None


def reddest_first(names: Sequence[str]) -> list[int]:
    """The order of bands in a picture: places of ``names``, from red to blue.

    Bands with known wavelengths are sorted by them; as soon as one is unknown, all stay as they are given.
    """
    if not all(map(known_band, names)):
        return list(range(len(names)))
    wavelengths = _wavelengths(names)
    return sorted(range(len(names)), key=lambda band: -wavelengths[band])


def _wavelengths(names: Sequence[str]) -> list[int]:
    """About where known bands lie, nm, for comparisons among these alone."""
    filters = [_SPACE_FILTER.match(band_label(name)) for name in names]
    numbers = [int(found[1]) if found else 0 for found in filters]
    # Hubble names its optical filters in nm and its infrared ones, as JWST all of its own, in 10 nm.
    optical = max(numbers, default=0) >= _SURELY_NM
    return [
        (10 * number if optical and number < _SURELY_10_NM else number) or _WAVELENGTHS[band_label(name)]
        for name, number in zip(names, numbers, strict=True)
    ]


def is_pattern(source: str) -> bool:
    """Whether an input names one file a band, such as ``cutouts/{id}_{band}.fits``."""
    return "{band}" in source


def file_of_band(pattern: str, band: str, identity: str = "") -> str:
    """The file that a pattern names for one band (of one galaxy)."""
    return _FIELDS.sub(lambda field: band if field[1] == "band" else identity, pattern)


def ids_of_pattern(pattern: str, bands: Sequence[str]) -> list[str]:
    """The galaxies of which a pattern finds a file in any of the bands, sorted.

    Raises:
        UsageError: the pattern has no ``{id}``, or no file matches.
    """
    if "{id}" not in pattern:
        raise UsageError(f"{pattern}: {{id}} was expected where the galaxy's name stands")
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
