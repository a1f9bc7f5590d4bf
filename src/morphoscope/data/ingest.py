"""One way from any source to a store: decode on all cores, in order, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope import files
from morphoscope.data.store import Store, StoreMeta, open_store, pixel_hash
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import check_crop_and_size, crop_and_resize
from morphoscope.images.stream import Item, in_order
from morphoscope.progress import Bar, note


@dataclass(frozen=True)
class _Fitted:
    """An image as it will be stored."""

    item: Item
    image: np.ndarray
    source_size: tuple[int, int]  # width, height
    fingerprint: str


@dataclass(frozen=True)
class _Unreadable:
    """Why an image will not be stored."""

    source: str
    reason: str


def write_store(
    items: Iterable[Item],
    out: Path | str,
    meta: StoreMeta,
    *,
    crop: int | None = None,
    size: int | None = None,
    expected: int | None = None,
    extra: dict[str, pa.DataType] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Store:
    """Decode images on all cores and write them as a store, in the order they come.

    Args:
        items: what to store; read lazily, in the calling thread, a few images ahead.
        out: folder of the store.
        meta: what is known beforehand; its ``pixel_scale`` is that of the source and is converted to that
            of the stored pixels.
        crop: side of the centre crop in source pixels; none: the largest square.
        size: side the crop is scaled to; none: not scaled, and then all images must be alike.
        expected: how many items will come, for the progress bar and the room on the disk.
        extra: further columns of the table beyond the scheme's.
        overwrite: replace a store that is already there.
        workers: threads that decode; none: one a core.

    Returns:
        The store, opened. Images that could not be read are listed in its ``unreadable.csv``.

    Raises:
        UsageError: ``out`` exists, or images differ in size and no ``size`` was given.
        MorphoscopeError: no image could be read, or the disk is full; nothing is left behind.
    """
    out = Path(out)
    refuse_out(out, overwrite=overwrite)
    check_crop_and_size(crop, size)
    meta = meta.model_copy(update={"crop": crop, "size": size})
    unreadable: list[tuple[str, str]] = []
    scales = _StoredScale(crop, size)
    with (
        Bar(f"writing {out.name}", expected, "images") as bar,
        closing(in_order(lambda item: _fit(item, crop, size), items, workers)) as results,
    ):
        readable = _readable(results, unreadable, bar)
        first = next(readable, None)
        if first is None:
            raise _nothing_read(out, unreadable)
        shape = first.image.shape
        with StoreWriter(
            out, meta, image_shape=shape, extra=extra, expected=expected or 0, overwrite=overwrite
        ) as writer:
            for fitted in chain((first,), readable):
                if fitted.image.shape != shape:
                    raise _unlike(first, fitted)
                writer.append(fitted.image, _row(fitted, scales.factor(fitted.source_size)))
            writer.meta = meta.model_copy(update={"pixel_scale": scales.stored(meta.pixel_scale)})
            for source, reason in unreadable:
                writer.unreadable(source, reason)
    if unreadable:
        source, reason = unreadable[0]
        note(
            f"{len(unreadable)} of {writer.count + len(unreadable)} images could not be read; they are "
            f"listed in {out / 'unreadable.csv'} (the first, {source}: {reason})"
        )
    return open_store(out)


def refuse_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place for the store before any work is done.

    Raises:
        UsageError: something is there and ``overwrite`` is false, or what is there is no store.
    """
    files.refuse_existing(out, overwrite=overwrite, mark="store.yaml")


def sha256_with_progress(path: Path) -> str:
    """The SHA-256 of a large file as 64 hex digits, with a progress bar.

    Raises:
        MorphoscopeError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file, Bar(f"checking {path.name}", path.stat().st_size >> 20, "MB") as bar:
            while block := file.read(1 << 20):
                digest.update(block)
                bar.advance()
    except OSError as error:
        raise MorphoscopeError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _fit(item: Item, crop: int | None, size: int | None) -> _Fitted | _Unreadable:
    try:
        image = item.load()
    except MorphoscopeError as error:
        return _Unreadable(item.source, str(error))
    fitted = crop_and_resize(image, crop=crop, size=size)
    return _Fitted(item, fitted, (image.shape[1], image.shape[0]), pixel_hash(fitted))


def _readable(
    results: Iterable[_Fitted | _Unreadable], unreadable: list[tuple[str, str]], bar: Bar
) -> Iterator[_Fitted]:
    """The images that could be read; the others are added to ``unreadable``."""
    for result in results:
        bar.advance()
        if isinstance(result, _Unreadable):
            unreadable.append((result.source, _bare(result.source, result.reason)))
        else:
            yield result


def _row(fitted: _Fitted, factor: float) -> dict[str, Any]:
    row = {**fitted.item.row, "source": fitted.item.source, "pixel_hash": fitted.fingerprint}
    row |= fitted.item.place
    if "pixel_scale" in row:
        row["pixel_scale"] = row["pixel_scale"] * factor
    return row


class _StoredScale:
    """How much larger a stored pixel is than a source pixel, while images come by."""

    def __init__(self, crop: int | None, size: int | None) -> None:
        self.crop, self.size = crop, size
        self.factors: set[float] = set()

    def factor(self, source_size: tuple[int, int]) -> float:
        side = self.crop or min(source_size)
        factor = side / (self.size or side)
        if len(self.factors) < 2:
            self.factors.add(factor)
        return factor

    def stored(self, pixel_scale: float | None) -> float | None:
        """The scale of all stored pixels; None if unknown, or if images of several sizes became one."""
        if pixel_scale is None:
            return None
        if len(self.factors) != 1:
            note(
                "images of different sizes were scaled to one size, so the store has no single pixel scale; "
                "pass --crop to cut them alike first"
            )
            return None
        return pixel_scale * next(iter(self.factors))


def _unlike(first: _Fitted, other: _Fitted) -> UsageError:
    sizes = [f"{f.source_size[0]}×{f.source_size[1]} pixels" for f in (first, other)]
    return UsageError(
        f"{first.item.source} has {sizes[0]} and {other.item.source} has {sizes[1]}: "
        "pass --size to scale all images alike, or --crop to cut them alike"
    )


def _nothing_read(out: Path, unreadable: list[tuple[str, str]]) -> MorphoscopeError:
    if not unreadable:
        return MorphoscopeError(f"{out}: there was no image to store, so no store was made")
    source, reason = unreadable[0]
    return MorphoscopeError(
        f"{out}: none of {len(unreadable)} images could be read, so no store was made "
        f"(the first, {source}: {reason})"
    )


def _bare(source: str, reason: str) -> str:
    """A reason without the name it begins with, for it stands beside the name."""
    return reason.removeprefix(f"{source}: ")
