"""Data sets that are many tables: HATS catalogues, folders of Hugging Face and the Multimodal Universe."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from morphoscope.errors import UsageError
from morphoscope.images.file_names import image_names
from morphoscope.images.hats import is_hats, primary_table, tile_files
from morphoscope.images.hdf5_check import check_hdf5
from morphoscope.images.tables import is_table, split_part

_ENDINGS = (".parquet", ".hdf5", ".h5", ".arrow")


def tables_in(folder: Path) -> list[str]:
    """The tiles of a HATS catalogue, or the Parquet, HDF5 or Arrow files of a folder without images.

    Such are Hugging Face's data sets (``data/train-*.parquet``, ``data-*.arrow``) and the Multimodal
    Universe's (``healpix=*/*.hdf5``). Empty for a store, a run, and folders with images.

    Raises:
        MorphoscopeError: the HDF5 library crashes on one of them.
    """
    if (folder / "store.yaml").is_file() or (folder / "run.yaml").is_file():
        return []
    catalogue = primary_table(folder)
    if is_hats(catalogue):
        return [str(tile) for tile in tile_files(catalogue)]
    for ending in _ENDINGS:
        parts = sorted(
            str(path) for path in folder.rglob(f"*{ending}") if not path.name.startswith((".", "_"))
        )
        if parts:
            if next(image_names(folder), None) is not None:
                return []
            if ending in (".hdf5", ".h5"):
                check_hdf5(parts)  # all in one process, which takes a quarter of a second to start
            return parts
    return []


def table_parts(source: Path | str) -> list[str]:
    """The tables of a source: of a folder (see :func:`tables_in`), a glob, or one file.

    Raises:
        UsageError: there is no table.
    """
    text, path = str(source), Path(source)
    if path.is_dir():
        if parts := tables_in(path):
            return parts
        raise UsageError(
            f"{source}: a table was expected: a HATS catalogue, or a folder of Parquet, HDF5 or Arrow files"
        )
    if not split_part(path)[0].exists() and glob.has_magic(text):
        found = sorted(name for name in glob.iglob(text, recursive=True) if os.path.isfile(name))
        if tables := [name for name in found if is_table(Path(name))]:
            return tables
        raise UsageError(f"{source}: no table matches")
    return [text]
