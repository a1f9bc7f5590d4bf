"""Ingest the official Galaxy10 DECaLS file.

``Galaxy10_DECals.h5`` has ``images`` (17736, 256, 256, 3) uint8, ``ans``, ``ra``, ``dec``, ``redshift`` and
``pxscale``; any file of this layout will do, such as one written by ``data/export.py``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from morphoscope.data.ingest import refuse_out, sha256_with_progress, write_store
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.extras import need
from morphoscope.images.hdf5_check import check_hdf5
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes

if TYPE_CHECKING:
    import h5py

PIXEL_SCALE = 0.262  # arcsec per pixel of the DECam Legacy Survey's pictures
BLOCK_BYTES = 1 << 24  # of images read at once, unless the file's own chunks are larger
COLUMNS = {"ra": "ra", "dec": "dec", "redshift": "redshift", "pxscale": "pixel_scale"}
_MOST_ROWS, _MOST_SIDE, _MOST_CHUNK = 50_000_000, 8192, 1 << 30
_MOST_CLASSES = 1000
_EXPECTED = "Galaxy10_DECals.h5 was expected"
_SDSS_SIDE = 69  # of the older Galaxy10, whose ten classes are different


def ingest_galaxy10(
    h5: Path | str,
    out: Path | str,
    *,
    sha256: str | None = None,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of a Galaxy10 HDF5 file; rows keep the file's order.

    Args:
        h5: the file; images are read in order, chunk by chunk, since rows are compressed together.
        out: folder of the store.
        sha256: the file's checksum, if already known; None: computed here.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Returns:
        The store, with columns ``redshift`` and ``pixel_scale`` (arcsec per stored pixel) if the file has
        them.

    Raises:
        UsageError: no such file, or ``out`` exists.
        MorphoscopeError: the file is truncated or damaged, or its keys, shapes or labels are wrong; or h5py
            is not installed.
    """
    need(("h5py",), "hdf5", "an HDF5 file")
    h5, out = Path(h5), Path(out)
    if not h5.is_file():
        raise UsageError(
            f"{h5}: no such file; Galaxy10_DECals.h5 was expected ('data fetch galaxy10' gets it)"
        )
    refuse_out(out, overwrite=overwrite)
    if sha256 is None:
        check_hdf5([h5], _EXPECTED)
    with _opened(h5) as file:
        images, labels = _checked(file, h5)
        scheme = _scheme(file["ans"], h5)
        _check_labels(labels, scheme, h5)
        found = {key: dataset for key in COLUMNS if (dataset := _dataset(file, key, h5)) is not None}
        columns = {COLUMNS[key]: _column(dataset, key, len(labels), h5) for key, dataset in found.items()}
        meta = StoreMeta(
            scheme=scheme,
            pixel_scale=_typical_scale(columns.get("pixel_scale")),
            source=h5.name,
            source_checksum=sha256 or sha256_with_progress(h5),
        )
        return write_store(
            _items(images, labels, columns, h5),
            out,
            meta,
            crop=crop,
            size=size,
            expected=len(labels),
            extra={name: pa.float64() for name in columns},
            overwrite=overwrite,
            workers=workers,
        )


class Galaxy10Images:
    """The images of such a file, which stays open.

    Args:
        path: the file.

    Raises:
        MorphoscopeError: it is damaged, or of another layout; or h5py is not installed.
    """

    def __init__(self, path: Path) -> None:
        need(("h5py",), "train", "an HDF5 file")
        check_hdf5([path], _EXPECTED)
        self._file, self.path = _opened(path), path
        self._images, _ = _checked(self._file, path)
        scales = _dataset(self._file, "pxscale", path)
        known = None if scales is None else _column(scales, "pxscale", len(self._images), path)
        self.pixel_scale = _typical_scale(known)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._images)

    def image(self, row: int) -> np.ndarray:
        """One of them, (H, W, 3) uint8.

        Raises:
            MorphoscopeError: it is damaged.
        """
        with _explained(self.path, f"image {row}"):
            return self._images[row]


def _opened(path: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(path, "r")
    except Exception as error:  # h5py raises all kinds of exceptions on unexpected bytes
        cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error))
        if cut:
            raise MorphoscopeError(
                f"{path}: the file is truncated: it has {int(cut[1]):,} of {int(cut[2]):,} bytes; "
                "download it again"
            ) from error
        raise MorphoscopeError(
            f"{path}: cannot be opened as HDF5; {_EXPECTED} ({reason_of(error)})"
        ) from error


def _dataset(file: h5py.File, key: str, path: Path) -> Any:
    """A dataset stored in this file; None if there is none of this name.

    Raises:
        MorphoscopeError: it refers to another file, or is damaged.
    """
    import h5py

    with _explained(path, key):
        if key not in file:
            return None
        link = file.get(key, getlink=True)
        found: Any = file[key] if isinstance(link, h5py.HardLink) else None
        elsewhere = found is None or (
            isinstance(found, h5py.Dataset) and (bool(found.external) or found.is_virtual)
        )
    if elsewhere:
        raise MorphoscopeError(
            f"{path}: '{key}' refers to data in another file, which is not opened; a file that contains its "
            "data was expected"
        )
    return found if isinstance(found, h5py.Dataset) else None


@contextlib.contextmanager
def _explained(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except (MorphoscopeError, MemoryError):
        raise
    except Exception as error:  # h5py raises all kinds of exceptions on unexpected bytes
        raise MorphoscopeError(f"{path}: '{key}' is damaged; download the file again") from error


def _checked(file: h5py.File, path: Path) -> tuple[h5py.Dataset, np.ndarray]:
    images, ans = _dataset(file, "images", path), _dataset(file, "ans", path)
    for key, dataset in (("images", images), ("ans", ans)):
        if dataset is None:
            with _explained(path, key):
                there = ", ".join(file) or "nothing"
            raise MorphoscopeError(
                f"{path}: has no '{key}'; a Galaxy10 file with images and ans was expected (it has: {there})"
            )
    with _explained(path, "images"):
        shape, kind = tuple(images.shape), images.dtype
        chunk = int(np.prod(images.chunks or (1,), dtype=object))
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8:
        raise MorphoscopeError(f"{path}: 'images' is {shape} {kind}; (N, 256, 256, 3) uint8 was expected")
    if shape[0] > _MOST_ROWS or max(shape[1:3]) > _MOST_SIDE or chunk > _MOST_CHUNK:
        raise MorphoscopeError(
            f"{path}: 'images' is {shape}, in chunks of {chunk:,} bytes; at most {_MOST_ROWS:,} images of "
            f"{_MOST_SIDE} pixels, in chunks of {_MOST_CHUNK:,} bytes, were expected"
        )
    if shape[1:3] == (_SDSS_SIDE, _SDSS_SIDE):
        raise MorphoscopeError(
            f"{path}: this is Galaxy10 SDSS ({_SDSS_SIDE} pixels), whose ten classes are different; "
            "Galaxy10_DECals.h5 was expected"
        )
    return images, _column(ans, "ans", shape[0], path)


def _column(dataset: Any, key: str, count: int, path: Path) -> np.ndarray:
    with _explained(path, key):
        shape, kind = getattr(dataset, "shape", "a group"), getattr(dataset, "dtype", np.dtype(object)).kind
        if shape == (count,) and kind in "iuf":
            return dataset[:]
    raise MorphoscopeError(f"{path}: '{key}' is {shape}; {count} numbers were expected, one per image")


def _scheme(ans: Any, path: Path) -> Classes:
    """The classes named in the file (as by our export); without any, the ten of Galaxy10."""
    from morphoscope.labels.galaxy10 import GALAXY10

    with _explained(path, "ans"):
        listed, name = ans.attrs.get("classes"), ans.attrs.get("scheme", "classes")
        if listed is None:
            return GALAXY10
        names = tuple(map(_text, np.atleast_1d(listed).ravel()[: _MOST_CLASSES + 1]))
    if not names or names == GALAXY10.classes:
        return GALAXY10
    try:
        return Classes(name=_text(name), classes=names)
    except ValueError as error:
        raise MorphoscopeError(
            f"{path}: the attribute 'classes' of 'ans' is not a list of distinct class names"
        ) from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _check_labels(labels: np.ndarray, scheme: Classes, path: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= scheme.outputs) | (labels != np.floor(labels)))
    if len(wrong):
        raise MorphoscopeError(
            f"{path}: row {wrong[0]} of 'ans' is {labels[wrong[0]]}; 0 to {scheme.outputs - 1} was expected"
        )


def _typical_scale(pixel_scales: np.ndarray | None) -> float:
    known = np.array([]) if pixel_scales is None else pixel_scales[np.isfinite(pixel_scales)]
    return float(np.median(known)) if len(known) else PIXEL_SCALE


def _items(
    images: h5py.Dataset, labels: np.ndarray, columns: dict[str, np.ndarray], path: Path
) -> Iterator[Item]:
    for start, block in _blocks(images, path):
        for offset, image in enumerate(block):
            row = start + offset
            yield Item(
                source=f"{path.name}#{row}",
                load=partial(np.asarray, image),
                row={
                    "id": f"{row:05d}",
                    "label": int(labels[row]),
                    **{name: float(values[row]) for name, values in columns.items()},
                },
            )


def _blocks(images: h5py.Dataset, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of whole chunks, in order, so that each chunk is decompressed once."""
    chunk = images.chunks[0] if images.chunks else 1
    row_bytes = int(np.prod(images.shape[1:]))
    rows = chunk * max(1, BLOCK_BYTES // (chunk * row_bytes))
    for start in range(0, len(images), rows):
        try:
            yield start, images[start : start + rows]
        except Exception as error:  # h5py raises all kinds of exceptions on unexpected bytes
            raise MorphoscopeError(
                f"{path}: images {start} to {min(start + rows, len(images)) - 1} are damaged; "
                "download the file again"
            ) from error
