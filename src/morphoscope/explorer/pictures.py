"""Pictures of the galaxies: from a store, or from image files (archives and tables: other modules).

A picture is found by the galaxy's row, id and source. What a catalogue says about files is not trusted: a
picture is read only below one folder, which the person named or the catalogue's provenance names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images.bands import band_name, reddest_first
from morphoscope.images.decode import HalfScale, half_scale, is_image_name, read_image
from morphoscope.images.planes import order_of, picture_of, shown_planes
from morphoscope.images.stretch import PLANES, VALUES, stretched

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


class MissingPicture(MorphoscopeError):
    """A galaxy's picture is not there; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a galaxy is: row in the catalogue, id, and the source of its picture."""

    row: int
    id: str
    source: str


@dataclass(frozen=True)
class Known:
    """What a catalogue says of its galaxies' pictures: ids and sources as texts, (N,) each."""

    ids: pa.ChunkedArray
    sources: pa.ChunkedArray

    def __len__(self) -> int:
        """How many galaxies there are."""
        return len(self.ids)


@dataclass(frozen=True)
class Rendering:
    """How a catalogue's images were read, and what pictures of them show.

    Attributes:
        stretch: of FITS images.
        bands: of FITS images, as they were given.
        shown: the bands of a picture, red first; empty: any.
    """

    stretch: str = "lupton"
    bands: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def planes(self) -> bool:
        """Whether each band is a plane of its own."""
        return self.stretch in PLANES

    @property
    def chosen(self) -> tuple[int, ...]:
        """The planes of a picture, red first; empty: none were chosen."""
        ordered = [self.bands[band] for band in reddest_first(self.bands)]
        return tuple(order_of(ordered, self.shown, "the catalogue's images")) if self.shown else ()


class Pictures(Protocol):
    """Where pictures come from."""

    @property
    def renders_fits(self) -> bool:
        """Whether FITS images are among them, which can be stretched in other ways."""
        ...

    @property
    def note(self) -> str:
        """Where, for people."""
        ...

    @property
    def pixel_scale(self) -> float | None:
        """Arcsec a pixel, if it is the same for all and known."""
        ...

    def content(self, place: Place) -> bytes | None:
        """The image file; None: there is none, but pixels, or a file per band.

        Raises:
            MissingPicture: it is not there.
            MorphoscopeError: it cannot be read.
        """
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

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """The image as a network of some bands takes it, (H, W, C) uint8 or float32.

        Args:
            place: the galaxy.
            bands: of the network, in its order.

        Raises:
            MissingPicture: it is not there.
            MorphoscopeError: it cannot be read, or is a picture of other bands.
        """
        ...


def only_pictures(where: str, bands: Sequence[str]) -> MorphoscopeError:
    """The error of a place that has pictures, and not the bands of a network."""
    return MorphoscopeError(
        f"{where} has pictures, and the network takes the bands {', '.join(map(band_name, bands))}; give the "
        "store or the FITS files with --images"
    )


@dataclass(frozen=True)
class NoPictures:
    """There are none; ``note`` says why."""

    note: str
    pixel_scale: float | None = None
    renders_fits: bool = False

    def content(self, place: Place) -> bytes | None:
        """Says why not."""
        raise MissingPicture(self.note)

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """Says why not."""
        raise MissingPicture(self.note)

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """Says why not."""
        raise MissingPicture(self.note)


class StorePictures:
    """The images of a store.

    Args:
        store: with the images.
        store_rows: row in the store of each galaxy, (N,) int; −1: it is not there. None: the same rows.
    """

    renders_fits = False

    def __init__(self, store: Store, store_rows: np.ndarray | None = None) -> None:
        self.store, self.store_rows = store, store_rows
        self.images = store.images.view(np.ndarray)  # views of np.memmap are slow
        self.note = f"images of the store {store.path.name}"
        self.pixel_scale = store.meta.pixel_scale

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`Pictures`; a store's images have their stretch already."""
        return picture_of(self._image(place), self.store.pictures.shown)

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """See :class:`Pictures`."""
        order = order_of(self.store.meta.bands, bands, f"the store {self.store.path.name}")
        return np.ascontiguousarray(self._image(place)[:, :, order])

    def _image(self, place: Place) -> np.ndarray:
        row = place.row if self.store_rows is None else int(self.store_rows[place.row])
        if not 0 <= row < len(self.images):
            raise MissingPicture(f"the store {self.store.path.name} has no galaxy '{place.id}'")
        return np.asarray(self.images[row])

    def content(self, place: Place) -> bytes | None:
        """None: a store has pixels."""
        return None


class FilePictures:
    """Image files below one folder, by their names in the column ``source``.

    Args:
        folder: names are relative to it, and nothing outside it is read.
        rendering: of FITS images.
    """

    pixel_scale = None
    renders_fits = True

    def __init__(self, folder: Path, rendering: Rendering | None = None) -> None:
        self.folder, self.rendering = folder, rendering or Rendering()
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
        path, name = self._image_file(place), place.source
        how = self.rendering
        with half_scale_for(least):
            return rendered(
                lambda kind: read_image(path, name=name, stretch=kind, bands=how.bands), how, stretch, name
            )

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """See :class:`Pictures`."""
        path = self._image_file(place)
        if not self.rendering.planes:
            raise only_pictures(str(self.folder), bands)
        return read_image(path, name=place.source, stretch=self.rendering.stretch, bands=self.rendering.bands)

    def _image_file(self, place: Place) -> Path:
        path = self.path_of(place.source)
        if not is_image_name(path.name):
            raise MissingPicture(f"{place.source} is not an image file")
        return path

    def content(self, place: Place) -> bytes | None:
        """The file."""
        try:
            return self.path_of(place.source).read_bytes()
        except OSError as error:
            raise MorphoscopeError(f"{place.source}: cannot be read ({reason_of(error)})") from error


def rendered(read: Callable[[str], np.ndarray], how: Rendering, asked: str, name: str) -> np.ndarray:
    """A picture of an image that a catalogue took as a picture, or as a plane for each band.

    Args:
        read: reads it with a stretch.
        how: how the catalogue's images were read.
        asked: another stretch for FITS images; empty: as the catalogue says.
        name: of the image, for messages.

    Returns:
        (H, W, 3) uint8.
    """
    if not how.planes:
        return read(asked or how.stretch)
    image_HWC = read(VALUES if asked else how.stretch)
    if not asked or image_HWC.dtype == np.uint8:  # a JPEG has no other stretch
        return picture_of(image_HWC, how.chosen)
    shown = how.chosen or shown_planes(image_HWC.shape[2])
    return stretched([image_HWC[:, :, plane] for plane in shown], asked, name=name)


def half_scale_for(least: int) -> AbstractContextManager[HalfScale]:
    """Lets JPEGs be decoded at half scale where they stay at least so large, pixels; 0: never."""
    return half_scale(lambda height, width: least > 0 and min(height, width) >= 2 * least)


def rows_of_ids(wanted: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray | None:
    """Where ids are among others, (N,) int64, −1 where nowhere; None: at the same places, all of them.

    Of an id that is known several times the first place counts.
    """
    wanted, known = wanted.cast(pa.string()), known.cast(pa.string())
    if len(wanted) == len(known) and wanted.equals(known):
        return None
    found = pc.index_in(wanted, value_set=known.combine_chunks())
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def only_place(wanted: pa.ChunkedArray, names: pa.ChunkedArray) -> np.ndarray:
    """Where texts are among names, (N,) int64; −1: nowhere, or at several places, of which none is sure."""
    coded = names.combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    codes = coded.indices.fill_null(0).to_numpy()
    times = np.bincount(codes, minlength=max(1, len(coded.dictionary)))
    first = np.zeros(len(times), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    found = pc.fill_null(pc.index_in(wanted, value_set=coded.dictionary, skip_nulls=True), -1).to_numpy()
    sure = (found >= 0) & (times[found] == 1)
    return np.where(sure, first[found], -1)


def some_of(*columns: pa.ChunkedArray) -> str:
    """The first two names of the first column that has any, for messages."""
    for column in columns:
        names = [str(each) for each in pc.unique(column.slice(0, 1000)).to_pylist() if each][:2]
        if names:
            return " and ".join(f"'{name}'" for name in names)
    return "none"


class GlobPictures(FilePictures):
    """Sources as a glob found them: they begin with the folder."""

    def path_of(self, source: str) -> Path:
        """See :class:`FilePictures`."""
        path = Path(source)
        if path.is_relative_to(self.folder):
            source = str(path.relative_to(self.folder))
        return super().path_of(source)
