"""Tar archives from the first to the last member, in constant memory."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from morphoscope.errors import MorphoscopeError, UsageError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_READ_ERRORS = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


class CutOff(MorphoscopeError):
    """An archive ends too early, or is damaged from some place on; what came before is whole."""


def iterate_tar(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and content of every file in a tar archive, compressed or not.

    The content of a plain tar is read when it is asked for, in any thread; of a compressed one it is in
    memory already, and is let go with the function.

    Raises:
        CutOff: the archive ends too early; said after all members that are whole.
        UsageError: there is no such file.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(6).startswith(_PACKED)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); a tar archive was expected") from error
    size, whole = path.stat().st_size, 0
    try:
        with tarfile.open(path, "r|*" if packed else "r:") as archive:
            while (member := archive.next()) is not None:
                setattr(archive, "members", [])  # noqa: B010 - tarfile keeps every member it has seen
                if not member.isfile():
                    continue
                if not packed:
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                    content = partial(_read, path, member.offset_data, member.size)
                else:
                    stream = archive.extractfile(member)
                    data = b"" if stream is None else stream.read()
                    if len(data) < member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    content = partial(bytes, data)
                whole += 1
                yield member.name.removeprefix("./"), content
        if not packed and size % tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of a header")
    except _READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        after = f" after {whole} whole files" if whole else ""
        raise CutOff(f"{path.name}: is cut off or damaged{after} ({reason}); get it again") from error


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            content = file.read(size)
    except OSError as error:
        raise MorphoscopeError(f"cannot be read ({error.strerror})") from error
    if len(content) < size:
        raise MorphoscopeError("is cut off")
    return content
