"""Images of one to eight bands: which of them make a picture, and their order by name.

Shape letters: N images, H, W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.images.bands import band_label, band_name
from morphoscope.images.stretch import stretched


def shown_planes(channels: int) -> tuple[int, ...]:
    """The planes of a picture, red first: the outermost and the middle one of three or more; else all.

    Planes are ordered from the longest wavelength to the shortest, so the outermost are the reddest and the
    bluest band.
    """
    return (0, channels // 2, channels - 1) if channels > 3 else tuple(range(channels))


def chosen_planes(facts: ImageFacts) -> tuple[int, ...]:
    """The planes of a picture, red first: those of the bands that were chosen, else :func:`shown_planes`."""
    if facts.shown:
        return tuple(order_of(facts.bands, facts.shown, "the store"))
    return shown_planes(facts.image_shape[2])


def shown_bands(facts: ImageFacts) -> str:
    """Which bands a picture shows, in words: "y, i, g as red, green and blue"."""
    names = [band_name(facts.bands[plane]) for plane in chosen_planes(facts)]
    ending = {1: "in grey", 2: "as red and blue"}.get(len(names), "as red, green and blue")
    return f"{', '.join(names)} {ending}"


def picture_of(image_HWC: np.ndarray, shown: Sequence[int] = ()) -> np.ndarray:
    """An image for people, (H, W, 3) uint8; one of red, green and blue is returned as it is.

    One plane is grey, two are red and blue with their mean as green, of more the reddest, the middle and the
    bluest are shown. Values as measured (float32) get the stretch "lupton".

    Args:
        image_HWC: (H, W, C) uint8 or float32, the longest wavelength first.
        shown: one to three planes to show instead, red first.
    """
    channels = image_HWC.shape[2]
    planes = [image_HWC[:, :, plane] for plane in shown or shown_planes(channels)]
    if image_HWC.dtype != np.uint8:
        return stretched(planes, "lupton", name="the picture")
    if channels == 3 and len(planes) == 3:
        return image_HWC if not shown else np.stack(planes, axis=2)
    if len(planes) == 2:
        mean_HW = np.rint(np.mean(planes, axis=0, dtype=np.float32)).astype(np.uint8)
        planes.insert(1, mean_HW)
    return np.stack(planes * (3 if len(planes) == 1 else 1), axis=2)


def as_shown(image_HWC: np.ndarray, facts: ImageFacts) -> np.ndarray:
    """An image of a store for people, (H, W, 3) uint8, with the bands that the store chose for that."""
    return picture_of(image_HWC, chosen_planes(facts) if facts.shown else ())


def kind_of(facts: ImageFacts) -> str:
    """What images are, in words: "colour pictures", "the bands z, r, g as measured (float32)"."""
    channels, bands = facts.image_shape[2], ", ".join(map(band_name, facts.bands))
    if facts.dtype == "uint8" and not bands:
        return "colour pictures" if channels == 3 else f"{channels} channels of grey levels"
    named = f"the band{'s' * (channels > 1)} {bands}" if bands else f"{channels} channels"
    return f"{named} {'in grey levels' if facts.dtype == 'uint8' else 'as measured (float32)'}"


class ImageFacts(Protocol):
    """What the metadata of a store and the facts of a run have in common."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        ...

    @property
    def dtype(self) -> str:
        """uint8 or float32."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Of the channels; empty: red, green, blue."""
        ...

    @property
    def shown(self) -> tuple[str, ...]:
        """The bands that pictures show, red first; empty: none were chosen."""
        ...


class Reordered:
    """Images whose planes are taken in another order, or some of them."""

    def __init__(self, images_NHWC: np.ndarray, order: Sequence[int]) -> None:
        self._images, self._order = images_NHWC, list(order)
        self.shape = (*images_NHWC.shape[:3], len(self._order))
        self.dtype = images_NHWC.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(self._images[row])[:, :, self._order])

    def view(self, *_: object) -> Reordered:
        """Itself, as an array's view is."""
        return self


class Pictures:
    """Images of a store as people see them: ``pictures[row]`` is (H, W, 3) uint8.

    Args:
        images_NHWC: of the store.
        shown: planes of a picture, red first; none: as of :func:`shown_planes`.
    """

    def __init__(self, images_NHWC: np.ndarray, shown: Sequence[int] = ()) -> None:
        self._images, self.shown = images_NHWC, tuple(shown)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> np.ndarray:
        return picture_of(np.asarray(self._images[row]), self.shown)


def order_of(there: Sequence[str], wanted: Sequence[str], name: str) -> list[int]:
    """Where each wanted band is among the bands that are there.

    Args:
        there: bands of the images.
        wanted: bands of the training.
        name: of the images, for messages.

    Raises:
        UsageError: a band is missing.
    """
    labels = [band_label(band) for band in there]
    missing = [band_name(band) for band in wanted if band_label(band) not in labels]
    if missing:
        has = ", ".join(map(band_name, there)) or "a picture's red, green and blue"
        raise UsageError(
            f"{name} lacks the band{'s' * (len(missing) > 1)} {', '.join(missing)}: it has {has}, and the "
            f"run was trained on {', '.join(map(band_name, wanted)) or 'red, green and blue'}"
        )
    return [labels.index(band_label(band)) for band in wanted]
