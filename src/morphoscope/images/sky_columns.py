"""A table's coordinates, in any form, as ICRS degrees.

Decimal columns are preferred to sexagesimal ones, equatorial to Galactic. The unit is that of the column
(FITS TUNIT, VOTable, ECSV, a Parquet field's metadata) or in its name, ``RA (hours)``; otherwise numbers
are degrees. Sexagesimal right ascensions are hours unless they are written with d or °.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import UsageError
from morphoscope.images.known_columns import (
    EQUATORIAL_NAMES,
    GALACTIC_NAMES,
    PARTS_NAMES,
    found_pair,
    unit_in_name,
)
from morphoscope.images.tables import Columns
from morphoscope.progress import note

_DEGREES = {
    **dict.fromkeys(("", "deg", "degree", "degrees", "degs", "°", "angle[deg]"), 1.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourangle", "hour angle"), 15.0),
    **dict.fromkeys(("rad", "radian", "radians"), 180 / np.pi),
    **dict.fromkeys(("arcmin", "amin", "arcminute", "arcminutes"), 1 / 60),
    **dict.fromkeys(("arcsec", "asec", "arcsecond", "arcseconds"), 1 / 3600),
    "mas": 1 / 3_600_000,
}
_HOURS = 15.0
# Placeholders for an unknown right ascension or longitude; −99 would otherwise become 261°.
UNKNOWN = (-99.0, -999.0, -9999.0, -99.9, -99.99, -99.999, -999.9, -999.99)
_SCALED_UNIT = re.compile(r"^(\d+(?:\.\d*)?)\s*\*?\s*([a-z]+)$")
# Units of text: '"h:m:s"' is VizieR's.
_SEXAGESIMAL_UNIT = re.compile(r'^"?(h|hh|d|dd)[: ]?(m|mm)[: ]?(s|ss)(\.s+)?"?$|^hms$|^dms$|^sexagesimal$')
_SEXAGESIMAL = re.compile(
    r"^([-+−–]?)\s*(\d{1,3})\s*([:hHdD°\s])\s*(\d{1,2})\s*(?:[:mM'′\s]\s*(\d{1,2}(?:\.\d*)?)\s*[sS\"″]?|[mM'′])?\s*$"
)


@dataclass(frozen=True)
class SkyColumns:
    """The columns of a galaxy's coordinates.

    Attributes:
        names: two columns, or the seven of :data:`PARTS_NAMES`.
        units: units of two columns, in degrees.
        galactic: whether they are Galactic longitude and latitude.
    """

    names: tuple[str, ...]
    units: tuple[float, float] = (1.0, 1.0)
    galactic: bool = False

    @property
    def words(self) -> str:
        """The columns, for messages."""
        return " and ".join(self.names) if len(self.names) == 2 else ", ".join(self.names)

    def degrees(self, piece: pa.Table) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Right ascension in [0, 360) and declination, (N,) each, and the rows with invalid coordinates.

        A position needs both: if either is empty, not an angle, out of range or a placeholder
        (:data:`UNKNOWN`), both are NaN. The returned rows contain something that is not an angle.
        """
        if len(self.names) == 2:
            angles = [
                _angles(piece.column(name), unit, hours=at == 0 and not self.galactic)
                for at, (name, unit) in enumerate(zip(self.names, self.units, strict=True))
            ]
        else:
            angles = _of_parts(piece, self.names)
        (first, odd_first), (second, odd_second) = angles
        odd = odd_first | odd_second | (np.abs(first) > 360) | (np.abs(second) > 90)
        odd |= stands_for_none(first / self.units[0])
        bad = odd | ~np.isfinite(first) | ~np.isfinite(second)
        first, second = np.where(bad, np.nan, first), np.where(bad, np.nan, second)
        if self.galactic and not bad.all():
            first, second = _to_icrs(first, second)
        first = np.mod(first, 360.0)
        first[first == 360.0] = 0.0  # values just below 0
        return first, second, np.flatnonzero(odd).tolist()

    def wrong(self, piece: pa.Table, row: int) -> str:
        """The cell that makes a row's coordinates invalid: ``ra is 'nowhere'``, ``dec is missing``."""
        cells = [(name, piece.column(name)[row].as_py()) for name in self.names]
        if len(cells) == 2:
            one = piece.slice(row, 1)
            for at, ((name, cell), most) in enumerate(zip(cells, (360, 90), strict=True)):
                hours = at == 0 and not self.galactic
                (angle,), _ = _angles(one.column(name), self.units[at], hours=hours)
                if not abs(angle) <= most:
                    return _as_it_is(name, cell)
                if at == 0 and stands_for_none(angle / self.units[0]):
                    return _as_it_is(name, cell)
        return ", ".join(_as_it_is(name, cell) for name, cell in cells)


def _as_it_is(name: str, cell: Any) -> str:
    return f"{name} is missing" if cell is None or cell != cell else f"{name} is '{cell}'"


def found_sky(
    columns: Columns, where: str, *, ra: str | None = None, dec: str | None = None
) -> SkyColumns | None:
    """Find the columns of coordinates; None if the table has none.

    Args:
        columns: the table's.
        where: the table, for messages.
        ra: the column of right ascension; None: find both by name.
        dec: the column of declination; None: find it by name.

    Raises:
        UsageError: one of the two is given and the other is missing, or a unit is not an angle.
    """
    if ra is not None or dec is not None:
        pair = found_pair(columns.names, EQUATORIAL_NAMES)
        ra, dec = ra or (pair[0][0] if pair else None), dec or (pair[0][1] if pair else None)
        if ra is None or dec is None:
            known, lacking = (ra, "--dec-column") if dec is None else (dec, "--ra-column")
            raise UsageError(
                f"{where}: column '{known}' alone is not a position; {lacking} was expected as well"
            )
        return SkyColumns((ra, dec), _units(columns, ra, dec, where))
    equatorial = _decimal_first(columns, found_pair(columns.names, EQUATORIAL_NAMES))
    if equatorial is not None:
        return SkyColumns(equatorial, _units(columns, *equatorial, where))
    galactic = found_pair(columns.names, GALACTIC_NAMES)
    if galactic:
        return SkyColumns(galactic[0], _units(columns, *galactic[0], where), galactic=True)
    lower = {name.strip().lower(): name for name in reversed(columns.names)}
    if all(name in lower for name in PARTS_NAMES):
        return SkyColumns(tuple(lower[name] for name in PARTS_NAMES))
    return None


def _decimal_first(columns: Columns, pairs: list[tuple[str, str]]) -> tuple[str, str] | None:
    def decimal(pair: tuple[str, str]) -> bool:
        kinds = [columns.types.get(name) for name in pair]
        return all(kind is None or pa.types.is_floating(kind) or pa.types.is_integer(kind) for kind in kinds)

    return next(filter(decimal, pairs), pairs[0] if pairs else None)


def _units(columns: Columns, first: str, second: str, where: str) -> tuple[float, float]:
    found = []
    for name in (first, second):
        said = columns.units.get(name) or unit_in_name(name)
        unit = said.strip().lower()
        if _SEXAGESIMAL_UNIT.match(unit):
            unit = ""
        factor = _DEGREES.get(unit)
        if factor is None and (scaled := _SCALED_UNIT.match(unit)):  # "15 deg", as astropy writes hour angles
            factor = float(scaled[1]) * _DEGREES.get(scaled[2], np.nan)
            factor = factor if np.isfinite(factor) else None
        if factor is None or (factor == _HOURS and name == second):
            raise UsageError(
                f"{where}: column '{name}' is in '{said}'; an angle in "
                + ("h, " if name == first else "")
                + "deg, rad, arcmin, arcsec or mas was expected"
            )
        found.append(factor)
    return found[0], found[1]


def _angles(column: pa.ChunkedArray, unit: float, *, hours: bool) -> tuple[np.ndarray, np.ndarray]:
    """Degrees, (N,), NaN where unknown, and which cells contain something that is not an angle, (N,) bool."""
    if pa.types.is_string(column.type):
        with contextlib.suppress(pa.ArrowInvalid):  # sexagesimal or text: cell by cell
            column = column.cast(pa.float64())
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        values = np.array(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        return values * unit, np.isinf(values)
    cells = column.to_pylist()
    values, odd = np.full(len(cells), np.nan), np.zeros(len(cells), bool)
    for row, cell in enumerate(cells):
        text = cell.decode("latin-1") if isinstance(cell, bytes) else cell
        if text is None or (isinstance(text, str) and not text.strip()):
            continue
        try:
            values[row] = float(text) * unit
        except (TypeError, ValueError):
            values[row] = _sexagesimal(str(text), hours=hours)
            odd[row] = np.isnan(values[row])
    return values, odd | np.isinf(values)


def _sexagesimal(text: str, *, hours: bool) -> float:
    found = _SEXAGESIMAL.match(text.strip())
    if found is None:
        return np.nan
    sign, whole, mark, minutes, seconds = found.groups()
    value = _assembled(sign, int(whole), int(minutes), float(seconds or 0))
    in_degrees = mark.lower() in ("d", "°") or not hours
    if mark.lower() == "h" and not hours:
        return np.nan
    return value if in_degrees else value * _HOURS


def _assembled(sign: str, whole: float, minutes: float, seconds: float) -> float:
    if minutes >= 60 or seconds > 60:
        return np.nan
    return (-1 if sign and sign != "+" else 1) * (whole + minutes / 60 + seconds / 3600)


def _of_parts(piece: pa.Table, names: tuple[str, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    def numbers(name: str) -> list[float]:
        values, _ = _angles(piece.column(name), 1.0, hours=False)
        return values.tolist()

    signs = [
        "-" if str(sign or "").strip() in ("-", "−") else "+" for sign in piece.column(names[3]).to_pylist()
    ]
    right = [_assembled("+", *parts) * _HOURS for parts in zip(*map(numbers, names[:3]), strict=True)]
    declination = [_assembled(*parts) for parts in zip(signs, *map(numbers, names[4:]), strict=True)]
    nothing = np.zeros(piece.num_rows, bool)
    return [(np.array(right, float), nothing), (np.array(declination, float), nothing)]


def _to_icrs(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from astropy.coordinates import SkyCoord

    known = np.isfinite(longitude)
    sky: Any = SkyCoord(longitude[known], latitude[known], unit="deg", frame="galactic").icrs
    ra, dec = np.full(len(known), np.nan), np.full(len(known), np.nan)
    ra[known], dec[known] = np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)
    return ra, dec


def stands_for_none(values: Any) -> Any:
    """Whether right ascensions or longitudes, in their original unit, are one of :data:`UNKNOWN`."""
    return np.isclose(np.asarray(values)[..., None], UNKNOWN, rtol=1e-6, atol=0).any(axis=-1)


def position_of(values: Mapping[str, Any]) -> dict[str, float]:
    """``ra`` and ``dec`` in degrees from named values; empty if there are none."""
    for names in found_pair(list(values), EQUATORIAL_NAMES):
        try:
            ra, dec = (_angle(values[name], hours=at == 0) for at, name in enumerate(names))
        except (TypeError, ValueError):
            continue
        if abs(ra) <= 360 and abs(dec) <= 90 and not stands_for_none(ra):
            return {"ra": ra % 360.0 % 360.0, "dec": dec}
    return {}


def _angle(value: Any, *, hours: bool) -> float:
    try:
        return float(value)
    except ValueError:
        return _sexagesimal(str(value), hours=hours)


def _why(sky: SkyColumns, piece: pa.Table, row: int) -> str:
    if len(sky.names) == 2:
        (angle,), _ = _angles(piece.slice(row, 1).column(sky.names[0]), 1.0, hours=False)
        if stands_for_none(angle):
            return "is a placeholder for an unknown one"
    return "is not an angle"


class SkyReader:
    """Reads the coordinates of a table piece by piece and reports the first invalid cell."""

    def __init__(self, where: str, sky: SkyColumns) -> None:
        self.where, self.sky, self._said = where, sky, False

    def __call__(self, piece: pa.Table, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination of a piece that begins at row ``first``; NaN where unknown."""
        ra, dec, odd = self.sky.degrees(piece)
        if odd and not self._said:
            self._said = True
            note(
                f"{self.where}: {self.sky.wrong(piece, odd[0])} in row {first + odd[0] + 1}, which "
                f"{_why(self.sky, piece, odd[0])}; such galaxies get no coordinates"
            )
        return ra, dec
