"""Pictures that Parquet tables contain: Hugging Face's data sets, HATS catalogues, tables of labels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.explorer.pictures import (
    Known,
    MissingPicture,
    Place,
    Rendering,
    half_scale_for,
    only_pictures,
    only_place,
    rendered,
    some_of,
)
from morphoscope.images.image_table import ImageTable, open_table
from morphoscope.images.parquet_size import check_declared, rows_at_a_time
from morphoscope.images.tables import iterate_table

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers

PIECE_BYTES = 64 << 20  # of a row group that is read as a whole
CACHE_BYTES = 128 << 20  # of row groups kept
_OPEN = 16  # files
_ROWS = 64  # read at a time of larger row groups
_NAMES = 1 << 16


class TablePictures:
    """The images in a column of Parquet files.

    Args:
        tables: the files, in the order of their rows.
        rows: of each galaxy, counted through all files, (N,) int; −1: it is not there. None: the same rows.
        rendering: of FITS images.
    """

    pixel_scale = None
    renders_fits = True

    def __init__(
        self, tables: Sequence[ImageTable], rows: np.ndarray | None, rendering: Rendering | None = None
    ) -> None:
        self.tables, self.rows, self.rendering = tuple(tables), rows, rendering or Rendering()
        first = tables[0].path
        self.label = first.name if len(tables) == 1 else f"{len(tables)} files such as {first.name}"
        self.note = f"images in {self.label}"
        self._counts = [_rows_of(table.path) for table in tables]
        self._starts = np.cumsum([0, *self._counts])
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._pieces: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`~morphoscope.explorer.pictures.Pictures`."""
        table, piece = self._row_of(place)
        with half_scale_for(least):
            return rendered(
                lambda kind: next(table.items_of([piece], kind)).load(), self.rendering, stretch, place.id
            )

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """See :class:`~morphoscope.explorer.pictures.Pictures`."""
        if not self.rendering.planes:
            raise only_pictures(self.label, bands)
        table, piece = self._row_of(place)
        return next(table.items_of([piece], self.rendering.stretch)).load()

    def content(self, place: Place) -> bytes | None:
        """The image file; None: there is one per band."""
        table, piece = self._row_of(place)
        column, *others = table.image_columns
        if others:
            return None
        cell = piece.column(column)[0].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not content:
            raise MissingPicture(f"{self.label} has no image of '{place.id}'")
        return content

    def _row_of(self, place: Place) -> tuple[ImageTable, pa.Table]:
        row = place.row if self.rows is None else int(self.rows[place.row])
        if not 0 <= row < self._starts[-1]:
            raise MissingPicture(f"{self.label} has no image of '{place.id}'")
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        table = self.tables[number]
        with self._lock:  # a Parquet file is read by one thread at a time
            try:
                return table, self._read(number, table, row - int(self._starts[number]))
            except (pa.ArrowException, OSError) as error:
                raise MorphoscopeError(f"{table.path.name} cannot be read ({reason_of(error)})") from error

    def _read(self, number: int, table: ImageTable, row: int) -> pa.Table:
        """One row of a file, from the row groups that are kept, or else from the file."""
        file = self._file(number, table.path)
        group, first = 0, 0
        while row >= first + file.metadata.row_group(group).num_rows:
            first += file.metadata.row_group(group).num_rows
            group += 1
        count, columns = file.metadata.row_group(group).num_rows, list(table.columns)
        most = rows_at_a_time(file, table.path, count, columns, most=PIECE_BYTES)
        small = most >= count and _bytes_of(file, group, columns) <= PIECE_BYTES
        most = count if small else min(most, _ROWS)
        start = first + (row - first) // most * most
        key = (number, start)
        if key not in self._pieces:
            self._keep(key, _part(file, group, columns, start - first, most))
        self._pieces.move_to_end(key)
        return self._pieces[key].slice(row - start, 1)

    def _file(self, number: int, path: Path) -> pq.ParquetFile:
        if number not in self._files:
            file = pq.ParquetFile(path)
            check_declared(file, path)
            self._files[number] = file
            while len(self._files) > _OPEN:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(number)
        return self._files[number]

    def _keep(self, key: tuple[int, int], piece: pa.Table) -> None:
        self._pieces[key] = piece
        while len(self._pieces) > 1 and sum(each.nbytes for each in self._pieces.values()) > CACHE_BYTES:
            self._pieces.popitem(last=False)


def _rows_of(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise MorphoscopeError(f"{path} cannot be read as Parquet ({reason_of(error)})") from error


def _bytes_of(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> int:
    facts = file.metadata.row_group(group)
    chunks = map(facts.column, range(facts.num_columns))
    return sum(
        chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns
    )


def _part(file: pq.ParquetFile, group: int, columns: list[str], start: int, count: int) -> pa.Table:
    """Rows of a row group; those before are read over where it is not taken as a whole."""
    at = 0
    for batch in file.iter_batches(count, row_groups=[group], columns=columns):
        if at <= start < at + batch.num_rows:
            batch.validate(full=True)
            # A copy, so that what is kept is no larger than it says.
            return pa.Table.from_batches([batch.take(pa.array(range(batch.num_rows), pa.int64()))])
        at += batch.num_rows
    raise pa.ArrowInvalid("a row group is shorter than it says")


def own_pictures(parts: Sequence[Path], stretch: str = "lupton") -> TablePictures | None:
    """The images that a catalogue's own Parquet files contain; None: they contain none.

    Raises:
        MorphoscopeError: a file cannot be read.
    """
    try:
        first = open_table(parts[0])
    except UsageError:  # without a column of images
        return None
    if not first.holds_files:
        return None
    return TablePictures([replace(first, path=part) for part in parts], None, Rendering(stretch))


def pictures_in_tables(
    paths: Sequence[Path], known: Known, rendering: Rendering | None = None
) -> TablePictures | None:
    """The images that tables contain, found by the galaxies' ids or else by the images' names.

    Args:
        paths: Parquet files with the same columns.
        known: ids and sources of the galaxies.
        rendering: of FITS images.

    Returns:
        None if the tables contain no images, but list files.

    Raises:
        UsageError: there is no column of images, or none of the galaxies is in there.
    """
    first = open_table(paths[0], bands=rendering.bands if rendering else ())
    if not first.holds_files:
        return None
    tables = [replace(first, path=path) for path in paths]
    rows = np.full(len(known), -1)
    if first.id_column is not None:
        rows = only_place(known.ids, _texts(tables, first.id_column))
    sources = pa.chunked_array([chunk for table in tables for chunk in _names(table).chunks], pa.string())
    rows = np.where(rows >= 0, rows, only_place(known.sources, sources))
    if not (rows >= 0).any():
        raise UsageError(
            f"none of the galaxies' images is in {paths[0].name}: {some_of(known.ids, known.sources)} were "
            "looked for"
        )
    return TablePictures(tables, rows, rendering)


def _texts(tables: Sequence[ImageTable], column: str) -> pa.ChunkedArray:
    pieces = [
        piece.column(column).cast(pa.string())
        for table in tables
        for piece in iterate_table(table.path, (column,), _NAMES)
    ]
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pa.string())


def _names(table: ImageTable) -> pa.ChunkedArray:
    """What ``predict`` calls each image: the name beside its bytes, or else its row."""
    column, count = table.image_columns[0], _rows_of(table.path)
    rows = pa.array([f"{table.path.name} row {row + 1}" for row in range(count)], pa.string())
    leaf = f"{column}.path"
    with pq.ParquetFile(table.path) as file:
        leaves = [file.schema.column(number).path for number in range(len(file.schema))]
        if leaf not in leaves:
            return pa.chunked_array([rows])
        named = file.read(columns=[leaf]).column(column)
    names = pa.concat_arrays([chunk.field("path").cast(pa.string()) for chunk in named.chunks])
    return pa.chunked_array([pc.coalesce(pc.if_else(pc.equal(names, ""), None, names), rows)])
