"""Tables that list image files or contain images, and the meaning of their columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError, listed
from morphoscope.images.array_cells import ArrayCell, cells_of, holds_arrays, read_array
from morphoscope.images.bands import MOST_BANDS, band_name, reddest_first
from morphoscope.images.decode import begins_as_fits, is_fits_name, read_image
from morphoscope.images.file_names import nearest_file
from morphoscope.images.fits import read_bands
from morphoscope.images.known_columns import ID_NAMES, IMAGE_NAMES, found_column, lone_angle
from morphoscope.images.sky_columns import SkyColumns, SkyReader, found_sky
from morphoscope.images.stream import Item
from morphoscope.images.table_astropy import as_text
from morphoscope.images.table_csv import typed
from morphoscope.images.tables import (
    MISSING,
    columns_of,
    is_text_table,
    iterate_table,
    need_columns,
    sampled,
    split_part,
    texts,
)
from morphoscope.progress import note

_ROWS, _ROWS_WITH_IMAGES = 4096, 64  # per piece: rows with images are large
_PIECE = 64 << 20  # bytes of arrays that are read together
_LONGEST_NAME = 1024  # bytes; a file's content is longer


@dataclass(frozen=True)
class ImageTable:
    """A table that lists image files, or contains them.

    Attributes:
        path: the table's file.
        image_columns: one column of image files, or one per band of FITS files, reddest first. A Parquet
            column may contain the files' bytes, either plain or as ``{"bytes": …, "path": …}``, or the pixels
            (see :mod:`morphoscope.images.array_cells`).
        folder: relative paths of image files start here.
        id_column: column of ids; None if there is none.
        sky: columns of coordinates; None if there are none.
        bands: bands to read from each FITS file (see :mod:`morphoscope.images.fits_bands`).
        holds_files: image columns that contain the files themselves, or their pixels.
        holds_arrays: those with pixels.
        names_of_bands: bands of the image columns, if known.
    """

    path: Path
    image_columns: tuple[str, ...]
    folder: Path
    id_column: str | None = None
    sky: SkyColumns | None = None
    bands: tuple[str, ...] = ()
    holds_files: frozenset[str] = frozenset()
    holds_arrays: frozenset[str] = frozenset()
    names_of_bands: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        named = (*self.image_columns, self.id_column, *(self.sky.names if self.sky else ()))
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def name_columns(self) -> tuple[str, ...]:
        """Columns of names, whose text is kept as it is."""
        return tuple(name for name in (*self.image_columns, self.id_column) if name is not None)

    def pieces(self) -> Iterator[pa.Table]:
        """These columns of the table, in pieces."""
        rows = _ROWS_WITH_IMAGES if self.holds_files else _ROWS
        if self.holds_arrays:  # which may have any size
            with closing(iterate_table(self.path, sorted(self.holds_arrays), 1)) as single:
                rows = max(1, min(rows, _PIECE // max(1, next(single).nbytes)))
        yield from iterate_table(self.path, self.columns, rows)

    def items(self, stretch: str = "lupton") -> Iterator[Item]:
        """One item per row, in order, reading the table in pieces; a missing id is left out.

        ``row`` has ``id`` (text), and ``ra`` and ``dec`` in degrees (NaN if unknown) if the table has such
        columns. A row without an image becomes an item that cannot be loaded.

        Args:
            stretch: for FITS images.
        """
        yield from self.items_of(self.pieces(), stretch)

    def items_of(self, pieces: Iterable[pa.Table], stretch: str) -> Iterator[Item]:
        """The items of rows given in pieces with :attr:`columns`."""
        sky_reader = None if self.sky is None else SkyReader(str(self.path), self.sky)
        first, folder, table = 0, str(self.folder), (str(self.path),)
        for piece in pieces:
            images = [_files(piece, name) for name in self.image_columns]
            columns: dict[str, list[Any]] = {}
            if self.id_column is not None:
                columns["id"] = texts(piece, self.id_column, str(self.path))
            if sky_reader is not None:
                columns["ra"], columns["dec"] = (values.tolist() for values in sky_reader(piece, first))
            for row in range(piece.num_rows):
                files = [column[row] for column in images]
                values = {name: column[row] for name, column in columns.items()}
                if values.get("id", "") is None:
                    del values["id"]
                name = files[0].name or f"{self.path.name} row {first + row + 1}"
                if not any(files):
                    name = "(no image)"
                found: dict[str, Any] = {}
                sources = [file.source(folder) for file in files]
                named = tuple(source for source in sources if isinstance(source, str))
                load = self._loader(sources, name, stretch, found)
                yield Item(name, load, values, found, named or table)
            first += piece.num_rows

    def integer_ids(self) -> bool:
        """Whether every row has an id that is a 64-bit integer and was stored as one.

        In a text table, ``7`` is an integer but ``007`` is not.
        """
        if self.id_column is None:
            return False
        for piece in iterate_table(self.path, (self.id_column,), 1 << 16):
            column = piece.column(0)
            if pa.types.is_string(column.type) and is_text_table(self.path):
                column = typed(column)
            fits = pa.types.is_integer(column.type) and column.type != pa.uint64()
            if column.null_count or not fits:
                return False
        return True

    def holds_fits_images(self) -> bool:
        """Whether any image is FITS, judged by the names in all rows, or by a sample if the table contains
        the files.
        """
        if self.holds_arrays:
            first = self.first_array()
            return first is not None and first.measured
        if self.holds_files:
            pieces = sampled(self.path, self.image_columns)
        else:
            pieces = iterate_table(self.path, self.image_columns, _ROWS)
        for piece in pieces:
            for cell in chain.from_iterable(_files(piece, column) for column in self.image_columns):
                content = cell.content if isinstance(cell.content, bytes) else None
                if is_fits_name(cell.name) if cell.name else begins_as_fits(content):
                    return True
        return False

    def check_files(self, pieces: Iterable[pa.Table] | None = None) -> None:
        """Refuse a table if none of its images exists; the search stops at the first that does.

        Raises:
            UsageError: none exists; the message names the first image and the most similar existing file.
        """
        if self.holds_files:
            return
        first, count = "", 0
        for piece in self.pieces() if pieces is None else pieces:
            for name in texts(piece, self.image_columns[0]):
                if name is None:
                    continue
                if os.path.lexists(self.folder / name):
                    return
                first, count = first or name, count + 1
        if first:
            near, wanted = nearest_file(self.folder, first), self.folder / first
            hint = f"the nearest file that exists is {near}" if near else "there is no similar file"
            raise UsageError(
                f"{self.path}: none of its {count} images exists; the first would be {wanted}, and {hint}"
            )

    def first_array(self) -> ArrayCell | None:
        """The first row's array; None if the images are no arrays, or the first row has none."""
        for name in self.holds_arrays:
            with closing(iterate_table(self.path, (name,), 1)) as single:
                return next(iter(cells_of(next(single).column(0))), None)
        return None

    def _loader(
        self, sources: list[str | bytes | ArrayCell | None], name: str, stretch: str, found: dict[str, Any]
    ) -> Callable[[], np.ndarray]:
        if None in sources:
            return partial(_no_image, self.path)
        bands = self.names_of_bands if len(sources) > 1 else self.bands
        return partial(_load, sources, name=name, stretch=stretch, bands=bands, found=found)


def _load(sources: list[str | bytes | ArrayCell | None], **options: Any) -> np.ndarray:
    """Load the image of a row. Paths are built here, in a worker thread, where their cost does not matter."""
    if isinstance(sources[0], ArrayCell):
        return read_array(sources[0], **options)
    contents = [
        Path(source) if isinstance(source, str) else source
        for source in sources
        if isinstance(source, str | bytes)
    ]
    return read_bands(contents, **options) if len(contents) > 1 else read_image(contents[0], **options)


@dataclass(frozen=True)
class _File:
    """A cell that names an image file, or contains one, or its pixels."""

    name: str = ""
    content: bytes | ArrayCell | None = None

    def __bool__(self) -> bool:
        return bool(self.name) or self.content is not None

    def source(self, folder: str) -> str | bytes | ArrayCell | None:
        """Its path or content; None if the cell is empty."""
        if self.content is not None:
            return self.content
        return os.path.join(folder, self.name) if self.name else None


def open_table(
    path: Path | str,
    *,
    image_column: str | Sequence[str] | None = None,
    id_column: str | None = None,
    ra_column: str | None = None,
    dec_column: str | None = None,
    folder: Path | str | None = None,
    bands: Sequence[str] = (),
) -> ImageTable:
    """Identify the columns of a table; those not given are found by name.

    Args:
        path: CSV, ECSV, Parquet, FITS or VOTable.
        image_column: the column with image files, or one column per band: two (red, blue), three (red, green,
            blue), or in any order if ``bands`` names them.
        id_column: column of ids; default: a column such as "id" if there is one.
        ra_column: column of right ascensions; default: a column such as "ra" if there is one. See
            :mod:`morphoscope.images.sky_columns` for its unit.
        dec_column: column of declinations; default: a column such as "dec" if there is one.
        folder: folder of the image files; default: the table's own.
        bands: names of bands. Columns of these names, or such as ``g_file`` and ``path_g``, have one file
            per band; otherwise the bands are read from each file.

    Raises:
        UsageError: there is no such file or column, no column of images, or the unit of coordinates is not
            an angle.
        MorphoscopeError: the file cannot be read as a table.
    """
    path = Path(path)
    there = columns_of(path)
    images = _image_columns(path, there.names, image_column, bands)
    given = [name for name in (id_column, ra_column, dec_column) if name is not None]
    need_columns(there.names, (*images, *given), str(path))
    identity = id_column or found_column(there.names, ID_NAMES)
    if identity is None:
        note(
            f"{path}: no id column was found ({', '.join(ID_NAMES)}), so galaxies are named after their "
            "images; "
            f"the columns are {listed(there.names)}"
        )
    sky = found_sky(there, str(path), ra=ra_column, dec=dec_column)
    if sky is None and (lone := lone_angle(there.names)):
        note(f"{path}: column '{lone}' alone is not a position; ra and dec stay empty")
    arrays = frozenset(name for name in images if holds_arrays(there.types.get(name)))
    if arrays and len(images) > 1:
        raise UsageError(
            f"{path}: {listed(images)} hold arrays; one column with all bands was expected, and --bands"
        )
    return ImageTable(
        path,
        images,
        split_part(path)[0].parent if folder is None else Path(folder),
        identity,
        sky,
        tuple(bands) if len(images) == 1 else (),
        frozenset(name for name in images if _holds_files(there.types.get(name)) or name in arrays),
        arrays,
        names_of_bands=tuple(bands[band] for band in reddest_first(bands))
        if len(images) == len(bands) > 1
        else (),
    )


def _image_columns(
    path: Path, there: list[str], asked: str | Sequence[str] | None, bands: Sequence[str]
) -> tuple[str, ...]:
    if asked:
        images = (asked,) if isinstance(asked, str) else tuple(asked)
        if len(images) > (len(bands) or MOST_BANDS) or (bands and len(images) not in (1, len(bands))):
            raise UsageError(
                f"{path}: {len(images)} image columns were given; one was expected, "
                + (
                    f"or {len(bands)} for the bands {', '.join(bands)}"
                    if bands
                    else "or two or three for bands"
                )
            )
        return tuple(images[band] for band in reddest_first(bands)) if len(images) == len(bands) else images
    if bands:
        columns = [found_column(there, _names_of_band(band_name(band).lower())) for band in bands]
        if all(columns):
            return tuple(columns[band] or "" for band in reddest_first(bands))
    found = found_column(there, IMAGE_NAMES)
    if found is None:
        raise UsageError(
            f"{path}: no column of images was found ({', '.join(IMAGE_NAMES)}); pass --image-column "
            "(columns: "
            f"{listed(there)})"
        )
    return (found,)


def _names_of_band(band: str) -> tuple[str, ...]:
    """Usual names of a column with the images of one band."""
    around = [f"{name}_{band}" for name in IMAGE_NAMES] + [f"{band}_{name}" for name in IMAGE_NAMES]
    return (*around, band, f"{band}_band", f"{band}band")


def _holds_files(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _files(piece: pa.Table, name: str) -> list[_File]:
    kind = piece.column(name).type
    if holds_arrays(kind):
        return [_File(content=cell) for cell in cells_of(piece.column(name))]
    if not _holds_files(kind):
        return [_File(text or "") for text in texts(piece, name)]
    cells = piece.column(name).to_pylist()
    if pa.types.is_struct(kind):
        return [_File(str((cell or {}).get("path") or ""), (cell or {}).get("bytes")) for cell in cells]
    return [_named_or_held(cell) for cell in cells]


def _named_or_held(cell: bytes | None) -> _File:
    """Bytes are a file, or the name of one, since some programs write text from FITS tables to Parquet as
    bytes.
    """
    if cell is not None and len(cell) <= _LONGEST_NAME and not cell.startswith(b"SIMPLE  ="):
        text = as_text(cell).strip()
        if text.isprintable():
            return _File("" if text in MISSING else text)
    return _File(content=cell)


def _no_image(table: Path) -> np.ndarray:
    raise MorphoscopeError(f"{table}: the row names no image")
