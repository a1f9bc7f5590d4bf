"""Figures of how good a classification is.

Shape letters: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import formatting
from morphoscope.report.figures import style
from morphoscope.report.figures.data import image_cards

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.report.examples import Mistake

_MANY_CLASSES = 16  # beyond this a cell has no room for two lines
_TOO_MANY_CLASSES = 32  # beyond this it has no room for any text


@style.styled
def confusion_matrix(confusion: Any, names: Sequence[str]) -> Figure:
    """Truth in rows, prediction in columns; each cell says how many and what share of its row.

    The shade is the share of the row: blue where truth and prediction agree, orange where they do not.

    Args:
        confusion: (K, K) counts, rows the truth.
        names: K class names.
    """
    counts_KK = np.asarray(confusion, float).reshape(len(names), len(names))
    sums_K = counts_KK.sum(axis=1)
    shares_KK = np.divide(counts_KK, sums_K[:, None], out=np.zeros_like(counts_KK), where=sums_K[:, None] > 0)
    size = len(names)
    cell = min(0.62, max(0.16, 5.0 / size))
    figure = style.new_figure(min(style.WIDTH, size * cell + 1.9), size * cell + 1.15)
    axes = figure.subplots()
    for truth in range(size):
        for called in range(size):
            _cell(axes, truth, called, counts_KK[truth, called], shares_KK[truth, called], size)
    labels = [style.wrapped(name, 17 if size <= _MANY_CLASSES else 28) for name in names]
    axes.set(xlim=(0, size), ylim=(size, 0), aspect="equal")
    small = 7 if size <= _MANY_CLASSES else 5.5
    below = [style.wrapped(name, 26, lines=1) for name in names]
    axes.set_xticks(
        np.arange(size) + 0.5, below, rotation=40, ha="right", rotation_mode="anchor", fontsize=small
    )
    axes.set_yticks(np.arange(size) + 0.5, labels, fontsize=small)
    axes.tick_params(length=0, pad=4)
    axes.set_xlabel("predicted", labelpad=6)
    axes.set_ylabel("truth", labelpad=6)
    axes.spines[:].set_visible(False)
    for row, total in enumerate(sums_K):
        text = f"n = {formatting.count(total)}"
        axes.text(size + 0.15, row + 0.5, text, va="center", fontsize=small, color=style.MUTED)
    return figure


def _cell(axes: Axes, truth: int, called: int, count: float, share: float, size: int) -> None:
    from matplotlib.patches import Rectangle

    gap = 0.025
    corner, side = (called + gap, truth + gap), 1 - 2 * gap
    axes.add_patch(Rectangle(corner, side, side, facecolor=style.GRID, alpha=0.55))
    if count <= 0:
        return
    colour = style.FILL if truth == called else style.ERROR_FILL
    strength = 0.06 + 0.94 * share
    axes.add_patch(Rectangle(corner, side, side, facecolor=colour, alpha=strength))
    if size > _TOO_MANY_CLASSES:
        return
    ink = style.ON_FILL if share > 0.5 else style.INK
    x, y = called + 0.5, truth + 0.5
    if size > _MANY_CLASSES:
        axes.text(x, y, formatting.count(count), ha="center", va="center", fontsize=5, color=ink)
        return
    axes.text(x, y - 0.13, formatting.count(count), ha="center", va="center", fontsize=8, color=ink)
    percent = f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"
    axes.text(x, y + 0.22, percent, ha="center", va="center", fontsize=6, color=ink, alpha=0.85)


def most_wrong(images: Sequence[np.ndarray], mistakes: Sequence[Mistake]) -> Figure:
    """Wrongly classified galaxies: the network's answer, its probability, and the truth.

    Args:
        images: (H, W, C) uint8, one a mistake.
        mistakes: as from :func:`morphoscope.report.examples.confident_mistakes`.
    """
    captions = [
        f"{mistake.truth}{formatting.NBSP}→\n"
        f"{mistake.predicted} ({formatting.percent(mistake.probability, 0)})"
        for mistake in mistakes
    ]
    return image_cards(images, captions)
