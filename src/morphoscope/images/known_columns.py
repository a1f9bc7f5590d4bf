"""Usual column names of survey tables, and how a name is compared with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Tried in this order if no column was given.
IMAGE_NAMES = (
    *("image", "file", "filename", "file_name", "path", "image_path", "file_loc", "cutout", "rgb_image"),
    *("image_file", "image_name", "img", "images"),
)
# Names of objects come before "id", which in survey tables is often only the row number within a field.
ID_NAMES = (
    *("id_str", "objid", "galaxyid", "galaxy_id", "targetid", "target_id", "object_id", "objectid", "obj_id"),
    *("source_id", "sourceid", "cataid", "dr8objid", "dr7objid", "iauname", "id", "objname", "object name"),
    *("object_name", "main_id", "designation", "ident"),
)
# Right ascension and declination, or Galactic longitude and latitude: decimal ones first.
EQUATORIAL_NAMES = (
    *(("ra", "dec"), ("ra_deg", "dec_deg"), ("radeg", "decdeg"), ("radeg", "dedeg")),
    *(("target_ra", "target_dec"), ("s_ra", "s_dec"), ("_raj2000", "_dej2000"), ("draj2000", "ddecj2000")),
    *(("draj2000", "ddej2000"), ("raj2000", "dej2000"), ("raj2000", "decj2000"), ("ra_j2000", "dec_j2000")),
    *(("ra_icrs", "de_icrs"), ("ra_icrs", "dec_icrs"), ("_ra_icrs", "_de_icrs"), ("_ra", "_de")),
    *(("alpha_j2000", "delta_j2000"), ("alphawin_j2000", "deltawin_j2000"), ("ramean", "decmean")),
    *(("alphapeak_j2000", "deltapeak_j2000"), ("x_world", "y_world"), ("ra2000", "de2000")),
    *(("ra2000", "dec2000"), ("ra_2000", "dec_2000"), ("alpha", "delta")),
    *(("right_ascension", "declination"), ("coord_ra", "coord_dec"), ("ra_obj", "dec_obj")),
)
GALACTIC_NAMES = (*(("glon", "glat"), ("_glon", "_glat"), ("gal_lon", "gal_lat"), ("l", "b")),)
# Sexagesimal coordinates in several columns, as in VizieR's printed tables.
PARTS_NAMES = ("rah", "ram", "ras", "de-", "ded", "dem", "des")
_UNIT = re.compile(r"\s*[(\[]\s*([^()\[\]]*?)\s*[)\]]\s*$")
_ANGLES = frozenset(name for pair in (*EQUATORIAL_NAMES, *GALACTIC_NAMES) for name in pair)
_ANGLE_UNIT = re.compile(r"_(hours?|hrs?|degrees?|radians?|rad)$", re.IGNORECASE)  # "ra_hours"


def plain_name(name: str) -> str:
    """A column's name as it is compared: ``# RA (deg)`` is "ra", and so is ``ra_hours``.

    >>> plain_name("# RA (deg)")
    'ra'
    """
    bare = name.strip().removeprefix("#").strip()
    bare = (_UNIT.sub("", bare) or bare).lower()
    angle = _ANGLE_UNIT.sub("", bare)
    return angle if angle in _ANGLES else bare


def unit_in_name(name: str) -> str:
    """The unit that a name ends with, in parentheses or brackets, or of an angle after ``_``; else nothing.

    >>> unit_in_name("RA [hours]")
    'hours'
    """
    found = _UNIT.search(name)
    if found is None and plain_name(name) in _ANGLES:
        found = _ANGLE_UNIT.search(name.strip())
    return found[1] if found else ""


def found_column(there: Sequence[str], names: Iterable[str]) -> str | None:
    """The first of ``names`` that a table has; None if it has none.

    Case, units in parentheses and a leading # are ignored. If nothing matches, so is a trailing ``_1``,
    which TOPCAT appends to the columns of the first table of a match.
    """
    wanted = list(names)
    plain = {plain_name(name): name for name in reversed(there)}
    for ending in ("", "_1"):
        for name in wanted:
            if name + ending in plain:
                return plain[name + ending]
    return None


def found_pair(there: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """All pairs of columns that a table has, most usual first."""
    plain = {plain_name(name): name for name in reversed(there)}
    return [
        (plain[first + ending], plain[second + ending])
        for ending in ("", "_1")
        for first, second in pairs
        if first + ending in plain and second + ending in plain
    ]


_KNOWN = frozenset(
    (
        *IMAGE_NAMES,
        *ID_NAMES,
        *PARTS_NAMES,
        *(name for pair in (*EQUATORIAL_NAMES, *GALACTIC_NAMES) for name in pair),
    )
)


def is_known(name: str) -> bool:
    """Whether a column's name is one of the usual ones."""
    return plain_name(name) in _KNOWN


def lone_angle(there: Sequence[str]) -> str | None:
    """A column with one coordinate of a pair that is not there; None if there is none, or a whole pair."""
    if found_pair(there, (*EQUATORIAL_NAMES, *GALACTIC_NAMES)):
        return None
    sure = _ANGLES - {"l", "b", "alpha", "delta"}  # which may be anything
    return next((name for name in there if plain_name(name) in sure), None)


def distinct_names(names: Iterable[str]) -> list[str]:
    """Distinct column names: repeated ones get a number, and so do unnamed columns."""
    taken: set[str] = set()
    distinct = []
    for number, name in enumerate(names, start=1):
        name = name.strip() or f"column{number}"
        choice, again = name, 1
        while choice in taken:
            again += 1
            choice = f"{name}_{again}"
        taken.add(choice)
        distinct.append(choice)
    return distinct
