"""A strip of the preprocessing steps between an image and the network.

Shape letters: H × W pixels, C channels, S the side of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.augment.cpu import crop_side
from morphoscope.report import formatting
from morphoscope.report.figures import schematic, style
from morphoscope.report.figures.data import rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.augment.cpu import Augmenter

_MARGIN = 0.06  # inches, as are all lengths here
_SIDE = 1.5
_ARROW = 0.32
_TITLE = 0.2
_CAPTION = 0.32
_SHOWN = (-2.0, 4.0)  # standard deviations that become black and white


@style.styled
def processing_strip(
    image: np.ndarray,
    augmenter: Augmenter,
    *,
    row: int = 0,
    samples: int = 4,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """Stored image, crop, augmented versions, and one of them standardised (`tong` Fig 3).

    All geometry is one warp of the stored image; the crop is shown apart for the reader's sake.

    Args:
        image: (H, W, C) uint8 as stored.
        augmenter: the training's.
        row: of the image in the store, which seeds the augmentation as in the training.
        samples: how many augmented versions to show, from epoch 0.
        mean: per channel, shares of full scale (0..1), that the network subtracts; none: the picture's own.
        std: per channel, that it divides by; none: the picture's own. With mean 0 and deviation 1 grey levels
            are only divided by 255, which no picture shows.
    """
    plain = augmenter.evaluation([image])[0]
    drawn = [augmenter.training([image], np.array([row]), epoch)[0] for epoch in range(samples)]
    last = drawn[0] if drawn else plain
    rescaled = mean is not None and std is not None and not np.any(mean) and bool(np.all(np.equal(std, 1)))
    standard = last if rescaled else standardised(last, mean, std)
    panels: list[list[np.ndarray]] = [[image], [plain], drawn, [standard]]
    titles = ["Stored", "Cropped", "Augmented", "Rescaled" if rescaled else "Standardised"]
    height, width = image.shape[:2]
    side = crop_side(augmenter.config, (height, width))
    size = len(plain)
    resized = f", resized to {size} × {size}" if size != side else ""
    low, high = (formatting.number(value, 0) for value in _SHOWN)
    captions = [
        f"{width} × {height} px",
        f"centre {side} × {side} px{resized}",
        formatting.plural(len(drawn), "draw") + " of the training",
        "grey levels divided by 255"
        if rescaled
        else f"each channel: (x − mean) / deviation, shown from {low} to {high}",
    ]
    shown = [index for index, images in enumerate(panels) if images]
    across = 2 * _MARGIN + len(shown) * (_SIDE + _ARROW) - _ARROW
    whole = (across, 2 * _MARGIN + _TITLE + _SIDE + _CAPTION)
    figure, axes = style.canvas(*whole)
    top = _MARGIN + _TITLE
    for number, index in enumerate(shown):
        left = _MARGIN + number * (_SIDE + _ARROW)
        _pictures(axes, panels[index], left, top)
        axes.text(left, top - 0.07, titles[index], fontsize=8.5, fontweight="bold", va="bottom")
        lines, points = style.fitted(captions[index], _SIDE, 6.5, lines=2)
        below = "\n".join(lines)
        axes.text(left, top + _SIDE + 0.05, below, fontsize=points, color=style.MUTED, va="top")
        if number:
            middle = top + _SIDE / 2
            schematic.arrow(axes, [(left - _ARROW + 0.06, middle), (left - 0.06, middle)], colour=style.INK)
    _draw_crop(axes, (height, width), side, _MARGIN, top)
    # Drawing a picture moves the limits to its own.
    axes.set(xlim=(0, whole[0]), ylim=(whole[1], 0))
    return figure


def standardised(
    image_HWC: np.ndarray, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> np.ndarray:
    """(x − mean) / std a channel, shown: −2 becomes black and 4 white; (H, W, C) uint8.

    Args:
        image_HWC: uint8.
        mean: per channel, shares of full scale; none: the image's own.
        std: the same; a channel without any deviation becomes 0.
    """
    image = np.asarray(image_HWC, float) / 255
    middle = image.mean(axis=(0, 1)) if mean is None else np.asarray(mean, float)
    spread = image.std(axis=(0, 1)) if std is None else np.asarray(std, float)
    values = np.divide(image - middle, spread, out=np.zeros_like(image), where=spread > 0)
    low, high = _SHOWN
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def _pictures(axes: Axes, images: Sequence[np.ndarray], left: float, top: float) -> None:
    """One picture, or several in a square of the same size."""
    per_row = int(np.ceil(np.sqrt(len(images))))
    gap = 0.03
    side = (_SIDE - (per_row - 1) * gap) / per_row
    for number, image in enumerate(images):
        x = left + number % per_row * (side + gap)
        y = top + number // per_row * (side + gap)
        axes.imshow(rgb(image), extent=(x, x + side, y + side, y), aspect="auto", interpolation="antialiased")


def _draw_crop(axes: Axes, size_hw: tuple[int, int], side: int, left: float, top: float) -> None:
    """The crop as a square on the stored picture; nothing where it is the whole picture."""
    from matplotlib.patches import Rectangle

    height, width = size_hw
    if side >= max(height, width):
        return
    corner = (left + _SIDE * (width - side) / 2 / width, top + _SIDE * (height - side) / 2 / height)
    frame = Rectangle(corner, _SIDE * side / width, _SIDE * side / height, facecolor="none", linewidth=1.2)
    frame.set(edgecolor=style.ON_FILL, linestyle=(0, (3, 2)))
    axes.add_patch(frame)
