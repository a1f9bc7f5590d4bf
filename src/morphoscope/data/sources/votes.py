"""Ingest a table of volunteers' votes with the images of its galaxies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.data.ingest import ImageKind, refuse_out, write_store
from morphoscope.data.sources.vote_columns import VALUES, VoteColumns, find_columns, votes_of
from morphoscope.data.store import STANDARD_COLUMNS, Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, listed
from morphoscope.images.decode import is_fits_name
from morphoscope.images.file_names import image_names, stem
from morphoscope.images.image_table import ImageTable, open_table
from morphoscope.images.known_columns import ID_NAMES, IMAGE_NAMES, found_column
from morphoscope.images.sky_columns import found_sky
from morphoscope.images.stream import Item
from morphoscope.images.tables import columns_of, numbers, read_table, texts
from morphoscope.labels.scheme import VoteCounts
from morphoscope.labels.tree_files import decision_tree, tree_file
from morphoscope.progress import note

_FILE = "image file of the row"  # no table has such a column
_FEW = 8  # columns named in a message
_UNINVITED = 2  # votes that Galaxy Zoo 2's own table has too many, at most


def ingest_votes(
    table: Path | str,
    out: Path | str,
    *,
    tree: str,
    images: Path | str | None = None,
    values: str = "counts",
    without: Sequence[str] = (),
    image_column: str | None = None,
    id_column: str | None = None,
    ra_column: str | None = None,
    dec_column: str | None = None,
    keep_columns: Sequence[str] = (),
    pixel_scale: float | None = None,
    stretch: str | None = None,
    bands: str | Sequence[str] | None = None,
    show: str | Sequence[str] | None = None,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of galaxies with vote counts.

    Args:
        table: CSV, ECSV, Parquet, FITS or VOTable with a row a galaxy.
        out: folder of the store.
        tree: a decision tree of the package, or the path of your own YAML file.
        images: folder of the images. They are those that the table names, or, if it names none, those called
            like the galaxies' ids, also in subfolders. None: beside the table.
        values: "counts", or "weighted" or "debiased" fractions, which are rounded to whole votes.
        without: questions of the tree to leave out.
        image_column: names the image files; None: found by name.
        id_column: identifiers; None: found by name.
        ra_column: right ascension; see :mod:`morphoscope.images.sky_columns`.
        dec_column: declination.
        keep_columns: further columns to copy into the store's table.
        pixel_scale: arcsec per source pixel, if known.
        stretch: of FITS images; see :func:`morphoscope.data.sources.table.ingest_table`.
        bands: of FITS images; see :func:`morphoscope.data.sources.table.ingest_table`.
        show: likewise.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Returns:
        The store. What could not be found in the table is noted.

    Raises:
        UsageError: a missing file or column, or an unknown tree.
        MorphoscopeError: votes that are none (see :mod:`morphoscope.data.sources.vote_columns`), two rows
            with one id, no image.
    """
    table, out = Path(table), Path(out)
    refuse_out(out, overwrite=overwrite)
    kind = ImageKind.of(bands, stretch, show)
    if values not in VALUES:
        raise UsageError(f"--values {values}: unknown{did_you_mean(values, VALUES, 'values')}")
    there, file = columns_of(table), tree_file(tree)
    columns = find_columns(file, there.names, str(table), values, without)
    opened = _opened(table, there.names, images, image_column, id_column, ra_column, dec_column)
    if kind.bands:
        opened = _with_bands(opened, kind.bands, image_column)
    wanted = [name for name in (*opened.columns, *columns.names, *keep_columns) if name != _FILE]
    names = tuple(name for name in opened.name_columns if name != _FILE)
    content = read_table(table, tuple(dict.fromkeys(wanted)), names=names)
    ids = _ids(opened, content)
    votes_NK = votes_of(columns, lambda name: numbers(content, name, str(table)), ids, str(table))
    _say(columns, table, values)
    if values == "counts":
        _note_uninvited(columns, votes_NK, ids, table)
    if _FILE in opened.image_columns:
        content, ids, votes_NK = _with_files(content, ids, votes_NK, opened.folder, table)
    opened.check_files([content])
    first = votes_NK[:, : len(columns.tree.questions[0].answers)].sum(axis=1)
    volunteers = int(np.median(first[first > 0])) if (first > 0).any() else 1
    scheme = VoteCounts(name=file.name, tree=columns.tree, volunteers=max(1, volunteers))
    kept = {name: content.column(name) for name in keep_columns if name not in STANDARD_COLUMNS}
    measured = any(is_fits_name(name or "") for name in texts(content, opened.image_columns[0]))
    meta = StoreMeta(
        scheme=scheme,
        pixel_scale=pixel_scale,
        source=table.name,
        options={"tree": file.name, "tree_version": file.version, "values": values},
        **kind.facts(fits=measured),
    )
    return write_store(
        _items(opened, content, ids, scheme, votes_NK, kept, kind.stretch_of(fits=measured)),
        out,
        meta,
        crop=crop,
        size=size,
        expected=content.num_rows,
        extra={name: column.type for name, column in kept.items()},
        overwrite=overwrite,
        workers=workers,
    )


def _opened(
    table: Path,
    there: Sequence[str],
    images: Path | str | None,
    image_column: str | None,
    id_column: str | None,
    ra_column: str | None,
    dec_column: str | None,
) -> ImageTable:
    """The table with its images; named by its ids where no column names them."""
    if image_column is not None or images is None or found_column(there, IMAGE_NAMES) is not None:
        return open_table(
            table,
            image_column=image_column,
            id_column=id_column,
            ra_column=ra_column,
            dec_column=dec_column,
            folder=images,
        )
    identity = id_column or found_column(there, ID_NAMES)
    if identity is None or identity not in there:
        raise UsageError(
            f"{table}: no column names the images or the galaxies; pass --image-column or --id-column "
            f"(columns: {listed(there)})"
        )
    if not Path(images).is_dir():
        raise UsageError(f"{images}: no such folder")
    sky = found_sky(columns_of(table), str(table), ra=ra_column, dec=dec_column)
    return ImageTable(table, (_FILE,), Path(images), identity, sky)


def _with_bands(opened: ImageTable, bands: tuple[str, ...], image_column: str | None) -> ImageTable:
    """The table with its bands: a column of images for each, or parts of each file."""
    if _FILE in opened.image_columns:
        return replace(opened, bands=bands)
    again = open_table(
        opened.path, image_column=image_column, id_column=opened.id_column, folder=opened.folder, bands=bands
    )
    return replace(again, sky=opened.sky)


def _ids(opened: ImageTable, content: pa.Table) -> list[str]:
    if opened.id_column is None:
        return [stem(name or "") for name in texts(content, opened.image_columns[0])]
    seen: dict[str, int] = {}
    for row, galaxy in enumerate(texts(content, opened.id_column, str(opened.path))):
        if galaxy is None:
            raise MorphoscopeError(f"{opened.path}: row {row + 1} has no '{opened.id_column}'")
        if galaxy in seen:
            raise MorphoscopeError(
                f"{opened.path}: '{opened.id_column}' is {galaxy} in rows {seen[galaxy] + 1} and {row + 1}; "
                "one row per galaxy was expected (choose another column with --id-column)"
            )
        seen[galaxy] = row
    return list(seen)


def _with_files(
    content: pa.Table, ids: list[str], votes_NK: np.ndarray, folder: Path, table: Path
) -> tuple[pa.Table, list[str], np.ndarray]:
    """The rows whose image is in the folder, with its name."""
    names = {stem(name): name for name in image_names(folder)}
    found = [row for row, galaxy in enumerate(ids) if galaxy in names]
    if not found:
        near = next(iter(names.values()), None)
        hint = f"; an image there is called {near}" if near else "; there are no images in it"
        raise UsageError(
            f"{folder}: no image is called like one of the {len(ids)} galaxies of {table}, such as "
            f"{ids[0]}{hint}"
        )
    if len(found) < len(ids):
        lost = next(galaxy for galaxy in ids if galaxy not in names)
        note(
            f"{table}: {len(ids) - len(found)} of {len(ids)} galaxies have no image in {folder} (the first, "
            f"{lost}); they are left out"
        )
    ids = [ids[row] for row in found]
    content = content.take(pa.array(found)).append_column(_FILE, pa.array([names[galaxy] for galaxy in ids]))
    return content, ids, votes_NK[found]


def _say(columns: VoteColumns, table: Path, values: str) -> None:
    tree = columns.tree
    made = "fractions times total votes" if any(each.fractions for each in columns.questions) else "counts"
    kind = "" if values == "counts" else f" ({values}, rounded to whole votes)"
    note(
        f"{table}: {len(tree.columns)} answers to {len(tree.questions)} questions of the tree '{tree.name}', "
        f"from {made}{kind}"
    )
    if columns.left_out:
        note(f"{table}: it has no votes for {', '.join(columns.left_out)}; these questions are left out")
    if columns.unused:
        shown = ", ".join(columns.unused[:_FEW]) + (", …" if len(columns.unused) > _FEW else "")
        note(f"{table}: these columns seem to be about votes too and are not read: {shown}")


def _note_uninvited(columns: VoteColumns, votes_NK: np.ndarray, ids: list[str], table: Path) -> None:
    """Say where a question has many more votes than the answers that lead to it; real tables have a few."""
    tree = columns.tree
    nexts = [answer.next for question in tree.questions for answer in question.answers]
    ticked = {each.question.key for each in columns.questions if each.question.several}
    for question, piece in zip(tree.questions, decision_tree(tree).slices, strict=True):
        leading = [column for column, key in enumerate(nexts) if key == question.key]
        if not leading or question.key in ticked:
            continue
        asked_N = votes_NK[:, leading].sum(axis=1)
        uninvited = np.flatnonzero(votes_NK[:, piece].sum(axis=1) > 1.1 * asked_N + _UNINVITED)
        if len(uninvited):
            row = uninvited[0]
            note(
                f"{table}: more votes on '{question.key}' than on the answers that lead to it: "
                f"{len(uninvited)} of {len(ids)}, the first {ids[row]} with {votes_NK[row, piece].sum()} and "
                f"{asked_N[row]}; kept as they are, but is '{tree.name}' the tree of this table?"
            )


def _items(
    opened: ImageTable,
    content: pa.Table,
    ids: list[str],
    scheme: VoteCounts,
    votes_NK: np.ndarray,
    kept: dict[str, pa.ChunkedArray],
    stretch: str,
) -> Iterator[Item]:
    further = {name: column.to_pylist() for name, column in kept.items()}
    for row, item in enumerate(opened.items_of([content], stretch)):
        votes = dict(zip(scheme.columns, votes_NK[row].tolist(), strict=True))
        others = {name: column[row] for name, column in further.items()}
        yield replace(item, row={**item.row, "id": ids[row], **votes, **others})
