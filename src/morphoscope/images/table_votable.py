"""VOTables as Arrow columns, read by astropy.

What STILTS and TOPCAT write but astropy refuses is converted first: arrays of strings, and tables as FITS
inside the XML.
"""

from __future__ import annotations

import base64
import io
import math
import re
import xml.parsers.expat
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images.fits_bands import without_warnings
from morphoscope.images.limits import SETTING, most_unpacked
from morphoscope.images.packed import opened
from morphoscope.images.table_astropy import (
    AstropyFile,
    chosen_part,
    of_table,
    open_fits_content,
    silent,
)

_DECLARED = re.compile(rb"""<(?:[\w.-]+:)?(?:FIELD|PARAM)\b(?:[^>"']|"[^"]*"|'[^']*')*>""")
_ARRAY = re.compile(rb"""\barraysize\s*=\s*(["'])\s*((?:\d+x)+(?:\d+|\d*\*))\s*\1""")
_LETTERS = re.compile(rb"""\bdatatype\s*=\s*["'](?:char|unicodeChar)["']""")
_UTYPE = re.compile(rb"""\butype\s*=\s*("[^"]*"|'[^']*')""")
_TABLE = re.compile(rb"<(?:[\w.-]+:)?TABLE\b")
_OF_STRINGS = "morphoscope:strings"
_INLINE = re.compile(
    rb"<(?P<prefix>(?:[\w.-]+:)?)FITS\b[^>]*>\s*<(?:[\w.-]+:)?STREAM\b(?![^>]*\bhref)[^>]*>"
    rb"(?P<text>[^<]*)</(?:[\w.-]+:)?STREAM>\s*</(?:[\w.-]+:)?FITS>"
)
_TAG = rb"""<(?:[^\s<>/"'=]+:)?%s\b(?:[^>"']|"[^"]*"|'[^']*')*>"""  # with any prefix
_FIELDS, _TABLES, _ROWS = (re.compile(_TAG % tag) for tag in (b"FIELD", b"TABLE", b"TR"))
_ATTRIBUTE = rb"""\b%s\s*=\s*("[^"]*"|'[^']*')"""
_NROWS, _ARRAYSIZE, _DATATYPE = (
    re.compile(_ATTRIBUTE % name) for name in (b"nrows", b"arraysize", b"datatype")
)
_BYTES = {  # of a value in astropy's array
    **dict.fromkeys((b"boolean", b"bit", b"unsignedByte"), 1),
    **dict.fromkeys((b"int", b"float", b"char", b"unicodeChar"), 4),
    **dict.fromkeys((b"long", b"double", b"floatComplex"), 8),
    b"short": 2,
}
_OWN_TYPES = re.compile(rb"<!DOCTYPE[^>\[]*\[")
_EXTENSION = re.compile(rb"""<(?:[\w.-]+:)?FITS\b[^>]*\bextnum\s*=\s*["'](\d+)["']""")


def open_votable(path: Path, part: str) -> AstropyFile:
    """Open a table of a VOTable: the only one, the one named ``part``, or :func:`chosen_part`.

    Raises:
        MorphoscopeError: it has no table, its data are in another file, or it declares far more than it
            holds.
    """
    from astropy.io.votable import parse

    with opened(path) as file:
        content = _safe(file.read(), path)
    content = _DECLARED.sub(_as_one_text, content)
    held = {
        len(_TABLE.findall(content, 0, found.start())) - 1: _fits_of(found)
        for found in _INLINE.finditer(content)
    }
    content = _INLINE.sub(rb"<\g<prefix>TABLEDATA></\g<prefix>TABLEDATA>", content)
    with silent():
        tables = list(parse(io.BytesIO(content), verify="ignore").iter_tables())
        if not tables:
            raise MorphoscopeError(f"{path}: holds no table")
        inside = {number: _in_fits(tables[number], *held[number], path) for number in held}
        labels = [table.name or table.ID or "" for table in tables]
        numbers = [str(number) for number in range(1, len(tables) + 1)]
        names = [[str(field.name or field.ID) for field in table.fields] for table in tables]
        sizes = [
            inside[number].rows if number in inside else len(table.array)
            for number, table in enumerate(tables)
        ]
        at = chosen_part(path, part, labels, numbers, names, sizes)
        if at in inside:
            return inside[at]
        table = tables[at].to_table(use_names_over_ids=True)
        several = [
            name
            for name, field in zip(table.colnames, tables[at].fields, strict=True)
            if field.utype == _OF_STRINGS
        ]
        table.remove_columns(several)
        return of_table(table)


def votable_of(content: bytes, name: str) -> Any:
    """The VOTable that a service has sent, as astropy's ``VOTableFile``.

    Args:
        content: what was sent.
        name: name used in messages.

    Raises:
        MorphoscopeError: it is something else, its data are elsewhere, or it declares far more than it holds.
    """
    from astropy.io.votable import parse

    try:
        content = _safe(content, name)
        with without_warnings():
            return parse(io.BytesIO(content), verify="ignore")
    except MorphoscopeError:
        raise
    except Exception as error:  # astropy raises whatever its parsers do
        raise MorphoscopeError(f"{name}: is no VOTable ({reason_of(error)})") from error


def _safe(content: bytes, path: Path | str) -> bytes:
    """The same in an encoding whose tags are ASCII, if it can be read without harm."""
    content = _in_ascii(content)
    _refuse_references(content, path)
    _check_sizes(content, path)
    return content


def _in_ascii(content: bytes) -> bytes:
    """The same in an encoding whose tags are ASCII: UTF-16 becomes UTF-8."""
    if not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content
    text = content.decode("utf-16")
    return re.sub(r"""(<\?xml[^>]*?)\s+encoding\s*=\s*("[^"]*"|'[^']*')""", r"\1", text, count=1).encode()


def _check_sizes(content: bytes, path: Path | str) -> None:
    """Refuse a VOTable for which astropy would take much more memory than it holds.

    Raises:
        MorphoscopeError: it does, or it has declarations with which the sizes could be written otherwise.
    """
    if _OWN_TYPES.search(content):
        raise MorphoscopeError(
            f"{path}: declares elements or entities of its own; a plain VOTable was expected"
        )
    starts = [found.start() for found in _TABLES.finditer(content)]
    total = 0
    for start, end in pairwise([*starts, len(content)]):
        width = sum(_bytes_of(found[0]) for found in _FIELDS.finditer(content, start, end))
        rows = sum(1 for _ in _ROWS.finditer(content, start, end))
        declared = _TABLES.match(content, start)
        if declared is not None and (said := _NROWS.search(declared[0])):
            rows = max(rows, _number(said[1][1:-1].strip()))
        total += width * rows
        if total > most_unpacked(len(content)):
            raise MorphoscopeError(
                f"{path}: declares {rows:,} rows of {width:,} bytes, in a file of {len(content):,}; "
                f"mend it, or set {SETTING} if you trust it"
            )


def _bytes_of(field: bytes) -> int:
    """What one value of a FIELD takes in astropy's array."""
    size, kind = _ARRAYSIZE.search(field), _DATATYPE.search(field)
    each = _BYTES.get(kind[1][1:-1].strip() if kind else b"", 16)  # unknown: two doubles
    if size is None or b"*" in size[1]:  # of variable length: an object
        return max(each, 8)
    return each * math.prod(map(_number, size[1][1:-1].strip().split(b"x")))


def _number(text: bytes) -> int:
    """A number of rows or cells; endless if it is none, or written with references."""
    return int(text) if text.isdigit() and len(text) < 19 else 1 << 62


def _refuse_references(content: bytes, path: Path | str) -> None:
    """Refuse a VOTable that refers to external data: reading one file must not open others."""
    if b"href" not in content:
        return
    found: list[str] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(":")[2].upper() == "STREAM" and "href" in attributes:
            found.append(attributes["href"])

    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.Parse(content, True)
    if found:
        raise MorphoscopeError(
            f"{path}: has its data at '{found[0]}'; a VOTable that contains its data was expected, "
            "references are not followed"
        )


def _as_one_text(found: re.Match[bytes]) -> bytes:
    """Turn a FIELD or PARAM that is an array of strings into a single string, and mark it.

    VOTable 1.4, section 2.2, allows them (arraysize="9x3" or "9x*"), but astropy does not read them.
    """
    tag = found[0]
    array = _ARRAY.search(tag)
    if array is None or not _LETTERS.search(tag):
        return tag
    sizes = array[2].split(b"x")
    letters = b"*" if sizes[-1].endswith(b"*") else str(math.prod(map(int, sizes))).encode()
    tag = _UTYPE.sub(b"", tag.replace(array[0], b'arraysize="' + letters + b'"'))
    end = b"/>" if tag.endswith(b"/>") else b">"
    return tag.removesuffix(end) + b' utype="' + _OF_STRINGS.encode() + b'"' + end


def _fits_of(found: re.Match[bytes]) -> tuple[bytes, int]:
    """The FITS file inside a VOTable, and the number of its extension (1 unless stated)."""
    extension = _EXTENSION.match(found[0])
    return base64.b64decode(found["text"]), int(extension[1]) if extension else 1


def _in_fits(table: Any, content: bytes, extension: int, path: Path) -> AstropyFile:
    """A table whose rows are in an embedded FITS file, with units from the VOTable."""
    file = open_fits_content(content, path, str(extension))
    units = {str(field.name or field.ID): str(field.unit) for field in table.fields if field.unit}
    ucds = {str(field.name or field.ID): str(field.ucd) for field in table.fields if field.ucd}
    return replace(
        file,
        units=file.units | {name: unit for name, unit in units.items() if name in file.names},
        ucds=file.ucds | {name: ucd for name, ucd in ucds.items() if name in file.names},
    )
