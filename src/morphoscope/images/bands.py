"""Bands of a picture: what a request names, which is redder, and where each is found.

A band is named as a filter ("g", "F814W", "HSC-I"), with its wavelength in nm where that is not in
:mod:`morphoscope.images.filters` ("foo@750"), or by the number of a plane, counted from 1.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.filters import filter_label, filter_wavelength, names_of

MOST_BANDS = 3  # a picture has red, green and blue
_FIELDS = re.compile(r"\{(id|band)\}")
_GIVEN = re.compile(r"(?P<name>[^@]+)@(?P<nm>\d+(?:\.\d+)?)(?:nm)?")
_ALIKE = 0.15  # relative difference of wavelengths below which two names may mean one filter


def parse_bands(words: str | Sequence[str] | None) -> tuple[str, ...]:
    """The bands that ``--bands g,r,z`` names; none for None.

    Raises:
        UsageError: more than three, an empty name, the same one twice, or some of known and some of unknown
            wavelength.
    """
    if words is None:
        return ()
    names = tuple(name.strip() for name in (words.split(",") if isinstance(words, str) else words))
    said = ",".join(names)
    if not 1 <= len(names) <= MOST_BANDS or not all(names):
        raise UsageError(f"--bands {said}: one, two or three names with commas between were expected")
    if len({band_label(name) for name in names}) < len(names):
        raise UsageError(f"--bands {said}: the same band is named twice")
    reddest_first(names)
    return names


def band_name(band: str) -> str:
    """A band as files and columns call it: without the wavelength that was given with it."""
    given = _GIVEN.fullmatch(band)
    return given["name"] if given else band


def band_label(name: str) -> str:
    """A band's name as it is compared: "r DECam SDSS c0002", "R" and "r@620" are all "r"."""
    return filter_label(band_name(name))


def known_band(name: str) -> bool:
    """Whether a name says at which wavelength the band lies."""
    return wavelength(name) is not None


def wavelength(name: str) -> float | None:
    """Where a band lies, nm; None if its name is not known and no wavelength was given with it."""
    given = _GIVEN.fullmatch(name)
    return float(given["nm"]) if given else filter_wavelength(band_label(name))


def by_number(bands: Sequence[str]) -> bool:
    """Whether bands are numbers of planes, the red one first."""
    return bool(bands) and all(band.isascii() and band.isdigit() for band in bands)


def reddest_first(names: Sequence[str]) -> list[int]:
    """The order of bands in a picture: positions in ``names``, from red to blue.

    Bands are sorted by their wavelengths. Where none is known, and for numbers of planes, they stay as given.

    Raises:
        UsageError: some are known and some are not.
    """
    found = {} if by_number(names) else {n: nm for n, name in enumerate(names) if (nm := wavelength(name))}
    if not found:
        return list(range(len(names)))
    if len(found) < len(names):
        unknown = [name for n, name in enumerate(names) if n not in found]
        raise UsageError(
            f"--bands {','.join(names)}: the wavelength of {', '.join(unknown)} is not known, so neither is "
            f"its place between red and blue; give it in nm, as {unknown[0]}@750"
        )
    return sorted(range(len(names)), key=lambda band: -found[band])


@dataclass(frozen=True)
class Part:
    """What a part of a FITS file says of the bands in it.

    Attributes:
        labels: under which it may be asked for.
        depth: planes in it.
        letters: a letter a plane, as the header's BANDS names them; empty if it does not.
    """

    labels: frozenset[str] = field(default_factory=frozenset)
    depth: int = 1
    letters: str = ""


def find_bands(parts: Sequence[Part], bands: Sequence[str], name: str) -> list[tuple[int, int]]:
    """Where the bands of a request lie in a FITS file: part and plane of each, the reddest first.

    The first rule that applies chooses them:

    1. numbers: planes of the first image if it is a cube, else images of the file, red first;
    2. the file holds one two-dimensional image and one band was named: that image, unless its name says that
       it is another one;
    3. extensions carry their names, as EXTNAME, FILTER or BAND ("r", "HSC-R", "rband", "r DECam SDSS …");
    4. the first image is a cube whose header's BANDS names its planes by letters, as in Legacy Surveys
       cutouts;
    5. the cube has as many planes, or the file as many images without names, as bands were named: these, in
       that order.

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
    there = ", ".join(sorted(named)) or "they have no names"
    raise MorphoscopeError(
        f"{name}: no band {', '.join(missing or bands)} (bands there: {there}; {first.depth} planes, "
        f"{len(parts)} images; planes are also chosen by number, as --bands 3,2,1)"
    )


def _may_be(part: Part, band: str) -> bool:
    """Whether the names of an image leave room for it to be a band; names that are no filters do."""
    filters = [nm for label in part.labels if (nm := filter_wavelength(label)) is not None]
    asked = wavelength(band)
    if not filters or asked is None or part.labels & names_of(band_label(band)):
        return True
    return any(abs(nm / asked - 1) < _ALIKE for nm in filters)


def is_pattern(source: str) -> bool:
    """Whether an input names one file a band, such as ``cutouts/{id}_{band}.fits``."""
    return "{band}" in source


def file_of_band(pattern: str, band: str, identity: str = "") -> str:
    """The file that a pattern names for one band (of one galaxy)."""
    return _FIELDS.sub(lambda found: band_name(band) if found[1] == "band" else identity, pattern)


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
