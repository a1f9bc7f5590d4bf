"""What is to be fetched: a request, its positions, and the side of each cutout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from morphoscope.cutouts.client import Patience
from morphoscope.cutouts.fetch import MEASURED
from morphoscope.cutouts.folder import key_of
from morphoscope.cutouts.names import resolved
from morphoscope.cutouts.services import Service
from morphoscope.errors import UsageError
from morphoscope.images.positions import SourceColumns, SourceRows, SourceTable
from morphoscope.progress import note

_FEWEST_HOURS, _HOURS = 20, 24.0  # rows from which right ascensions up to 24 are remarked upon


@dataclass(frozen=True)
class CutoutRequest:
    """What is to be fetched.

    Attributes:
        table: positions (CSV, ECSV, Parquet, FITS, VOTable or HATS); None: ``names`` has them.
        out: the folder.
        survey: a service, see :func:`morphoscope.cutouts.services.find_service`.
        names: of objects, which CDS Sesame resolves.
        arcsec: side of each cutout; "measured": such that its galaxy fills 0.4 of it, by a first wide cutout;
            None: as the service's table says.
        size_column: column with each cutout's own side, arcsec.
        pixels: along a side; None: the survey's own scale.
        kind: "jpg" or "fits".
        bands: to ask for; empty: the service's own.
        id_column: column of ids; None: found by its name.
        ra_column: column of right ascensions; None: found by its name.
        dec_column: column of declinations; None: found by its name.
        keep_columns: further columns of the table to copy into the manifest.
        service: a table of services of one's own.
        patience: how long the service is waited for.
    """

    table: Path | str | None
    out: Path | str
    survey: str
    names: Sequence[str] = ()
    arcsec: float | str | None = None
    size_column: str | None = None
    pixels: int | None = None
    kind: str = "jpg"
    bands: Sequence[str] = ()
    id_column: str | None = None
    ra_column: str | None = None
    dec_column: str | None = None
    keep_columns: Sequence[str] = ()
    service: Path | str | None = None
    patience: Patience = field(default_factory=Patience)


class Target(NamedTuple):
    """One row: where it is, and how large its cutout.

    Attributes:
        key: name of its cutout (see :func:`morphoscope.cutouts.folder.key_of`); empty without a position.
        ra: degrees (ICRS).
        dec: degrees.
        arcsec: side of the cutout; None if it has to be measured.
        reason: why there is no position, or no side.
    """

    key: str
    ra: float
    dec: float
    arcsec: float | None
    reason: str


class Targets:
    """The rows of a request's table, or its names.

    Args:
        request: what is to be fetched.
        service: says how large cutouts are if nothing else does.

    Attributes:
        side: of every cutout, arcsec; None if each has its own.
        words: the same for people, and to compare requests.
        columns: of the table; None for names.
        integer_ids: whether every id is an integer, in the table too; known after :meth:`check`.

    Raises:
        UsageError: no table and no names, no such file or column, no coordinates, or sizes that contradict.
        MorphoscopeError: names cannot be resolved.
    """

    def __init__(self, request: CutoutRequest, service: Service) -> None:
        self.request = request
        if request.arcsec is not None and request.size_column is not None:
            raise UsageError("--arcsec and --size-column contradict each other; give one")
        self.measured = request.arcsec == MEASURED
        self.side: float | None = None
        if not self.measured and request.size_column is None:
            self.side = service.arcsec if request.arcsec is None else _positive(request.arcsec)
        self.words = "measured" if self.measured else "by column" if self.side is None else f"{self.side:g}"
        if (request.table is None) == (not request.names):
            raise UsageError("a table of positions was expected, or names (--name), and not both")
        self.integer_ids = False
        self.columns: SourceColumns | None = None
        self._named: SourceRows | None = None
        if request.table is not None:
            self.columns = SourceColumns.of(
                SourceTable(Path(request.table), self.side, request.size_column),
                ra=request.ra_column,
                dec=request.dec_column,
                identity=request.id_column,
                kept=request.keep_columns,
            )
        elif request.size_column or request.keep_columns:
            raise UsageError("--size-column and --keep-column name columns of a table; --name has none")
        else:
            self._named = resolved(request.names, service.resolver, self.side)

    @property
    def name(self) -> str:
        """What messages call them."""
        return "--name" if self.request.table is None else str(self.request.table)

    def rows(self) -> Iterator[SourceRows]:
        """The rows, in pieces."""
        if self._named is not None:
            yield self._named
        elif self.columns is not None:
            yield from self.columns.rows()

    def of(self, rows: SourceRows) -> Iterator[Target]:
        """What is to be fetched for each row."""
        own = self.request.size_column is not None
        for row in range(len(rows.ids)):
            ra, dec = float(rows.ra[row]), float(rows.dec[row])
            arcsec = None if self.measured else float(rows.arcsec[row])
            reason = rows.reasons.get(row, "")
            key = "" if reason else key_of(ra, dec, arcsec if own else None)
            yield Target(key, ra, dec, arcsec, reason)

    def check(self) -> int:
        """Refuse rows without any position, and remark upon right ascensions that may be hours.

        Returns:
            The number of rows.

        Raises:
            UsageError: no row has a position.
        """
        total, reason = 0, ""
        integers = self.columns is not None and self.columns.integer_ids
        ra, dec = [np.empty(0)], [np.empty(0)]
        for piece in self.rows():
            known = np.isfinite(piece.ra)
            known[list(piece.reasons)] = False
            total += len(known)
            integers = integers and all(map(_is_integer, piece.ids))
            reason = reason or next(iter(piece.reasons.values()), "")
            for found, values in ((ra, piece.ra), (dec, piece.dec)):
                inside = values[known]
                found.append(np.array([inside.min(), inside.max()]) if len(inside) else inside)
        self.integer_ids = integers
        right, up = np.concatenate(ra), np.concatenate(dec)
        if not len(right):
            raise UsageError(f"{self.name}: none of {total} rows has a position ({reason})")
        if total >= _FEWEST_HOURS and right.max() <= _HOURS and np.ptp(up) > _HOURS:
            note(
                f"{self.name}: all right ascensions lie between 0 and 24 and are taken for degrees; if they "
                "are hours, call the column 'ra_hours'"
            )
        return total
        return total


def _is_integer(text: str) -> bool:
    """Whether an id is written as an integer of 64 bits is: ``7``, not ``007``."""
    try:
        return str(int(text)) == text and abs(int(text)) < 1 << 63
    except ValueError:
        return False


def _positive(value: Any) -> float:
    try:
        side = float(value)
    except ValueError as error:
        raise UsageError(f"--arcsec {value}: arcsec or '{MEASURED}' were expected") from error
    if not 0 < side < float("inf"):
        raise UsageError(f"--arcsec {side:g}: arcsec above 0 were expected")
    return side
