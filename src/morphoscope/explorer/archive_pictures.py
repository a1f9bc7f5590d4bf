"""Pictures inside tar and zip archives, such as WebDataset shards, and inside Galaxy10's HDF5 file.

Archives are read through once, when the explorer opens, for the places of their members; a picture is then
read where it lies. Sixteen bytes are kept for each galaxy and band, and of a zip its directory.
"""

from __future__ import annotations

import zipfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from morphoscope.data.sources.galaxy10 import Galaxy10Images
from morphoscope.errors import UsageError
from morphoscope.explorer.pictures import (
    Known,
    MissingPicture,
    Place,
    Rendering,
    half_scale_for,
    only_pictures,
    only_place,
    rendered,
    some_of,
)
from morphoscope.images.archives import CutOff, TarMember, ZipMember, is_packed_tar
from morphoscope.images.webdataset import ArchiveGalaxy, Content, archive_galaxies
from morphoscope.progress import note, track

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers

_BATCH = 1 << 16  # names that are kept as Python texts


class ArchivePictures:
    """The images in archives, by their names in the column ``source``, or else by their ids.

    Args:
        paths: the archives: tar without compression, or zip.
        known: ids and sources of the galaxies whose pictures are wanted.
        stretch: of FITS images.
        bands: of FITS images.

    Raises:
        UsageError: an archive is compressed as a whole, or none of the galaxies is in there.
    """

    pixel_scale = None
    renders_fits = True

    def __init__(self, paths: Sequence[Path], known: Known, rendering: Rendering | None = None) -> None:
        self.paths, self.rendering = tuple(paths), rendering or Rendering()
        self.label = paths[0].name if len(paths) == 1 else f"{len(paths)} archives"
        self.note = f"images in {self.label}"
        found = _Members(max(1, len(self.rendering.bands)))
        self._zips: dict[int, _Zip] = {}
        for number, galaxy in track(self._galaxies_there(), f"finding images in {self.label}", unit="images"):
            found.add(number, galaxy)
        sources, ids = found.names()
        bare = pc.replace_substring_regex(sources, pattern=r"^[^/]*/", replacement="")
        rows = np.full(len(known), -1)
        for wanted, names in ((known.sources, sources), (known.sources, bare), (known.ids, ids)):
            rows = np.where(rows >= 0, rows, only_place(wanted, names))
        if not (rows >= 0).any():
            raise UsageError(
                f"none of the galaxies' images is in {self.label}; names such as {some_of(sources)} are "
                f"there, and {some_of(known.sources, known.ids)} were looked for"
            )
        self.archive, self.starts, self.sizes, self.per_band = found.places(rows)

    def _galaxies_there(self) -> Iterator[tuple[int, ArchiveGalaxy]]:
        for number, path in enumerate(self.paths):
            if not path.name.lower().endswith(".zip") and is_packed_tar(path):
                raise UsageError(
                    f"{path.name} is compressed as a whole, so that no single image of it can be read; "
                    "decompress it to a .tar, and give that with --images"
                )
            try:
                for galaxy in archive_galaxies(path, self.rendering.bands):
                    yield number, galaxy
            except CutOff as error:
                note(f"{error}; images after that are not shown")

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`~morphoscope.explorer.pictures.Pictures`."""
        galaxy = self._galaxy(place)
        with half_scale_for(least):
            return rendered(
                lambda kind: galaxy.image(stretch=kind, bands=self.rendering.bands),
                self.rendering,
                stretch,
                galaxy.source,
            )

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """See :class:`~morphoscope.explorer.pictures.Pictures`."""
        if not self.rendering.planes:
            raise only_pictures(self.label, bands)
        return self._galaxy(place).image(stretch=self.rendering.stretch, bands=self.rendering.bands)

    def content(self, place: Place) -> bytes | None:
        """The image file itself; None if it has one per band."""
        members = self._galaxy(place).members
        return members[0]() if len(members) == 1 and not isinstance(members[0], str) else None

    def _galaxy(self, place: Place) -> ArchiveGalaxy:
        number = int(self.archive[place.row])
        if number < 0:
            raise MissingPicture(f"{self.label} has no image '{place.source or place.id}'")
        members: list[Content | str] = []
        for band, (start, size) in enumerate(zip(self.starts[place.row], self.sizes[place.row], strict=True)):
            if start < 0:
                if self.per_band[place.row]:
                    members.append(f"number {band + 1}")
                continue
            members.append(self._member(number, int(start), int(size)))
        name = place.source or place.id
        return ArchiveGalaxy(name, {}, tuple(members), bool(self.per_band[place.row]))

    def _member(self, number: int, start: int, size: int) -> Content:
        path = self.paths[number]
        if not path.name.lower().endswith(".zip"):
            return TarMember(path, start, size)
        if number not in self._zips:
            self._zips[number] = _Zip.of(path)
        return self._zips[number].member(start)


@dataclass(frozen=True)
class _Zip:
    archive: zipfile.ZipFile
    starts: np.ndarray
    infos: list[zipfile.ZipInfo]

    @classmethod
    def of(cls, path: Path) -> _Zip:
        archive = zipfile.ZipFile(path)
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        return cls(archive, np.array([info.header_offset for info in infos]), infos)

    def member(self, start: int) -> ZipMember:
        return ZipMember(self.archive, self.infos[int(np.searchsorted(self.starts, start))])


class _Members:
    """Names and places of an archive's images, in little memory.

    Args:
        bands: members that a galaxy may have.
    """

    def __init__(self, bands: int) -> None:
        self.bands = bands
        self._archive, self._start, self._size, self._per_band = (
            array("i"),
            array("q"),
            array("q"),
            array("b"),
        )
        self._names: list[tuple[str, str]] = []
        self._pieces: list[pa.Table] = []

    def add(self, archive: int, galaxy: ArchiveGalaxy) -> None:
        self._archive.append(archive)
        self._per_band.append(galaxy.per_band)
        members = (*galaxy.members, *("",) * (self.bands - len(galaxy.members)))
        for member in members[: self.bands]:
            start, size = -1, 0
            if isinstance(member, TarMember):
                start, size = member.start, member.size
            elif isinstance(member, ZipMember):
                start = member.member.header_offset
            self._start.append(start)
            self._size.append(size)
        self._names.append((galaxy.source, str(galaxy.row["id"])))
        if len(self._names) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        sources, ids = zip(*self._names, strict=True) if self._names else ((), ())
        text = pa.string()
        self._pieces.append(pa.table({"source": pa.array(sources, text), "id": pa.array(ids, text)}))
        self._names = []

    def names(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Sources and ids."""
        self._flush()
        table = pa.concat_tables(self._pieces)
        return table["source"], table["id"]

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the galaxies at these places (−1: nowhere): archive (N,), start, size (N, B), per band (N,)."""
        at, there = np.maximum(rows, 0), rows >= 0
        archive = np.where(there, np.frombuffer(self._archive, np.int32)[at], -1)
        shape = (len(self._archive), self.bands)
        start = np.frombuffer(self._start, np.int64).reshape(shape)[at]
        size = np.frombuffer(self._size, np.int64).reshape(shape)[at]
        return archive, start, size, np.frombuffer(self._per_band, np.int8)[at].astype(bool)


class H5Pictures:
    """The images of a file like Galaxy10_DECals.h5, of which a store was made.

    Args:
        path: the file.
        known: ids and sources of the galaxies: "Galaxy10_DECals.h5#17", or else "00017".

    Raises:
        MorphoscopeError: it is damaged, or of another layout.
        UsageError: none of the galaxies is in there.
    """

    renders_fits = False

    def __init__(self, path: Path, known: Known) -> None:
        self._file = Galaxy10Images(path)
        self.note, self.label = f"images in {path.name}", path.name
        self.pixel_scale = self._file.pixel_scale
        count = len(self._file)
        numbers = pc.extract_regex(known.sources, pattern=r"#(?P<n>\d{1,9})$")
        by_source = _integers(pc.struct_field(numbers, "n"))
        named = pc.extract_regex(known.ids, pattern=r"^(?P<n>\d{5,9})$")
        by_id = _integers(pc.struct_field(named, "n"))
        rows = np.where(by_source >= 0, by_source, by_id)
        self.rows = np.where(rows < count, rows, -1)
        if not (self.rows >= 0).any():
            raise UsageError(
                f"none of the galaxies' images is in {path.name}; ids such as 00017 were expected, and "
                f"{some_of(known.ids)} were looked for"
            )

    def load(self, place: Place, *, stretch: str = "", least: int = 0) -> np.ndarray:
        """See :class:`~morphoscope.explorer.pictures.Pictures`; these images have their stretch already."""
        row = int(self.rows[place.row])
        if row < 0:
            raise MissingPicture(f"{self.label} has no image of '{place.id}'")
        return self._file.image(row)

    def planes(self, place: Place, bands: Sequence[str]) -> np.ndarray:
        """None: there are pictures."""
        raise only_pictures(self.label, bands)

    def content(self, place: Place) -> bytes | None:
        """None: it has pixels, and no files."""
        return None


def _integers(texts: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.cast(texts, pa.int64()), -1).to_numpy()
