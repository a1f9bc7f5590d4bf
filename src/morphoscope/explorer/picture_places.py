"""Where a catalogue's pictures are: what a person named, or what the catalogue says that it was made of."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from morphoscope.catalogue.inputs.open import tables_in
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer.archive_pictures import ArchivePictures, H5Pictures
from morphoscope.explorer.pictures import (
    FilePictures,
    GlobPictures,
    Known,
    NoPictures,
    Pictures,
    Rendering,
    StorePictures,
    rows_of_ids,
)
from morphoscope.explorer.table_pictures import pictures_in_tables
from morphoscope.images.decode import is_image_name
from morphoscope.images.file_names import image_names
from morphoscope.images.image_table import open_table
from morphoscope.images.tables import is_table
from morphoscope.images.webdataset import expand_braces, is_archive_name

H5_SUFFIXES = (".h5", ".hdf5", ".hdf")


def open_pictures(
    images: Path | str | None, provenance: dict[str, str], near: Path, known: Known
) -> tuple[Pictures, Store | None]:
    """Where the pictures of a catalogue are, and the store if they are in one.

    Args:
        images: what a person named: a folder, an archive, a table, an HDF5 file or a store; None: as the
            catalogue's provenance says.
        provenance: of the catalogue.
        near: its folder: relative names are looked up there, too.
        known: ids and sources of its galaxies.

    Raises:
        UsageError: ``images`` is nothing of these, or has none of the galaxies.
    """
    bands, shown = (
        tuple(name for name in provenance.get(key, "").split(",") if name) for key in ("bands", "shown")
    )
    rendering = Rendering(provenance.get("stretch", "lupton"), bands, shown)
    if images is not None:
        found = _at(str(images), known, rendering)
        if found is None:
            raise UsageError(
                f"--images {images}: a folder of images, an archive (tar, zip), a table with images, a "
                "Galaxy10 file (.h5) or a store was expected"
            )
        return found
    source = provenance.get("source", "")
    if not source:
        return NoPictures("the catalogue does not say where its images are; give them with --images"), None
    for name in dict.fromkeys((source, str(near / source), str(near / Path(source).name))):
        try:
            found = _at(name, known, rendering)
        except MorphoscopeError as error:
            return NoPictures(str(error)), None
        if found is not None:
            return found
    return NoPictures(f"{source} is not there any more; --images says where its images are now"), None


def _at(name: str, known: Known, rendering: Rendering) -> tuple[Pictures, Store | None] | None:
    """The pictures at a place; None: nothing of a known kind is there."""
    path = Path(name)
    if (path / "store.yaml").is_file():
        store = open_store(path)
        return StorePictures(store, rows_of_ids(known.ids, store.table.column("id"))), store
    if path.is_dir():
        return _in_folder(path, known, rendering), None
    if path.is_file():
        return _in_file(path, known, rendering), None
    names = expand_braces(name)
    if len(names) == 1 and names[0] == name:
        names = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []
    there = [Path(each) for each in names if os.path.isfile(each)]
    if there and all(is_archive_name(each.name) for each in there):
        return ArchivePictures(there, known, rendering), None
    if there and all(is_table(each) for each in there):
        return _in_tables(there, known, rendering), None
    if glob.has_magic(name):
        fixed = Path(*_before_magic(path.parts))
        if fixed.is_dir() and fixed != Path(fixed.anchor):
            return GlobPictures(fixed, rendering), None
    return None


def _in_folder(folder: Path, known: Known, rendering: Rendering) -> Pictures:
    tables = tables_in(folder)
    if tables:
        return _in_tables([Path(each) for each in tables], known, rendering)
    archives = sorted(Path(entry.path) for entry in os.scandir(folder) if is_archive_name(entry.name))
    if archives and next(image_names(folder), None) is None:
        return ArchivePictures(archives, known, rendering)
    return FilePictures(folder, rendering)


def _in_file(path: Path, known: Known, rendering: Rendering) -> Pictures:
    if path.suffix.lower() in H5_SUFFIXES:
        return H5Pictures(path, known)
    if is_archive_name(path.name):
        return ArchivePictures([path], known, rendering)
    if is_table(path):
        return _in_tables([path], known, rendering)
    if is_image_name(path.name):
        return FilePictures(path.parent, rendering)
    raise UsageError(
        f"{path} has no images: a folder of images, an archive (tar, zip), a table with images, a Galaxy10 "
        "file (.h5) or a store was expected"
    )


def _in_tables(paths: Sequence[Path], known: Known, rendering: Rendering) -> Pictures:
    held = pictures_in_tables(paths, known, rendering)
    if held is not None:
        return held
    table = open_table(paths[0], bands=rendering.bands)
    return FilePictures(table.folder, replace(rendering, bands=table.bands or rendering.bands))


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept or ["."]
