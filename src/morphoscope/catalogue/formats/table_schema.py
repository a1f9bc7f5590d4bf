"""An empty astropy table that says all there is to say about a catalogue's columns.

The formats that astropy knows get their headers from it, written by astropy itself; the rows follow block by
block, so that no catalogue need fit into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class Extent:
    """How large a catalogue is: what some formats must say before the first row.

    Attributes:
        rows: how many.
        widths: for each column of texts, the longest in bytes of UTF-8.
    """

    rows: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table) -> Extent:
        """That of some rows."""
        widths = {}
        for column in table.schema:
            if pa.types.is_string(column.type):
                lengths = pc.call_function("binary_length", [table[column.name]])
                longest = pc.call_function("max", [lengths]).as_py()
                widths[column.name] = longest or 0
        return cls(table.num_rows, widths)

    def __add__(self, other: Extent) -> Extent:
        names = dict.fromkeys([*self.widths, *other.widths])  # in order, or equal catalogues are other files
        widths = {name: max(self.widths.get(name, 0), other.widths.get(name, 0)) for name in names}
        return Extent(self.rows + other.rows, widths)


def metadata_of(column: pa.Field) -> dict[str, str]:
    """What a column's metadata says: description, unit, ucd; those that are there."""
    return {name.decode(): value.decode() for name, value in (column.metadata or {}).items()}


def shape_of(column: pa.Field) -> tuple[int, ...]:
    """() for a number or a text, (D,) for a vector of D numbers."""
    return (column.type.list_size,) if isinstance(column.type, pa.FixedSizeListType) else ()


def number_type(column: pa.Field) -> np.dtype:
    """The numpy type of a column of numbers or vectors.

    Raises:
        TypeError: it holds something that not every format can.
    """
    kind = column.type.value_type if isinstance(column.type, pa.FixedSizeListType) else column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise TypeError(f"column '{column.name}' is {column.type}: texts, numbers and vectors were expected")
    return np.dtype(kind.to_pandas_dtype())


def described(
    schema: pa.Schema, provenance: Mapping[str, str], widths: Mapping[str, int] | None = None
) -> Table:
    """A table without rows: names, types, units, descriptions, and the provenance as its ``meta``.

    Args:
        schema: the catalogue's columns.
        provenance: where the numbers come from.
        widths: texts are byte strings of this length each, as FITS holds them; None: texts.
    """
    from astropy.table import Column, Table

    table = Table(meta=dict(provenance))
    for column in schema:
        said = metadata_of(column)
        if pa.types.is_string(column.type):
            kind = np.dtype("U1" if widths is None else f"S{max(1, widths.get(column.name, 0))}")
        else:
            kind = number_type(column)
        table[column.name] = Column(
            np.zeros((0, *shape_of(column)), kind),
            unit=said.get("unit"),
            description=said.get("description"),
            meta={"ucd": said["ucd"]} if "ucd" in said else None,
        )
    return table
