"""Write images from any source into a store: decoded on all cores, in order, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
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
from morphoscope.images.bands import MOST_BANDS, band_label, parse_bands, reddest_first
from morphoscope.images.decode import check_crop_and_size, crop_and_resize
from morphoscope.images.stream import Item, in_order
from morphoscope.images.stretch import LEVELS, MOST_PLANES, PLANES, VALUES, check_bands, check_stretch
from morphoscope.progress import Bar, note


@dataclass(frozen=True)
class _StoredImage:
    """An image, cropped and resized for the store."""

    item: Item
    image: np.ndarray
    source_size: tuple[int, int]  # width, height
    fingerprint: str


@dataclass(frozen=True)
class _Unreadable:
    """An image that could not be read."""

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
    """Decode images on all cores and write them to a store, in order.

    Args:
        items: galaxies to store; read lazily, in the calling thread, a few images ahead.
        out: folder of the store.
        meta: the store's metadata; ``pixel_scale`` is the source's and is converted to stored pixels.
        crop: side of the centre crop in source pixels; None: the largest square.
        size: side the crop is scaled to; None: not scaled, so all images must have the same size.
        expected: number of items, for the progress bar and the check of free disk space.
        extra: further columns of the table beyond the scheme's.
        overwrite: replace an existing store.
        workers: decoding threads; None: one per core.

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
        closing(in_order(lambda item: _prepare(item, crop, size), items, workers)) as results,
    ):
        readable = _readable(results, unreadable, bar)
        first = next(readable, None)
        if first is None:
            raise _nothing_read(out, unreadable)
        shape = first.image.shape
        with StoreWriter(
            out,
            meta,
            image_shape=shape,
            dtype=first.image.dtype,
            extra=extra,
            expected=expected or 0,
            overwrite=overwrite,
        ) as writer:
            for stored in chain((first,), readable):
                if stored.image.shape != shape:
                    raise _sizes_differ(first, stored)
                writer.append(stored.image, _row(stored, scales.factor(stored.source_size)))
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


@dataclass(frozen=True)
class ImageKind:
    """What a store keeps of each image: a picture, or bands as planes.

    Attributes:
        bands: to read from FITS files; empty: all of them.
        stretch: given, or None.
        show: bands that pictures of planes show, red first; empty: any.
    """

    bands: tuple[str, ...] = ()
    stretch: str | None = None
    show: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        bands: str | Sequence[str] | None,
        stretch: str | None,
        show: str | Sequence[str] | None = None,
    ) -> ImageKind:
        """What the options ``bands``, ``stretch`` and ``show`` ask for.

        Raises:
            UsageError: bands or a stretch that cannot be.
        """
        names = parse_bands(bands or None, MOST_PLANES)
        if stretch is not None:
            check_stretch(stretch)
            check_bands(names, stretch)
        shown = _shown(names, show)
        return cls(names, stretch, shown)

    def stretch_of(self, *, fits: bool) -> str:
        """How images are read: FITS and arrays of fluxes, or pictures such as JPEG and PNG.

        Up to three bands make a picture; more, and named bands of pictures, are planes.
        """
        if self.stretch is not None:
            return self.stretch
        if fits:
            return VALUES if len(self.bands) > MOST_BANDS else "lupton"
        return LEVELS if self.bands else "lupton"

    def facts(self, *, fits: bool) -> dict[str, Any]:
        """The fields of a store's metadata."""
        stretch = self.stretch_of(fits=fits)
        planes = stretch in PLANES
        if self.show and not planes:
            raise UsageError(
                f"--show {','.join(self.show)} chooses bands of planes, and --bands {','.join(self.bands)} "
                "make a picture; add --stretch values, or give --bands only those of the picture"
            )
        names = tuple(self.bands[band] for band in reddest_first(self.bands)) if planes else ()
        return {"stretch": stretch if fits or planes else "as-served", "bands": names} | (
            {"bands_given": self.bands, "shown": self.show} if planes else {}
        )


def _shown(bands: Sequence[str], show: str | Sequence[str] | None) -> tuple[str, ...]:
    """The bands that pictures show, in the order that was given: red, green, blue."""
    if not show:
        return ()
    names = tuple(name.strip() for name in (show.split(",") if isinstance(show, str) else show))
    labels = [band_label(band) for band in bands]
    missing = [name for name in names if band_label(name) not in labels]
    if missing or not 1 <= len(names) <= MOST_BANDS:
        fault = f"{', '.join(missing)} is not among --bands" if missing else f"{len(names)} bands"
        raise UsageError(
            f"--show {','.join(names)}: {fault}; one to three of --bands were expected, in the order red, "
            "green, blue"
        )
    return names


def refuse_out(out: Path, *, overwrite: bool) -> None:
    """Check that the store may be written to ``out``, before any work is done.

    Raises:
        UsageError: ``out`` exists and ``overwrite`` is false, or it is not a store.
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


def _prepare(item: Item, crop: int | None, size: int | None) -> _StoredImage | _Unreadable:
    try:
        image = item.load()
    except MorphoscopeError as error:
        return _Unreadable(item.source, str(error))
    stored = crop_and_resize(image, crop=crop, size=size)
    return _StoredImage(item, stored, (image.shape[1], image.shape[0]), pixel_hash(stored))


def _readable(
    results: Iterable[_StoredImage | _Unreadable], unreadable: list[tuple[str, str]], bar: Bar
) -> Iterator[_StoredImage]:
    """Yield the images that could be read; add the others to ``unreadable``."""
    for result in results:
        bar.advance()
        if isinstance(result, _Unreadable):
            unreadable.append((result.source, _without_source(result.source, result.reason)))
        else:
            yield result


def _row(stored: _StoredImage, factor: float) -> dict[str, Any]:
    row = {**stored.item.row, "source": stored.item.source, "pixel_hash": stored.fingerprint}
    row |= stored.item.coordinates
    if "pixel_scale" in row:
        row["pixel_scale"] = row["pixel_scale"] * factor
    return row


class _StoredScale:
    """Keeps track of how much larger a stored pixel is than a source pixel."""

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
        """The pixel scale of the store; None if unknown or not the same for all images."""
        if pixel_scale is None:
            return None
        if len(self.factors) != 1:
            note(
                "images of different sizes were scaled to one size, so the store has no single pixel scale; "
                "pass --crop to crop them to one size first"
            )
            return None
        return pixel_scale * next(iter(self.factors))


def _sizes_differ(first: _StoredImage, other: _StoredImage) -> UsageError:
    sizes = [f"{f.source_size[0]}×{f.source_size[1]} pixels" for f in (first, other)]
    return UsageError(
        f"{first.item.source} has {sizes[0]} and {other.item.source} has {sizes[1]}: "
        "pass --size to scale all images to one size, or --crop to crop them to one"
    )


def _nothing_read(out: Path, unreadable: list[tuple[str, str]]) -> MorphoscopeError:
    if not unreadable:
        return MorphoscopeError(f"{out}: there were no images to store, so no store was made")
    source, reason = unreadable[0]
    return MorphoscopeError(
        f"{out}: none of {len(unreadable)} images could be read, so no store was made "
        f"(the first, {source}: {reason})"
    )


def _without_source(source: str, reason: str) -> str:
    """A reason without the name of the source in front, which is listed beside it."""
    return reason.removeprefix(f"{source}: ")
