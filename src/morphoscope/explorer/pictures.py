"""Pictures of the galaxies: from a store, or from the files that a catalogue was made of.

A picture is found by the galaxy's row, id and source. What a catalogue says about files is not trusted: a
picture is read only below one folder, which the person named or the catalogue's provenance names.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import HalfScale, half_scale, is_fits_name, is_image_name, read_image
from morphoscope.images.image_table import open_table
from morphoscope.images.planes import picture_of, shown_planes
from morphoscope.images.stretch import PLANES
from morphoscope.images.tables import is_table
from morphoscope.images.webdataset import is_archive_name

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


class MissingPicture(MorphoscopeError):
    """A galaxy's picture is not there; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a galaxy is: row in the catalogue, id, and the source of its picture."""

    row: int
    id: str
    source: str


class Pictures(Protocol):
    """Where pictures come from."""

    @property
    def note(self) -> str:
        """Where, for people."""
        ...

    @property
    def pixel_scale(self) -> float | None:
        """Arcsec a pixel, if it is the same for all and known."""
        ...

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """The picture, (H, W, 3) uint8.

        Args:
            place: the galaxy.
            stretch: of FITS images; empty: as the catalogue says.
            least: side in pixels that is wanted; a JPEG may be decoded at half scale if it stays larger.

        Raises:
            MissingPicture: it is not there.
            MorphoscopeError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class NoPictures:
    """There are none; ``note`` says why."""

    note: str
    pixel_scale: float | None = None

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """Says why not."""
        raise MissingPicture(self.note)


class StorePictures:
    """The images of a store.

    Args:
        store: with the images.
        store_rows: row in the store of each galaxy, (N,) int; −1: it is not there. None: the same rows.
    """

    def __init__(self, store: Store, store_rows: np.ndarray | None = None) -> None:
        self.store, self.store_rows = store, store_rows
        self.images = store.images.view(np.ndarray)  # views of np.memmap are slow
        self.note = f"images of the store {store.path.name}"
        self.pixel_scale = store.meta.pixel_scale

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`Pictures`; a store's images have their stretch already."""
        row = place.row if self.store_rows is None else int(self.store_rows[place.row])
        if not 0 <= row < len(self.images):
            raise MissingPicture(f"the store {self.store.path.name} has no galaxy '{place.id}'")
        return picture_of(np.asarray(self.images[row]))


class FilePictures:
    """Image files below one folder, by their names in the column ``source``.

    Args:
        folder: names are relative to it, and nothing outside it is read.
        stretch: of FITS images.
        bands: of FITS images.
    """

    pixel_scale = None

    def __init__(self, folder: Path, stretch: str = "lupton", bands: Sequence[str] = ()) -> None:
        self.folder, self.stretch, self.bands = folder, stretch, tuple(bands)
        shown = shown_planes(len(self.bands)) if stretch in PLANES else range(len(self.bands))
        self.shown = tuple(self.bands[plane] for plane in shown)
        self.inside = folder.resolve()
        self.note = f"image files in {folder}"

    def path_of(self, source: str) -> Path:
        """The file of a source.

        Raises:
            MissingPicture: it would be outside the folder, or there is no such file.
        """
        if not source or "\0" in source or ".." in Path(source).parts:
            raise MissingPicture(f"'{source}' does not name a file in {self.folder}")
        path = self.folder / source  # an absolute source stays itself, and must be inside
        if not path.is_file() and (self.folder / path.name).is_file():
            path = self.folder / path.name
        if not path.resolve().is_relative_to(self.inside):
            raise MissingPicture(f"'{source}' is outside {self.folder}; nothing there is read")
        if not path.is_file():
            raise MissingPicture(f"{source}: no such file in {self.folder}; --images says where it is now")
        return path

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`Pictures`."""
        path = self.path_of(place.source)
        name = place.source
        if not is_image_name(path.name):
            raise MissingPicture(f"{name} is not an image file")

        def suits(height: int, width: int) -> bool:
            return least > 0 and min(height, width) >= 2 * least

        with half_scale(suits) as _half:
            assert isinstance(_half, HalfScale)
            if self.stretch not in PLANES:
                return read_image(path, name=name, stretch=stretch or self.stretch, bands=self.bands)
            if is_fits_name(path.name):
                return read_image(path, name=name, stretch=stretch or "lupton", bands=self.shown)
            return picture_of(read_image(path, name=name, stretch=self.stretch, bands=self.bands))


def open_pictures(
    images: Path | str | None, provenance: dict[str, str], near: Path, ids: pa.ChunkedArray | None
) -> tuple[Pictures, Store | None]:
    """Where the pictures of a catalogue are, and the store if they are in one.

    Args:
        images: a folder or a store that a person named; None: as the catalogue's provenance says.
        provenance: of the catalogue.
        near: its folder: relative names are looked up there, too.
        ids: of the catalogue, to find galaxies in a store.

    Raises:
        UsageError: ``images`` is neither.
    """
    stretch = provenance.get("stretch", "lupton")
    bands = [band for band in provenance.get("bands", "").split(",") if band]
    if images is not None:
        path = Path(images)
        if (path / "store.yaml").is_file():
            return _of_store(open_store(path), ids)
        if not path.is_dir():
            raise UsageError(f"--images {images}: a folder of images or a store was expected")
        return FilePictures(path, stretch, bands), None
    source = provenance.get("source", "")
    if not source:
        return NoPictures("the catalogue does not say where its images are; give them with --images"), None
    for path in dict.fromkeys((Path(source), near / source, near / Path(source).name)):
        if (path / "store.yaml").is_file():
            return _of_store(open_store(path), ids)
        if path.is_dir():
            return FilePictures(path, stretch, bands), None
        if path.is_file() and is_archive_name(path.name):
            return NoPictures(f"{path.name} is an archive; unpack it and give the folder with --images"), None
        if path.is_file() and is_table(path):
            return _of_table(path, stretch, bands), None
        if path.is_file():
            return FilePictures(path.parent, stretch, bands), None
    if glob.has_magic(source):
        fixed = Path(*_before_magic(Path(source).parts))
        if fixed.is_dir() and fixed != Path(fixed.anchor):
            return _OfGlob(fixed, stretch, bands), None
    return NoPictures(f"{source} is not there any more; --images says where its images are now"), None


def _of_store(store: Store, ids: pa.ChunkedArray | None) -> tuple[Pictures, Store]:
    return StorePictures(store, None if ids is None else rows_of_ids(ids, store.table.column("id"))), store


def rows_of_ids(wanted: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray | None:
    """Where ids are among others, (N,) int64, −1 where nowhere; None: at the same places, all of them.

    Of an id that is known several times the first place counts.
    """
    wanted, known = wanted.cast(pa.string()), known.cast(pa.string())
    if len(wanted) == len(known) and wanted.equals(known):
        return None
    found = pc.index_in(wanted, value_set=known.combine_chunks())
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def _of_table(path: Path, stretch: str, bands: Sequence[str]) -> Pictures:
    try:
        table = open_table(path)
    except MorphoscopeError as error:
        return NoPictures(str(error))
    if table.holds_files:
        return NoPictures(f"{path.name} holds its images itself; ingest it and give the store with --images")
    return FilePictures(table.folder, stretch, table.bands or bands)


class _OfGlob(FilePictures):
    """Sources as a glob found them: they begin with the folder."""

    def path_of(self, source: str) -> Path:
        path = Path(source)
        if path.is_relative_to(self.folder):
            source = str(path.relative_to(self.folder))
        return super().path_of(source)


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept or ["."]
