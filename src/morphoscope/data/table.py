"""A table with an image column and label columns to a store: CSV, Parquet, FITS or VOTable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.data.columns import (
    column_names,
    is_table_name,
    iterate_table,
    need_columns,
    numbers,
    read_table,
    texts,
)
from morphoscope.data.fits import check_stretch, read_bands
from morphoscope.data.images import is_fits_name, read_image
from morphoscope.data.ingest import Item, refuse_out, write_store
from morphoscope.data.rows import STANDARD_COLUMNS
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Scheme

# Names that columns usually have, tried in this order where none was given.
IMAGE_NAMES = ("image", "file", "filename", "file_name", "path", "image_path", "file_loc", "cutout")
ID_NAMES = ("id", "id_str", "galaxyid", "galaxy_id", "objid", "object_id", "iauname")
RA_NAMES, DEC_NAMES = ("ra", "ra_deg", "raj2000"), ("dec", "dec_deg", "dej2000", "decj2000")


@dataclass(frozen=True)
class ImageTable:
    """A table that names images: which of its columns mean what.

    Attributes:
        path: the table's file.
        image_columns: one column with an image file, or three with its red, green and blue FITS band.
        folder: image files that are not absolute paths lie in it.
        id_column, ra_column, dec_column: None if the table has none.
    """

    path: Path
    image_columns: tuple[str, ...]
    folder: Path
    id_column: str | None = None
    ra_column: str | None = None
    dec_column: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that have a meaning here."""
        named = (self.id_column, self.ra_column, self.dec_column)
        return tuple(dict.fromkeys((*self.image_columns, *(name for name in named if name is not None))))

    def items(self, stretch: str = "lupton") -> Iterator[Item]:
        """One item a row, in order, the table being read in pieces; an id that is missing is left out.

        ``row`` has ``id`` (text), and ``ra`` and ``dec`` in degrees (NaN where empty) if there are such
        columns. A row without an image becomes an item that cannot be loaded.
        """
        for piece in iterate_table(self.path, self.columns):
            yield from self.items_of(piece, stretch)

    def items_of(self, piece: pa.Table, stretch: str) -> Iterator[Item]:
        """The items of some rows of the table."""
        images = [texts(piece, name) for name in self.image_columns]
        columns: dict[str, list[Any]] = {}
        if self.id_column is not None:
            columns["id"] = texts(piece, self.id_column)
        for name, column in (("ra", self.ra_column), ("dec", self.dec_column)):
            if column is not None:
                columns[name] = numbers(piece, column, str(self.path)).tolist()
        for row in range(piece.num_rows):
            names = [column[row] for column in images]
            values = {name: column[row] for name, column in columns.items()}
            if values.get("id", "") is None:
                del values["id"]
            yield Item(names[0] or "(no image)", self._loader(names, stretch), values)

    def _loader(self, names: list[str | None], stretch: str) -> Callable[[], np.ndarray]:
        paths = [self.folder / name for name in names if name is not None]
        if len(paths) < len(names):
            return partial(_no_image, self.path)
        if len(paths) == 3:
            return partial(read_bands, paths, name=names[0] or "", stretch=stretch)
        return partial(read_image, paths[0], name=names[0] or "", stretch=stretch)


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
) -> ImageTable:
    """Find out which columns of a table mean what; columns that are not given are found by their names.

    Args:
        path: CSV, Parquet, FITS or VOTable.
        image_column: the column with image files, or three columns with the red, green and blue band.
        id_column: identifiers; none: a column such as "id" if there is one.
        ra_column: degrees; none: a column such as "ra" if there is one.
        dec_column: degrees; none: a column such as "dec" if there is one.
        folder: image files lie here; none: in the table's own folder.

    Raises:
        UsageError: no such file or column, or no column with images.
        MorphoscopeError: the file cannot be read as a table.
    """
    path = Path(path)
    there = column_names(path)
    if not image_column:
        found = _found(there, IMAGE_NAMES)
        if found is None:
            raise UsageError(
                f"{path}: no column of images was found; pass --image-column (columns: {', '.join(there)})"
            )
        images: tuple[str, ...] = (found,)
    else:
        images = (image_column,) if isinstance(image_column, str) else tuple(image_column)
        if len(images) not in (1, 3):
            raise UsageError(
                f"{path}: {len(images)} image columns were given; one was expected, or red, green, blue"
            )
    given = [name for name in (id_column, ra_column, dec_column) if name is not None]
    need_columns(there, (*images, *given), str(path))
    return ImageTable(
        path,
        images,
        path.parent if folder is None else Path(folder),
        id_column or _found(there, ID_NAMES),
        ra_column or _found(there, RA_NAMES),
        dec_column or _found(there, DEC_NAMES),
    )


def ingest_table(
    table: Path | str,
    out: Path | str,
    *,
    image_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    vote_columns: Sequence[str] = (),
    id_column: str | None = None,
    ra_column: str | None = None,
    dec_column: str | None = None,
    keep_columns: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    folder: Path | str | None = None,
    pixel_scale: float | None = None,
    stretch: str = "lupton",
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of the images that a table names, with the table's labels.

    Args:
        table: CSV, Parquet, FITS or VOTable.
        out: folder of the store.
        image_column: the column with image files, or three columns; see :func:`open_table`.
        id_column: identifiers; without any, a galaxy's id is its image file's name without suffix, or all of
            it where names repeat.
        ra_column: degrees.
        dec_column: degrees.
        folder: image files lie here; none: in the table's own folder.
        label_column: class names or numbers (empty: unlabelled); see :mod:`morphoscope.labels.own`.
        vote_columns: fractions of volunteers instead; the 37 of the Galaxy Challenge follow their tree.
        keep_columns: further columns to carry into the store's table.
        classes: class names in the order of their label numbers; none: as they come, sorted.
        pixel_scale: arcsec per source pixel, if known.
        stretch: how FITS images become grey levels, see :mod:`morphoscope.data.fits`.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace a store that is already there.
        workers: threads that decode.

    Returns:
        The store; without label columns it holds images alone.

    Raises:
        UsageError: a missing file or column (the nearest is named), both kinds of labels, fewer than two
            classes.
        MorphoscopeError: labels outside the scheme, two rows with one id, no image could be read.
    """
    table, out = Path(table), Path(out)
    refuse_out(out, overwrite=overwrite)
    check_stretch(stretch)
    if label_column is not None and vote_columns:
        raise UsageError(
            "--label-column and --vote-columns exclude each other: one kind of labels is expected"
        )
    opened = open_table(
        table,
        image_column=image_column,
        id_column=id_column,
        ra_column=ra_column,
        dec_column=dec_column,
        folder=folder,
    )
    label_names = [label_column] if label_column is not None else list(vote_columns)
    columns = tuple(dict.fromkeys((*opened.columns, *label_names, *keep_columns)))
    content = read_table(table, columns)
    ids = _ids(opened, content)
    scheme, labels = _labels(content, label_names, classes, ids, table)
    taken = {*STANDARD_COLUMNS, *labels}
    kept = {name: content.column(name).type for name in keep_columns if name not in taken}
    measured = any(is_fits_name(name or "") for name in texts(content, opened.image_columns[0]))
    meta = StoreMeta(
        scheme=scheme,
        pixel_scale=pixel_scale,
        stretch=stretch if measured else "as-served",
        source=table.name,
    )
    return write_store(
        _items(opened, content, ids, labels, list(kept), stretch),
        out,
        meta,
        crop=crop,
        size=size,
        expected=content.num_rows,
        extra=kept,
        overwrite=overwrite,
        workers=workers,
    )


def _found(there: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(there)}
    return next((lower[name] for name in names if name in lower), None)


def _no_image(table: Path) -> np.ndarray:
    raise MorphoscopeError(f"{table}: the row names no image")


def _ids(opened: ImageTable, content: pa.Table) -> list[str]:
    if opened.id_column is None:
        paths = [name or "" for name in texts(content, opened.image_columns[0])]
        for ids in ([Path(path).stem for path in paths], paths):
            if len(set(ids)) == len(ids):
                return ids
        return [f"{path}#{row}" for row, path in enumerate(paths)]
    seen: dict[str, int] = {}
    for row, galaxy in enumerate(texts(content, opened.id_column)):
        if galaxy is None:
            raise MorphoscopeError(f"{opened.path}: row {row + 1} has no '{opened.id_column}'")
        if galaxy in seen:
            raise MorphoscopeError(
                f"{opened.path}: '{opened.id_column}' is {galaxy} in row {seen[galaxy] + 1} and in row "
                f"{row + 1}; one row a galaxy was expected (--id-column names another column)"
            )
        seen[galaxy] = row
    return list(seen)


def _labels(
    content: pa.Table, names: list[str], classes: Sequence[str] | None, ids: list[str], table: Path
) -> tuple[Scheme | None, dict[str, np.ndarray]]:
    if not names:
        if classes is not None:
            raise UsageError("--classes goes with --label-column, which was not given")
        return None, {}
    from morphoscope.labels.own import label_columns, scheme_from_columns

    scheme = scheme_from_columns(table.name, content, names, classes=classes)
    return scheme, label_columns(scheme, content, names, ids, str(table))


def _items(
    opened: ImageTable,
    content: pa.Table,
    ids: list[str],
    labels: dict[str, np.ndarray],
    kept: list[str],
    stretch: str,
) -> Iterator[Item]:
    further = {name: values.tolist() for name, values in labels.items()}
    further |= {name: content.column(name).to_pylist() for name in kept}
    for row, item in enumerate(opened.items_of(content, stretch)):
        values = {name: column[row] for name, column in further.items()}
        yield Item(item.source, item.load, {**item.row, "id": ids[row], **values})
