"""Plain FITS images read without astropy: one image, uncompressed, every card as the standard writes it.

Most cutouts are like that, and astropy's general reading of their headers costs more than all other work on
them and cannot run in two threads at once. Whatever is not plain (further parts, long strings, HIERARCH,
repeated keywords, cards that bend the standard, files that end early) is left to astropy, so that there is
one judge of what a file means.

Headers of FITS files before astropy sees them: it would count up to any number of axes or columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from morphoscope.errors import MorphoscopeError

_BLOCK, _CARD = 2880, 80  # bytes (FITS standard 4.0, 3.1 and 4.1)
_MOST_PLAIN_BLOCKS = 200  # in a header; longer ones are left to astropy
_END = "END" + " " * 77
_TYPES = {"8": "u1", "16": ">i2", "32": ">i4", "64": ">i8", "-32": ">f4", "-64": ">f8"}
_COMMENTARY = frozenset(("COMMENT", "HISTORY", ""))
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_ELSEWHERE = frozenset(("CONTINUE", "HIERARCH", "XTENSION", "GROUPS", "BLOCKED", "ZNAXIS", "TFIELDS"))
# A value (4.2), perhaps followed by a comment: quoted text, a logical value, an integer, or another number.
_VALUE = re.compile(
    r" *(?:'(?P<text>(?:[^']|'')*)'|(?P<logical>[TF])|(?P<whole>[+-]?\d{1,18})"
    r"|(?P<number>[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[ED]))(?:[ED][+-]?\d{1,3})?)) *(?:/.*)?"
)


@dataclass(frozen=True)
class PlainCard:
    """One card of a header: its keyword; ``str`` gives all 80 characters."""

    keyword: str
    text: str

    @property
    def value(self) -> Any:
        """Its value: text, a logical value or a number."""
        return _value_of(self.text)

    def __str__(self) -> str:
        return self.text


class PlainHeader:
    """The cards of a plain header, with the part of astropy's interface that reading images needs."""

    def __init__(self, cards: dict[str, str]) -> None:
        self._cards = cards
        self._values: dict[str, Any] = {}

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._cards

    def __getitem__(self, keyword: str) -> Any:
        if keyword not in self._values:
            self._values[keyword] = _value_of(self._cards[keyword])
        return self._values[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def get(self, keyword: str, default: Any = None) -> Any:
        """A card's value, or ``default``."""
        return default if keyword not in self._cards else self[keyword]

    @property
    def cards(self) -> Iterator[PlainCard]:
        """All cards with a value, in file order."""
        return (PlainCard(keyword, text) for keyword, text in self._cards.items())


@dataclass(frozen=True)
class PlainImage:
    """The single image of a file, with what is needed of astropy's ``PrimaryHDU`` interface.

    Attributes:
        header: its cards.
        data: the pixels as stored, in the file's byte order, not scaled; a view of the file's content.
    """

    header: PlainHeader
    data: np.ndarray
    is_image: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the pixels, rows before columns."""
        return self.data.shape


def plain_image(content: bytes) -> PlainImage | None:
    """The image of a plain FITS file; None if astropy must read it.

    Args:
        content: the file, not compressed.
    """
    cards, length = _cards_of(content)
    if cards is None:
        return None
    first = ("SIMPLE", "BITPIX", "NAXIS")
    stored = {keyword: cards.get(keyword, "")[10:].split("/")[0].strip() for keyword in first}
    if stored["SIMPLE"] != "T" or stored["BITPIX"] not in _TYPES or stored["NAXIS"] not in ("2", "3"):
        return None
    sides = [
        cards.get(f"NAXIS{axis}", "")[10:].split("/")[0].strip()
        for axis in range(int(stored["NAXIS"]), 0, -1)
    ]
    if not all(side.isdigit() and 0 < len(side) < 7 for side in sides):
        return None
    shape, kind = tuple(map(int, sides)), np.dtype(_TYPES[stored["BITPIX"]])
    count = int(np.prod(shape, dtype=object))
    end = length + count * kind.itemsize
    padded = -(-end // _BLOCK) * _BLOCK
    if not count or len(content) < end or len(content) > padded:
        return None
    data = np.frombuffer(content, kind, count, length).reshape(shape)
    return PlainImage(PlainHeader(cards), data)


def _cards_of(content: bytes) -> tuple[dict[str, str] | None, int]:
    """The cards with values by keyword, and the header's length; None if one of them is not plain."""
    cards: dict[str, str] = {}
    for block in range(_MOST_PLAIN_BLOCKS):
        raw = content[block * _BLOCK : (block + 1) * _BLOCK]
        if len(raw) < _BLOCK or not raw.isascii():
            return None, 0
        text = raw.decode("ascii")
        for at in range(0, _BLOCK, _CARD):
            keyword, card = text[at : at + 8].rstrip(), text[at : at + _CARD]
            if card[8:10] == "= ":
                if (
                    keyword in cards
                    or keyword in _ELSEWHERE
                    or not _KEYWORD.fullmatch(keyword)
                    or not _VALUE.fullmatch(card, 10)
                    or not card.isprintable()
                ):
                    return None, 0
                cards[keyword] = card
            elif card == _END:
                return (cards, (block + 1) * _BLOCK) if not text[at + _CARD :].strip() else (None, 0)
            elif keyword not in _COMMENTARY:
                return None, 0
    return None, 0


def _value_of(card: str) -> Any:
    """The value of a plain card."""
    found = _VALUE.fullmatch(card, 10)
    assert found is not None
    if (text := found["text"]) is not None:
        return text.replace("''", "'").rstrip()
    if (logical := found["logical"]) is not None:
        return logical == "T"
    if (whole := found["whole"]) is not None:
        return int(whole)
    return float(found["number"].replace("D", "E"))


FITS_START = b"SIMPLE  ="
_HEADERS, _END_BYTES = (FITS_START, b"XTENSION="), b"END" + b" " * 77
_COUNTS, _MOST_COUNTED = (b"NAXIS   =", b"ZNAXIS  =", b"TFIELDS ="), 999  # FITS standard 4.0, 4.4.1
_SIZES = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= +(-?\d+)")
_PARAMETER = re.compile(rb"ZNAME(\d+) *= *'(\w+) *'")
_PARAMETER_VALUE = re.compile(rb"ZVAL(\d+) *= *([+-]?\d+)")
_PARAMETERS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}  # FITS standard 4.0, 10.4.1
_MOST_BLOCKS = 1000  # of a header; 999 columns with ten cards each are 278


def check_counts(content: bytes, name: str) -> None:
    """Refuse more axes or columns than the standard allows, since astropy would count up to any number,
    headers that it would read for minutes, and negative sizes, by which it would go back for ever.
    """
    firsts, end = np.frombuffer(content, np.uint8)[::_BLOCK], 0  # headers begin with S or X
    for start in (np.flatnonzero((firsts == ord("S")) | (firsts == ord("X"))) * _BLOCK).tolist():
        if start < end or not content.startswith(_HEADERS, start):
            continue
        end = content.find(_END_BYTES, start)
        if (end if end >= 0 else len(content)) - start > _MOST_BLOCKS * _BLOCK:
            raise _too_long(name)
        if end < 0:
            return  # no complete header follows
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
    counted = (b"NAXIS", b"PCOUNT", b"GCOUNT") if header.startswith(b"XTENSION") else (b"NAXIS",)
    for found in _SIZES.finditer(header):
        if found.start() % _CARD == 0 and found[1].startswith(counted) and found[2].startswith(b"-"):
            said = f"{found[1].decode()} = {found[2][:20].decode()}"
            raise MorphoscopeError(f"{name}: is damaged ({said}; no negative number was expected)")
    _check_compression(header, name)


def _check_compression(header: bytes, name: str) -> None:
    """Refuse parameters of tile compression that the decoders do not check."""
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
    """The same checks for a FITS file of any size, before astropy opens it; only its headers are read.

    Raises:
        MorphoscopeError: there are more axes or columns than the standard allows, or a header has no end.
    """
    with open(path, "rb") as stream:
        while (header := _next_header(stream, str(path))) is not None:
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


def _too_long(name: str) -> MorphoscopeError:
    return MorphoscopeError(f"{name}: is damaged (a header of more than {_MOST_BLOCKS * _BLOCK:,} bytes)")


def _next_header(stream: IO[bytes], name: str) -> bytes | None:
    """The blocks of a header up to END; None if no header begins here, or it has no END."""
    header = stream.read(_BLOCK)
    if not header.startswith(_HEADERS):
        return None
    for _ in range(_MOST_BLOCKS):
        if any(header.startswith(_END_BYTES, at) for at in range(len(header) - _BLOCK, len(header), _CARD)):
            return header
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            return None
        header += block
    raise _too_long(name)
