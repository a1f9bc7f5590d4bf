"""Images in, answers out, batch by batch: reading, the network and the caller's writing overlap.

Shape letters: N galaxies of a batch, K outputs.

Threads decode images and fit them to the training's size, in order and a bounded number ahead. The
caller's thread gathers them into batches and hands each to one thread that asks the network; while that
one works, the next batch is gathered and the last one written. So two batches of images are in memory,
however long the catalogue.

What is done to images that are not like the training's, said once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.images.decode import is_fits_name
from morphoscope.images.stream import Item
from morphoscope.inference.preprocess import CropResizePlan, crop_resize_plan, follow
from morphoscope.progress import note

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts

MOST_FAILURES = 4096  # of one batch: a million unreadable images in a row must not pile up
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Fitted:
    """An image as the network takes it, or the reason why there is none."""

    item: Item
    image: np.ndarray | None = None
    way: CropResizePlan | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""


def fit(item: Item, *, facts: StoreFacts, crop: int | None) -> Fitted:
    """Read one image and make it like the training's (in a worker thread)."""
    try:
        image = item.load()
        way = crop_resize_plan(image, facts, crop=crop)
        return Fitted(item, follow(way, image), way, image.shape)
    except MorphoscopeError as error:
        return Fitted(item, reason=str(error).removeprefix(f"{item.source}: "))


@dataclass
class Batch:
    """Galaxies that follow each other in the input.

    Attributes:
        fitted: those that could be read.
        failures: id, source and reason of the others.
        stop: galaxies of the input up to the end of this batch.
        digest: of all of them.
    """

    fitted: list[Fitted] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    stop: int = 0
    digest: str = ""
    _block: np.ndarray | None = None

    def take(self, fitted: Fitted, size: int) -> None:
        """Keep an image, in the block that the first of ``size`` images has made."""
        image, number = fitted.image, len(self.fitted)
        assert image is not None
        if self._block is None:
            self._block = np.empty((size, *image.shape), image.dtype)
        if (image.shape, image.dtype) == (self._block.shape[1:], self._block.dtype):
            self._block[number] = image
            fitted = replace(fitted, image=self._block[number])
        self.fitted.append(fitted)


class Digest:
    """Tells one sequence of galaxies from another by their ids, sources and coordinates, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, item: Item) -> None:
        """Take one more galaxy in."""
        row = item.row
        said = (str(row.get("id")), item.source, str(row.get("ra")), str(row.get("dec")))
        self._hash.update(repr(said).encode("utf-8", "surrogatepass"))
        self.count += 1

    @property
    def words(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()


def batches(
    images: Iterable[Fitted], size: int, digest: Digest, look: Callable[[Fitted], None]
) -> Iterator[Batch]:
    """Gather images; ``look`` sees each that could be read.

    The images of a batch lie in one block of memory, for they wait until it is full: a block is taken and
    freed faster than hundreds of small pieces between those that are decoded meanwhile.

    Where batches begin depends on the input alone, so a catalogue that is continued after any batch has the
    same ones from there on, and the same answers to the last bit.
    """
    batch = Batch()
    for image in images:
        digest.add(image.item)
        if image.image is None:
            batch.failures.append((str(image.item.row["id"]), image.item.source, image.reason))
        else:
            look(image)
            batch.take(image, size)
        if len(batch.fitted) == size or len(batch.failures) == MOST_FAILURES:
            batch.stop, batch.digest = digest.count, digest.words
            yield batch
            batch = Batch()
    if batch.fitted or batch.failures:
        batch.stop, batch.digest = digest.count, digest.words
        yield batch


def answered(
    ask: Callable[[list[Fitted]], Answer], gathered: Iterable[Batch]
) -> Generator[tuple[Batch, Answer | None]]:
    """Ask the network in a thread of its own, one batch ahead of the caller.

    Yields:
        Batches in order, without their images, and what ``ask`` made of them; None where there was no image.
    """

    def without_images(batch: Batch) -> Batch:
        return Batch([], batch.failures, batch.stop, batch.digest)

    with ThreadPoolExecutor(1, thread_name_prefix="network") as network:
        waiting: tuple[Batch, Future[Answer] | None] | None = None
        for batch in gathered:
            asked = network.submit(ask, batch.fitted) if batch.fitted else None
            bare = without_images(batch)
            del batch  # the images belong to the network's thread, which lets go of them when it is done
            if waiting is not None:
                yield waiting[0], waiting[1].result() if waiting[1] else None
            waiting = bare, asked
        if waiting is not None:
            yield waiting[0], waiting[1].result() if waiting[1] else None


class Notes:
    """Say once what is done to images that are not like the training's."""

    def __init__(self, facts: StoreFacts, stretch: str) -> None:
        self.facts, self.stretch = facts, stretch
        self._said: set[str] = set()

    def about(self, fitted: Fitted) -> None:
        """Look at an image that could be read."""
        assert fitted.way is not None
        self._once(fitted.way.kind, fitted.way.words(*fitted.shape[:2]))
        if is_fits_name(fitted.item.source) and self.stretch != self.facts.stretch:
            self._once(
                "stretch",
                f"the run was trained on images '{self.facts.stretch}'; FITS images are shown to it with the "
                f"'{self.stretch}' stretch",
            )

    def _once(self, kind: str, words: str) -> None:
        if words and kind not in self._said:
            self._said.add(kind)
            note(words)
