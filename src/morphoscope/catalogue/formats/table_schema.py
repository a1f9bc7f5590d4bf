"""The columns of a catalogue as an astropy table without rows, and how large a catalogue is.

astropy writes the header of each format that it knows from that table; the rows are streamed behind it, so no
catalogue need fit into memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

if TYPE_CHECKING:
    from astropy.table import Table

PROVENANCE_NAMES = "PROVNAME"  # FITS keyword with JSON: keyword → full name of each provenance entry
_NOT_PLAIN = "[^ -~]"  # anything but printable ASCII


def ascii_text(text: str) -> str:
    r"""Printable ASCII: any other character becomes a backslash escape.

    >>> print(ascii_text("größe 星"))
    gr\xf6\xdfe \u661f
    """
    return re.sub(_NOT_PLAIN, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def unescaped(text: str) -> str:
    """What a text was before Python's ``unicode_escape``."""
    return text.encode("ascii").decode("unicode_escape")


def with_full_names(cards: Mapping[str, Any]) -> dict[str, str]:
    """The provenance in the cards of a FITS header, wherever another program has copied them to."""
    names = json.loads(cards[PROVENANCE_NAMES])
    return {name: unescaped(str(cards[keyword])) for keyword, name in names.items() if keyword in cards}


@dataclass(frozen=True)
class Extent:
    """How large a catalogue is, which some formats must state before the first row.

    Attributes:
        rows: number of rows.
        widths: of each string column, the length of the longest value as :func:`ascii_text`, which is never
            shorter than UTF-8.
    """

    rows: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table) -> Extent:
        """The extent of some rows."""
        strings = [column.name for column in table.schema if pa.types.is_string(column.type)]
        return cls(table.num_rows, {name: _width(table[name]) for name in strings})

    def __add__(self, other: Extent) -> Extent:
        names = dict.fromkeys([*self.widths, *other.widths])  # in order, or equal catalogues are other files
        widths = {name: max(self.widths.get(name, 0), other.widths.get(name, 0)) for name in names}
        return Extent(self.rows + other.rows, widths)


def _width(column: pa.ChunkedArray) -> int:
    pattern = pc.MatchSubstringOptions(_NOT_PLAIN)
    special = pc.call_function("match_substring_regex", [column], pattern)
    lengths = pc.call_function("binary_length", [column])
    longest = pc.call_function("max", [lengths]).as_py() or 0
    if not pc.call_function("any", [special]).as_py():
        return longest
    return max(longest, *(len(ascii_text(text)) for text in column.filter(special).to_pylist()))


def metadata_of(column: pa.Field) -> dict[str, str]:
    """Description, unit and UCD of a column, as far as present."""
    return {name.decode(): value.decode() for name, value in (column.metadata or {}).items()}


def shape_of(column: pa.Field) -> tuple[int, ...]:
    """() for a number or a string, (D,) for a vector."""
    return (column.type.list_size,) if isinstance(column.type, pa.FixedSizeListType) else ()


def vectors(column: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors as (N, D) numbers; unknown ones are NaN."""
    array, size = column.combine_chunks(), column.type.list_size
    known = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    if not array.null_count:
        return known
    values = np.full((len(array), size), np.nan, known.dtype)
    values[array.is_valid().to_numpy(zero_copy_only=False)] = known
    return values


def number_type(column: pa.Field) -> np.dtype:
    """The numpy type of a column of numbers or vectors.

    Raises:
        TypeError: not every format can hold its type.
    """
    kind = column.type.value_type if isinstance(column.type, pa.FixedSizeListType) else column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise TypeError(
            f"column '{column.name}' is {column.type}: strings, numbers and vectors were expected"
        )
    return np.dtype(kind.to_pandas_dtype())


def described(
    schema: pa.Schema, provenance: Mapping[str, str], widths: Mapping[str, int] | None = None
) -> Table:
    """A table without rows: names, types, units, descriptions, and the provenance as its ``meta``.

    Args:
        schema: the catalogue's columns.
        provenance: of the catalogue.
        widths: lengths of byte strings, as FITS stores text; None: text.
    """
    from astropy.table import Column, Table

    table = Table(meta=dict(provenance))
    for column in schema:
        metadata = metadata_of(column)
        if pa.types.is_string(column.type):
            kind = np.dtype("U1" if widths is None else f"S{max(1, widths.get(column.name, 0))}")
        else:
            kind = number_type(column)
        table[column.name] = Column(
            np.zeros((0, *shape_of(column)), kind),
            unit=metadata.get("unit"),
            description=metadata.get("description"),
            meta={"ucd": metadata["ucd"]} if "ucd" in metadata else None,
        )
    return table


def ecsv_header(schema: pa.Schema, provenance: Mapping[str, str]) -> list[str]:
    """What :func:`described` says as the lines of YAML that astropy keeps with a Parquet table.

    They are the header of an ECSV file (Astropy Proposal for Enhancement 6), written here because importing
    astropy's tables takes longer than a small catalogue.
    """
    columns = []
    for column in schema:
        said, shape = metadata_of(column), shape_of(column)
        kind = "string" if pa.types.is_string(column.type) else number_type(column).name
        entry: dict[str, object] = {"name": column.name}
        entry |= {"unit": said["unit"]} if "unit" in said else {}
        entry["datatype"] = "string" if shape else kind
        entry |= {"description": said["description"]} if "description" in said else {}
        entry |= {"meta": {"ucd": said["ucd"]}} if "ucd" in said else {}
        entry |= {"subtype": f"{kind}[{shape[0]}]"} if shape else {}
        columns.append(entry)
    header = {"datatype": columns} | ({"meta": dict(provenance)} if provenance else {})
    return yaml.safe_dump(header, default_flow_style=None, width=130, sort_keys=False).splitlines()
