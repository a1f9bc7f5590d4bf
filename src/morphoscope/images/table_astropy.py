"""FITS and ECSV tables as Arrow columns, read by astropy."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.fits_bands import is_image
from morphoscope.images.fits_headers import check_counts, check_headers
from morphoscope.images.known_columns import (
    EQUATORIAL_NAMES,
    GALACTIC_NAMES,
    ID_NAMES,
    IMAGE_NAMES,
    PARTS_NAMES,
    distinct_names,
    found_column,
    found_pair,
)
from morphoscope.images.packed import opened, packing_of
from morphoscope.progress import note_once
from morphoscope.versioned import excess_of

_LDAC_OBJECTS = "LDAC_OBJECTS"  # the table with the header of the catalogue's image is next to it


@dataclass(frozen=True)
class AstropyFile:
    """A table whose columns are read on request.

    Attributes:
        names: columns with one value per row; those with several are left out.
        types: types of columns, if known before reading.
        units: units of columns that have one, as written in the file.
        read: reads some columns.
        rows: number of rows.
        ucds: UCDs of columns that have one, as written in the file.
    """

    names: tuple[str, ...]
    types: dict[str, pa.DataType]
    units: dict[str, str]
    read: Callable[[Sequence[str]], pa.Table]
    rows: int
    ucds: dict[str, str] = field(default_factory=dict)


def open_fits(path: Path, part: str) -> AstropyFile:
    """Open a table of a FITS file: the only one, the one named ``part``, or :func:`chosen_part`.

    Raises:
        MorphoscopeError: the file has no table, or more columns than FITS allows.
    """
    return open_fits_content(path, path, part)


def open_fits_content(source: Path | bytes, path: Path, part: str) -> AstropyFile:
    """See :func:`open_fits`; ``source`` is the file or its content."""
    with _fits(source) as units:
        tables = [(number, unit) for number, unit in enumerate(units) if _is_table(unit)]
        if not tables:
            raise MorphoscopeError(f"{path}: holds no table")
        names = [_single_columns(unit) for _, unit in tables]
        labels = [str(unit.name) for _, unit in tables]
        sizes = [int(unit.header["NAXIS2"]) for _, unit in tables]
        at = chosen_part(path, part, labels, [str(number) for number, _ in tables], names, sizes)
        number, columns = tables[at][0], {column.name: column for column in tables[at][1].columns}
        called = dict(zip(distinct_names(names[at]), names[at], strict=True))
        kinds = {name: _fits_type(columns[true]) for name, true in called.items()}
        said = {name: str(columns[true].unit or "").strip() for name, true in called.items()}
        ucds = _fits_ucds(tables[at][1].header, called)

    def read(wanted: Sequence[str]) -> pa.Table:
        with _fits(source) as units:
            return pa.table({name: _fits_column(units[number], called[name]) for name in wanted})

    return AstropyFile(
        tuple(called),
        {name: kind for name, kind in kinds.items() if kind is not None},
        {name: unit for name, unit in said.items() if unit},
        read,
        sizes[at],
        ucds,
    )


def _fits_ucds(header: Any, called: dict[str, str]) -> dict[str, str]:
    """TUCDn, a common convention beside the standard's cards."""
    numbers = range(1, int(header.get("TFIELDS", 0)) + 1)
    said = {
        str(header.get(f"TTYPE{n}", "")).strip(): str(header.get(f"TUCD{n}", "")).strip() for n in numbers
    }
    return {name: said[true] for name, true in called.items() if said.get(true)}


@contextlib.contextmanager
def _fits(file: Path | bytes) -> Iterator[Any]:
    from astropy.io import fits

    plain = isinstance(file, Path) and not _is_packed(file)
    source: Any = file
    if isinstance(file, Path) and plain:
        check_headers(file)
    else:
        content = _content(file)
        check_counts(content, str(file) if isinstance(file, Path) else "the table in it")
        source = io.BytesIO(content)
    with silent(), fits.open(source, memmap=plain, output_verify="ignore") as units:
        unit: Any
        for unit in units:
            if _is_table(unit):
                _tell_apart(unit.header)
        yield units


def _is_packed(path: Path) -> bool:
    with open(path, "rb") as file:
        return packing_of(file.read(8)) is not None


def _content(file: Path | bytes) -> bytes:
    with opened(file) as stream:
        return stream.read()


def _tell_apart(header: Any) -> None:
    """Rename columns with the same name, before astropy makes fields of them."""
    cards = [f"TTYPE{number}" for number in range(1, int(header.get("TFIELDS", 0)) + 1)]
    names = [str(header.get(card, "")).strip() for card in cards]
    if len(set(names)) < len(names):
        for card, name in zip(cards, distinct_names(names), strict=True):
            header[card] = name


def holds_table_alone(path: Path) -> bool:
    """Whether a FITS file has a table and no image: a table next to an image describes the image."""
    try:
        with _fits(path) as units:
            return any(map(_is_table, units)) and not any(map(is_image, units))
    except Exception:  # astropy may raise anything on unexpected bytes
        return False


def _is_table(unit: Any) -> bool:
    from astropy.io import fits

    return isinstance(unit, fits.BinTableHDU | fits.TableHDU) and type(unit).__name__ != "CompImageHDU"


def _single_columns(unit: Any) -> list[str]:
    """The columns with one number or one string per row."""
    from astropy.io import fits

    if isinstance(unit, fits.TableHDU):
        return [str(column.name) for column in unit.columns or ()]
    names = []
    for column in unit.columns:
        form = column.format
        kind = form.format if hasattr(form, "format") else str(form)[-1]
        if kind in "PQ":
            single = form.p_format == "A" if hasattr(form, "p_format") else False
        elif kind == "A":
            single = not column.dim
        else:
            single = kind in "LBIJKED" and getattr(form, "repeat", 1) == 1
        if single:
            names.append(column.name)
    return names


def _fits_type(column: Any) -> pa.DataType | None:
    kind = str(column.format).lstrip("0123456789")[:1]
    if kind in "APQ":
        return pa.string()
    if kind == "L":
        return pa.bool_()
    scaled = column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0)
    if kind in "BIJK":
        return pa.int64() if not scaled else None
    return pa.float64()


def _fits_column(unit: Any, name: str) -> pa.Array:
    """A column with nulls: TNULL, logicals that are neither T nor F, blank cells of ASCII tables."""
    from astropy.io import fits

    column = unit.columns[name]
    raw = unit.data.view(np.ndarray)[name]
    if isinstance(unit, fits.TableHDU):
        return _ascii_column(column, raw)
    kind = str(column.format).lstrip("0123456789")[:1]
    if kind == "L":
        codes = raw.view(np.uint8)
        return pa.array(codes == ord("T"), mask=(codes != ord("T")) & (codes != ord("F")))
    if kind == "A":
        return pa.array([as_text(cell).rstrip() for cell in raw.tolist()], pa.string())
    values = unit.data.field(name)
    if kind in "PQ":
        return pa.array([_joined(cell) for cell in values], pa.string())
    mask = np.zeros(len(values), bool)
    if column.null is not None and kind in "BIJK":
        mask = np.asarray(raw) == column.null
    return as_arrow(np.asarray(values), mask)


def _ascii_column(column: Any, raw: np.ndarray) -> pa.Array:
    cells = [bytes(cell).decode("latin-1").strip() for cell in raw.tolist()]
    null = None if column.null is None else str(column.null).strip()
    words = [None if not cell or cell == null else cell for cell in cells]
    kind = str(column.format)[:1]
    if kind == "A":
        return pa.array(words, pa.string())
    if kind == "I":
        return pa.array([None if word is None else int(word) for word in words], pa.int64())
    return pa.array(
        [None if word is None else float(word.upper().replace("D", "E")) for word in words], pa.float64()
    )


def _joined(cell: Any) -> str:
    """Text of variable length, which astropy reads as arrays of characters."""
    return "".join(
        letter.decode("latin-1") if isinstance(letter, bytes) else str(letter) for letter in np.ravel(cell)
    )


def open_ecsv(path: Path) -> AstropyFile:
    """Open an ECSV table with any suffix.

    Raises:
        MorphoscopeError: its header would take minutes to read, or has aliases, a few of which could expand
            to billions of values.
    """
    from astropy.table import Table

    content = _content(path)
    header = "\n".join(line.decode("utf-8", "replace")[2:] for line in _comments(content))
    if excess := excess_of(header):
        raise MorphoscopeError(f"{path}: its header has {excess}, as no ECSV has")
    with silent():
        return of_table(Table.read(io.BytesIO(content), format="ascii.ecsv"))


def _comments(content: bytes) -> Iterator[bytes]:
    """The leading lines that start with #."""
    for line in io.BytesIO(content):
        if not line.startswith(b"#"):
            return
        yield line.rstrip()


def of_table(table: Any) -> AstropyFile:
    """The columns of an astropy table with one value per row."""
    columns: dict[str, Any] = {}
    units: dict[str, str] = {}
    ucds: dict[str, str] = {}
    for true in table.colnames:
        column = table[true]
        if hasattr(column, "icrs"):  # a SkyCoord
            for axis in ("ra", "dec"):
                name = axis if axis not in table.colnames else f"{true}.{axis}"
                columns[name], units[name] = np.asarray(getattr(column.icrs, axis).deg), "deg"
            continue
        kind = getattr(column, "dtype", None)
        if kind is None or getattr(column, "ndim", 1) != 1 or kind.kind not in "iufbSUO":
            continue
        if kind.kind == "O" and any(isinstance(cell, np.ndarray) for cell in column[:100]):
            continue
        columns[true] = column
        if getattr(column, "unit", None):
            units[true] = str(column.unit)
        if (getattr(column, "meta", None) or {}).get("ucd"):
            ucds[true] = str(column.meta["ucd"])
    called = dict(zip(distinct_names(columns), columns, strict=True))

    def read(wanted: Sequence[str]) -> pa.Table:
        return pa.table({name: _table_column(columns[called[name]]) for name in wanted})

    types = {name: _numpy_type(columns[true].dtype) for name, true in called.items()}
    return AstropyFile(
        tuple(called),
        types,
        {name: units[true] for name, true in called.items() if true in units},
        read,
        len(table),
        {name: ucds[true] for name, true in called.items() if true in ucds},
    )


def _numpy_type(kind: np.dtype) -> pa.DataType:
    native: dict[str, pa.DataType] = {"i": pa.int64(), "u": pa.uint64(), "f": pa.float64(), "b": pa.bool_()}
    return native.get(kind.kind, pa.string())


def _table_column(column: Any) -> pa.Array:
    values = np.asarray(getattr(column, "value", column))
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else getattr(column, "mask", False)
    return as_arrow(values, np.broadcast_to(np.asarray(mask, bool), values.shape))


def as_arrow(values: np.ndarray, mask: np.ndarray) -> pa.Array:
    """Numbers, booleans or text of any byte order as an Arrow array; masked values are null."""
    if values.dtype.kind in "iufb":  # FITS columns are big-endian
        return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)
    words = [_text(value) for value in values.tolist()]
    return pa.array([None if gone else word for word, gone in zip(words, mask, strict=True)], pa.string())


def _text(value: Any) -> str | None:
    if value is None or value is np.ma.masked:
        return None
    return as_text(value) if isinstance(value, bytes) else str(value)


def as_text(content: bytes) -> str:
    """Decode text: UTF-8, or else Latin-1; trailing NULs are padding."""
    content = content.rstrip(b"\0")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def chosen_part(
    path: Path,
    part: str,
    labels: Sequence[str],
    numbers: Sequence[str],
    names: Sequence[Sequence[str]],
    sizes: Sequence[int],
) -> int:
    """Choose one of a file's tables.

    Args:
        path: the file, for messages.
        part: a label or a number; if empty, the objects of an LDAC catalogue, or else the first table with
            rows that has images, ids or coordinates, or else the first with rows. A note says which, if
            there are several.
        labels: names of the tables.
        numbers: numbers of the tables.
        names: their columns.
        sizes: their numbers of rows.

    Raises:
        UsageError: there is no such table.
    """
    if part:
        for at, (label, number) in enumerate(zip(labels, numbers, strict=True)):
            if part.lower() == label.lower() or part == number:
                return at
        raise UsageError(f"{path}: has no table '{part}' (there are: {_listed(labels, numbers)})")
    if len(labels) == 1:
        return 0
    if _LDAC_OBJECTS in labels:
        return labels.index(_LDAC_OBJECTS)
    filled = [at for at, size in enumerate(sizes) if size] or [0]
    at = max(filled, key=lambda at: (_known(names[at]), -at))
    if len(filled) > 1:
        note_once(
            f"{path}: holds {len(filled)} tables; '{labels[at] or numbers[at]}' is read. Another one is "
            "named by "
            f"'{path.name}#{numbers[next(other for other in filled if other != at)]}' "
            f"({_listed([labels[n] for n in filled], [numbers[n] for n in filled])})"
        )
    return at


def _known(names: Sequence[str]) -> int:
    """How many of the wanted kinds of columns a table has."""
    sky = found_pair(names, (*EQUATORIAL_NAMES, *GALACTIC_NAMES))
    parts = {name.lower() for name in names}.issuperset(PARTS_NAMES)
    return (
        bool(found_column(names, IMAGE_NAMES)) * 4
        + bool(sky or parts) * 2
        + bool(found_column(names, ID_NAMES))
    )


def _listed(labels: Sequence[str], numbers: Sequence[str]) -> str:
    shown = [f"{number} {label}".strip() for number, label in zip(numbers, labels, strict=True)]
    return ", ".join(shown[:10]) + (f", and {len(shown) - 10} more" if len(shown) > 10 else "")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Silence warnings about units and headers that bend the standard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
