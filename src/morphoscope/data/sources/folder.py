"""Ingest a folder of class folders: ``FOLDER/<class>/*.jpg``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from morphoscope.data.ingest import ImageKind, refuse_out, write_store
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.images.band_files import band_pattern_of, from_pattern
from morphoscope.images.decode import is_fits_name, is_image_name, read_image
from morphoscope.images.file_names import (
    distinct_ids,
    image_names,
    load_named,
    report_skipped,
    writable,
)
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes
from morphoscope.progress import note


def ingest_folder(
    folder: Path | str,
    out: Path | str,
    *,
    classes: Sequence[str] | None = None,
    pixel_scale: float | None = None,
    stretch: str | None = None,
    bands: str | Sequence[str] | None = None,
    show: str | Sequence[str] | None = None,
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of images sorted into one folder per class.

    Subfolders of a class folder are searched too; hidden files are skipped, and so are files that are not
    images, which a note counts.

    Args:
        folder: contains the class folders.
        out: folder of the store.
        classes: the class folders in the order of their label numbers; None: all, alphabetically.
        pixel_scale: arcsec per source pixel, if known.
        stretch: of FITS images to a picture, see :mod:`morphoscope.images.fits`; "values" or "bands": a plane
            for each of the bands. None: "lupton", for more than three bands "values".
        bands: of FITS images: planes or extensions of each file, or one file a band (``NAME-g.fits``). Up to
            three make a picture, up to eight are planes. One band of grey JPEG or PNG images.
        show: which one to three of ``bands`` pictures for people show, red first; for planes.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace an existing store.
        workers: decoding threads.

    Returns:
        The store. See :func:`morphoscope.images.file_names.distinct_ids` for a galaxy's id.

    Raises:
        UsageError: no such folder, fewer than two classes, a class of ``classes`` without a folder, images
            of several sizes without ``size``.
        MorphoscopeError: a class folder without images, or no image could be read.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; a folder of class folders was expected")
    refuse_out(out, overwrite=overwrite)
    kind = ImageKind.of(bands, stretch, show)
    names = _class_names(folder, classes)
    patterns = {name: band_pattern_of(folder / name, kind.bands) for name in names}
    if all(patterns.values()):
        return _from_patterns(
            folder,
            {name: pattern for name, pattern in patterns.items() if pattern},
            out,
            kind,
            pixel_scale=pixel_scale,
            crop=crop,
            size=size,
            overwrite=overwrite,
            workers=workers,
        )
    skipped: Counter[str] = Counter()
    found = {name: [f"{name}/{image}" for image in image_names(folder / name, skipped)] for name in names}
    report_skipped(str(folder), skipped)
    for name, images in found.items():
        if not images:
            raise MorphoscopeError(f"{folder / name}: has no images; remove the folder or add images to it")
    images = [image for name in names for image in found[name]]
    identity, _ = distinct_ids(images)
    ids = [writable(identity(image)) for image in images]
    measured = any(map(is_fits_name, images))
    meta = StoreMeta(
        scheme=Classes(name=folder.resolve().name, classes=names),
        pixel_scale=pixel_scale,
        source=folder.resolve().name,
        **kind.facts(fits=measured),
    )
    return write_store(
        _items(folder, found, ids, kind.stretch_of(fits=measured), kind.bands),
        out,
        meta,
        crop=crop,
        size=size,
        expected=len(images),
        overwrite=overwrite,
        workers=workers,
    )


def _class_names(folder: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    there = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )
    if classes is None:
        names = tuple(there)
    else:
        names = tuple(classes)
        for name in names:
            if name not in there:
                raise UsageError(
                    f"{folder}: has no folder for class '{name}'{did_you_mean(name, there, 'there')}"
                )
        left_out = [name for name in there if name not in names]
        if left_out:
            note(f"{folder}: folders that are not among the classes are left out: {', '.join(left_out)}")
    if len(names) < 2 or len(set(names)) < len(names):
        loose = not there and any(is_image_name(name) for name in os.listdir(folder))
        hint = "; images without labels need no store: 'morphoscope predict' takes their folder" * loose
        raise UsageError(
            f"{folder}: at least two class folders with images were expected (found: "
            f"{', '.join(names) or 'none'}){hint}"
        )
    return names


def _from_patterns(
    folder: Path,
    patterns: dict[str, str],
    out: Path,
    kind: ImageKind,
    *,
    pixel_scale: float | None,
    **options: Any,
) -> Store:
    """Class folders with one FITS file a band."""
    stretch = kind.stretch_of(fits=True)
    found = [from_pattern(pattern, kind.bands, stretch) for pattern in patterns.values()]
    meta = StoreMeta(
        scheme=Classes(name=folder.resolve().name, classes=tuple(patterns)),
        pixel_scale=pixel_scale,
        source=folder.resolve().name,
        **kind.facts(fits=True),
    )

    def items() -> Iterator[Item]:
        seen: set[str] = set()
        for label, (name, (galaxies, _)) in enumerate(zip(patterns, found, strict=True)):
            for item in galaxies:
                alone = item.row["id"] not in seen
                seen.add(item.row["id"])
                identity = item.row["id"] if alone else f"{name}/{item.row['id']}"
                source = f"{name}/{item.source}"
                yield replace(item, source=source, row={"id": identity, "label": label})

    return write_store(items(), out, meta, expected=sum(count for _, count in found), **options)


def _items(
    folder: Path, found: dict[str, list[str]], ids: list[str], stretch: str, bands: tuple[str, ...]
) -> Iterator[Item]:
    named, within = iter(ids), os.path.join(folder, "")  # text, as pathlib would take longer than the rest
    for label, names in enumerate(found.values()):
        for name in names:
            source = writable(name)
            read = partial(read_image, within + name, name=source, stretch=stretch, bands=bands)
            load = load_named(name, read)
            yield Item(source, load, {"id": next(named), "label": label})
