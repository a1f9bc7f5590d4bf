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
    is_folder,
    is_packed_tar,
    iterate_tar,
    read_member,
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
    galaxy: _Galaxy | None = None
    within = _Archive(path.name, stretch, tuple(bands))
    try:
        for name, content in _members(path):
            key, kind = _key_and_kind(name, bands)
            if not kind:
                continue
            if galaxy is None or galaxy.key != key or kind in galaxy.members:
                if galaxy is not None:
                    yield from galaxy.items(within)
                galaxy = _Galaxy(key, {}, {})
            galaxy.members[kind], galaxy.names[kind] = content, name
    except CutOff as error:
        if galaxy is not None:
            yield from galaxy.items(within)
        yield Item(path.name, partial(_fail, str(error)), {"id": f"{path.name} (rest)"})
        return
    if galaxy is not None:
        yield from galaxy.items(within)


@dataclass(frozen=True)
class _Archive:
    """Settings shared by all galaxies of an archive."""

    name: str
    stretch: str
    bands: tuple[str, ...]


@dataclass
class _Galaxy:
    """Members of an archive with one key, by kind: "json", or the suffix of an image."""

    key: str
    members: dict[str, Content]
    names: dict[str, str]

    def items(self, within: _Archive) -> Iterator[Item]:
        """One item, or none if no member is an image; several images with one key are several galaxies."""
        described = self.members.pop("json", None)
        row = {"id": self.key} | ({} if described is None else _described(described))
        if within.bands and (files := self._by_band(within.bands)):
            source, found = f"{within.name}/{self.key}", {}
            yield Item(source, partial(_load_bands, files, source, within, found), row, found)
            return
        for kind, content in self.members.items():
            source = f"{within.name}/{self.names[kind]}"
            alone = len(self.members) == 1
            same = row if alone else {**row, "id": self.names[kind]}
            found = {}
            yield Item(source, partial(_load, content, source, within, found), same, found)

    def _by_band(self, bands: tuple[str, ...]) -> list[Content | str]:
        """Each band's member, reddest first, or the name of a band without one; empty if none has any."""
        found = {band_label(kind.split(".")[0]): content for kind, content in self.members.items()}
        if not any(band_label(band) in found for band in bands):
            return []
        return [found.get(band_label(bands[band]), bands[band]) for band in reddest_first(bands)]


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
        yield writable(member.filename), partial(_unzipped, archive, member)


def _unzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return read_member(archive, member)
    except READ_ERRORS as error:
        raise MorphoscopeError(f"is damaged ({reason_of(error)})") from error


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


def _load(content: Content, source: str, within: _Archive, found: dict[str, Any]) -> np.ndarray:
    held = _content(content, source)
    return read_image(held, name=source, stretch=within.stretch, bands=within.bands, found=found)


def _load_bands(
    files: list[Content | str], source: str, within: _Archive, found: dict[str, Any]
) -> np.ndarray:
    for file in files:
        if isinstance(file, str):
            raise MorphoscopeError(f"{source}: has no member for the band {file}")
    contents = [_content(file, source) for file in files if not isinstance(file, str)]
    names = [within.bands[band] for band in reddest_first(within.bands)]
    return read_bands(contents, name=source, stretch=within.stretch, bands=names, found=found)


def _content(content: Content, source: str) -> bytes:
    try:
        return content()
    except MorphoscopeError as error:
        raise MorphoscopeError(f"{source}: {error}") from error


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
