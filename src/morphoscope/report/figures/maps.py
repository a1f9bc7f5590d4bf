"""Figures of attribution maps.

Shape letters: N galaxies, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.images.planes import as_shown
from morphoscope.report import formatting
from morphoscope.report.figures import style
from morphoscope.report.figures.data import rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.explanation.explain import Maps
    from morphoscope.images.planes import ImageFacts

HEAT = "inferno"  # even in lightness, so that it reads in grey and for any colour vision
DEAD_WORDS = "the map is zero"
METHOD_NAMES = {
    "saliency": "Saliency",
    "smoothgrad": "SmoothGrad",
    "integrated": "Integrated gradients",
    "gradcam": "Grad-CAM",
    "ablationcam": "Ablation-CAM",
    "gaussian": "Centred Gaussian",
    "light": "The light itself",
    "random": "Random map",
}
_PANELS_IN_A_LINE = 4
_GAP = 0.05  # inches
_TITLE = 0.2
_MARGIN = 0.04


def overlay(image_HWC: np.ndarray, map_HW: np.ndarray, strength: float = 0.65) -> np.ndarray:
    """A map in colour over the galaxy in grey, (H, W, 3) uint8; where the map is low the galaxy shows.

    Args:
        image_HWC: uint8.
        map_HW: from 0 to 1.
        strength: opacity of the map where it is 1.
    """
    from matplotlib import colormaps

    grey = rgb(image_HWC).astype(np.float32).mean(axis=2, keepdims=True)
    grey = 255 * (grey / max(float(grey.max()), 1.0)) ** 0.7  # faint arms stay visible under the colour
    heat = 255 * colormaps[HEAT](np.clip(map_HW, 0, 1))[:, :, :3]
    alpha = strength * np.sqrt(np.clip(map_HW, 0, 1))[:, :, None]
    return np.clip((1 - alpha) * grey + alpha * heat, 0, 255).astype(np.uint8)


def heat(map_HW: np.ndarray) -> np.ndarray:
    """A map alone in colour, (H, W, 3) uint8."""
    from matplotlib import colormaps

    return (255 * colormaps[HEAT](np.clip(map_HW, 0, 1))[:, :, :3]).astype(np.uint8)


def of_chosen_bands(maps: Maps, facts: ImageFacts) -> Maps:
    """The same maps over pictures of the bands that a store chose for people."""
    return replace(maps, images=np.stack([as_shown(image, facts) for image in maps.images]))


@style.styled
def map_panel(maps: Maps, columns: int = 3, *, captions: Sequence[str] = ()) -> Figure:
    """Each galaxy and its map laid over it, side by side (`cheng` Figs 8, 9; `yan` Fig 8).

    Args:
        maps: of N galaxies.
        columns: pairs in a row.
        captions: one per galaxy; none: the explained output and its probability.
    """
    scaled, dead = maps.scaled(), maps.dead
    pairs = len(maps.images)
    columns = min(columns, max(pairs, 1))
    rows = -(-pairs // columns)
    side = (style.WIDTH - 2 * _MARGIN - (columns - 1) * 3 * _GAP) / (2 * columns)
    side = min(side, 1.6)
    width = 2 * _MARGIN + columns * (2 * side + 3 * _GAP) - 3 * _GAP
    figure, axes = style.canvas(width, 2 * _MARGIN + rows * (side + _TITLE) if rows else 0.5)
    for number in range(pairs):
        left = _MARGIN + (number % columns) * (2 * side + 3 * _GAP)
        top = _MARGIN + (number // columns) * (side + _TITLE)
        words = captions[number] if captions else _caption(maps, number)
        axes.text(left, top + 0.13, words, fontsize=7, va="baseline", color=style.INK)
        _picture(axes, rgb(maps.images[number]), left, top + _TITLE - 0.02, side)
        _picture(
            axes, overlay(maps.images[number], scaled[number]), left + side + 0.02, top + _TITLE - 0.02, side
        )
        if dead[number]:
            _say_dead(axes, left + 1.5 * side + 0.02, top + _TITLE + side / 2, side)
    axes.set(xlim=(0, width), ylim=(2 * _MARGIN + rows * (side + _TITLE), 0))
    return figure


@style.styled
def map_columns(images: np.ndarray, columns: Mapping[str, Maps], *, titles: Sequence[str] = ()) -> Figure:
    """Galaxies in rows: the picture, then the overlay of each map in its column (`ng` Fig 8).

    Args:
        images: (N, H, W, 3) uint8.
        columns: heading → maps of these galaxies.
        titles: one per row.
    """
    rows = [
        [rgb(image), *(overlay(maps.images[number], maps.scaled()[number]) for maps in columns.values())]
        for number, image in enumerate(images)
    ]
    dead = [[False, *(bool(maps.dead[number]) for maps in columns.values())] for number in range(len(images))]
    return _table_of_pictures(rows, ["Image", *columns], titles, dead)


@style.styled
def frozen_grid(rows: Mapping[str, Maps], galaxies: int = 2) -> Figure:
    """Origin, heat map and both superimposed for each network, several galaxies side by side (`fu` Table 2).

    Args:
        rows: name of the network, such as "20 %" → maps of the same galaxies.
        galaxies: how many to show.
    """
    pictures, dead = [], []
    for maps in rows.values():
        line, gone = [], []
        for number in range(min(galaxies, len(maps.images))):
            one = maps.scaled()[number]
            line += [rgb(maps.images[number]), heat(one), overlay(maps.images[number], one)]
            gone += [False, bool(maps.dead[number]), bool(maps.dead[number])]
        pictures.append(line)
        dead.append(gone)
    shown = len(pictures[0]) // 3 if pictures else 0
    return _table_of_pictures(pictures, ["Origin", "Heat map", "Superimposed"] * shown, list(rows), dead)


@style.styled
def faithfulness_bars(scored: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Scores of a method and of the baselines, with 95 % intervals.

    Args:
        scored: as from :func:`morphoscope.explanation.score.score_maps`.
    """
    names = {
        "deletion": "Deletion area\n(smaller is better)",
        "insertion": "Insertion area\n(larger is better)",
        "pointing": "Pointing game, hits",
        "energy": "Energy inside\nthe component",
        "on_galaxy": "Energy on\nthe galaxy",
        "alignment": "Along the galaxy\n(0 by chance)",
    }
    shown = [key for key in names if any(each.get(key, {}).get("n") for each in scored.values())]
    lines = -(-len(shown) // _PANELS_IN_A_LINE) or 1
    figure = style.new_figure(style.WIDTH, lines * (0.75 + 0.24 * len(scored)))
    columns = max(1, -(-len(shown) // lines))
    panels = np.atleast_1d(figure.subplots(lines, columns, sharey=True)).ravel()
    for spare in panels[len(shown) :]:
        spare.set_axis_off()
    y = np.arange(len(scored))
    for axes, key in zip(panels, shown, strict=False):
        for row, scores in enumerate(scored.values()):
            score = scores.get(key, {})
            if not formatting.known(score.get("value")):
                continue
            colour = style.FILL if row == 0 else style.MUTED
            axes.plot([score["value"]], [row], marker="o", color=colour, markersize=5)
            if formatting.known(score.get("low")):
                axes.plot([score["low"], score["high"]], [row, row], color=colour, linewidth=1.4)
        axes.set_title(names[key], fontsize=8)
        axes.grid(axis="x")
        axes.set_xlim(left=None if key == "alignment" else 0)
        axes.set_ylim(len(scored) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    for first in panels[::columns]:
        first.set_yticks(y, [METHOD_NAMES.get(name, name) for name in scored])
    return figure


def _table_of_pictures(
    rows: Sequence[Sequence[np.ndarray]],
    headings: Sequence[str],
    titles: Sequence[str],
    dead: Sequence[Sequence[bool]],
) -> Figure:
    count = max((len(row) for row in rows), default=1)
    title_width = 1.05 if any(titles) else 0.0
    side = min((style.WIDTH - 2 * _MARGIN - title_width - (count - 1) * _GAP) / count, 1.5)
    width = 2 * _MARGIN + title_width + count * (side + _GAP) - _GAP
    height = 2 * _MARGIN + _TITLE + len(rows) * (side + _GAP) - _GAP
    figure, axes = style.canvas(width, height)
    for column, heading in enumerate(headings[:count]):
        left = _MARGIN + title_width + column * (side + _GAP)
        axes.text(left + side / 2, _MARGIN + 0.13, heading, fontsize=7, ha="center", va="baseline")
    for number, row in enumerate(rows):
        top = _MARGIN + _TITLE + number * (side + _GAP)
        if titles:
            axes.text(
                _MARGIN, top + side / 2, style.wrapped(titles[number], 16, lines=3), fontsize=7.5, va="center"
            )
        for column, picture in enumerate(row):
            left = _MARGIN + title_width + column * (side + _GAP)
            _picture(axes, picture, left, top, side)
            if dead[number][column]:
                _say_dead(axes, left + side / 2, top + side / 2, side)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _picture(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    axes.imshow(
        image, extent=(left, left + side, top + side, top), aspect="auto", interpolation="antialiased"
    )


def dead_words(*maps: Maps) -> str:
    """A sentence for a caption that says how many maps are zero everywhere; empty where none is."""
    dead, count = sum(int(each.dead.sum()) for each in maps), sum(len(each.dead) for each in maps)
    if not dead:
        return ""
    fading = " (gradient diffusion)" if all(each.method == "gradcam" for each in maps) else ""
    return f" {formatting.plural(dead, 'map')} of {count} zero everywhere{fading}."


def _say_dead(axes: Axes, x: float, y: float, side: float) -> None:
    axes.text(
        x,
        y,
        DEAD_WORDS,
        fontsize=max(4.5, min(7.0, 5.2 * side)),
        ha="center",
        va="center",
        color="white",
        bbox={"boxstyle": "square,pad=0.25", "facecolor": "#000000aa", "edgecolor": "none"},
    )


def _caption(maps: Maps, number: int) -> str:
    """The explained output, and what the network says of it."""
    target = maps.targets[number]
    value = maps.answers[number][maps.names.index(target)]
    return f"{style.wrapped(target, 24, lines=1)}  {formatting.sure(float(value))}"
