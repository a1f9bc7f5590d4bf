"""The prediction pipeline: batches pass through the network while others are read and written.

Threads decode images and preprocess them, in order and a bounded number ahead. The caller's thread gathers
them into batches and passes each to one thread that runs the network; meanwhile the next batch is gathered
and the previous one written. So two batches of images are in memory, however long the catalogue.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from morphoscope.errors import CannotContinue, MorphoscopeError
from morphoscope.images.central_source import central_source
from morphoscope.images.coverage import NO_SOURCE, OFF_IMAGE, share_of
from morphoscope.images.decode import is_fits_name
from morphoscope.images.file_names import writable
from morphoscope.images.planes import picture_of
from morphoscope.images.source_quality import fault_of
from morphoscope.images.stream import Item
from morphoscope.inference.preprocess import CropResizePlan, load_and_preprocess
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts

MOST_FAILURES = 4096  # per batch: a million consecutive unreadable images must not pile up
Failure = tuple[str, str, str]  # id, source, reason
Result = TypeVar("Result")


@dataclass(frozen=True)
class Stamps:
    """Fingerprint of image files from their sizes and modification times, without reading them.

    A sum of hashes, so that fingerprints of batches add up to that of the whole part.

    Attributes:
        total: sum of the galaxies' hashes, modulo 2⁶⁴.
        missing: number of galaxies with missing files.
    """

    total: int = 0
    missing: int = 0

    def __add__(self, other: Stamps) -> Stamps:
        return Stamps((self.total + other.total) % (1 << 64), self.missing + other.missing)


def stamp_of(item: Item) -> Stamps:
    """The fingerprint of one galaxy's files as they are now."""
    if not item.files:
        return Stamps()
    digest = hashlib.blake2b(item.source.encode("utf-8", "surrogatepass"), digest_size=8)
    try:
        for file in item.files:
            facts = os.stat(file)
            digest.update(f"\0{facts.st_size} {facts.st_mtime_ns}".encode())
    except (OSError, ValueError):
        return Stamps(missing=1)
    return Stamps(int.from_bytes(digest.digest()))


@dataclass(frozen=True)
class Preprocessed:
    """An image ready for the network, or the reason why there is none.

    Attributes:
        item: the galaxy.
        image: (H, W, C); None if it could not be read.
        plan: how it was cropped and resized.
        shape: its shape before.
        reason: why it could not be read.
        stamp: fingerprint of its files, from before they were read.
    """

    item: Item
    image: np.ndarray | None = None
    plan: CropResizePlan | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""
    stamp: Stamps = Stamps()


def preprocess_item(
    item: Item, *, facts: StoreFacts, crop: int | None, fitted: bool = False, check: bool = False
) -> Preprocessed:
    """Read and preprocess one image; called in a worker thread.

    Args:
        item: the galaxy.
        facts: of the training's store.
        crop: see :func:`morphoscope.inference.preprocess.crop_resize_plan`.
        fitted: see :func:`morphoscope.inference.preprocess.fitting_plan`.
        check: look for reasons against a class, see :mod:`morphoscope.images.source_quality`.
    """
    stamp = stamp_of(item)
    if any(writable(name) != name for name in (item.source, str(item.row.get("id", "")))):
        return Preprocessed(item, reason="its name is not UTF-8; rename it", stamp=stamp)
    try:
        image, plan, shape = load_and_preprocess(item.load, facts, crop=crop, fitted=fitted)
        if plan.crop is not None and (share := _beyond(shape, plan.crop)):
            item.found["quality"] = (*item.found.get("quality", ()), share_of(OFF_IMAGE, share))
        if fitted:
            item.found["shown_side"] = plan.crop
            if plan.source is not None:
                item.found["galaxy_size"] = plan.source.size
            elif not check:
                item.found["quality"] = (*item.found.get("quality", ()), NO_SOURCE)
        if check:
            shorter = min(shape[:2])
            seen = plan.seen(shorter) or central_source(picture_of(image))
            faults = fault_of(seen, plan.crop or shorter, image.shape, facts.galaxy_size)
            item.found["quality"] = (*item.found.get("quality", ()), *faults)
        return Preprocessed(item, image, plan, shape, stamp=stamp)
    except CannotContinue:
        raise
    except MorphoscopeError as error:
        return Preprocessed(item, reason=str(error).removeprefix(f"{item.source}: "), stamp=stamp)


def _beyond(shape: tuple[int, ...], crop: int) -> float:
    """Share of a centre crop that lies beyond the image."""
    height, width = shape[:2]
    return 1 - min(height, crop) * min(width, crop) / crop**2


@dataclass
class Batch:
    """Consecutive galaxies of the input.

    Attributes:
        images: images that could be read; if the others become rows as well, all of them.
        failures: id, source and reason of the others.
        stop: number of galaxies of the input up to the end of this batch.
        digest: of all of them.
        stamps: fingerprint of the files of this batch.
    """

    images: list[Preprocessed] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stop: int = 0
    digest: str = ""
    stamps: Stamps = Stamps()
    _block: np.ndarray | None = None

    def take(self, preprocessed: Preprocessed, size: int) -> None:
        """Copy an image into a block of memory allocated for ``size`` images."""
        image, number = preprocessed.image, len(self.images)
        assert image is not None
        if self._block is None:
            self._block = np.empty((size, *image.shape), image.dtype)
        if (image.shape, image.dtype) == (self._block.shape[1:], self._block.dtype):
            self._block[number] = image
            preprocessed = replace(preprocessed, image=self._block[number])
        self.images.append(preprocessed)


class Digest:
    """Identifies a sequence of galaxies by their ids, sources and coordinates, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, item: Item) -> None:
        """Add a galaxy."""
        row = item.row
        identity = (str(row.get("id")), item.source, str(row.get("ra")), str(row.get("dec")))
        self._hash.update(repr(identity).encode("utf-8", "surrogatepass"))
        self.count += 1

    @property
    def hex(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()


def batches(
    images: Iterable[Preprocessed],
    size: int,
    digest: Digest,
    notice: Callable[[Preprocessed], None],
    *,
    all_rows: bool = False,
) -> Iterator[Batch]:
    """Gather images into batches; ``notice`` is called with each that could be read.

    With ``all_rows`` those that could not be read are among the images of a batch, too, to become rows
    without a prediction.

    The images of a batch are collected in one block of memory, which is allocated and freed faster than
    hundreds of small pieces among those being decoded.

    Batch boundaries depend only on the input, so a catalogue resumed after any batch continues with the
    same batches and gets the same predictions to the last bit.
    """
    batch = Batch()
    for image in images:
        digest.add(image.item)
        batch.stamps += image.stamp
        if image.image is None:
            failure = str(image.item.row["id"]), image.item.source, image.reason
            batch.failures.append((writable(failure[0]), writable(failure[1]), writable(failure[2])))
            if all_rows:
                batch.images.append(image)
        else:
            notice(image)
            batch.take(image, size)
        if len(batch.images) == size or len(batch.failures) == MOST_FAILURES:
            batch.stop, batch.digest = digest.count, digest.hex
            yield batch
            batch = Batch()
    if batch.images or batch.failures:
        batch.stop, batch.digest = digest.count, digest.hex
        yield batch


def predicted(
    predict: Callable[[list[Preprocessed]], Result], gathered: Iterable[Batch]
) -> Generator[tuple[Batch, Result | None]]:
    """Run the network in a separate thread, one batch ahead of the caller.

    Yields:
        Batches in order, without their images, with the result of ``predict``; None for a batch without
        images.
    """

    def without_images(batch: Batch) -> Batch:
        return Batch([], batch.failures, batch.stop, batch.digest, batch.stamps)

    with ThreadPoolExecutor(1, thread_name_prefix="network") as network:
        waiting: tuple[Batch, Future[Result] | None] | None = None
        for batch in gathered:
            result = network.submit(predict, batch.images) if batch.images else None
            bare = without_images(batch)
            del batch  # the images now belong to the network's thread, which frees them
            if waiting is not None:
                yield waiting[0], waiting[1].result() if waiting[1] else None
            waiting = bare, result
        if waiting is not None:
            yield waiting[0], waiting[1].result() if waiting[1] else None


class PreprocessingNotes:
    """Notes, once each, on what is done to images that differ from the training's."""

    def __init__(self, facts: StoreFacts, stretch: str) -> None:
        self.facts, self.stretch = facts, stretch
        self._noted: set[str] = set()

    def __call__(self, image: Preprocessed) -> None:
        """Look at an image that could be read."""
        assert image.plan is not None
        self._once(image.plan.kind, image.plan.description(*image.shape[:2]))
        if is_fits_name(image.item.source) and self.stretch != self.facts.stretch:
            self._once(
                "stretch",
                f"the run was trained on images '{self.facts.stretch}'; FITS images are shown to it with the "
                f"'{self.stretch}' stretch",
            )

        found, source = image.item.found, image.item.source
        if found.get("bands", "").endswith(")"):  # "image 1 (of 2 images)"
            self._once(
                "bands", f"{source}: {found['bands']} is shown; --bands chooses others, by name or number"
            )
        if found.get("regridded"):
            self._once(
                "regridded",
                f"{source}: its bands lie on different pixels; they are resampled to the smallest ones",
            )
        if "mirrored" in found.get("orientation", ""):
            self._once(
                "mirrored", f"{source}: is mirrored on the sky, so it is flipped; see column orientation"
            )
        if found.get("no_data"):
            self._once(
                "no_data",
                f"{source}: {found['no_data']:.0%} of the pixels hold no data; they are shown as sky, see "
                "column no_data",
            )

    def _once(self, kind: str, words: str) -> None:
        if words and kind not in self._noted:
            self._noted.add(kind)
            note(words)
