"""Export a store for other programs: class folders, or an HDF5 file in Galaxy10's layout.

Colour pictures are PNG files; images of other bands are FITS files with one image for each band.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.splits.split import PARTS
from morphoscope.data.store import Store
from morphoscope.errors import UsageError
from morphoscope.extras import need
from morphoscope.images.bands import band_name
from morphoscope.images.stream import in_order
from morphoscope.labels.scheme import Classes
from morphoscope.progress import note, track

LIST_NAME = "images.csv"  # beside the class folders: ids and coordinates
_COMPRESSION = 4  # of zlib, as in h5py


def export_folders(
    store: Store,
    out: Path | str,
    *,
    split: Split | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Path:
    """Write a store losslessly as class folders of PNG files: ``OUT/<class>/<id>.png``.

    Bands that are no picture become ``<id>.fits``, with an extension for each. ``OUT/images.csv``
    lists file, id, class and coordinates; 'data ingest table' turns it back into the same store (bands with
    ``--bands`` and ``--stretch values``). Galaxies without a label are left out; a note says how many.

    With a split there is a folder for each of its parts, ``OUT/train/<class>/<id>.png`` and so on, as
    `cheng` writes its galaxies (section 2.1). Galaxies in no part are left out; one in two parts, as in the
    split of `ng`, is written twice.

    Args:
        store: with classes as labels.
        out: the folder to write.
        split: of this store; None: all galaxies together.
        overwrite: replace the folders of an earlier export.
        workers: encoding threads; None: one per core.

    Returns:
        ``out``.

    Raises:
        UsageError: the store has no classes, or ``out`` exists.
    """
    out = Path(out)
    scheme, labelled = _labelled_rows(store)
    labels = store.targets()
    parts = {"": labelled} if split is None else {name: getattr(split, name) for name in PARTS}
    written = [(part, row) for part, rows in parts.items() for row in rows.tolist()]
    folders = _distinct([_file_name(name) for name in scheme.classes])
    ids = [_file_name(str(store.table.column("id")[row].as_py())) for row in labelled]
    names = dict(zip(labelled.tolist(), _distinct(ids), strict=True))
    files.ensure_room(out, len(written) * int(np.prod(store.images.shape[1:])) * store.images.dtype.itemsize)
    pictures = _has_pictures(store)
    with files.atomic_folder(out, overwrite=overwrite, mark=LIST_NAME) as partial:
        for folder in {Path(part, folders[labels[row]]) for part, row in written}:
            (partial / folder).mkdir(parents=True)

        def encode(number: int) -> tuple[int, bytes]:
            image_HWC = np.asarray(store.images[written[number][1]])
            return number, _png(image_HWC) if pictures else _fits(image_HWC, store.meta.bands)

        with (
            open(partial / LIST_NAME, "w", newline="", encoding="utf-8") as file,
            closing(in_order(encode, range(len(written)), workers)) as images,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("file", "id", "class", "ra", "dec"))
            ending = ".png" if pictures else ".fits"
            for number, content in track(images, f"writing {out.name}", len(written), "images"):
                part, row = written[number]
                name = Path(part, folders[labels[row]], f"{names[row]}{ending}").as_posix()
                (partial / name).write_bytes(content)
                table.writerow((name, *_described(store, row, scheme.classes[labels[row]])))
    return out


def export_hdf5(
    store: Store, out: Path | str, *, overwrite: bool = False, workers: int | None = None
) -> Path:
    """Write a store as an HDF5 file with Galaxy10's keys: images, ans, ra, dec, redshift, pxscale.

    Each image is one compressed chunk. Bands other than red, green and blue are named in an attribute of
    ``images``, whose type is the store's. Class names are an attribute of ``ans``, from which
    :func:`morphoscope.data.sources.galaxy10.ingest_galaxy10` reads classes other than Galaxy10's. Galaxies
    without a label are left out, and a note says how many; unknown redshifts and pixel scales are NaN.

    Args:
        store: with classes as labels.
        out: the file to write.
        overwrite: replace an existing file.
        workers: compressing threads; None: one per core.

    Returns:
        ``out``.

    Raises:
        UsageError: the store has no classes, or ``out`` exists.
    """
    need(("h5py",), "hdf5", "an HDF5 file")
    import h5py

    out = Path(out)
    scheme, rows = _labelled_rows(store)
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; choose another name or pass --overwrite")
    shape = store.images.shape[1:]
    files.ensure_room(out, len(rows) * int(np.prod(shape)) * store.images.dtype.itemsize)

    def compress(row: int) -> bytes:
        return zlib.compress(np.ascontiguousarray(store.images[row]).data, _COMPRESSION)

    with files.atomic_file(out) as partial, h5py.File(partial, "w") as file:
        images: Any = file.create_dataset(
            "images",
            (len(rows), *shape),
            store.images.dtype,
            chunks=(1, *shape),
            compression="gzip",
            compression_opts=_COMPRESSION,
        )
        # h5py compresses in one thread; chunks that are already compressed are written as they are.
        with closing(in_order(compress, rows.tolist(), workers)) as chunks:
            for number, chunk in enumerate(track(chunks, f"writing {out.name}", len(rows), "images")):
                images.id.write_direct_chunk((number, 0, 0, 0), chunk)
        if not _has_pictures(store):
            images.attrs["bands"] = list(store.meta.bands)
        number_type = np.uint8 if scheme.outputs <= 256 else np.int16
        ans = file.create_dataset("ans", data=store.targets()[rows].astype(number_type))
        ans.attrs["scheme"] = scheme.name
        ans.attrs["classes"] = list(scheme.classes)
        for key, column, otherwise in (
            ("ra", "ra", np.nan),
            ("dec", "dec", np.nan),
            ("redshift", "redshift", np.nan),
            ("pxscale", "pixel_scale", store.meta.pixel_scale or np.nan),
        ):
            file.create_dataset(key, data=_numbers(store, column, otherwise)[rows])
    return out


def _labelled_rows(store: Store) -> tuple[Classes, np.ndarray]:
    scheme = store.need_scheme()
    if not isinstance(scheme, Classes):  # these formats hold one class a galaxy
        raise UsageError(f"{store.path} has {scheme.noun} as labels; only classes can be exported")
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise UsageError(f"{store.path} has no labelled galaxies to export")
    if len(rows) < len(store):
        note(
            f"{store.path}: {len(store) - len(rows)} of {len(store)} galaxies have no label and are left out"
        )
    return scheme, rows


def _numbers(store: Store, column: str, otherwise: float) -> np.ndarray:
    if column in store.table.column_names:
        return store.column(column).astype(np.float64)
    return np.full(len(store), otherwise)


def _described(store: Store, row: int, name: str) -> Iterator[str]:
    yield str(store.table.column("id")[row].as_py())
    yield name
    for column in ("ra", "dec"):
        value = store.table.column(column)[row].as_py()
        yield "" if value is None or value != value else repr(value)


def _has_pictures(store: Store) -> bool:
    """Whether the images are red, green and blue in 8 bits."""
    return not store.meta.bands and store.meta.dtype == "uint8"


def _fits(image_HWC: np.ndarray, bands: Sequence[str]) -> bytes:
    """A FITS file with an extension called as each band; its first row is the lowest, as FITS has it."""
    from astropy.io import fits

    extensions = [
        fits.ImageHDU(np.ascontiguousarray(image_HWC[::-1, :, plane]), name=band_name(band))
        for plane, band in enumerate(bands)
    ]
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *extensions]).writeto(stream)
    return stream.getvalue()


def _png(image_HWC: np.ndarray) -> bytes:
    done, content = cv2.imencode(".png", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV encodes every uint8 image"
    return content.tobytes()


def _file_name(name: str) -> str:
    """A file name that is valid on every file system and not hidden."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", name).lstrip(".").rstrip(". ") or "_"


def _distinct(names: list[str]) -> list[str]:
    """Make names unique, ignoring case, by appending numbers."""
    seen: set[str] = set()
    distinct = []
    for name in names:
        choice, number = name, 1
        while choice.lower() in seen:
            number += 1
            choice = f"{name}_{number}"
        seen.add(choice.lower())
        distinct.append(choice)
    return distinct
