"""What ``predict`` and its like accept as images: arrays, paths, or a folder, glob, table or store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.catalogue.inputs.open import open_input, stretch_like
from morphoscope.errors import UsageError
from morphoscope.images.decode import read_image
from morphoscope.images.stream import Item, in_order
from morphoscope.inference.preprocess import load_and_preprocess

if TYPE_CHECKING:
    from morphoscope.runs.run import StoreFacts

ImagesLike = str | Path | np.ndarray | Sequence[np.ndarray | str | Path]


def preprocessed_images(images: ImagesLike, facts: StoreFacts, *, fitted: bool = False) -> list[np.ndarray]:
    """Preprocess images as for the training, (S, S, C) uint8 each, in order.

    Args:
        images: arrays (H, W, 3) uint8 of any size and image files, mixed as you like; one of them; or a
            folder, glob, archive, table or store, in the order of a catalogue made of it.
        facts: of the training's store.
        fitted: to the galaxies, see :func:`morphoscope.inference.preprocess.fitting_plan`.

    Raises:
        UsageError: there is nothing there, or something else than arrays and paths.
        MorphoscopeError: a file cannot be read.
    """

    def ready(item: Item) -> np.ndarray:
        return load_and_preprocess(item.load, facts, fitted=fitted)[0]

    return list(in_order(ready, _items(images, stretch_like(facts.stretch))))


def _items(images: ImagesLike, stretch: str) -> Iterable[Item]:
    if isinstance(images, str | Path):
        return open_input(images, stretch=stretch).items
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return [_item(images, 0, stretch)]
    return (_item(image, number, stretch) for number, image in enumerate(images))


def _item(image: np.ndarray | str | Path, number: int, stretch: str) -> Item:
    if isinstance(image, str | Path):
        return Item(str(image), partial(read_image, Path(image), stretch=stretch))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(
            f"image {number}: an array (height, width, 3) uint8 or the path of an image was expected, "
            f"not {what}"
        )
    return Item(f"image {number}", lambda: image)


def first_readable(images: ImagesLike, count: int, facts: StoreFacts) -> list[np.ndarray]:
    """The first ``count`` images that can be read, preprocessed; of a list of arrays, all.

    Raises:
        UsageError: as for :func:`preprocessed_images`.
    """
    if not isinstance(images, str | Path):
        return preprocessed_images(images, facts)
    from morphoscope.catalogue.pipeline import preprocess_item

    items = open_input(images, stretch=stretch_like(facts.stretch)).items

    def readable() -> Iterator[np.ndarray]:
        for item in items:
            done = preprocess_item(
                item, facts=facts, crop=None
            )  # a catalogue lists the others with the reason
            if done.image is not None:
                yield done.image

    return list(islice(readable(), count))
