"""Inputs of all kinds (folder, glob, archive, table, store) as one stream of galaxies.

Memory grows with the number of galaxies only for lists of file names (of one folder at a time, or of a
glob), the directory of a zip, and eight bytes per id.
"""

from __future__ import annotations

import glob
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.catalogue.columns import FITS_COLUMNS, SCALING
from morphoscope.catalogue.inputs.mosaic_cutouts import CUTOUT, ON_MOSAIC, Frame, cutout_items
from morphoscope.catalogue.inputs.survey_cutouts import check_survey_options, survey_cutouts
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError
from morphoscope.images.band_files import band_pattern_of, from_pattern
from morphoscope.images.bands import is_pattern
from morphoscope.images.decode import FITS_SUFFIXES, IMAGE_SUFFIXES, is_image_name, read_image
from morphoscope.images.file_names import (
    distinct_ids,
    image_names,
    load_named,
    report_skipped,
    stem,
    writable,
)
from morphoscope.images.image_table import ImageTable, open_table
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.positions import SourceTable
from morphoscope.images.stream import Item
from morphoscope.images.stretch import check_bands
from morphoscope.images.table_parts import tables_in
from morphoscope.images.tables import TABLE_SUFFIXES, is_table, is_table_name, row_count, split_part
from morphoscope.images.webdataset import (
    ARCHIVE_SUFFIXES,
    archive_items,
    expand_braces,
    holds_fits_images,
    is_archive_name,
)
from morphoscope.inference.preprocess import store_in_order
from morphoscope.labels.scheme import Column
from morphoscope.processes import available_cores
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts

_CHUNK = 4096  # rows of a store's table taken at once


@dataclass(frozen=True)
class Images:
    """Galaxies to predict.

    Attributes:
        name: their name in messages and in the catalogue's provenance.
        items: one per galaxy, always in the same order for the same files; ``row`` has its ``id`` and, where
            known, ``ra`` and ``dec`` in degrees. Read lazily, once. Skipping an item loads no image: only
            names, table rows and member headers are read, though a compressed tar must be decompressed.
        count: their number; None if not known beforehand.
        extras: additional columns of the catalogue; items' rows have them after loading.
        integer_ids: every id fits int64 and its column in the input has integers: the catalogue's ``id`` is
            then int64, to match the input's; otherwise it is text.
        workers: threads that suit the input, if it needs more than one for each core.
    """

    name: str
    items: Iterable[Item]
    count: int | None = None
    extras: tuple[Column, ...] = ()
    integer_ids: bool = False
    workers: int | None = None


def open_input(
    source: Path | str,
    *,
    image_column: str | None = None,
    stretch: str = "lupton",
    bands: Sequence[str] = (),
    facts: StoreFacts | None = None,
) -> Images:
    """Open an input of any kind.

    ================  ==========================================================================
    a folder          all images in it and in its folders, in the order of their names; an id is
                      the file's name without suffix, with its folders where names repeat, and
                      with its suffix where that does not tell them apart. Without images: all
                      archives in it
    a glob            ``'fields/*/cutout_*.png'``, ``**`` for any folders; ids as in a folder.
                      Archives, and tables of one kind, too
    an image          JPEG, PNG, TIFF or FITS
    a pattern         ``'cutouts/{id}_{band}.fits'`` with ``bands``: one FITS file a band
    an archive        tar (also .gz, .bz2, .xz) or zip, read where it lies; WebDataset shards as
                      ``shard-{000..009}.tar``; see :mod:`morphoscope.images.webdataset`
    a table           CSV, ECSV, Parquet, HDF5, FITS or VOTable with a column of images; see
                      :mod:`morphoscope.images.image_table`
    tables in parts   a HATS catalogue, or a folder of Parquet or HDF5 files as the data sets of
                      Hugging Face and Multimodal Universe are, with a column of images (files,
                      their content, or arrays); read part by part
    a store           every galaxy of it, labelled or not
    ================  ==========================================================================

    Args:
        source: one of these.
        image_column: the table's column with the images; with commas between, one per band. None: found by
            its name.
        stretch: for FITS images, see :mod:`morphoscope.images.fits`.
        bands: of FITS images: one file a band in a pattern, a folder or a table, or planes or extensions of
            each file, see :mod:`morphoscope.images.fits_bands`.
        facts: of the training's store, in whose order the planes of a store are given; None: as they are.

    Raises:
        UsageError: ``source`` does not exist, is of no known kind, or has no images.
    """
    path, text = Path(source), str(source)
    reading = Reading(stretch, tuple(bands), facts)
    if not is_store(path):
        check_bands(reading.bands, stretch)
    if is_pattern(text) and not path.exists():
        return Images(text, *from_pattern(text, reading.bands, stretch), FITS_COLUMNS)
    if path.is_dir() and (parts := tables_in(path)):
        return _from_tables(text, parts, image_column, reading)
    if image_column is not None and (path.is_dir() or (not path.exists() and not is_table_name(text))):
        raise UsageError(f"--image-column {image_column}: a table was expected, {source} is none")
    if path.is_dir():
        return _from_folder(path, reading)
    if path.is_file() or split_part(path)[1]:
        return _from_file(path, image_column, reading)
    names = expand_braces(text)
    if len(names) > 1 or names[0] != text:
        return _from_list(text, _all_there(text, names), image_column, reading)
    if glob.has_magic(text):
        return _from_glob(text, image_column, reading)
    raise UsageError(
        f"{source} does not exist; a folder, a glob, an image, an archive, a table or a store was expected"
    )


def open_request(request: CatalogueRequest, facts: StoreFacts, *, stretch: str) -> Images:
    """The galaxies of a request: those of an input, or cutouts of a mosaic at the positions of a table.

    Args:
        request: the catalogue request.
        facts: of the training's store.
        stretch: for FITS images.

    Raises:
        UsageError: options contradict each other, or there is nothing to predict.
    """
    source = str(request.source)
    if request.survey is not None:
        check_survey_options(request)
        cutouts = survey_cutouts(request, facts, stretch=stretch)
        extras = (CUTOUT, *(FITS_COLUMNS if cutouts.fits else ()))
        items = note_repeated_ids(cutouts.items, cutouts.name)
        workers = max(available_cores(), cutouts.connections)
        return Images(cutouts.name, items, cutouts.count, extras, cutouts.integer_ids, workers)
    if request.sources is None:
        for name, value in (
            ("--cutout-arcsec", request.cutout_arcsec),
            ("--size-column", request.size_column),
        ):
            if value is not None:
                raise UsageError(f"{name} says how to cut sources out of a mosaic; --sources is missing")
        return open_input(
            source, image_column=request.image_column, stretch=stretch, bands=request.bands, facts=facts
        )
    if request.crop is not None or request.image_column is not None:
        raise UsageError(
            "--crop and --image-column do not go with --sources; --cutout-arcsec says how much is cut"
        )
    table = SourceTable(Path(request.sources), _cutout_side(request, facts), request.size_column)
    mosaics = open_mosaics(source, request.bands)
    items, count = cutout_items(mosaics, table, Frame(facts.image_shape[0], stretch))
    files = tuple(dict.fromkeys(source.replace("{band}", band) for band in request.bands or ("",)))
    items = (replace(item, files=(*files, str(request.sources))) for item in items)
    return Images(f"{source} at {request.sources}", items, count, (CUTOUT, ON_MOSAIC, SCALING))


def _cutout_side(request: CatalogueRequest, facts: StoreFacts) -> float | None:
    """Side of the cutouts, arcsec; None if a column gives it."""
    side = request.cutout_arcsec
    if request.size_column is not None:
        if side is not None:
            raise UsageError("--cutout-arcsec and --size-column contradict each other; give one")
        return None
    field = None if facts.pixel_scale is None else facts.pixel_scale * facts.image_shape[0]
    if side is None:
        if field is None:
            raise UsageError(
                "the run does not know the pixel scale of its training; pass --cutout-arcsec, the side "
                "of the cutouts in arcsec"
            )
        note(f"cutouts of {field:.4g}″, as the training's images")
        return field
    if not 0 < side < float("inf"):
        raise UsageError(f"--cutout-arcsec {side:g}: arcsec above 0 were expected")
    if field is not None and abs(side / field - 1) > 0.01:
        note(
            f"cutouts of {side:g}″ are shown to the run at {side / facts.image_shape[0]:.3g}″ a pixel; its "
            f"training's images showed {field:.4g}″ at {facts.pixel_scale:.3g}″"
        )
    return side


@dataclass(frozen=True)
class Reading:
    """How the images of an input are read."""

    stretch: str
    bands: tuple[str, ...] = ()
    facts: StoreFacts | None = None

    def item(self, path: Path, name: str, identity: str) -> Item:
        """The galaxy of one file."""
        found: dict[str, Any] = {}
        source = writable(name)
        load = partial(read_image, path, name=source, stretch=self.stretch, bands=self.bands, found=found)
        return Item(source, load_named(name, load), {"id": writable(identity)}, found, (str(path),))


def is_store(source: Path | str) -> bool:
    """Whether an input is a store."""
    return (Path(source) / "store.yaml").is_file()


def _from_folder(folder: Path, reading: Reading) -> Images:
    if is_store(folder):
        store = open_store(folder)
        return from_store(store if reading.facts is None else store_in_order(store, reading.facts))
    if (folder / "run.yaml").is_file():
        raise UsageError(
            f"{folder} is a run; the images to predict were expected: RUN comes first, then INPUT"
        )
    if reading.bands and (pattern := band_pattern_of(folder, reading.bands)):
        found = from_pattern(pattern, reading.bands, reading.stretch)
        return Images(pattern, *found, FITS_COLUMNS)
    archives = sorted(entry.path for entry in os.scandir(folder) if is_archive_name(entry.name))
    if archives and next(image_names(folder), None) is None:
        return _from_archives(str(folder), archives, reading)
    if archives:
        note(
            f"{folder}: {len(archives)} archives are skipped, the first {Path(archives[0]).name}; "
            "to read them, name them by a glob"
        )
    skipped: Counter[str] = Counter()
    images = _from_files(
        str(folder), folder, lambda counted: image_names(folder, skipped if counted else None), reading
    )
    for archive in archives:
        skipped.subtract([Path(archive).suffix.lower()])
    report_skipped(str(folder), +skipped)
    return images


def _from_file(path: Path, image_column: str | None, reading: Reading) -> Images:
    if is_table(path) or (image_column is not None and is_table_name(path.name)):
        return _from_tables(str(path), [str(path)], image_column, reading)
    if image_column is not None:
        raise UsageError(f"--image-column {image_column}: a table was expected, {path} is none")
    if is_archive_name(path.name):
        return _from_archives(str(path), [str(path)], reading)
    if not is_image_name(path.name):
        endings = ", ".join((*IMAGE_SUFFIXES, *FITS_SUFFIXES))
        raise UsageError(
            f"{path}: its ending is neither an image's ({endings}) nor an archive's "
            f"({', '.join(ARCHIVE_SUFFIXES)}) nor a table's ({', '.join(TABLE_SUFFIXES)})"
        )
    return _from_files(str(path), path.parent, lambda _: iter([path.name]), reading)


def _from_glob(pattern: str, image_column: str | None, reading: Reading) -> Images:
    found = sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    if not found:
        raise UsageError(f"{pattern}: no file matches, so there are no images there")
    return _from_list(pattern, found, image_column, reading)


def _from_list(label: str, paths: list[str], image_column: str | None, reading: Reading) -> Images:
    """Files of one kind: images, or else archives, or else tables; a note counts the others.

    FITS files with only a table count as tables if no other file is an image.
    """
    images = [path for path in paths if is_image_name(os.path.basename(path))]
    archives = [path for path in paths if is_archive_name(path)]
    if image_column is None and any(not is_table(Path(path)) for path in images):
        _say_others(label, paths, images)
        return _from_files(label, Path(), lambda _: iter(images), reading)
    if image_column is None and archives:
        _say_others(label, paths, archives)
        return _from_archives(label, archives, reading)
    tables = [path for path in paths if is_table(Path(path))]
    if tables:
        _say_others(label, paths, tables)
    return _from_tables(label, tables, image_column, reading)


def _say_others(label: str, paths: Sequence[str], taken: Sequence[str]) -> None:
    kept = set(taken)
    report_skipped(
        label, Counter(Path(path).suffix.lower() or "without an ending" for path in paths if path not in kept)
    )


def _all_there(label: str, names: list[str]) -> list[str]:
    missing = [name for name in names if not os.path.isfile(name)]
    if missing:
        raise UsageError(
            f"{label}: {len(missing)} of {len(names)} files are missing, the first {missing[0]}; "
            "name those that are there"
        )
    return names


def _from_archives(label: str, paths: list[str], reading: Reading) -> Images:
    def items(path: str) -> Iterator[Item]:
        for item in archive_items(Path(path), stretch=reading.stretch, bands=reading.bands):
            yield replace(item, files=(path,))

    fits = bool(reading.bands) or any(holds_fits_images(Path(path)) for path in paths)
    galaxies = note_repeated_ids(chain.from_iterable(map(items, paths)), label)
    return Images(label, galaxies, extras=FITS_COLUMNS if fits else ())


def _from_tables(label: str, paths: list[str], image_column: str | None, reading: Reading) -> Images:
    if not paths:
        endings = ", ".join(IMAGE_SUFFIXES + FITS_SUFFIXES)
        raise UsageError(f"{label}: no images there (files that end in {endings} were expected)")
    columns = image_column.split(",") if image_column else None
    tables = [open_table(path, image_column=columns, bands=reading.bands) for path in paths]
    for table in tables:
        table.check_files()
    counts = [row_count(table.path) for table in tables]
    known = [count for count in counts if count is not None]
    items = chain.from_iterable(_table_items(table, reading.stretch) for table in tables)
    fits = bool(reading.bands) or any(table.holds_fits_images() for table in tables)
    return Images(
        label,
        note_repeated_ids(items, label),
        sum(known) if len(known) == len(counts) else None,
        FITS_COLUMNS if fits else (),
        integer_ids=all(table.integer_ids() for table in tables),
    )


def _table_items(table: ImageTable, stretch: str) -> Iterator[Item]:
    """A table's rows; a row without an id is named after its image file, or by its number."""
    for number, item in enumerate(table.items(stretch), start=1):
        if item.row.get("id") is not None:
            yield item
        else:
            identity = stem(item.source) if is_image_name(item.source) else f"row {number}"
            yield replace(item, row={**item.row, "id": identity})


def from_store(store: Store) -> Images:
    """Every galaxy of a store, as stored."""
    return Images(str(store.path), _store_items(store), len(store), integer_ids=store.meta.integer_ids)


def _store_items(store: Store) -> Iterator[Item]:
    images = store.images.view(np.ndarray)  # views of np.memmap are slow
    columns = store.table.select(["id", "ra", "dec", "source"])
    pixels = str(store.path / "images.npy")
    for start in range(0, len(store), _CHUNK):
        for offset, row in enumerate(columns.slice(start, _CHUNK).to_pylist()):
            yield Item(
                row.pop("source") or f"{store.path} row {start + offset}",
                partial(images.__getitem__, start + offset),
                row,
                files=(pixels,),
            )


def _from_files(label: str, base: Path, names: Callable[[bool], Iterator[str]], reading: Reading) -> Images:
    """Image files, given by names relative to ``base``.

    The names are iterated twice: first (``names(True)``) to count them and choose distinct ids, then to
    predict.
    """
    fits = False

    def seen() -> Iterator[str]:
        nonlocal fits
        for name in names(True):
            fits = fits or name.lower().endswith(FITS_SUFFIXES)
            yield name

    identity, count = distinct_ids(seen())
    if not count:
        endings = ", ".join(IMAGE_SUFFIXES + FITS_SUFFIXES)
        raise UsageError(f"{label}: no images there (files that end in {endings} were expected)")
    items = (reading.item(base / name, name, identity(name)) for name in names(False))
    return Images(label, items, count, FITS_COLUMNS if fits else ())


def note_repeated_ids(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The same items; after the last, a note says how many share an id with another.

    Eight bytes per item are kept: hashes of the ids, which collide by chance in one of 10⁷ inputs of a
    million.
    """
    hashes = array("q")
    for item in items:
        hashes.append(hash(item.row["id"]))
        yield item
    if not hashes:
        return
    _, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    repeated = counts[counts > 1]
    if len(repeated):
        note(
            f"{name}: {len(repeated)} ids stand for several galaxies ({repeated.sum()} of {len(hashes)} "
            "rows); all are in the catalogue"
        )
