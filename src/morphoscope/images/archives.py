"""Files in folders, zip and tar archives, read in constant memory without unpacking."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol, Self

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.file_names import writable
from morphoscope.images.limits import most_bytes, too_many_bytes

# Exceptions from damaged, encrypted or unknown archives: zipfile passes on those of its decompressors.
READ_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, IndexError, OverflowError, OSError),
)


class Files(Protocol):
    """Named files, in the order that is fastest to read."""

    label: str
    names: list[str]

    def content(self, name: str) -> Path | bytes:
        """A file in a form that :func:`morphoscope.images.decode.read_image` accepts."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A file to read from, for instance a zip file in here."""
        ...

    def close(self) -> None:
        """Close open files."""
        ...


class Folder:
    """The files of a folder and of some folders inside it.

    Args:
        path: the folder.
        inside: subfolders to include.
    """

    def __init__(self, path: Path, inside: tuple[str, ...] = ()) -> None:
        self.path, self.label = path, str(path)
        self.names: list[str] = []
        for inner in ("", *inside):
            within = path / inner
            if within.is_dir():
                files = sorted(entry.name for entry in os.scandir(within) if entry.is_file())
                self.names += [f"{inner}/{name}" if inner else name for name in files]

    def content(self, name: str) -> Path:
        """The path of a file, so that the worker that decodes it also reads it."""
        return self.path / name

    def open(self, name: str) -> IO[bytes]:
        """A file to read from."""
        return open(self.path / name, "rb")

    def close(self) -> None:
        """Do nothing: no file is kept open."""


class Zip:
    """The files in a zip file, which may itself be in a zip file.

    Args:
        file: the zip file, open for reading; it is closed with this object.
        label: name used in messages.

    Raises:
        MorphoscopeError: it is truncated, or not a zip file.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        self.label = label
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except READ_ERRORS as error:
            file.close()
            raise MorphoscopeError(
                f"{label}: is truncated or not a zip file ({reason_of(error)}); download it again"
            ) from error
        # In file order: a zip inside a compressed zip can only be read forwards.
        members = sorted(self._zip.infolist(), key=lambda member: member.header_offset)
        self.names = [member.filename for member in members if not is_folder(member)]

    def content(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            MorphoscopeError: this part of the zip file is damaged.
        """
        try:
            return read_member(self._zip, self._zip.getinfo(name))
        except MorphoscopeError as error:
            raise MorphoscopeError(f"{self.label}/{name}: {error}") from error
        except READ_ERRORS as error:
            raise MorphoscopeError(f"{self.label}/{name}: is damaged ({reason_of(error)})") from error

    def open(self, name: str) -> IO[bytes]:
        """A file to read from.

        Raises:
            MorphoscopeError: this part of the zip file is damaged.
        """
        try:
            return self._zip.open(name)
        except READ_ERRORS as error:
            raise MorphoscopeError(f"{self.label}/{name}: is damaged ({reason_of(error)})") from error

    def close(self) -> None:
        """Close the zip file."""
        self._zip.close()
        self._file.close()


def is_folder(member: zipfile.ZipInfo) -> bool:
    """Whether a member of a zip file is a folder; zipfile's own ``is_dir`` fails where it has no name."""
    return member.filename.endswith("/")


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A file in a zip file; at most the declared size is unpacked.

    Raises:
        MorphoscopeError: it declares more than :func:`morphoscope.images.limits.most_bytes`.
    """
    if member.file_size > most_bytes():
        raise MorphoscopeError(too_many_bytes())
    with archive.open(member) as stream:
        return stream.read(member.file_size + 1)


def open_files(path: Path, inside: tuple[str, ...] = ()) -> Folder | Zip:
    """Open a folder or a zip file.

    Raises:
        MorphoscopeError: it is neither.
    """
    if path.is_dir():
        return Folder(path, inside)
    if path.is_file():
        return Zip(open(path, "rb"), str(path))
    raise MorphoscopeError(f"{path}: no such folder or zip file")


TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


_MOST_NAME = 1 << 20  # bytes of a tar header's name or of its records; they are read whole
_BEFORE_A_MEMBER = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class _BoundedTarInfo(tarfile.TarInfo):
    """A member of a tar archive whose name and records are refused by the size that they declare."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or (found.type in _BEFORE_A_MEMBER and found.size > _MOST_NAME):
            raise tarfile.ReadError(f"a header that declares {found.size} bytes")
        return found


class CutOff(MorphoscopeError):
    """An archive ends too early, or is damaged from some point on; members before it are intact."""


def iterate_tar(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and content of every file in a tar archive, compressed or not.

    Members of a plain tar are read on request, in any thread; those of a compressed one are already in
    memory, which is freed with the function.

    Raises:
        CutOff: the archive ends too early; raised after all intact members.
        UsageError: there is no such file.
    """
    packed = is_packed_tar(path)
    size, whole = path.stat().st_size, 0
    try:
        with tarfile.open(path, "r|*" if packed else "r:", tarinfo=_BoundedTarInfo) as archive:
            while (member := archive.next()) is not None:
                setattr(archive, "members", [])  # noqa: B010 - tarfile keeps every member it has seen
                if not member.isfile():
                    continue
                if member.size > most_bytes():
                    content = _refuse
                elif not packed:
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                    content = TarMember(path, member.offset_data, member.size)
                else:
                    stream = archive.extractfile(member)
                    data = b"" if stream is None else stream.read()
                    if len(data) < member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    content = partial(bytes, data)
                whole += 1
                yield writable(member.name.removeprefix("./")), content
        if not packed and size % tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of a header")
    except READ_ERRORS as error:
        reason = reason_of(error)
        after = f" after {whole} whole files" if whole else ""
        raise CutOff(f"{path.name}: is cut off or damaged{after} ({reason}); get it again") from error


def is_packed_tar(path: Path) -> bool:
    """Whether a tar archive is compressed.

    Raises:
        UsageError: there is no such file.
    """
    try:
        with open(path, "rb") as file:
            return file.read(6).startswith(_PACKED)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); a tar archive was expected") from error


def _refuse() -> bytes:
    raise MorphoscopeError(too_many_bytes())


@dataclass(frozen=True, slots=True)
class TarMember:
    """The content of a file in a tar archive that is not compressed: so many bytes from some place on."""

    path: Path
    start: int
    size: int

    def __call__(self) -> bytes:
        """The content.

        Raises:
            MorphoscopeError: the archive cannot be read, or has become shorter.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as error:
            raise MorphoscopeError(f"cannot be read ({error.strerror})") from error
        if len(content) < self.size:
            raise MorphoscopeError("is cut off")
        return content


@dataclass(frozen=True, slots=True)
class ZipMember:
    """The content of a file in an open zip archive."""

    archive: zipfile.ZipFile
    member: zipfile.ZipInfo

    def __call__(self) -> bytes:
        """The content.

        Raises:
            MorphoscopeError: this part of the archive is damaged.
        """
        try:
            return read_member(self.archive, self.member)
        except READ_ERRORS as error:
            raise MorphoscopeError(f"is damaged ({reason_of(error)})") from error
