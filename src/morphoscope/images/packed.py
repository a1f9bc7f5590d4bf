"""Compression of whole files, recognised by their first bytes and not by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from morphoscope.errors import MorphoscopeError
from morphoscope.images.limits import most_unpacked, unpacks_too_far


@dataclass(frozen=True)
class Packing:
    """A compression format.

    Attributes:
        program: its name in messages.
        start: first bytes of its files.
        endings: usual suffixes.
        open: opens the decompressed content of a file, given by path or content.
    """

    program: str
    start: bytes
    endings: tuple[str, ...]
    open: Callable[[Path | IO[bytes]], Any]


def _bzip2(source: Path | IO[bytes]) -> Any:
    return bz2.open(source)


def _zstandard(source: Path | IO[bytes]) -> Any:
    if isinstance(source, Path):
        return pa.input_stream(str(source), compression="zstd")
    return pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd")


def _single_member(source: Path | IO[bytes]) -> Any:
    with zipfile.ZipFile(source) as archive:  # the file stays open as long as its member does
        members = [member for member in archive.infolist() if not member.filename.endswith("/")]
        if len(members) != 1:
            raise MorphoscopeError(f"is a zip file of {len(members)} files; one was expected here")
        return archive.open(members[0])


def _unix_compress(source: Path | IO[bytes]) -> Any:
    try:
        import uncompresspy  # pyright: ignore[reportMissingImports]  # astropy's choice as well
    except ModuleNotFoundError as error:
        raise MorphoscopeError(
            "is compressed with compress (.Z), which is read where the package uncompresspy is installed; "
            "install it, or unpack the file"
        ) from error
    return uncompresspy.LZWFile(source, mode="rb")


PACKINGS = (
    Packing("gzip", b"\x1f\x8b", (".gz",), gzip.open),
    Packing("bzip2", b"BZh", (".bz2",), _bzip2),
    Packing("xz", b"\xfd7zXZ\x00", (".xz",), lzma.open),
    Packing("lzma", b"\x5d\x00\x00", (".lzma",), lzma.open),
    Packing("Zstandard", b"\x28\xb5\x2f\xfd", (".zst",), _zstandard),
    Packing("zip", b"PK\x03\x04", (".zip",), _single_member),
    Packing("compress", b"\x1f\x9d", (".z",), _unix_compress),
)
STARTS = tuple(packing.start for packing in PACKINGS)
_LONGEST_START = max(map(len, STARTS))
ENDINGS = tuple(ending for packing in PACKINGS for ending in packing.endings)
# Exceptions from decompressing a damaged file.
DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error)


def packing_of(start: bytes) -> Packing | None:
    """The compression of a file by its first bytes; None if there is none, or it is unknown."""
    return next((packing for packing in PACKINGS if start.startswith(packing.start)), None)


def opened(source: Path | bytes) -> Any:
    """Open a file for reading, decompressed if necessary.

    Raises:
        MorphoscopeError: it is a zip file of several files, or needs a package that is not installed.
    """
    if isinstance(source, bytes):
        packing = packing_of(source)
        return io.BytesIO(source) if packing is None else packing.open(io.BytesIO(source))
    with open(source, "rb") as file:
        packing = packing_of(file.read(_LONGEST_START))
    try:
        if packing is None:
            return open(source, "rb")
        return io.BufferedReader(_Unpacked(packing.open(source), source), 1 << 16)
    except MorphoscopeError as error:
        raise MorphoscopeError(f"{source}: {error}") from error


class _Unpacked(io.RawIOBase):
    """A stream of decompressed content; reading raises a MorphoscopeError beyond the limit for tables."""

    def __init__(self, stream: Any, source: Path) -> None:
        self._stream, self._source = stream, source
        self._left = most_unpacked(source.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        self._left -= len(piece)
        if self._left < 0:
            raise MorphoscopeError(f"{self._source}: {unpacks_too_far()}")
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


_PIECE = 1 << 20


def read_up_to(stream: Any, most: int) -> bytes:
    """What is left of an unpacked file, or little more than ``most`` bytes of it.

    In pieces: a reader may take as much memory as it is asked for, however little there is.
    """
    pieces, taken = [], 0
    while taken <= most and (piece := stream.read(_PIECE)):
        pieces.append(piece)
        taken += len(piece)
    return b"".join(pieces)


def bare_ending(name: str) -> str:
    """A name without a compression suffix: ``a.csv.gz`` becomes ``a.csv``."""
    return next((name[: -len(end)] for end in ENDINGS if name.lower().endswith(end)), name)
