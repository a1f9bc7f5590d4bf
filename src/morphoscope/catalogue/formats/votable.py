"""Catalogues as VOTables: frame from astropy, rows (TABLEDATA) streamed into it.

XML 1.0 does not allow most control characters; U+FFFD replaces them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc

from morphoscope.catalogue.formats.parquet_csv import METADATA_PREFIX, vector_texts
from morphoscope.catalogue.formats.table_schema import (
    PROVENANCE_NAMES,
    Extent,
    metadata_of,
    number_type,
    shape_of,
    with_full_names,
)

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile

_TYPES = {"f4": "float", "f8": "double", "i2": "short", "i4": "int", "i8": "long", "u1": "unsignedByte"}
_END = "</TABLE>"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in XML 1.0
_DESCRIPTION = re.compile(r"<DESCRIPTION>\s+(.*?)\s+</DESCRIPTION>", re.DOTALL)
_CONTROL = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}  # or readers turn them into blanks or newlines

_STAND_INS = {"\n": "\ufdd0", "\r": "\ufdd1", "\t": "\ufdd2"}  # for them, while astropy writes attributes


class VotableCatalogue:
    """VOTable 1.4 in its TABLEDATA form; the provenance is in INFO elements of the resource.

    An unknown value is an empty cell.
    """

    def __init__(self, path: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent) -> None:
        del extent
        content = io.BytesIO()
        _frame(schema, provenance).to_xml(content)
        # STILTS keeps the line breaks that astropy puts around a description.
        frame = _DESCRIPTION.sub(r"<DESCRIPTION>\1</DESCRIPTION>", content.getvalue().decode())
        for stand_in, reference in zip(_STAND_INS.values(), _CONTROL.values(), strict=True):
            frame = frame.replace(stand_in, reference)
        self._head, self._tail = frame.rsplit(_END, 1)
        self._schema = schema
        self._file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by close()
        try:
            self._file.write(f"{self._head} <DATA>\n    <TABLEDATA>\n")
        except BaseException:
            self._file.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        columns = [_cells(table[column.name]) for column in self._schema]
        self._file.writelines(f"<TR>{''.join(row)}</TR>\n" for row in zip(*columns, strict=True))

    def close(self) -> None:
        """Finish the file."""
        with self._file as file:
            file.write(f"    </TABLEDATA>\n   </DATA>\n  {_END}{self._tail}")

    abandon = close


def _frame(schema: pa.Schema, provenance: Mapping[str, str]) -> VOTableFile:
    """A VOTable with one table without rows."""
    from astropy.io.votable import tree
    from astropy.io.votable.exceptions import VOWarning

    frame = tree.VOTableFile(version="1.4")
    resource = tree.Resource()
    frame.resources.append(resource)
    for name, value in provenance.items():
        resource.infos.append(tree.Info(name=f"{METADATA_PREFIX}{name}", value=_attribute(value)))
    table = tree.TableElement(frame, name="catalogue")
    resource.tables.append(table)
    for column in schema:
        metadata = metadata_of(column)
        form: dict[str, str] = {"datatype": "unicodeChar", "arraysize": "*"}
        if not pa.types.is_string(column.type):
            form = {"datatype": _TYPES[number_type(column).str[1:]]}
            if shape_of(column):
                form["arraysize"] = str(shape_of(column)[0])
        with warnings.catch_warnings(category=VOWarning, action="ignore"):
            # An ID must be ASCII; astropy makes one from a name that is not, and says so.
            field = tree.Field(
                frame,
                name=_attribute(column.name),
                unit=metadata.get("unit"),
                ucd=metadata.get("ucd"),
                **form,
            )
        field.description = _legal(metadata.get("description", "")) or None
        table.fields.append(field)
    table.create_arrays(0)
    return frame


def _cells(column: pa.ChunkedArray) -> list[str]:
    """A column's values as ``<TD>`` elements; numbers to the last digit."""
    if isinstance(column.type, pa.FixedSizeListType):
        return [f"<TD>{numbers}</TD>" for numbers in _numbers(vector_texts(column, " ", "NaN"))]
    if pa.types.is_string(column.type):
        texts = [None if text is None else escape(_legal(text), _CONTROL) for text in column.to_pylist()]
    else:
        texts = _numbers(pc.cast(column, pa.string()).to_pylist())
    return ["<TD/>" if text is None else f"<TD>{text}</TD>" for text in texts]


def _numbers(texts: list) -> list:
    """Not-a-numbers and infinities as VOTable spells them."""
    odd = re.compile("nan|inf")
    spelt = {"nan": "NaN", "inf": "+Inf"}
    return [odd.sub(lambda m: spelt[m[0]], text).replace("-+", "-") if text else text for text in texts]


def _attribute(text: str) -> str:
    return _legal(text).translate(str.maketrans(_STAND_INS))


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def votable_provenance(catalogue: Path) -> dict[str, str]:
    """The provenance in a VOTable catalogue; reads its head only."""
    with open(catalogue, "rb") as file:
        return provenance_of_votable(file)


def provenance_of_votable(stream: IO[bytes]) -> dict[str, str]:
    """The provenance in a VOTable written by Morphoscope, or by STILTS or TOPCAT from a catalogue.

    STILTS and TOPCAT turn all metadata of a table into PARAM elements: INFOs of a VOTable keep their names,
    cards of a FITS header are named by their keywords, entries of ECSV have no prefix. astropy is not used,
    because it refuses the two-dimensional strings that STILTS makes from COMMENT cards.
    """
    found: dict[str, str] = {}
    params: dict[str, str] = {}
    for _, element in ElementTree.iterparse(stream, events=("start",)):
        kind, name = element.tag.rpartition("}")[2], element.get("name", "")
        if kind == "DATA":
            break
        if kind in ("INFO", "PARAM") and name.startswith(METADATA_PREFIX):
            found[name.removeprefix(METADATA_PREFIX)] = element.get("value", "")
        elif kind == "PARAM":
            params[name] = element.get("value", "")
    if found:
        return found
    if PROVENANCE_NAMES in params:
        return with_full_names(params)
    return params if params.get("program") == "morphoscope" else {}
