"""Headers of FITS files before astropy sees them: it would count up to any number of axes or columns."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO

import numpy as np

from morphoscope.errors import MorphoscopeError

FITS_START = b"SIMPLE  ="
_HEADERS, _END = (FITS_START, b"XTENSION="), b"END" + b" " * 77
_BLOCK, _CARD = 2880, 80  # bytes
_COUNTS, _MOST_COUNTED = (b"NAXIS   =", b"ZNAXIS  =", b"TFIELDS ="), 999  # FITS standard 4.0, 4.4.1
_SIZES = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= +(-?\d+)")
_PARAMETER = re.compile(rb"ZNAME(\d+) *= *'(\w+) *'")
_PARAMETER_VALUE = re.compile(rb"ZVAL(\d+) *= *([+-]?\d+)")
_PARAMETERS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}  # FITS standard 4.0, 10.4.1
_MOST_BLOCKS = 1000  # of a header; 999 columns with ten cards each are 278


def check_counts(content: bytes, name: str) -> None:
    """Refuse numbers of axes and columns beyond the standard's, which astropy would count up to."""
    firsts, end = np.frombuffer(content, np.uint8)[::_BLOCK], 0  # headers begin with S or X
    for start in (np.flatnonzero((firsts == ord("S")) | (firsts == ord("X"))) * _BLOCK).tolist():
        if start < end or not content.startswith(_HEADERS, start):
            continue
        end = content.find(_END, start)
        if end < 0:
            return  # no header is whole from here on
        _check_header(content[start:end], name)


def _check_header(header: bytes, name: str) -> None:
    for keyword in _COUNTS:
        at = header.find(keyword)
        while at >= 0:
            value = header[at + len(keyword) : at + _CARD].split(b"/")[0].strip()
            if value.isdigit() and (len(value) > 20 or int(value) > _MOST_COUNTED):
                said = f"{keyword[:-1].decode().strip()} = {value[:20].decode()}"
                raise MorphoscopeError(f"{name}: is damaged ({said}; at most {_MOST_COUNTED} was expected)")
            at = header.find(keyword, at + 1)
    _check_compression(header, name)


def _check_compression(header: bytes, name: str) -> None:
    """Refuse parameters of a tiled compression that its decoders do not check themselves."""
    if b"ZCMPTYPE" not in header:
        return
    names = {number: word.decode() for number, word in _PARAMETER.findall(header)}
    for number, value in _PARAMETER_VALUE.findall(header):
        known = _PARAMETERS.get(names.get(number, ""))
        if known is not None and int(value[:20]) not in known:
            raise MorphoscopeError(
                f"{name}: is damaged ({names[number]} = {int(value[:20])}; one of "
                f"{', '.join(map(str, known))} was expected)"
            )


def check_headers(path: Path) -> None:
    """As for an image, before astropy opens a FITS file of any size: only its headers are read.

    Raises:
        MorphoscopeError: a number of axes or columns is beyond the standard's.
    """
    with open(path, "rb") as stream:
        while (header := _next_header(stream)) is not None:
            _check_header(header, str(path))
            found = {name: int(value) for name, value in _SIZES.findall(header) if len(value) < 16}
            sides = [found.get(b"NAXIS%d" % axis, 0) for axis in range(1, found.get(b"NAXIS", 0) + 1)]
            if sides and sides[0] == 0:  # random groups
                sides = sides[1:]
            pixels = math.prod(sides) if sides else 0
            groups, beside = found.get(b"GCOUNT", 1), found.get(b"PCOUNT", 0)
            size = abs(found.get(b"BITPIX", 8)) // 8 * groups * (beside + pixels)
            if not 0 <= size < 1 << 62:
                return
            stream.seek(-(-size // _BLOCK) * _BLOCK, 1)


def _next_header(stream: IO[bytes]) -> bytes | None:
    """The blocks of a header up to its END; None where none begins, or it does not end."""
    header = stream.read(_BLOCK)
    if not header.startswith(_HEADERS):
        return None
    for _ in range(_MOST_BLOCKS):
        if any(header.startswith(_END, at) for at in range(len(header) - _BLOCK, len(header), _CARD)):
            return header
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            return None
        header += block
    return None
