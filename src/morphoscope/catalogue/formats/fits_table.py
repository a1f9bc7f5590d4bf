"""Catalogues as FITS binary tables: the header by astropy, the rows streamed after it.

FITS holds ASCII in its headers; anything else there (a class called "größte") is written with backslash
escapes. Texts in the table are UTF-8, which astropy reads as text and others as bytes. An unknown coordinate
is a NaN, an unknown whole number the TNULL of its column, an unknown text is empty.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.formats.table_schema import Extent, described, metadata_of

if TYPE_CHECKING:
    from astropy.io.fits import Header

_NAMES = "PROVNAME"  # which of the header's keywords are provenance, and what each is called in full
_KEYWORDS = {
    "program_version": "VERSION",
    "weights_sha256": "WEIGHTS",
    "calibration": "CALIB",
    "date": "CREATED",
}


class FitsCatalogue:
    """A FITS file with one binary table; TUCD and TCOMM say what astropy itself would leave out."""

    def __init__(self, place: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        from astropy.io.fits import StreamingHDU

        self._schema = schema
        header, self._rows = _header(schema, provenance, extent)
        self._stream = StreamingHDU(str(place), header)

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        if not table.num_rows:
            return
        rows = np.zeros(table.num_rows, self._rows)
        for column, name in zip(self._schema, self._rows.names or (), strict=True):
            rows[name] = _values(table[column.name], self._rows[name])
        self._stream.write(rows.view(np.uint8))

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()

    abandon = close


def _header(schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> tuple[Header, np.dtype]:
    """The table's header as astropy writes it for a table without rows, completed; and the type of a row."""
    from astropy.io import fits

    content = io.BytesIO()
    plain = pa.schema([_ascii_field(column) for column in schema])
    widths = {_ascii(name): width for name, width in extent.widths.items()}
    described(plain, {}, widths).write(content, format="fits")
    content.seek(0)
    header = fits.getheader(content, 1)
    content.seek(0)
    rows = np.asarray(fits.getdata(content, 1)).dtype
    header["NAXIS2"] = extent.rows
    for number, column in enumerate(plain, start=1):
        said = metadata_of(column)
        if "ucd" in said:
            header[f"TUCD{number}"] = said["ucd"]
        if "description" in said:
            header[f"TCOMM{number}"] = said["description"]
        if pa.types.is_integer(column.type):
            header[f"TNULL{number}"] = np.iinfo(rows[number - 1]).min
    header["EXTNAME"] = "CATALOGUE"
    names = {}
    for name, value in provenance.items():
        keyword = _keyword(name, header)
        header[keyword], names[keyword] = _ascii(value), name
    header[_NAMES] = json.dumps(names)
    return header, rows


def _keyword(name: str, header: Header) -> str:
    """At most eight letters that are not taken: "a_long_name" → ALONGNAM."""
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    letters = "".join(letter for letter in _ascii(name).upper() if letter.isalnum())
    taken = {*header, *_KEYWORDS.values(), _NAMES, "", "DATE", "COMMENT", "HISTORY"}
    for number in range(1, 10_000):
        keyword = letters[:8] if number == 1 else f"{letters[: 8 - len(str(number))]}{number}"
        if keyword not in taken:
            return keyword
    raise AssertionError("more entries of one name than a header holds")


def _ascii_field(column: pa.Field) -> pa.Field:
    said = {name: _ascii(text) for name, text in metadata_of(column).items()}
    return pa.field(_ascii(column.name), column.type, metadata=said)


def _ascii(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _values(column: pa.ChunkedArray, kind: np.dtype) -> np.ndarray:
    """A column's values as FITS holds them, (N,) or (N, D)."""
    if pa.types.is_string(column.type):
        return np.array([text.encode() for text in column.fill_null("").to_pylist()], kind)
    if isinstance(column.type, pa.FixedSizeListType):
        numbers = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(-1, column.type.list_size)
    if pa.types.is_integer(column.type):
        column = column.fill_null(np.iinfo(kind).min)
    return column.to_numpy()


def fits_provenance(catalogue: Path) -> dict[str, str]:
    """The provenance in a FITS catalogue."""
    from astropy.io import fits

    header = fits.getheader(catalogue, 1)
    return {
        name: str(header[keyword]).encode("ascii").decode("unicode_escape")
        for keyword, name in json.loads(header.get(_NAMES, "{}")).items()
    }
