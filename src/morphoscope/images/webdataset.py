"""Images in tar and zip archives, read without unpacking: plain archives and WebDataset shards.

Consecutive members with the same key are one galaxy, as in WebDataset: ``000017.jpg`` with ``000017.json``.
The key is the member's path without its suffix, and without a band before the suffix of a FITS member
(``000017.g.fits``). The JSON may have ``id``, ``ra`` and ``dec`` under any name that tables use.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.archives import (
    READ_ERRORS,
    TAR_SUFFIXES,
    CutOff,
    ZipMember,
    is_folder,
    is_packed_tar,
    iterate_tar,
)
from morphoscope.images.bands import band_label, reddest_first
from morphoscope.images.decode import FITS_SUFFIXES, IMAGE_SUFFIXES, is_fits_name, is_image_name, read_image
from morphoscope.images.file_names import writable
from morphoscope.images.fits import read_bands
from morphoscope.images.known_columns import ID_NAMES, found_column
from morphoscope.images.sky_columns import position_of
from morphoscope.images.stream import Item
from morphoscope.images.tables import as_name

ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
_MIDDLE = ("image", "img", "rgb")  # before the suffix, as in 000017.image.jpg: not part of the key
Content = Callable[[], bytes]


def is_archive_name(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) and not Path(name).name.startswith(".")


def archive_items(path: Path, *, stretch: str, bands: Sequence[str] = ()) -> Iterator[Item]:
    """The galaxies of an archive, in file order.

    Nothing is unpacked to disk. For a plain tar or a zip, only the list of members is read here, and the
    images in :meth:`Item.load`; a compressed tar is read sequentially.

    Args:
        path: .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip.
        stretch: for FITS images.
        bands: bands to read from FITS images, or from one FITS member per band.

    Yields:
        Items with the row ``id`` (from the JSON, or else the member's path without suffix), and ``ra`` and
        ``dec`` in degrees if the JSON has them. If an archive is truncated, loading the last item raises
        the error.

    Raises:
        UsageError: it is not an archive.
    """
    try:
        for galaxy in archive_galaxies(path, bands):
            found: dict[str, Any] = {}
            load = partial(galaxy.image, stretch=stretch, bands=tuple(bands), found=found)
            yield Item(galaxy.source, load, galaxy.row, found)
    except CutOff as error:
        yield Item(path.name, partial(_fail, str(error)), {"id": f"{path.name} (rest)"})


@dataclass(frozen=True)
class ArchiveGalaxy:
    """A galaxy of an archive.

    Attributes:
        source: the archive's name and the member's, or with one member per band the key.
        row: ``id``, and ``ra`` and ``dec`` in degrees if the JSON has them.
        members: the image; or one per band, reddest first, where a text names a band that has none.
        per_band: each member is one band.
    """

    source: str
    row: dict[str, Any]
    members: tuple[Content | str, ...]
    per_band: bool = False

    def image(
        self, *, stretch: str, bands: Sequence[str] = (), found: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Its picture, (H, W, 3) uint8.

        Args:
            stretch: for FITS images.
            bands: to read from a FITS image, or those of the members.
            found: gets what is found out about the image.

        Raises:
            MorphoscopeError: a band is missing, or the image is damaged.
        """
        contents = []
        for member in self.members:
            if isinstance(member, str):
                raise MorphoscopeError(f"{self.source}: has no member for the band {member}")
            try:
                contents.append(member())
            except MorphoscopeError as error:
                raise MorphoscopeError(f"{self.source}: {error}") from error
        if self.per_band:
            names = [bands[band] for band in reddest_first(bands)]
            return read_bands(contents, name=self.source, stretch=stretch, bands=names, found=found)
        return read_image(contents[0], name=self.source, stretch=stretch, bands=tuple(bands), found=found)


def archive_galaxies(path: Path, bands: Sequence[str] = ()) -> Iterator[ArchiveGalaxy]:
    """The galaxies of an archive, in file order; no image is read, except in a compressed tar.

    Raises:
        CutOff: the archive ends too early; raised after all whole galaxies.
        UsageError: it is not an archive.
    """
    group: _Group | None = None
    try:
        for name, content in _members(path):
            key, kind = _key_and_kind(name, bands)
            if not kind:
                continue
            if group is None or group.key != key or kind in group.members:
                if group is not None:
                    yield from group.galaxies(path.name, tuple(bands))
                group = _Group(key, {}, {})
            group.members[kind], group.names[kind] = content, name
    except CutOff:
        if group is not None:
            yield from group.galaxies(path.name, tuple(bands))
        raise
    if group is not None:
        yield from group.galaxies(path.name, tuple(bands))


@dataclass
class _Group:
    """Members of an archive with one key, by kind: "json", or the suffix of an image."""

    key: str
    members: dict[str, Content]
    names: dict[str, str]

    def galaxies(self, archive: str, bands: tuple[str, ...]) -> Iterator[ArchiveGalaxy]:
        """One, or none if no member is an image; several images with one key are several galaxies."""
        described = self.members.pop("json", None)
        row = {"id": self.key} | ({} if described is None else _described(described))
        if bands and (files := self._by_band(bands)):
            yield ArchiveGalaxy(f"{archive}/{self.key}", row, files, per_band=True)
            return
        for kind, content in self.members.items():
            alone = len(self.members) == 1
            same = row if alone else {**row, "id": self.names[kind]}
            yield ArchiveGalaxy(f"{archive}/{self.names[kind]}", same, (content,))

    def _by_band(self, bands: tuple[str, ...]) -> tuple[Content | str, ...]:
        """Each band's member, reddest first, or the name of a band without one; empty if none has any."""
        found = {band_label(kind.split(".")[0]): content for kind, content in self.members.items()}
        if not any(band_label(band) in found for band in bands):
            return ()
        return tuple(found.get(band_label(bands[band]), bands[band]) for band in reddest_first(bands))


def _members(path: Path) -> Iterator[tuple[str, Content]]:
    """Names and contents of an archive's files."""
    if not path.name.lower().endswith(".zip"):
        yield from iterate_tar(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except READ_ERRORS as error:
        raise CutOff(
            f"{path.name}: is truncated or not a zip file ({reason_of(error)}); download it again"
        ) from error
    # Kept open while members may still be loaded; reading is thread-safe.
    members = [member for member in archive.infolist() if not is_folder(member)]
    for member in sorted(members, key=lambda member: member.header_offset):
        yield writable(member.filename), ZipMember(archive, member)


def holds_fits_images(path: Path) -> bool:
    """Whether any member is FITS, by name; True if finding out would need decompressing everything."""
    try:
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                return any(map(is_fits_name, archive.namelist()))
        return is_packed_tar(path) or any(is_fits_name(name) for name, _ in iterate_tar(path))
    except (*READ_ERRORS, MorphoscopeError):  # reported when it is read
        return False


def _key_and_kind(name: str, bands: Sequence[str]) -> tuple[str, str]:
    """A member's key and kind: "json", ".jpg", "g.fits", …; an empty kind for anything else."""
    if Path(name).name.startswith(".") or name.startswith("__MACOSX"):
        return name, ""
    if name.lower().endswith(".json"):
        return name[: -len(".json")], "json"
    if not is_image_name(name):
        return name, ""
    ending = max((s for s in IMAGE_SUFFIXES + FITS_SUFFIXES if name.lower().endswith(s)), key=len)
    key = name[: -len(ending)]
    folder, _, last = key.rpartition("/")
    stem, dot, middle = last.rpartition(".")
    known = {*_MIDDLE, *(band_label(band) for band in bands)}
    if dot and stem and band_label(middle) in known:
        return (f"{folder}/{stem}" if folder else stem), middle.lower() + ending.lower()
    return key, ending.lower()


def _described(content: Content) -> dict[str, Any]:
    """Id and coordinates from a JSON member; missing or unknown entries are left out."""
    try:
        said = json.loads(content())
    except (ValueError, RecursionError, MorphoscopeError):
        return {}
    if not isinstance(said, dict):
        return {}
    named = {str(name): value for name, value in said.items() if isinstance(value, str | int | float)}
    names = list(named)
    found = (as_name(named[name]) for known in ID_NAMES if (name := found_column(names, (known,))))
    identity = next(filter(None, found), None)
    return ({} if identity is None else {"id": identity}) | position_of(named)


def _fail(reason: str) -> np.ndarray:
    raise MorphoscopeError(reason)


def expand_braces(pattern: str) -> list[str]:
    """Expand ``shard-{000..009}.tar`` to its names, in order; a pattern without braces is returned as it is.

    Raises:
        UsageError: the range runs backwards.
    """
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise UsageError(f"{pattern}: the numbers in braces run backwards; {{000..009}} was expected")
    width = len(found[1])
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [name for n in range(first, last + 1) for name in expand_braces(f"{before}{n:0{width}d}{after}")]
