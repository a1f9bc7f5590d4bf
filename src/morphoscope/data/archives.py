"""Files in a folder or in a zip file, read where they lie: nothing is unpacked."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Protocol

from morphoscope.errors import MorphoscopeError

READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Files(Protocol):
    """Named files, in the order in which they are read fastest."""

    label: str
    names: list[str]

    def content(self, name: str) -> Path | bytes:
        """A file as :func:`morphoscope.data.images.read_image` takes it."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A file to read from, for instance a zip file in here."""
        ...

    def close(self) -> None:
        """Let go of open files."""
        ...


class Folder:
    """The files of a folder and of some folders inside it.

    Args:
        path: the folder.
        inside: folders inside it to look into, too.
    """

    def __init__(self, path: Path, inside: tuple[str, ...] = ()) -> None:
        self.path, self.label = path, str(path)
        self.names: list[str] = []
        for inner in ("", *inside):
            place = path / inner
            if place.is_dir():
                files = sorted(entry.name for entry in os.scandir(place) if entry.is_file())
                self.names += [f"{inner}/{name}" if inner else name for name in files]

    def content(self, name: str) -> Path:
        """The path of a file, so that the worker that decodes it reads it, too."""
        return self.path / name

    def open(self, name: str) -> IO[bytes]:
        """A file to read from."""
        return open(self.path / name, "rb")

    def close(self) -> None:
        """Nothing is kept open."""


class Zip:
    """The files in a zip file, which may itself lie in a zip file.

    Args:
        file: the zip file, open for reading; it is closed with this object.
        label: what messages call it.

    Raises:
        MorphoscopeError: cut off, or no zip file.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        self.label = label
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (*READ_ERRORS, OSError) as error:
            file.close()
            raise MorphoscopeError(
                f"{label}: is cut off or no zip file ({error}); download it again"
            ) from error
        # In the order of their places: a zip inside a compressed zip can only be read forwards.
        members = sorted(self._zip.infolist(), key=lambda member: member.header_offset)
        self.names = [member.filename for member in members if not member.is_dir()]

    def content(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            MorphoscopeError: this part of the zip file is damaged.
        """
        try:
            return self._zip.read(name)
        except (*READ_ERRORS, OSError) as error:
            raise MorphoscopeError(f"{self.label}/{name}: is damaged ({error})") from error

    def open(self, name: str) -> IO[bytes]:
        """A file to read from."""
        return self._zip.open(name)

    def close(self) -> None:
        """Let go of the zip file."""
        self._zip.close()
        self._file.close()


def open_files(path: Path, inside: tuple[str, ...] = ()) -> Folder | Zip:
    """A folder or a zip file by its path.

    Raises:
        MorphoscopeError: it is neither.
    """
    if path.is_dir():
        return Folder(path, inside)
    if path.is_file():
        return Zip(open(path, "rb"), str(path))
    raise MorphoscopeError(f"{path}: no such folder or zip file")
