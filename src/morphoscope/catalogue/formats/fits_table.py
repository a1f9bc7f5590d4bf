r"""Catalogues as FITS binary tables: header from astropy, rows streamed behind it, checksums filled in last.

FITS is ASCII throughout (FITS Standard 4.0, sections 4.2.1 and 7.3.3.1). Any other character, in a header or
in a cell, is written as a backslash escape (``\\xf6``, ``\\u661f``): readers such as fitsio refuse a table
with anything else, and TOPCAT garbles it. Unknown floats are NaN, unknown integers the column's TNULL,
unknown strings empty.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.formats.table_schema import (
    PROVENANCE_NAMES,
    Extent,
    ascii_text,
    described,
    metadata_of,
    unescaped,
    vectors,
)
from morphoscope.catalogue.formats.votable import provenance_of_votable
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.fits_headers import check_headers
from morphoscope.progress import note

if TYPE_CHECKING:
    from astropy.io.fits import Header

MOST_COLUMNS = 999  # limit of TFIELDS; a keyword such as TTYPE999 has eight characters
MOST_NAME = 68  # characters of a string on one card: CFITSIO cannot read a longer TTYPE
_BLOCK = 2880
_KEYWORDS = {
    "program_version": "VERSION",
    "weights_sha256": "WEIGHTS",
    "calibration": "CALIB",
    "date": "CREATED",
}
_OWN = ("LONGSTRN", "DATASUM", "CHECKSUM", "DATE", "COMMENT", "HISTORY")


def check_fits(schema: pa.Schema, name: str) -> None:
    """Refuse columns that a FITS table cannot hold.

    Raises:
        UsageError: there are too many columns, a name is too long or ends with a blank, or names differ
            only in case.
    """
    if len(schema) > MOST_COLUMNS:
        raise UsageError(
            f"{name}: FITS tables have at most {MOST_COLUMNS} columns, this catalogue has {len(schema)}; "
            "write another format, such as .parquet"
        )
    seen: dict[str, str] = {}
    for column in schema.names:
        if len(ascii_text(column).replace("'", "''")) > MOST_NAME:
            raise UsageError(
                f"{name}: the name of column '{column[:40]}…' has {len(column)} characters; FITS holds "
                f"{MOST_NAME}, counting an apostrophe as two and a letter beyond ASCII as four or more; "
                "shorten it, or write another format, such as .parquet"
            )
        if column != column.rstrip(" ") or not column:
            raise UsageError(
                f"{name}: the name of column '{column}' is empty or ends with a blank, which FITS drops; "
                "rename it, or write another format, such as .parquet"
            )
        other = seen.setdefault(ascii_text(column).lower(), column)
        if other != column:
            raise UsageError(
                f"{name}: FITS does not tell columns '{other}' and '{column}' apart, which differ only in "
                "case; rename one, or write another format, such as .parquet"
            )


class FitsCatalogue:
    """A FITS file with an empty primary HDU and one binary table.

    TUCD and TCOMM record what astropy would leave out. Both HDUs have CHECKSUM and DATASUM.
    """

    def __init__(self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        self._schema = schema
        self._header, self._rows = _header(schema, provenance, extent)
        self._sum = _Sum()
        self._escaped = 0
        self._file = open(path, "w+b")  # noqa: SIM115 - closed by close()
        try:
            self._file.write(_primary())
            self._start = self._file.tell()
            self._file.write(_card_bytes(self._header))
        except BaseException:
            self._file.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Append rows.

        Raises:
            MorphoscopeError: a string is longer than in ``extent``.
        """
        if not table.num_rows:
            return
        rows = np.zeros(table.num_rows, self._rows)
        for column, name in zip(self._schema, self._rows.names or (), strict=True):
            if pa.types.is_string(column.type):
                rows[name] = self._strings(table[column.name], column.name, self._rows[name])
            else:
                rows[name] = _numbers(table[column.name], self._rows[name])
        content = rows.tobytes()
        self._sum.add(content)
        self._file.write(content)

    def _strings(self, column: pa.ChunkedArray, name: str, kind: np.dtype) -> np.ndarray:
        texts = column.fill_null("").to_pylist()
        escaped = [text if text.isascii() and text.isprintable() else ascii_text(text) for text in texts]
        self._escaped += sum(new is not old for new, old in zip(escaped, texts, strict=True))
        longest = max(map(len, escaped))
        if longest > kind.itemsize:
            raise MorphoscopeError(
                f"column '{name}' has a string of {longest} characters where {kind.itemsize} were counted; "
                "the rows changed while the catalogue was written"
            )
        return np.array([text.encode("ascii") for text in escaped], kind)

    def close(self) -> None:
        """Pad the data to whole blocks and fill in the checksums."""
        with self._file as file:
            padding = b"\0" * (-file.tell() % _BLOCK)
            self._sum.add(padding)
            file.write(padding)
            _sign(self._header, self._sum.value)
            file.seek(self._start)
            file.write(_card_bytes(self._header))
        if self._escaped:
            note(
                f"{self._escaped} cells hold characters beyond printable ASCII, which FITS cannot hold; they "
                "are written as escapes such as \\xf6. Other formats keep them as they are"
            )

    def abandon(self) -> None:
        """Close the file, which will be deleted."""
        self._file.close()


def _header(schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> tuple[Header, np.dtype]:
    """The table's header as astropy writes it for a table without rows, completed; and the type of a row."""
    from astropy.io import fits
    from astropy.io.fits.verify import VerifyWarning

    content = io.BytesIO()
    plain = pa.schema([_ascii_field(column) for column in schema])
    widths = {ascii_text(name): width for name, width in extent.widths.items()}
    with warnings.catch_warnings(category=VerifyWarning, action="ignore"):  # names such as "# c"
        described(plain, {}, widths).write(content, format="fits")
        content.seek(0)
        header = fits.getheader(content, 1)
        content.seek(0)
        rows = np.asarray(fits.getdata(content, 1)).dtype
    header["NAXIS2"] = extent.rows
    for number, column in enumerate(plain, start=1):
        metadata = metadata_of(column)
        if "ucd" in metadata:
            header[f"TUCD{number}"] = metadata["ucd"]
        if "description" in metadata:
            header[f"TCOMM{number}"] = metadata["description"]
        if pa.types.is_integer(column.type):
            header[f"TNULL{number}"] = np.iinfo(rows[number - 1]).min
    header["EXTNAME"] = "CATALOGUE"
    names = {}
    for name, value in provenance.items():
        keyword = _keyword(name, header)
        header[keyword], names[keyword] = _escape(value), name
    header[PROVENANCE_NAMES] = json.dumps(names)
    _reserve(header)
    header.set("LONGSTRN", "OGIP 1.0", "strings may go on in CONTINUE cards", after="TFIELDS")
    return header, rows


def _keyword(name: str, header: Header) -> str:
    """An unused keyword of at most eight letters: "a_long_name" → ALONGNAM."""
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    letters = "".join(letter for letter in _escape(name).upper() if letter.isalnum())
    taken = {*header, *_KEYWORDS.values(), PROVENANCE_NAMES, "", *_OWN}
    for number in range(1, 10_000):
        keyword = letters[:8] if number == 1 else f"{letters[: 8 - len(str(number))]}{number}"
        if keyword not in taken:
            return keyword
    raise AssertionError("more entries of one name than a header holds")


def _ascii_field(column: pa.Field) -> pa.Field:
    metadata = {name: ascii_text(text) for name, text in metadata_of(column).items()}
    return pa.field(ascii_text(column.name), column.type, metadata=metadata)


def _escape(text: str) -> str:
    """ASCII that ``unicode_escape`` decodes to the text; FITS drops trailing blanks."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return f"{escaped[:-1]}\\x20" if escaped.endswith(" ") else escaped


def _numbers(column: pa.ChunkedArray, kind: np.dtype) -> np.ndarray:
    """A column of numbers or vectors as stored in FITS, (N,) or (N, D)."""
    if isinstance(column.type, pa.FixedSizeListType):
        return vectors(column)
    if pa.types.is_integer(column.type):
        column = column.fill_null(np.iinfo(kind).min)
    return column.to_numpy()


# Checksums, FITS Standard 4.0, section 4.4.2.7 and appendix J.


class _Sum:
    """The ones' complement sum of 32-bit words, over bytes in pieces of any length."""

    def __init__(self) -> None:
        self.value = 0
        self._rest = b""

    def add(self, content: bytes) -> None:
        content = self._rest + content if self._rest else content
        whole = len(content) - len(content) % 4
        self._rest = content[whole:]
        total = self.value + int(np.frombuffer(content[:whole], ">u4").sum(dtype=np.uint64))
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        self.value = total


def _primary() -> bytes:
    from astropy.io import fits

    header = fits.PrimaryHDU().header
    _reserve(header)
    _sign(header, 0)
    return _card_bytes(header)


def _reserve(header: Header) -> None:
    """Reserve cards for the checksums, so that filling them in does not move anything."""
    header["DATASUM"] = ("0".rjust(10), "sum of the data's 32-bit words")
    header["CHECKSUM"] = ("0" * 16, "sum over header and data is all ones")


def _sign(header: Header, data: int) -> None:
    header["DATASUM"] = str(data)
    header["CHECKSUM"] = "0" * 16
    over_all = _Sum()
    over_all.value = data
    over_all.add(header.tostring().encode("ascii"))
    header["CHECKSUM"] = _encoded(0xFFFFFFFF - over_all.value)


def _encoded(number: int) -> str:
    """A 32-bit number encoded as 16 letters and digits that sum to that number."""
    letters = [0] * 16
    for path, byte in enumerate(number.to_bytes(4, "big")):
        four = [byte // 4 + 48 + (byte % 4 if k == 0 else 0) for k in range(4)]
        while any(_is_punctuation(code) for code in four):
            for k in (0, 2):
                if _is_punctuation(four[k]) or _is_punctuation(four[k + 1]):
                    four[k] += 1
                    four[k + 1] -= 1
        letters[path::4] = four
    return bytes([letters[-1], *letters[:-1]]).decode("ascii")


def _is_punctuation(code: int) -> bool:
    return 0x3A <= code <= 0x40 or 0x5B <= code <= 0x60


def _card_bytes(header: Header) -> bytes:
    return header.tostring().encode("ascii")


def fits_provenance(catalogue: Path) -> dict[str, str]:
    """The provenance of a FITS catalogue, even if TOPCAT or STILTS has saved it again."""
    from astropy.io import fits

    check_headers(catalogue)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that bend the standard
        header, primary = fits.getheader(catalogue, 1), fits.getheader(catalogue, 0)
        names = json.loads(header.get(PROVENANCE_NAMES, "{}"))
    if names or not primary.get("VOTMETA"):
        return {name: unescaped(str(header[keyword])) for keyword, name in names.items()}
    # "FITS-plus": a VOTable without rows stands in the primary array.
    content = np.asarray(fits.getdata(catalogue, 0), np.uint8).tobytes()
    return provenance_of_votable(io.BytesIO(content))
