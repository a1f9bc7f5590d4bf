"""Whatever holds images — a folder, a glob, a table, a store — as one stream of galaxies.

Nothing here grows with the number of galaxies except lists of file names: those of one folder at a time,
or those a glob finds.
"""

from __future__ import annotations

import glob
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from morphoscope.data.columns import TABLE_SUFFIXES
from morphoscope.data.fits import STRETCHES
from morphoscope.data.image_table import ImageTable, is_table, open_table
from morphoscope.data.images import FITS_SUFFIXES, IMAGE_SUFFIXES, is_image_name, read_image
from morphoscope.data.ingest import Item
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError

_CHUNK = 4096  # rows of a store's table taken at once


@dataclass(frozen=True)
class Images:
    """Galaxies to predict.

    Attributes:
        name: what messages and the catalogue's provenance call them.
        items: one a galaxy; ``row`` has its ``id`` and, where known, ``ra`` and ``dec`` in degrees. Read
            lazily, once.
        count: how many there are; None if that is not known beforehand.
    """

    name: str
    items: Iterable[Item]
    count: int | None = None


def open_input(source: Path | str, *, image_column: str | None = None, stretch: str = "lupton") -> Images:
    """Find out what ``source`` is, and open it.

    ================  ==========================================================================
    a folder          all images in it and in its folders, in the order of their names; an id is
                      the file's name without suffix, with its folders where names repeat, and
                      with its suffix where that does not tell them apart
    a glob            ``'fields/*/cutout_*.png'``, ``**`` for any folders; ids as in a folder
    an image          JPEG, PNG, TIFF or FITS
    a table           CSV, Parquet, FITS or VOTable with a column of images; see
                      :mod:`morphoscope.data.table`
    a store           every galaxy of it, labelled or not
    ================  ==========================================================================

    Args:
        source: one of these.
        image_column: the table's column with the images; None: found by its name.
        stretch: for FITS images, see :mod:`morphoscope.data.fits`.

    Raises:
        UsageError: there is nothing at ``source``, nothing that is known, or no image.
    """
    place = Path(source)
    if image_column is not None and not place.is_file():
        raise UsageError(f"--image-column {image_column}: a table was expected, {source} is none")
    if place.is_dir():
        return _from_folder(place, stretch)
    if place.is_file():
        return _from_file(place, image_column, stretch)
    if glob.has_magic(str(source)):
        return _from_glob(str(source), stretch)
    raise UsageError(f"{source} does not exist; a folder, a glob, an image, a table or a store was expected")


def stretch_like(training: str) -> str:
    """The stretch that shows FITS images to a run as it saw its training's: the same, if it was a stretch."""
    return training if training in STRETCHES and training != "as-served" else "lupton"


def _from_folder(folder: Path, stretch: str) -> Images:
    if (folder / "store.yaml").is_file():
        return from_store(open_store(folder))
    if (folder / "run.yaml").is_file():
        raise UsageError(
            f"{folder} is a run; the images to predict were expected: RUN comes first, then INPUT"
        )
    return _from_files(str(folder), folder, lambda: _walk(folder), stretch)


def _from_file(place: Path, image_column: str | None, stretch: str) -> Images:
    if is_table(place):
        table = open_table(place, image_column=image_column)
        return Images(str(place), _table_items(table, stretch), _rows_of(place))
    if image_column is not None:
        raise UsageError(f"--image-column {image_column}: a table was expected, {place} is none")
    if not is_image_name(place.name):
        endings = ", ".join((*IMAGE_SUFFIXES, *FITS_SUFFIXES))
        raise UsageError(
            f"{place}: its ending is neither an image's ({endings}) "
            f"nor a table's ({', '.join(TABLE_SUFFIXES)})"
        )
    return _from_files(str(place), place.parent, lambda: iter([place.name]), stretch)


def _table_items(table: ImageTable, stretch: str) -> Iterator[Item]:
    """A table's rows; one without an id is called as its image file, or by its number."""
    for number, item in enumerate(table.items(stretch), start=1):
        if item.row.get("id") is not None:
            yield item
        else:
            identity = Path(item.source).stem if is_image_name(item.source) else f"row {number}"
            yield replace(item, row={**item.row, "id": identity})


def _rows_of(table: Path) -> int | None:
    """How many rows a table has, where that costs little; for the progress bar."""
    suffix = table.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return pq.read_metadata(table).num_rows
    return _lines(table) - 1 if suffix == ".csv" else None


def _lines(path: Path) -> int:
    """Lines of a text file; a CSV with line breaks inside its cells has fewer rows."""
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _from_glob(pattern: str, stretch: str) -> Images:
    found = sorted(
        name
        for name in glob.iglob(pattern, recursive=True)
        if is_image_name(os.path.basename(name)) and os.path.isfile(name)
    )
    return _from_files(pattern, Path(), lambda: iter(found), stretch)


def from_store(store: Store) -> Images:
    """Every galaxy of a store, as it is stored."""
    return Images(str(store.path), _store_items(store), len(store))


def _store_items(store: Store) -> Iterator[Item]:
    images = store.images.view(np.ndarray)  # np.memmap makes every view dearer
    columns = store.table.select(["id", "ra", "dec", "source"])
    for start in range(0, len(store), _CHUNK):
        for offset, row in enumerate(columns.slice(start, _CHUNK).to_pylist()):
            yield Item(
                row.pop("source") or f"{store.path} row {start + offset}",
                partial(images.__getitem__, start + offset),
                row,
            )


def _walk(folder: Path) -> Iterator[str]:
    """The images in a folder and its folders, relative and sorted; hidden ones are passed over."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for place, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        within = os.path.relpath(place, folder)
        for name in sorted(names):
            if is_image_name(name):
                yield name if within == "." else Path(within, name).as_posix()


def _from_files(label: str, base: Path, names: Callable[[], Iterator[str]], stretch: str) -> Images:
    """Image files by their names relative to ``base``.

    The names are gone through twice: first to count them and to choose ids that differ, then to predict.
    """
    identity, count = _distinct_ids(names())
    if not count:
        endings = ", ".join(IMAGE_SUFFIXES + FITS_SUFFIXES)
        raise UsageError(f"{label}: no images there (files that end in {endings} were expected)")
    items = (
        Item(name, partial(read_image, base / name, name=name, stretch=stretch), {"id": identity(name)})
        for name in names()
    )
    return Images(label, items, count)


def _stem(name: str) -> str:
    return Path(name).stem


def _without_suffix(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def _whole(name: str) -> str:
    return name


def _distinct_ids(names: Iterator[str]) -> tuple[Callable[[str], str], int]:
    """The shortest kind of id that differs for all names (as a folder's store has it), and their number.

    Eight bytes a name are kept, not the names. Should two hashes meet by chance, ids are longer than need be.
    """
    kinds = (_stem, _without_suffix)
    hashes = [array("q") for _ in kinds]
    for name in names:
        for seen, kind in zip(hashes, kinds, strict=True):
            seen.append(hash(kind(name)))
    count = len(hashes[0])
    for seen, kind in zip(hashes, kinds, strict=True):
        if len(np.unique(np.frombuffer(seen, np.int64))) == count:
            return kind, count
    return _whole, count
