"""Figures of training data, and other grids of galaxies.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.images.planes import picture_of
from morphoscope.report import formatting
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from morphoscope.augment.cpu import Augmenter
    from morphoscope.data.store import Store

PARTS = ("train", "validation", "test")
PART_NAMES = {"train": "training", "validation": "validation", "test": "test"}
_GAP = 0.04  # inches between pictures
_MARGIN = 0.04
_CAPTION = 0.115  # inches a line of caption takes
_CAPTION_SIZE = 6.5  # points


@dataclass(frozen=True)
class GridRow:
    """One row of a grid of pictures: what it is called, its pictures, a caption under each."""

    title: str
    images: Sequence[np.ndarray]
    captions: Sequence[str] = field(default=())
    note: str = ""


@style.styled
def class_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """How many galaxies of each class each part of the split has: stacked bars, totals beside them.

    Args:
        counts: part ("train", "validation", "test") → class → galaxies; parts may be missing.
    """
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    figure = style.new_figure(style.WIDTH, 0.65 + 0.25 * max(len(names), 3))
    axes = figure.subplots()
    start = np.zeros(len(names))
    y = np.arange(len(names))
    opacities = {"train": 0.9, "validation": 0.5, "test": 0.9}
    colours = {"train": style.FILL, "validation": style.FILL, "test": style.ERROR_FILL}
    for part in PARTS:
        if part not in counts:
            continue
        values = np.array([counts[part].get(name, 0) for name in names], float)
        axes.barh(
            y,
            values,
            left=start,
            height=0.64,
            color=colours[part],
            alpha=opacities[part],
            label=f"{PART_NAMES[part]} ({formatting.count(values.sum())})",
        )
        start += values
    largest = max(start.max(initial=0), 1)
    for row, total in enumerate(start):
        axes.text(total + 0.01 * largest, row, formatting.count(total), va="center", fontsize=7.5)
    axes.set_yticks(y, [style.wrapped(name, 34) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * largest)
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.set_xlabel("galaxies")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=3, borderaxespad=0.2)
    return figure


def class_examples(
    store: Store, rows: Mapping[str, Sequence[int]], notes: Mapping[str, str] | None = None
) -> Figure:
    """Some galaxies of each class, one class a row.

    Args:
        store: where the images lie.
        rows: class name → rows of the store to show.
        notes: class name → a few words under it, such as how many there are.
    """
    return image_grid(
        [
            GridRow(name, [store.pictures[row] for row in chosen], note=(notes or {}).get(name, ""))
            for name, chosen in rows.items()
        ]
    )


def augmented_draws(
    images: Sequence[np.ndarray], rows: Sequence[int] | np.ndarray, augmenter: Augmenter, samples: int
) -> list[list[np.ndarray]]:
    """For each galaxy the network's plain view of it and then ``samples`` augmented ones.

    Args:
        images: N stored images (H, W, C) uint8.
        rows: their rows in the store, which seed the augmentation as in the training.
        augmenter: the training's.
        samples: how many epochs' augmentations to show, from epoch 0.
    """
    plain = augmenter.evaluation(images)
    epochs = [augmenter.training(images, np.asarray(rows, np.int64), epoch) for epoch in range(samples)]
    return [[plain[index], *(drawn[index] for drawn in epochs)] for index in range(len(images))]


def augmented_grid(shown: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = ()) -> Figure:
    """Galaxies as the network sees them: plain at the left, augmented versions beside it.

    Args:
        shown: as from :func:`augmented_draws`.
        titles: one per galaxy, e.g. its class.
    """
    rows = []
    for index, images in enumerate(shown):
        captions = ["plain", *(f"draw {number}" for number in range(1, len(images)))] if index == 0 else ()
        rows.append(GridRow(titles[index] if titles else "", images, captions))
    return image_grid(rows, captions_above=True)


@style.styled
def image_grid(
    rows: Sequence[GridRow], *, columns: int | None = None, captions_above: bool = False
) -> Figure:
    """Pictures in rows, a title to the left of each row and a caption at each picture.

    Args:
        rows: what to show; rows may differ in length.
        columns: pictures in a row; none: those of the longest row.
        captions_above: captions stand above the pictures instead of below; those wider than a picture are
            broken.
    """
    columns = columns or max((len(row.images) for row in rows), default=1) or 1
    title_width = 1.2 if any(row.title for row in rows) else 0.0
    side = min((style.WIDTH - 2 * _MARGIN - title_width + _GAP) / columns - _GAP, 1.5)
    rows = [
        replace(row, captions=[style.held_within(caption, side, _CAPTION_SIZE) for caption in row.captions])
        for row in rows
    ]
    lines = [max((caption.count("\n") + 1 for caption in row.captions), default=0) for row in rows]
    extra = [0.06 + _CAPTION * count if count else 0.0 for count in lines]
    width = 2 * _MARGIN + title_width + columns * (side + _GAP) - _GAP
    height = 2 * _MARGIN + sum(side + _GAP + more for more in extra) - _GAP if rows else 0.3
    figure, axes = style.canvas(width, height)
    top = _MARGIN
    for row, more in zip(rows, extra, strict=True):
        picture_top = top + (more if captions_above else 0.0)
        if row.title:
            _row_title(axes, row, picture_top + side / 2)
        for column, image in enumerate(row.images[:columns]):
            left = _MARGIN + title_width + column * (side + _GAP)
            extent = (left, left + side, picture_top + side, picture_top)
            axes.imshow(rgb(image), extent=extent, aspect="auto", interpolation="antialiased")
            if column < len(row.captions):
                y = picture_top - 0.04 if captions_above else picture_top + side + 0.04
                _caption(axes, left + side / 2, y, row.captions[column], above=captions_above)
        top += side + _GAP + more
    # Drawing a picture moves the limits to its own.
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def image_cards(images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 5) -> Figure:
    """Pictures one after the other, a caption under each, ``columns`` in a row."""
    starts = range(0, len(images), columns)
    rows = [GridRow("", images[at : at + columns], captions[at : at + columns]) for at in starts]
    return image_grid(rows, columns=min(columns, max(len(images), 1)))


def _row_title(axes: Axes, row: GridRow, middle: float) -> None:
    title = style.wrapped(row.title, 18, lines=3)
    if not row.note:
        axes.text(_MARGIN, middle, title, fontsize=7.5, fontweight="bold", va="center")
        return
    below = 0.06 * (title.count("\n") + 1)
    axes.text(_MARGIN, middle - 0.05, title, fontsize=7.5, fontweight="bold", va="center")
    axes.text(_MARGIN, middle + below + 0.03, row.note, fontsize=7, color=style.MUTED, va="center")


def _caption(axes: Axes, x: float, y: float, text: str, *, above: bool) -> None:
    axes.text(
        x, y, text, fontsize=_CAPTION_SIZE, ha="center", va="bottom" if above else "top", color=style.MUTED
    )


def rgb(image_HWC: np.ndarray) -> np.ndarray:
    """Any stored image as (H, W, 3) uint8 to look at, see :func:`morphoscope.images.planes.picture_of`."""
    image = np.asarray(image_HWC)
    return picture_of(image[:, :, None] if image.ndim == 2 else image)


def _whole_numbers() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=7, integer=True, min_n_ticks=1)
