"""Ingest a table with an image column and label columns: CSV, ECSV, Parquet, FITS or VOTable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.data.ingest import refuse_out, write_store
from morphoscope.data.store import STANDARD_COLUMNS, Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import is_fits_name
from morphoscope.images.file_names import distinct_ids
from morphoscope.images.image_table import ImageTable, open_table
from morphoscope.images.stream import Item
from morphoscope.images.stretch import check_stretch
from morphoscope.images.table_csv import typed
from morphoscope.images.tables import columns_of, is_text_table, need_columns, read_table, texts
from morphoscope.labels.measurement_columns import without_placeholders
from morphoscope.labels.own import MeasuredColumns, measurements_from_columns, scheme_from_columns
from morphoscope.labels.scheme import Measurements, Scheme
from morphoscope.progress import note


def ingest_table(
    table: Path | str,
    out: Path | str,
    *,
    image_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    vote_columns: Sequence[str] = (),
    measured: MeasuredColumns | None = None,
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
    """Make a store of the images listed in a table, with the table's labels.

    Args:
        table: CSV, ECSV, Parquet, FITS or VOTable, compressed or not.
        out: folder of the store.
        image_column: the column with image files, or three columns; see :func:`open_table`.
        id_column: identifiers; None: the image file's name without suffix, or the whole path if names repeat.
        ra_column: right ascension; see :mod:`morphoscope.images.sky_columns` for its unit.
        dec_column: declination.
        folder: folder of the image files; None: the table's folder.
        label_column: class names or numbers (empty: unlabelled); see :mod:`morphoscope.labels.own`.
        vote_columns: vote fractions instead; the 37 of the Galaxy Challenge follow their decision tree.
        measured: columns of any real numbers instead, with or without errors.
        keep_columns: further columns to copy into the store's table.
        classes: class names in the order of their label numbers; None: those of the column, sorted.
        pixel_scale: arcsec per source pixel, if known.
        stretch: intensity stretch of FITS images, see :mod:`morphoscope.images.fits`.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Returns:
        The store; without label columns its images have no labels.

    Raises:
        UsageError: a missing file or column (the message suggests the closest), two kinds of labels, fewer
            than two classes, measurements that are all the same.
        MorphoscopeError: labels outside the scheme, two rows with one id, no image could be read.
    """
    table, out = Path(table), Path(out)
    refuse_out(out, overwrite=overwrite)
    check_stretch(stretch)
    if (label_column is not None) + bool(vote_columns) + (measured is not None) > 1:
        raise UsageError(
            "--label-column, --vote-column and --value-column exclude each other: a store has one kind of "
            "labels"
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
    scheme: Scheme | None = None
    if measured is not None:
        scheme, label_names = _measurements(table, measured), list(measured.columns)
    columns = tuple(dict.fromkeys((*opened.columns, *label_names, *keep_columns)))
    content = read_table(table, columns, names=opened.name_columns)
    opened.check_files([content])
    ids = _ids(opened, content)
    if measured is not None:
        content = without_placeholders(content, label_names, measured.missing, str(table))
    scheme, labels = _labels(content, label_names, classes, ids, table, scheme, votes=bool(vote_columns))
    taken = {*STANDARD_COLUMNS, *labels}
    kept = {name: _carried(table, content.column(name)) for name in keep_columns if name not in taken}
    in_fits = any(is_fits_name(name or "") for name in texts(content, opened.image_columns[0]))
    meta = StoreMeta(
        scheme=scheme,
        pixel_scale=pixel_scale,
        stretch=stretch if in_fits else "as-served",
        source=table.name,
        integer_ids=opened.integer_ids(),
    )
    return write_store(
        _items(opened, content, ids, {**labels, **kept}, stretch),
        out,
        meta,
        crop=crop,
        size=size,
        expected=content.num_rows,
        extra={name: column.type for name, column in kept.items()},
        overwrite=overwrite,
        workers=workers,
    )


def _ids(opened: ImageTable, content: pa.Table) -> list[str]:
    if opened.id_column is None:
        paths = [name or "" for name in texts(content, opened.image_columns[0])]
        identity, _ = distinct_ids(paths)
        ids = [identity(path) for path in paths]
        return ids if len(set(ids)) == len(ids) else [f"{path}#{row}" for row, path in enumerate(paths)]
    seen: dict[str, int] = {}
    for row, galaxy in enumerate(texts(content, opened.id_column, str(opened.path))):
        if galaxy is None:
            raise MorphoscopeError(f"{opened.path}: row {row + 1} has no '{opened.id_column}'")
        if galaxy in seen:
            raise MorphoscopeError(
                f"{opened.path}: '{opened.id_column}' is {galaxy} in row {seen[galaxy] + 1} and in row "
                f"{row + 1}; one row per galaxy was expected (choose another column with --id-column)"
            )
        seen[galaxy] = row
    return list(seen)


def _labels(
    content: pa.Table,
    names: list[str],
    classes: Sequence[str] | None,
    ids: list[str],
    table: Path,
    scheme: Scheme | None,
    *,
    votes: bool,
) -> tuple[Scheme | None, dict[str, np.ndarray]]:
    if not names:
        if classes is not None:
            raise UsageError("--classes needs --label-column")
        return None, {}
    if scheme is None:
        scheme = scheme_from_columns(table.name, content, names, classes=classes, votes=votes)
    elif classes is not None:
        raise UsageError("--classes needs --label-column")
    labels = scheme.read_columns(content, names, ids, str(table))
    if scheme.class_names is not None or isinstance(scheme, Measurements):
        unlabelled = int(np.count_nonzero(~scheme.labelled(pa.table(labels))))
        if unlabelled:
            one = f"label in '{names[0]}'" if scheme.class_names is not None else "value of any quantity"
            note(f"{table}: {unlabelled} of {len(ids)} galaxies have no {one} (empty, NA, null, …)")
    return scheme, labels


def _measurements(table: Path, measured: MeasuredColumns) -> Scheme:
    """The scheme of columns of measurements, with the table's units and UCDs."""
    columns = columns_of(table)
    need_columns(columns.names, measured.columns, str(table))
    return measurements_from_columns(table.name, measured, units=columns.units, ucds=columns.ucds)


def _carried(table: Path, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column to copy, with numbers as numbers even if it is also the id column."""
    return typed(column) if is_text_table(table) and pa.types.is_string(column.type) else column


def _items(
    opened: ImageTable,
    content: pa.Table,
    ids: list[str],
    further: dict[str, np.ndarray | pa.ChunkedArray],
    stretch: str,
) -> Iterator[Item]:
    values = {
        name: column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
        for name, column in further.items()
    }
    for row, item in enumerate(opened.items_of([content], stretch)):
        others = {name: column[row] for name, column in values.items()}
        yield Item(item.source, item.load, {**item.row, "id": ids[row], **others})
