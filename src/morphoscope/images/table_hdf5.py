"""HDF5 files as tables: a data set is a column, its first axis the galaxies.

So are Galaxy10's file (``images``, ``ans``, ``ra``, ``dec``) and the parts of the Multimodal Universe
(``healpix=*/*.hdf5``), whose ``image_array`` or ``image_flux``, ``image_band``, ``image_ivar`` and
``image_scale`` become one column ``image`` (see :mod:`morphoscope.images.array_cells`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import need
from morphoscope.images.hdf5_check import check_hdf5
from morphoscope.images.limits import check_pixels, most_unpacked, unpacks_too_far

_IMAGE = "image"
_PARTS = ("band", "flux", "ivar", "scale")
_MOST_CHUNK = 1 << 30
_FLUX = ("image_flux", "image_array")


@dataclass(frozen=True)
class Hdf5Table:
    """An open HDF5 file.

    Attributes:
        file: the file.
        types: columns with their types.
        rows: number of galaxies.
        parts: data sets of the column ``image``, by field; empty if there is no such column.
    """

    file: Any
    types: dict[str, pa.DataType]
    rows: int
    parts: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.types)

    @property
    def units(self) -> dict[str, str]:
        """Units of those that have an attribute ``unit`` or ``units``."""
        said = {name: _attribute(self.file, name) for name in self.types if name not in self.parts}
        return {name: unit for name, unit in said.items() if unit}

    @property
    def ucds(self) -> dict[str, str]:
        """HDF5 has none."""
        return {}

    @classmethod
    def of(cls, file: Any, path: Path) -> Hdf5Table:
        """The columns of an open file.

        Data sets that lie in other files are left out, whatever a link in the file says.

        Raises:
            MorphoscopeError: no data set has a row for each galaxy, or one declares more than it can hold.
        """
        found = {name: each for name in file if (each := _own(file, name)) is not None and each.shape}
        for name, each in found.items():
            size = math.prod(each.shape) * each.dtype.itemsize
            if size > most_unpacked(path.stat().st_size) or math.prod(each.chunks or (0,)) > _MOST_CHUNK:
                raise MorphoscopeError(f"{path}: '{name}' {unpacks_too_far()}")
            if len(each.shape) > 2:
                check_pixels(each.shape[1:], f"{path}: '{name}'")
        if not found:
            raise MorphoscopeError(f"{path}: holds no data sets with rows")
        rows = _rows_of(found)
        found = {name: each for name, each in found.items() if each.shape[0] == rows}
        parts = {}
        if flux := next((name for name in _FLUX if name in found and found[name].ndim == 4), None):
            others = {part: f"image_{part}" for part in _PARTS if f"image_{part}" in found}
            parts = others | {"flux": flux}
        types: dict[str, pa.DataType] = {}
        if parts:
            types[_IMAGE] = pa.struct({part: _type(found[name]) for part, name in sorted(parts.items())})
        for name, each in found.items():
            if name not in parts.values() and (kind := _type(each)) is not None:
                types.setdefault(name, kind)
        return cls(file, types, rows, parts)

    def pieces(self, wanted: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Some columns in pieces of up to ``rows`` rows."""
        for start in range(0, self.rows, rows):
            stop = min(start + rows, self.rows)
            yield pa.table({name: self._column(name, start, stop) for name in wanted})

    def _column(self, name: str, start: int, stop: int) -> pa.Array:
        if name == _IMAGE and self.parts:
            fields = {part: _arrow(self.file[each][start:stop]) for part, each in sorted(self.parts.items())}
            return pa.StructArray.from_arrays(list(fields.values()), list(fields))
        return _arrow(self.file[name][start:stop])


def open_hdf5(path: Path) -> Any:
    """The file, to be closed by the caller.

    Raises:
        MorphoscopeError: h5py is not installed, or the HDF5 library crashes on the file.
        OSError: it is damaged.
    """
    need(("h5py",), "hdf5", "reading HDF5 files")
    check_hdf5([path])
    import h5py

    return h5py.File(path, "r")


def _own(file: Any, name: str) -> Any:
    """A data set of the file itself; None for groups, links and data sets whose values are elsewhere."""
    import h5py

    found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    own = isinstance(found, h5py.Dataset) and not found.external and not found.is_virtual
    return found if own else None


def _rows_of(found: dict[str, Any]) -> int:
    """The length that the data sets share: that of the ids or coordinates, else the most usual one."""
    for name in ("object_id", "ra", *_FLUX, "images"):
        if name in found:
            return int(found[name].shape[0])
    lengths = [int(each.shape[0]) for each in found.values()]
    return max(set(lengths), key=lengths.count)


def _type(each: Any) -> pa.DataType | None:
    """The Arrow type of a data set; None if Arrow has none."""
    if each.dtype.names:
        return None
    try:
        kind = _arrow(np.empty((0, *each.shape[1:]), each.dtype)).type
    except (pa.ArrowException, ValueError):
        return None
    deep = each.ndim in (3, 4) and each.dtype.kind in "iufb"
    return kind if each.ndim == 1 or deep or each.name.lstrip("/").startswith("image_") else None


def _arrow(values: np.ndarray) -> pa.Array:
    """An array whose first axis are rows, as nested lists of numbers or text."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace").astype(object)
    elif values.dtype.kind == "O":
        values = np.array(
            [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values.flat],
            object,
        ).reshape(values.shape)
    if values.dtype.kind == "O":
        flat = pa.array(values.reshape(-1), pa.string())
    else:
        flat = pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(-1))
    for side in reversed(values.shape[1:]):
        count = len(flat) // side if side else 0
        flat = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * side, flat)
    return flat


def _attribute(file: Any, name: str) -> str:
    if name not in file:
        return ""
    said = file[name].attrs.get("unit", file[name].attrs.get("units", ""))
    return said.decode() if isinstance(said, bytes) else str(said)
