"""What ``predict`` and its like accept as images: arrays, paths, or a folder, glob, table or store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.catalogue.inputs.open import is_store, open_input
from morphoscope.catalogue.request import check_scale
from morphoscope.errors import UsageError
from morphoscope.images.bands import band_name
from morphoscope.images.decode import read_image
from morphoscope.images.stream import Item, in_order
from morphoscope.inference.preprocess import (
    bands_asked,
    framing,
    load_and_preprocess,
    stretch_like,
)

if TYPE_CHECKING:
    from morphoscope.runs.run import Run, StoreFacts

ImagesLike = str | Path | np.ndarray | Sequence[np.ndarray | str | Path]


def preprocessed_images(images: ImagesLike, facts: StoreFacts, *, fitted: bool = False) -> list[np.ndarray]:
    """Preprocess images as for the training, (S, S, C) uint8 each, in order.

    Args:
        images: arrays (H, W, 3) uint8 (or of the run's bands and type) of any size, and image files,
            mixed as you like; one of them; or a
            folder, glob, archive, table or store, in the order of a catalogue made of it.
        facts: of the training's store.
        fitted: to the galaxies, see :func:`morphoscope.inference.preprocess.fitting_plan`.

    Raises:
        UsageError: there is nothing there, or something else than arrays and paths.
        MorphoscopeError: a file cannot be read.
    """

    def ready(item: Item) -> np.ndarray:
        return load_and_preprocess(item.load, facts, fitted=fitted)[0]

    return list(in_order(ready, _items(images, facts)))


def framed_images(images: ImagesLike, run: Run, scale: str | None = None) -> list[np.ndarray]:
    """Preprocess images for a run: cropped or padded by the sizes of their galaxies, or as in the training.

    Args:
        images: as for :func:`preprocessed_images`.
        run: that they are for.
        scale: "auto", "trained", or None: as the run's recipe says, except for a store.

    Raises:
        UsageError: as there; another scale, or the run does not know how large its training galaxies are.
        MorphoscopeError: a file cannot be read.
    """
    facts, fitted = _framing(images, run, scale)
    return preprocessed_images(images, facts, fitted=fitted)


def _framing(images: ImagesLike, run: Run, scale: str | None) -> tuple[StoreFacts, bool]:
    check_scale(scale)
    stored = isinstance(images, str | Path) and is_store(images)
    return framing(run, "trained" if scale is None and stored else scale)


def _items(images: ImagesLike, facts: StoreFacts) -> Iterable[Item]:
    if isinstance(images, str | Path):
        return _opened(images, facts)
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return [_item(images, 0, facts)]
    return (_item(image, number, facts) for number, image in enumerate(images))


def _opened(images: str | Path, facts: StoreFacts) -> Iterable[Item]:
    stretch = stretch_like(facts.stretch)
    return open_input(images, stretch=stretch, bands=bands_asked((), facts), facts=facts).items


def _item(image: np.ndarray | str | Path, number: int, facts: StoreFacts) -> Item:
    if isinstance(image, str | Path):
        stretch = stretch_like(facts.stretch)
        return Item(
            str(image), partial(read_image, Path(image), stretch=stretch, bands=bands_asked((), facts))
        )
    channels = facts.image_shape[2]
    fits = isinstance(image, np.ndarray) and image.dtype == facts.dtype and image.ndim == 3
    if not fits or (not facts.pictures and image.shape[2] != channels):
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        named = f" ({', '.join(map(band_name, facts.bands))}, in this order)" if facts.bands else ""
        raise UsageError(
            f"image {number}: an array (height, width, {channels}) {facts.dtype}{named} or the path of an "
            f"image was expected, not {what}"
        )
    return Item(f"image {number}", lambda: image)


def first_readable(
    images: ImagesLike, count: int, run: Run, *, scale: str | None = None, crop: int | None = None
) -> list[np.ndarray]:
    """The first ``count`` images that can be read, preprocessed; of a list of arrays, all.

    Args:
        images: as for :func:`preprocessed_images`.
        count: of a folder, glob, archive, table or store.
        run: that they are for.
        scale: as for :func:`framed_images`.
        crop: side of the centre crop of each, pixels; None: as in the training, or as ``scale`` says.

    Raises:
        UsageError: as for :func:`framed_images`.
    """
    facts, fitted = _framing(images, run, "trained" if scale is None and crop is not None else scale)
    if not isinstance(images, str | Path):
        return preprocessed_images(images, facts, fitted=fitted)
    from morphoscope.catalogue.pipeline import preprocess_item

    items = _opened(images, facts)

    def readable() -> Iterator[np.ndarray]:
        for item in items:
            done = preprocess_item(item, facts=facts, crop=crop, fitted=fitted)
            if done.image is not None:  # a catalogue lists the others with the reason
                yield done.image

    return list(islice(readable(), count))
