"""Plain FITS images read without astropy: one image, uncompressed, every card as the standard writes it.

Most cutouts are like that, and astropy's general reading of their headers costs more than all other work on
them and cannot run in two threads at once. Whatever is not plain (further parts, long strings, HIERARCH,
repeated keywords, cards that bend the standard, files that end early) is left to astropy, so that there is
one judge of what a file means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_BLOCK, _CARD = 2880, 80  # bytes (FITS standard 4.0, 3.1 and 4.1)
_MOST_BLOCKS = 200  # of a header; longer ones are left to astropy
_END = "END" + " " * 77
_TYPES = {"8": "u1", "16": ">i2", "32": ">i4", "64": ">i8", "-32": ">f4", "-64": ">f8"}
_COMMENTARY = frozenset(("COMMENT", "HISTORY", ""))
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_ELSEWHERE = frozenset(("CONTINUE", "HIERARCH", "XTENSION", "GROUPS", "BLOCKED", "ZNAXIS", "TFIELDS"))
# Value, then perhaps a comment (4.2): text in quotes, a logical value, a whole number, or another number.
_VALUE = re.compile(
    r" *(?:'(?P<text>(?:[^']|'')*)'|(?P<logical>[TF])|(?P<whole>[+-]?\d{1,18})"
    r"|(?P<number>[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[ED]))(?:[ED][+-]?\d{1,3})?)) *(?:/.*)?"
)


@dataclass(frozen=True)
class PlainCard:
    """One card of a header: its keyword, and ``str`` gives all 80 characters."""

    keyword: str
    text: str

    @property
    def value(self) -> Any:
        """What it says: text, a logical value or a number."""
        return _value_of(self.text)

    def __str__(self) -> str:
        return self.text


class PlainHeader:
    """The cards of a plain header, with the part of astropy's interface by which images are understood."""

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
        """A card's value, ``default`` where there is none."""
        return default if keyword not in self._cards else self[keyword]

    @property
    def cards(self) -> Iterator[PlainCard]:
        """All cards with a value, in the order of the file."""
        return (PlainCard(keyword, text) for keyword, text in self._cards.items())


@dataclass(frozen=True)
class PlainImage:
    """The one image of a file, with what is used of astropy's ``PrimaryHDU``.

    Attributes:
        header: its cards.
        data: the pixels as stored, in the file's byte order and not scaled; a view of the file's content.
    """

    header: PlainHeader
    data: np.ndarray
    is_image: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels, rows before columns."""
        return self.data.shape


def plain_image(content: bytes) -> PlainImage | None:
    """The image of a plain FITS file; None for a file that astropy must read.

    Args:
        content: the file, not compressed.
    """
    cards, length = _cards_of(content)
    if cards is None:
        return None
    stored = {keyword: cards.get(keyword, "")[10:].split("/")[0].strip() for keyword in ("BITPIX", "NAXIS")}
    if stored["BITPIX"] not in _TYPES or stored["NAXIS"] not in ("2", "3"):
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
    for block in range(_MOST_BLOCKS):
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
    """The value of a card that is plain."""
    found = _VALUE.fullmatch(card, 10)
    assert found is not None
    if (text := found["text"]) is not None:
        return text.replace("''", "'").rstrip()
    if (logical := found["logical"]) is not None:
        return logical == "T"
    if (whole := found["whole"]) is not None:
        return int(whole)
    return float(found["number"].replace("D", "E"))
