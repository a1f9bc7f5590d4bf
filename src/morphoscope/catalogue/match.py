"""Match two tables by position on the sky.

The positions of CATALOGUE are held in memory, sixteen bytes a row and a tree; OTHER is read in pieces, of any
number of rows. Then the rows of OTHER that were matched are read once more, and joined on the disk.

Positions are compared as they are: both in ICRS (FK5 J2000 differs by less than 0.03″), each at the epoch of
its own table. Proper motions are not applied.

Shape letters: N rows of CATALOGUE, M of a piece of OTHER, P pairs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import check_output, target_of, write_tables
from morphoscope.catalogue.match_tables import MatchTable, joined_schema
from morphoscope.errors import UsageError
from morphoscope.progress import Bar, note

WAYS = ("mutual", "nearest", "all")
_WIDEST = 3600.0  # arcsec; beyond that it is no match by position
_PAIRS = 1 << 22  # pairs looked at together
_ROWS = 1 << 16  # of the joined table at a time


@dataclass(frozen=True)
class MatchRequest:
    """Two tables to be matched.

    Attributes:
        catalogue: a table with coordinates; its rows keep their order.
        other: another, of any size.
        out: the joined table; its ending says the format.
        radius: largest separation, arcsec.
        ways: "mutual": pairs of which each is the other's nearest; "nearest": for each row of the catalogue
            the nearest object, which may then occur several times; "all": every pair within the radius.
        all_rows: keep rows of the catalogue without a match, with empty cells.
        sky: names of the catalogue's columns of right ascension and declination; None: found by name.
        other_sky: the same of the other table.
        overwrite: replace a table that is there.
    """

    catalogue: Path | str
    other: Path | str
    out: Path | str
    radius: float = 2.0
    ways: str = "mutual"
    all_rows: bool = False
    sky: tuple[str | None, str | None] = (None, None)
    other_sky: tuple[str | None, str | None] = (None, None)
    overwrite: bool = False


class MatchSummary(NamedTuple):
    """What came of it.

    Attributes:
        rows: of the catalogue.
        matched: of these, with a match.
        written: rows of the joined table.
        others: different objects of the other table in it.
    """

    rows: int
    matched: int
    written: int
    others: int


def match(request: MatchRequest) -> MatchSummary:
    """Match two tables and write the join.

    Columns are those of the catalogue; those of the other table, with ``_2`` after names that both have;
    ``separation`` in arcsec; and ``candidates``, the number of objects of the other table within the radius.

    Raises:
        UsageError: a table has no coordinates, the radius or the way is wrong, or ``out`` exists.
        MorphoscopeError: a table cannot be read, or the disk is full.
    """
    if request.ways not in WAYS:
        raise UsageError(f"--match {request.ways}: {', '.join(WAYS[:-1])} or {WAYS[-1]} was expected")
    if not 0 < request.radius <= _WIDEST:
        raise UsageError(f"--radius {request.radius:g}: arcsec above 0 and up to {_WIDEST:g} were expected")
    target = target_of(request.out)
    check_output(target, overwrite=request.overwrite)
    left = MatchTable.of(Path(request.catalogue), *request.sky)
    right = MatchTable.of(Path(request.other), *request.other_sky)
    for table in (left, right):
        if target.path.exists() and table.path.exists() and target.path.samefile(table.path):
            raise UsageError(f"{request.out} is one of the tables; choose another name")
    pairs, rows = _pairs(left, right, request)
    if not len(pairs.left) and not request.all_rows:
        raise UsageError(
            f"no position of {left.path} lies within {request.radius:g}″ of one of {right.path}; nothing was "
            "written"
        )
    schema, names = joined_schema(left, right, target)
    target.check(schema)
    provenance = left.provenance | {
        "match_with": str(request.other),
        "match_radius": f"{request.radius:g} arcsec",
        "match": request.ways,
    }
    work = files.partial_name(target.path.with_suffix(".match"))
    with files.explained_os_errors(target.path):
        target.path.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        try:
            kept = _spilled(right, pairs, work / "other.arrow", names)
            extent = _join(left, kept, pairs, schema, work / "joined.arrow", all_rows=request.all_rows)
            write_tables(target, _read(work / "joined.arrow"), schema, provenance, extent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    matched, others = len(np.unique(pairs.left)), len(np.unique(pairs.right))
    if request.ways == "nearest" and others < matched:
        note(f"{matched} rows are matched to {others} objects: some objects are the nearest of several rows")
    return MatchSummary(rows, matched, extent.rows, others)


class Pairs(NamedTuple):
    """Matched rows, sorted by the catalogue's row and then by separation; (P,) each.

    Attributes:
        left: rows of the catalogue.
        right: rows of the other table.
        arcsec: their separation.
        candidates: objects within the radius of the catalogue's row.
    """

    left: np.ndarray
    right: np.ndarray
    arcsec: np.ndarray
    candidates: np.ndarray


def unit_vectors(ra_N: np.ndarray, dec_N: np.ndarray) -> np.ndarray:
    """Directions (N, 3) of positions in degrees."""
    ra, dec = np.radians(ra_N), np.radians(dec_N)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _pairs(left: MatchTable, right: MatchTable, request: MatchRequest) -> tuple[Pairs, int]:
    """The pairs, and the number of rows of the catalogue."""
    from scipy.spatial import KDTree

    ra, dec = left.positions()
    known = np.flatnonzero(np.isfinite(ra))
    if not len(known):
        raise UsageError(f"{left.path}: none of {len(ra)} rows has a position")
    if len(known) < len(ra):
        note(f"{left.path}: {len(ra) - len(known)} of {len(ra)} rows have no position and no match")
    tree = KDTree(unit_vectors(ra[known], dec[known]))
    chord = 2 * np.sin(np.radians(request.radius / 3600) / 2)
    found = _Found(len(ra), every=request.ways == "all")
    tiles = right.overlapping(ra[known], dec[known], request.radius)
    blank = 0
    with Bar(f"matching {right.path.name}", unit="rows") as bar:
        for first, piece_ra, piece_dec in right.position_pieces(tiles):
            placed = np.flatnonzero(np.isfinite(piece_ra))
            blank += len(piece_ra) - len(placed)
            points = unit_vectors(piece_ra[placed], piece_dec[placed])
            for start, stop in _chunks(tree, points, chord):
                near = KDTree(points[start:stop]).sparse_distance_matrix(tree, chord, output_type="ndarray")
                arcsec = np.degrees(2 * np.arcsin(np.minimum(near["v"] / 2, 1.0))) * 3600
                found.add(known[near["j"]], first + placed[start + near["i"]], arcsec)
            bar.advance(len(piece_ra))
    if blank:
        note(f"{right.path}: {blank} rows have no position and no match")
    return found.pairs(mutual=request.ways == "mutual"), len(ra)


def _chunks(tree: Any, points: np.ndarray, chord: float) -> Iterator[tuple[int, int]]:
    """Ranges of points with a bounded number of neighbours together, however many there are of some."""
    if not len(points):
        return
    counts = tree.query_ball_point(points, chord, return_length=True)
    start = total = 0
    for at in np.flatnonzero(counts):
        if total and total + counts[at] > _PAIRS:
            yield start, int(at)
            start, total = int(at), 0
        total += int(counts[at])
    if total:
        yield start, len(points)


class _Found:
    """The pairs found so far: the nearest of each row, or all.

    Args:
        rows: of the catalogue.
        every: keep all pairs.
    """

    def __init__(self, rows: int, *, every: bool) -> None:
        self.candidates_N = np.zeros(rows, np.int32)
        self.arcsec_N = np.full(rows, np.inf)
        self.right_N = np.full(rows, -1, np.int64)
        self.mutual_N = np.zeros(rows, bool)
        self.every: list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None = [] if every else None

    def add(self, left_P: np.ndarray, right_P: np.ndarray, arcsec_P: np.ndarray) -> None:
        """Add pairs; all pairs of an object of the other table come together."""
        np.add.at(self.candidates_N, left_P, 1)
        if self.every is not None:
            self.every.append((left_P, right_P, arcsec_P))
            return
        order = np.lexsort((left_P, arcsec_P, right_P))  # nearest row of each object first
        first = np.unique(right_P[order], return_index=True)[1]
        nearest_P = np.zeros(len(left_P), bool)
        nearest_P[order[first]] = True
        order = np.lexsort((right_P, arcsec_P, left_P))  # nearest object of each row first
        rows, first = np.unique(left_P[order], return_index=True)
        best = order[first]
        better = arcsec_P[best] < self.arcsec_N[rows]
        rows, best = rows[better], best[better]
        self.arcsec_N[rows], self.right_N[rows] = arcsec_P[best], right_P[best]
        self.mutual_N[rows] = nearest_P[best]

    def pairs(self, *, mutual: bool) -> Pairs:
        """What is kept of them."""
        if self.every is not None:
            parts = [np.concatenate(part) for part in zip(*self.every, strict=True)] if self.every else None
            left, right, arcsec = parts or (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
            order = np.lexsort((right, arcsec, left))
            left, right, arcsec = left[order], right[order], arcsec[order]
        else:
            left = np.flatnonzero((self.right_N >= 0) & (self.mutual_N | (not mutual)))
            right, arcsec = self.right_N[left], self.arcsec_N[left]
        return Pairs(left, right, arcsec, self.candidates_N)


def _spilled(right: MatchTable, pairs: Pairs, path: Path, names: Sequence[str]) -> tuple[Path, np.ndarray]:
    """The matched rows of the other table on the disk, in its order, and which rows they are.

    Args:
        right: the other table.
        pairs: the pairs.
        path: of the file.
        names: what its columns are called.
    """
    wanted = np.unique(pairs.right)
    schema = pa.schema([field.with_name(name) for field, name in zip(right.schema, names, strict=True)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        for first, piece in right.pieces(wanted):
            rows = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + piece.num_rows)]
            if len(rows):
                file.write_table(piece.take(pa.array(rows - first)).rename_columns(list(names)).cast(schema))
    return path, wanted


def _join(
    left: MatchTable,
    kept: tuple[Path, np.ndarray],
    pairs: Pairs,
    schema: pa.Schema,
    path: Path,
    *,
    all_rows: bool,
) -> Extent:
    """Write the joined rows to a file; returns how large the table is."""
    extent = Extent()
    path_of_other, wanted = kept
    with (
        pa.memory_map(str(path_of_other)) as source,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, schema) as file,
    ):
        other = pa.ipc.open_file(source).read_all()
        for first, piece in left.pieces(None):
            rows, at = _rows_of(first, piece.num_rows, pairs, all_rows=all_rows)
            if not len(rows):
                continue
            place = np.searchsorted(wanted, pairs.right[np.maximum(at, 0)]) if len(wanted) else at
            missing = at < 0
            columns = [
                *piece.take(pa.array(rows - first)).columns,
                *other.take(pa.array(place, pa.int64(), mask=missing)).columns,
                pa.array(pairs.arcsec[at] if len(pairs.arcsec) else np.zeros(len(at)), mask=missing),
                pa.array(pairs.candidates[rows], pa.int32()),
            ]
            table = pa.table(columns, names=schema.names).cast(schema)
            extent += Extent.of(table)
            file.write_table(table, max_chunksize=_ROWS)
    return extent


def _rows_of(first: int, count: int, pairs: Pairs, *, all_rows: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the catalogue from ``first`` on that are written, and the pair of each (−1: none)."""
    start, stop = np.searchsorted(pairs.left, [first, first + count])
    rows, at = pairs.left[start:stop], np.arange(start, stop)
    if not all_rows:
        return rows, at
    alone = np.setdiff1d(np.arange(first, first + count), rows)
    rows, at = np.concatenate([rows, alone]), np.concatenate([at, np.full(len(alone), -1)])
    order = np.argsort(rows, kind="stable")
    return rows[order], at[order]


def _read(path: Path) -> Iterator[pa.Table]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            yield pa.Table.from_batches([file.get_batch(number)])
