"""A table that names images, or holds them: which of its columns mean what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.bands import MOST_BANDS, reddest_first
from morphoscope.images.decode import is_fits_name, read_image
from morphoscope.images.fits import read_bands
from morphoscope.images.stream import Item
from morphoscope.images.tables import (
    column_names,
    column_types,
    degrees,
    is_table_name,
    iterate_table,
    need_columns,
    numbers,
    texts,
)
from morphoscope.progress import note

# Names that columns usually have, tried in this order where none was given.
IMAGE_NAMES = ("image", "file", "filename", "file_name", "path", "image_path", "file_loc", "cutout")
ID_NAMES = (
    *("id", "id_str", "galaxyid", "galaxy_id", "objid", "object_id", "objectid", "source_id", "iauname"),
    "objname",
)
RA_NAMES = (
    *("ra", "ra_deg", "raj2000", "_raj2000", "ra_icrs", "alpha_j2000", "alphawin_j2000", "ramean"),
    "right_ascension",
)
DEC_NAMES = (
    *("dec", "dec_deg", "dej2000", "decj2000", "_dej2000", "de_icrs", "dec_icrs", "delta_j2000"),
    *("deltawin_j2000", "decmean", "declination"),
)
MOST_DEGREES = {"ra": 360.0, "dec": 90.0}
_ROWS, _ROWS_WITH_IMAGES = 4096, 64  # of a piece: rows that hold images are large


@dataclass(frozen=True)
class ImageTable:
    """A table that names images, or holds their files.

    Attributes:
        path: the table's file.
        image_columns: one column with an image file, or one a band of FITS files, the reddest first. A
            Parquet column may hold the files' bytes, alone or as ``{"bytes": …, "path": …}``.
        folder: image files that are not absolute paths lie in it.
        id_column, ra_column, dec_column: None if the table has none.
        bands: to take out of each FITS file (see :mod:`morphoscope.images.fits_bands`).
    """

    path: Path
    image_columns: tuple[str, ...]
    folder: Path
    id_column: str | None = None
    ra_column: str | None = None
    dec_column: str | None = None
    bands: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that have a meaning here."""
        named = (self.id_column, self.ra_column, self.dec_column)
        return tuple(dict.fromkeys((*self.image_columns, *(name for name in named if name is not None))))

    def items(self, stretch: str = "lupton", *, lenient: bool = False) -> Iterator[Item]:
        """One item a row, in order, the table being read in pieces; an id that is missing is left out.

        ``row`` has ``id`` (text), and ``ra`` and ``dec`` in degrees (NaN where empty) if there are such
        columns. A row without an image becomes an item that cannot be loaded.

        Args:
            stretch: for FITS images.
            lenient: a coordinate that is no number is left empty, and a note says so once; else it raises.
        """
        kinds = column_types(self.path) if self.path.suffix.lower() in (".parquet", ".pq") else {}
        held = any(_holds_files(kinds.get(name)) for name in self.image_columns)
        first, said = 0, set[str]()
        for piece in iterate_table(self.path, self.columns, _ROWS_WITH_IMAGES if held else _ROWS):
            yield from self.items_of(piece, stretch, first=first, lenient=said if lenient else None)
            first += piece.num_rows

    def items_of(
        self, piece: pa.Table, stretch: str, *, first: int = 0, lenient: set[str] | None = None
    ) -> Iterator[Item]:
        """The items of some rows of the table.

        Args:
            piece: the rows, with :attr:`columns`.
            stretch: for FITS images.
            first: number of the first of them in the table, from 0.
            lenient: columns of which a note has said that some cells are no coordinates; None: these raise.
        """
        images = [_files(piece, name) for name in self.image_columns]
        columns: dict[str, list[Any]] = {}
        if self.id_column is not None:
            columns["id"] = texts(piece, self.id_column)
        for name, column in (("ra", self.ra_column), ("dec", self.dec_column)):
            if column is None:
                continue
            if lenient is None:
                columns[name] = numbers(piece, column, str(self.path)).tolist()
            else:
                columns[name] = self._coordinates(piece, name, column, first, lenient).tolist()
        for row in range(piece.num_rows):
            files = [column[row] for column in images]
            values = {name: column[row] for name, column in columns.items()}
            if values.get("id", "") is None:
                del values["id"]
            name = files[0].name or f"{self.path.name} row {first + row + 1}"
            if not any(files):
                name = "(no image)"
            yield Item(name, self._loader(files, name, stretch), values)

    def _coordinates(self, piece: pa.Table, name: str, column: str, first: int, said: set[str]) -> np.ndarray:
        values, wrong = degrees(piece, column, MOST_DEGREES[name])
        if wrong and column not in said:
            said.add(column)
            note(
                f"{self.path}: '{piece.column(column)[wrong[0]].as_py()}' in row {first + wrong[0] + 1} of "
                f"column '{column}' is no angle in degrees; such cells are left empty in the catalogue"
            )
        return values

    def _loader(self, files: list[_File], name: str, stretch: str) -> Callable[[], np.ndarray]:
        if not all(files):
            return partial(_no_image, self.path)
        contents = [self.folder / file.name if file.content is None else file.content for file in files]
        if len(contents) > 1:
            return partial(read_bands, contents, name=name, stretch=stretch)
        return partial(read_image, contents[0], name=name, stretch=stretch, bands=self.bands)


@dataclass(frozen=True)
class _File:
    """A cell that names an image file, or holds one."""

    name: str = ""
    content: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.name) or self.content is not None


def is_table(path: Path) -> bool:
    """Whether a file is a table: by its name, and a FITS file by what is in it."""
    if not is_table_name(path.name):
        return False
    if not is_fits_name(path.name):
        return True
    try:
        return bool(column_names(path))
    except MorphoscopeError:
        return False


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
    """Find out which columns of a table mean what; columns that are not given are found by their names.

    Args:
        path: CSV, ECSV, Parquet, FITS or VOTable.
        image_column: the column with image files, or one column a band: two (red, blue), three (red, green,
            blue), or in any order where ``bands`` says which is which.
        id_column: identifiers; none: a column such as "id" if there is one.
        ra_column: degrees; none: a column such as "ra" if there is one.
        dec_column: degrees; none: a column such as "dec" if there is one.
        folder: image files lie here; none: in the table's own folder.
        bands: names of bands. Columns called as they are, or such as ``g_file`` and ``path_g``, hold one
            file a band; else they are taken out of each file.

    Raises:
        UsageError: no such file or column, or no column with images.
        MorphoscopeError: the file cannot be read as a table.
    """
    path = Path(path)
    there = column_names(path)
    images = _image_columns(path, there, image_column, bands)
    given = [name for name in (id_column, ra_column, dec_column) if name is not None]
    need_columns(there, (*images, *given), str(path))
    return ImageTable(
        path,
        images,
        path.parent if folder is None else Path(folder),
        id_column or found_column(there, ID_NAMES),
        ra_column or found_column(there, RA_NAMES),
        dec_column or found_column(there, DEC_NAMES),
        tuple(bands) if len(images) == 1 else (),
    )


def found_column(there: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of ``names`` that a table has, upper and lower case being alike; None if it has none."""
    lower = {name.lower(): name for name in reversed(there)}
    return next((lower[name] for name in names if name in lower), None)


def _image_columns(
    path: Path, there: list[str], asked: str | Sequence[str] | None, bands: Sequence[str]
) -> tuple[str, ...]:
    if asked:
        images = (asked,) if isinstance(asked, str) else tuple(asked)
        if len(images) > MOST_BANDS or (bands and len(images) not in (1, len(bands))):
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
        columns = [found_column(there, _names_of_band(band.lower())) for band in bands]
        if all(columns):
            return tuple(columns[band] or "" for band in reddest_first(bands))
    found = found_column(there, IMAGE_NAMES)
    if found is None:
        raise UsageError(
            f"{path}: no column of images was found; pass --image-column (columns: {', '.join(there)})"
        )
    return (found,)


def _names_of_band(band: str) -> tuple[str, ...]:
    """What a column with the images of one band is called."""
    around = [f"{name}_{band}" for name in IMAGE_NAMES] + [f"{band}_{name}" for name in IMAGE_NAMES]
    return (*around, band, f"{band}_band", f"{band}band")


def _holds_files(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _files(piece: pa.Table, name: str) -> list[_File]:
    kind = piece.column(name).type
    if not _holds_files(kind):
        return [_File(text or "") for text in texts(piece, name)]
    cells = piece.column(name).to_pylist()
    if pa.types.is_struct(kind):
        return [_File(str((cell or {}).get("path") or ""), (cell or {}).get("bytes")) for cell in cells]
    return [_File(content=cell) for cell in cells]


def _no_image(table: Path) -> np.ndarray:
    raise MorphoscopeError(f"{table}: the row names no image")
