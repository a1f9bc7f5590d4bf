"""The official Galaxy10 DECaLS file to a store.

``Galaxy10_DECals.h5`` holds ``images`` (17736, 256, 256, 3) uint8, ``ans``, ``ra``, ``dec``, ``redshift``
and ``pxscale``; any file of this layout will do, such as one that ``data/export.py`` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from morphoscope.data.ingest import refuse_out, sha256_with_progress, write_store
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes

if TYPE_CHECKING:
    import h5py

PIXEL_SCALE = 0.262  # arcsec per pixel of the DECam Legacy Survey's pictures
BLOCK_BYTES = 1 << 24  # of images read at once, unless the file's own chunks are longer
COLUMNS = {"ra": "ra", "dec": "dec", "redshift": "redshift", "pxscale": "pixel_scale"}
_SDSS_SIDE = 69  # of the older Galaxy10, whose ten classes are others


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
        h5: the file; images are read chunk by chunk in order, for its rows are compressed together.
        out: folder of the store.
        sha256: the file's checksum if it is known already; none: computed here.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace a store that is already there.
        workers: threads that decode.

    Returns:
        The store, with columns ``redshift`` and ``pixel_scale`` (arcsec per stored pixel) where the file
        has them.

    Raises:
        UsageError: no such file, or ``out`` exists.
        MorphoscopeError: the file is cut off or damaged, or its keys, shapes or labels are others.
    """
    h5, out = Path(h5), Path(out)
    if not h5.is_file():
        raise UsageError(
            f"{h5}: no such file; Galaxy10_DECals.h5 was expected ('data fetch galaxy10' gets it)"
        )
    refuse_out(out, overwrite=overwrite)
    with _opened(h5) as file:
        images, labels = _checked(file, h5)
        scheme = _scheme(file["ans"])
        _check_labels(labels, scheme, h5)
        columns = {name: _column(file, key, len(labels), h5) for key, name in COLUMNS.items() if key in file}
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


def _opened(path: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error))
        if cut:
            raise MorphoscopeError(
                f"{path}: the file is cut off: it has {int(cut[1]):,} of {int(cut[2]):,} bytes; "
                "download it again"
            ) from error
        raise MorphoscopeError(
            f"{path}: cannot be opened as HDF5; Galaxy10_DECals.h5 was expected ({error})"
        ) from error


def _checked(file: h5py.File, path: Path) -> tuple[h5py.Dataset, np.ndarray]:
    import h5py

    for key in ("images", "ans"):
        if not isinstance(file.get(key), h5py.Dataset):
            raise MorphoscopeError(
                f"{path}: has no '{key}'; a Galaxy10 file with images and ans was expected "
                f"(it has: {', '.join(file) or 'nothing'})"
            )
    images: Any = file["images"]
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise MorphoscopeError(
            f"{path}: 'images' is {images.shape} {images.dtype}; (N, 256, 256, 3) uint8 was expected"
        )
    if images.shape[1:3] == (_SDSS_SIDE, _SDSS_SIDE):
        raise MorphoscopeError(
            f"{path}: this is Galaxy10 SDSS ({_SDSS_SIDE} pixels), whose ten classes mean something else; "
            "Galaxy10_DECals.h5 was expected"
        )
    return images, _column(file, "ans", len(images), path)


def _column(file: h5py.File, key: str, count: int, path: Path) -> np.ndarray:
    dataset: Any = file[key]
    if getattr(dataset, "shape", None) != (count,) or dataset.dtype.kind not in "iuf":
        raise MorphoscopeError(
            f"{path}: '{key}' is {getattr(dataset, 'shape', 'a group')}; {count} numbers were expected, "
            "one an image"
        )
    try:
        return dataset[:]
    except OSError as error:
        raise MorphoscopeError(f"{path}: '{key}' is damaged; download the file again") from error


def _scheme(ans: Any) -> Classes:
    """The ten classes, unless the file says that its labels are others (as our export does)."""
    from morphoscope.labels.galaxy10 import GALAXY10

    names = tuple(str(name) for name in ans.attrs.get("classes", ()))
    if not names or names == GALAXY10.classes:
        return GALAXY10
    return Classes(name=str(ans.attrs.get("scheme", "classes")), classes=names)


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
    """Runs of whole chunks, in order: each chunk is decompressed once."""
    chunk = images.chunks[0] if images.chunks else 1
    row_bytes = int(np.prod(images.shape[1:]))
    rows = chunk * max(1, BLOCK_BYTES // (chunk * row_bytes))
    for start in range(0, len(images), rows):
        try:
            yield start, images[start : start + rows]
        except OSError as error:
            raise MorphoscopeError(
                f"{path}: images {start} to {min(start + rows, len(images)) - 1} are damaged; "
                "download the file again"
            ) from error
