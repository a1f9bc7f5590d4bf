"""A folder of class folders to a store: ``FOLDER/<class>/*.jpg``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from morphoscope.data.ingest import refuse_out, write_store
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.images.decode import is_fits_name, is_image_name, read_image
from morphoscope.images.stream import Item
from morphoscope.images.stretch import check_stretch
from morphoscope.labels.scheme import Classes
from morphoscope.progress import note


def ingest_folder(
    folder: Path | str,
    out: Path | str,
    *,
    classes: Sequence[str] | None = None,
    pixel_scale: float | None = None,
    stretch: str = "lupton",
    crop: int | None = None,
    size: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Make a store of images sorted into one folder a class.

    Images may lie deeper in a class's folder; hidden files and files that are no images are passed over.

    Args:
        folder: holds the class folders.
        out: folder of the store.
        classes: the class folders in the order of their label numbers; none: all, alphabetically.
        pixel_scale: arcsec per source pixel, if known.
        stretch: how FITS images become grey levels, see :mod:`morphoscope.images.fits`.
        crop: side of the centre crop; see :func:`morphoscope.data.ingest.write_store` for this and the rest.
        size: side the crop is scaled to.
        overwrite: replace a store that is already there.
        workers: threads that decode.

    Returns:
        The store. A galaxy's id is its file's name, with its folder's where names repeat.

    Raises:
        UsageError: no such folder, fewer than two classes, a class of ``classes`` without a folder, images
            of several sizes without ``size``.
        MorphoscopeError: a class folder without images, or no image could be read.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; a folder of class folders was expected")
    refuse_out(out, overwrite=overwrite)
    check_stretch(stretch)
    names = _class_names(folder, classes)
    found = {name: _image_paths(folder / name) for name in names}
    for name, paths in found.items():
        if not paths:
            raise MorphoscopeError(f"{folder / name}: holds no images; remove the folder or fill the class")
    paths = [path for name in names for path in found[name]]
    ids = _ids(folder, paths)
    measured = any(is_fits_name(path.name) for path in paths)
    meta = StoreMeta(
        scheme=Classes(name=folder.resolve().name, classes=names),
        pixel_scale=pixel_scale,
        stretch=stretch if measured else "as-served",
        source=folder.resolve().name,
    )
    return write_store(
        _items(folder, found, ids, stretch),
        out,
        meta,
        crop=crop,
        size=size,
        expected=len(paths),
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
            f"{folder}: at least two class folders were expected, each holding its images (found: "
            f"{', '.join(names) or 'none'}){hint}"
        )
    return names


def _image_paths(folder: Path) -> list[Path]:
    paths = []
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        paths += [Path(place, name) for name in sorted(names) if is_image_name(name)]
    return paths


def _ids(folder: Path, paths: list[Path]) -> dict[Path, str]:
    """File names without suffix; with their folders if two are alike; with suffix if still alike."""
    for name in (
        lambda path: path.stem,
        lambda path: path.relative_to(folder).with_suffix("").as_posix(),
    ):
        ids = {path: name(path) for path in paths}
        if len(set(ids.values())) == len(paths):
            return ids
    return {path: path.relative_to(folder).as_posix() for path in paths}


def _items(folder: Path, found: dict[str, list[Path]], ids: dict[Path, str], stretch: str) -> Iterator[Item]:
    for label, paths in enumerate(found.values()):
        for path in paths:
            source = path.relative_to(folder).as_posix()
            yield Item(
                source,
                partial(read_image, path, name=source, stretch=stretch),
                {"id": ids[path], "label": label},
            )
