"""Ingest tables with an image column and label columns: CSV, Parquet, HDF5, HATS, FITS or VOTable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.data.ingest import ImageKind, refuse_out, write_store
from morphoscope.data.store import STANDARD_COLUMNS, Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.file_names import distinct_ids
from morphoscope.images.image_table import ImageTable, open_table
from morphoscope.images.stream import Item
from morphoscope.images.table_csv import typed
from morphoscope.images.table_parts import table_parts
from morphoscope.images.tables import columns_of, is_text_table, need_columns, read_table, row_count, texts
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
    bands: Sequence[str] | str | None = None,
    show: str | Sequence[str] | None = None,
    pixel_scale: float | None = None,
    stretch: str | None = None,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    source_checksum: str | None = None,
) -> Store:
    """Make a store of the images that a table lists or holds, with the table's labels.

    Args:
        table: CSV, ECSV, Parquet, HDF5, FITS or VOTable; or many of one kind: a HATS catalogue, a folder of
            Parquet or HDF5 files (Hugging Face, Multimodal Universe), or a glob. Images that tables hold are
            read a few rows at a time.
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
        bands: of FITS images and arrays, a sequence or text such as ``"g,r,z"``: a column for each, or parts
            of each file. Up to three make a picture, up to eight are planes, see ``stretch``.
        show: which one to three of ``bands`` pictures for people show, red first; for planes.
        stretch: of FITS images to a picture, see :mod:`morphoscope.images.fits`; "values" or "bands": a plane
            for each of the bands. None: "lupton", for more than three bands "values".
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.
        source_checksum: SHA-256 of the table, if the store is to record it.

    Returns:
        The store; without label columns its images have no labels.

    Raises:
        UsageError: a missing file or column (the message suggests the closest), two kinds of labels, fewer
            than two classes, measurements that are all the same.
        MorphoscopeError: labels outside the scheme, two rows with one id, no image could be read.
    """
    table, out = Path(table), Path(out)
    refuse_out(out, overwrite=overwrite)
    kind = ImageKind.of(bands, stretch, show)
    if (label_column is not None) + bool(vote_columns) + (measured is not None) > 1:
        raise UsageError(
            "--label-column, --vote-column and --value-column exclude each other: a store has one kind of "
            "labels"
        )
    parts = [Path(part) for part in table_parts(table)]
    opened = [
        open_table(
            part,
            image_column=image_column,
            id_column=id_column,
            ra_column=ra_column,
            dec_column=dec_column,
            folder=folder,
            bands=kind.bands,
        )
        for part in parts
    ]
    label_names = [label_column] if label_column is not None else list(vote_columns)
    scheme: Scheme | None = None
    if measured is not None:
        scheme, label_names = _measurements(parts[0], measured), list(measured.columns)
    content = _content(opened, (*label_names, *keep_columns))
    for each in opened:
        each.check_files()
    ids = _ids(opened, content)
    if measured is not None:
        content = without_placeholders(content, label_names, measured.missing, str(table))
    if label_column is not None and classes is None:
        classes = _named_classes(parts[0], label_column)
    scheme, labels = _labels(content, label_names, classes, ids, table, scheme, votes=bool(vote_columns))
    taken = {*STANDARD_COLUMNS, *labels}
    kept = {name: _carried(parts[0], content.column(name)) for name in keep_columns if name not in taken}
    measured_values = any(each.holds_fits_images() for each in opened)
    meta = StoreMeta(
        scheme=scheme,
        pixel_scale=_scale(opened[0], pixel_scale),
        source=table.name,
        source_checksum=source_checksum,
        integer_ids=all(each.integer_ids() for each in opened),
        **kind.facts(fits=measured_values),
    )
    return write_store(
        _items(opened, ids, {**labels, **kept}, kind.stretch_of(fits=measured_values)),
        out,
        meta,
        crop=crop,
        size=size,
        expected=content.num_rows,
        extra={name: column.type for name, column in kept.items()},
        overwrite=overwrite,
        workers=workers,
    )


def _content(opened: Sequence[ImageTable], further: Sequence[str]) -> pa.Table:
    """The columns of all parts, without the images that they hold."""
    read = []
    for part in opened:
        columns = tuple(dict.fromkeys((*part.columns, *further)))
        light = [name for name in columns if name not in part.holds_files]
        if not light:
            light = [name for name in columns_of(part.path).names if name not in part.holds_files][:1]
        if not light:
            raise MorphoscopeError(f"{part.path}: has no column besides its images; add one with ids")
        read.append(read_table(part.path, light, names=part.name_columns))
    try:
        return pa.concat_tables(read, promote_options="permissive")
    except pa.ArrowException as error:
        raise MorphoscopeError(
            f"{opened[0].path}: its columns are not those of the other parts ({error})"
        ) from error


def _ids(opened: Sequence[ImageTable], content: pa.Table) -> list[str]:
    first = opened[0]
    if first.id_column is None:
        return _ids_of_images(opened, content)
    seen: dict[str, int] = {}
    for row, galaxy in enumerate(texts(content, first.id_column, str(first.path))):
        if galaxy is None:
            raise MorphoscopeError(f"{first.path}: row {row + 1} has no '{first.id_column}'")
        if galaxy in seen:
            raise MorphoscopeError(
                f"{first.path}: '{first.id_column}' is {galaxy} in row {seen[galaxy] + 1} and in row "
                f"{row + 1}; one row per galaxy was expected (choose another column with --id-column)"
            )
        seen[galaxy] = row
    return list(seen)


def _ids_of_images(opened: Sequence[ImageTable], content: pa.Table) -> list[str]:
    """Ids from the images' files, or, where tables hold the images, from the tables' files and rows."""
    if opened[0].holds_files:
        counts = [row_count(part.path) or content.num_rows for part in opened]
        return [f"{part.path.stem} {row}" for part, n in zip(opened, counts, strict=True) for row in range(n)]
    paths = [name or "" for name in texts(content, opened[0].image_columns[0])]
    identity, _ = distinct_ids(paths)
    ids = [identity(path) for path in paths]
    return ids if len(set(ids)) == len(ids) else [f"{path}#{row}" for row, path in enumerate(paths)]


def _named_classes(part: Path, column: str) -> list[str] | None:
    """The names of a Hugging Face ``ClassLabel``, whose column has numbers; None if it is none."""
    if part.suffix.lower() not in (".parquet", ".pq"):
        return None
    said = (pq.read_schema(part).metadata or {}).get(b"huggingface", b"{}")
    try:
        found = json.loads(said)["info"]["features"][column]
        names = found["names"] if found["_type"] == "ClassLabel" else None
    except (ValueError, LookupError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _scale(first: ImageTable, given: float | None) -> float | None:
    """Arcsec a pixel: as given, or as the first row's array says."""
    cell = None if given is not None else first.first_array()
    if cell is None or cell.scale is None:
        return given
    note(f"{first.path.name}: pixels of {cell.scale:.4g}″, as the column 'scale' says")
    return round(cell.scale, 6)


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
    opened: Sequence[ImageTable],
    ids: list[str],
    further: dict[str, np.ndarray | pa.ChunkedArray],
    stretch: str,
) -> Iterator[Item]:
    """The galaxies of all parts, whose images are read as they are needed."""
    values = {
        name: column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
        for name, column in further.items()
    }
    said: set[str] = set()
    for row, item in enumerate(chain.from_iterable(part.items(stretch) for part in opened)):
        others = {name: column[row] for name, column in values.items()}
        load = partial(_saying, item, said)
        yield Item(item.source, load, {**item.row, "id": ids[row], **others}, item.found, item.files)


def _saying(item: Item, said: set[str]) -> np.ndarray:
    """Load an image; a note says once which of many bands it shows."""
    image = item.load()
    words = item.found.get("bands", "")
    if words.endswith(" bands)") and words not in said:
        said.add(words)
        note(f"{item.source}: {words} are shown; --bands chooses others, by name or number")
    return image
