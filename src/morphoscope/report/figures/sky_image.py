"""An image of the sky with its sources marked and classified.

Shape letters: H × W pixels, C channels, S sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.images.source_quality import WITHOUT_CLASS
from morphoscope.report import formatting
from morphoscope.report.figures import style
from morphoscope.report.figures.data import rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from morphoscope.catalogue.detection.catalogue import DetectedSky

# Bright enough on black sky; neighbours in this order differ for readers of any colour vision.
COLOURS = (
    *("#56b4e9", "#f5a800", "#3ddc97", "#f0e442", "#ff7a59"),
    *("#d8a6ff", "#e6e6e6", "#5ce1e6", "#ff9ecb", "#a8c46c"),
)
BACKGROUND = "#0d0f13"
TEXT = "#d5d8de"
MUTED = "#8f95a1"
LEGEND_COLUMNS = 3
_POINTS = 72
_LABEL_SIZE = 5.0  # points
_CORNER = 0.24  # length of a corner mark, as a share of the box's side
_NAME = 14  # longest label, letters
UNSURE = 0.55  # opacity of the marks of sources without a class to rely on

# Short forms of class names that are too long for a label.
_SHORT = {
    "Round Smooth": "round",
    "In-between Round Smooth": "in-between",
    "Cigar Shaped Smooth": "cigar",
    "Barred Spiral": "barred",
    "Unbarred Tight Spiral": "tight",
    "Unbarred Loose Spiral": "loose",
    "Edge-on without Bulge": "edge-on",
    "Edge-on with Bulge": "edge-on, bulge",
    "Completely Round Smooth": "round",
    "In-between Smooth": "in-between",
    "Cigar-shaped Smooth": "cigar",
}


@style.styled
def labelled_picture(
    image_HWC: np.ndarray,
    sources: np.ndarray | Sequence[tuple[float, float, float]],
    names: Sequence[str],
    probabilities: np.ndarray | Sequence[float],
    out: Path | str,
    *,
    classes: Sequence[str] | None = None,
    sure: np.ndarray | Sequence[bool] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> Path:
    """Draw an image of the sky with a mark and a label at each source, and a legend below.

    Marks are the corners of the square that was classified, in the colour of its class, fainter where the
    probability is lower. A label is the short class name and its probability in percent. In a crowded field,
    labels that would cover another label or source are left out, later sources first; the colour of a mark
    always tells the class. Sources whose class cannot be relied on are marked in grey, without a label, and
    counted apart.

    Args:
        image_HWC: (H, W), (H, W, 1) or (H, W, 3) uint8.
        sources: (S, 3): x (column) and y (row) of the centre and half a side of the square, pixels.
        names: predicted class of each source.
        probabilities: (S,) of that class; NaN where unknown.
        out: file to write; its ending says PNG or PDF.
        classes: all classes, so that each has one colour in all pictures; None: those that occur, by name.
        sure: (S,) whether the class can be relied on; None: of all.
        left_out: reason → number of sources that are not marked at all.

    Raises:
        UsageError: sources, names, probabilities and ``sure`` differ in number.
    """
    sources = np.asarray(sources, float).reshape(-1, 3)
    probabilities = np.asarray(probabilities, float)
    sure_S = np.ones(len(sources), bool) if sure is None else np.asarray(sure, bool)
    if not len(sources) == len(names) == len(probabilities) == len(sure_S):
        raise UsageError(
            f"{out}: {len(sources)} sources, {len(names)} names, {len(probabilities)} probabilities and "
            f"{len(sure_S)} values of sure; expected one of each for every source"
        )
    image = rgb(image_HWC)
    height, width = image.shape[:2]
    known = list(classes) if classes is not None else sorted(set(names))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(known)}
    relied_on = [name for name, is_sure in zip(names, sure_S, strict=True) if is_sure]
    counts = {name: relied_on.count(name) for name in known if name in relied_on}
    scale = style.WIDTH / width  # inches per pixel
    unsure = len(names) - len(relied_on)
    without = ", ".join(f"{number} {reason}" for reason, number in (left_out or {}).items() if number)
    legend = 0.46 + 0.17 * (-(-len(counts) // LEGEND_COLUMNS) + (unsure > 0) + bool(without))
    tall = height * scale
    figure, below = style.canvas(style.WIDTH, tall + legend)
    figure.set_facecolor(BACKGROUND)
    # Axes of its own, so that marks are clipped at the edge of the image.
    axes = figure.add_axes((0, legend / (tall + legend), 1, tall / (tall + legend)))
    axes.set_axis_off()
    axes.imshow(image, extent=(0, style.WIDTH, tall, 0), aspect="auto", interpolation="bicubic")
    # Sources count pixels from their centres, imshow's extent from their edges.
    boxes = (sources + np.array([0.5, 0.5, 0.0])) * scale
    strengths = 0.35 + 0.65 * np.nan_to_num(np.clip(probabilities, 0, 1), nan=1.0)
    tints = [colours[name] if is_sure else MUTED for name, is_sure in zip(names, sure_S, strict=True)]
    _draw_corners(axes, boxes, tints, np.where(sure_S, strengths, UNSURE))
    labels = [
        _label(name, probability) if is_sure else ""
        for name, probability, is_sure in zip(names, probabilities, sure_S, strict=True)
    ]
    unlabelled = _draw_labels(axes, boxes, labels, tints, (style.WIDTH, tall))
    axes.set(xlim=(0, style.WIDTH), ylim=(tall, 0))
    _draw_legend(below, counts, colours, tall, unlabelled, unsure, without)
    return style.save(figure, out)


def draw_sky(seen: DetectedSky, out: Path, classes: Sequence[str]) -> Path:
    """Draw the sources that ``predict --detect`` found (see :func:`labelled_picture`).

    Sources without a class (too small, too faint, like stars) are not marked, only counted.
    """
    names = seen.table["predicted"].to_pylist()
    marked = np.array([name is not None for name in names], bool)
    reasons = [
        next((reason for reason in text.split("; ") if reason in WITHOUT_CLASS), "")
        for text, name in zip(seen.table["quality"].to_pylist(), names, strict=True)
        if name is None
    ]
    return labelled_picture(
        seen.image(),
        seen.boxes()[marked],
        [name for name in names if name is not None],
        np.asarray(seen.table["probability"], np.float64)[marked],
        out,
        classes=classes,
        sure=seen.sure()[marked],
        left_out={reason: reasons.count(reason) for reason in WITHOUT_CLASS},
    )


def _label(name: str, probability: float) -> str:
    short = short_name(name)
    return f"{short} {100 * probability:.0f}" if np.isfinite(probability) else short


def short_name(name: str) -> str:
    """A class name of a few letters, in lower case, for a label."""
    short = _SHORT.get(name, name[:1].lower() + name[1:])
    return short if len(short) <= _NAME else short[: _NAME - 1].rstrip() + "…"


def _draw_corners(axes: Axes, boxes: np.ndarray, tints: Sequence[str], strengths: np.ndarray) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    lines, inks = [], []
    for (x, y, half), tint, strength in zip(boxes, tints, strengths, strict=True):
        arm = 2 * half * _CORNER
        for right in (-1, 1):
            for down in (-1, 1):
                corner = np.array([x + right * half, y + down * half])
                along, across = np.array([right * arm, 0.0]), np.array([0.0, down * arm])
                lines.append(np.stack([corner - along, corner, corner - across]))
                inks.append(to_rgba(tint, strength))
    marks = LineCollection(lines, colors=inks, linewidths=0.6, capstyle="butt", joinstyle="miter")
    axes.add_collection(marks, autolim=False)


def _draw_labels(
    axes: Axes, boxes: np.ndarray, labels: Sequence[str], tints: Sequence[str], area: tuple[float, float]
) -> int:
    """Draw the labels that there is room for, nothing for empty ones; returns how many are left out."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.1, foreground="#000000", alpha=0.75)]
    tall = 1.15 * _LABEL_SIZE / _POINTS
    taken = _cores(boxes)
    left_out = 0
    for box, text, tint in zip(boxes, labels, tints, strict=True):
        if not text:
            continue
        candidates = _candidates(box, _width(text) + 0.02, tall)
        free = np.flatnonzero((_overlap(candidates, taken) == 0) & (_outside(candidates, area) == 0))
        if not len(free):
            left_out += 1
            continue
        best = candidates[free[0]]
        taken = np.vstack([taken, best])
        axes.text(
            *(best[0], best[3] - 0.22 * tall),
            text,
            fontsize=_LABEL_SIZE,
            color=tint,
            va="baseline",
            path_effects=halo,
        )
    return left_out


def _width(text: str) -> float:
    """Width of a label in the installed font, inches."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=_LABEL_SIZE).get_extents().width / _POINTS


def _cores(boxes: np.ndarray) -> np.ndarray:
    """The middle of each box, where the galaxy is, (S, 4), which no label may cover."""
    x, y, half = boxes.T
    core = 0.3 * half
    return np.stack([x - core, y - core, x + core, y + core], axis=1)


def _candidates(box: np.ndarray, wide: float, tall: float) -> np.ndarray:
    """Candidate positions of a label, best first: (P, 4) left, top, right, bottom in inches."""
    x, y, half = box
    gap = 0.012
    lefts = (x - half, x + half - wide, x - wide / 2)
    tops = (y - half - gap - tall, y + half + gap)
    corners = [(left, top) for top in tops for left in lefts]
    corners += [(x + half + gap, y - half), (x - half - gap - wide, y - half)]
    corners += [(x - half + gap, y - half + gap), (x - half + gap, y + half - gap - tall)]
    return np.array([(left, top, left + wide, top + tall) for left, top in corners])


def _overlap(candidates: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Area that each candidate shares with labels and sources, (P,)."""
    wide = np.minimum(candidates[:, None, 2], taken[None, :, 2]) - np.maximum(
        candidates[:, None, 0], taken[None, :, 0]
    )
    tall = np.minimum(candidates[:, None, 3], taken[None, :, 3]) - np.maximum(
        candidates[:, None, 1], taken[None, :, 1]
    )
    return (np.clip(wide, 0, None) * np.clip(tall, 0, None)).sum(axis=1)


def _outside(candidates: np.ndarray, area: tuple[float, float]) -> np.ndarray:
    """How far each candidate reaches beyond the image, (P,)."""
    past = [-candidates[:, 0], -candidates[:, 1], candidates[:, 2] - area[0], candidates[:, 3] - area[1]]
    return np.clip(past, 0, None).sum(axis=0)


def _draw_legend(
    axes: Axes,
    counts: dict[str, int],
    colours: dict[str, str],
    top: float,
    unlabelled: int,
    unsure: int,
    without: str,
) -> None:
    wide = (style.WIDTH - 0.3) / LEGEND_COLUMNS
    for index, name in enumerate(counts):
        row, column = divmod(index, LEGEND_COLUMNS)
        x, y = 0.17 + column * wide, top + 0.2 + 0.17 * row
        axes.plot([x], [y], "s", color=colours[name], markersize=4.2, markeredgewidth=0)
        short = short_name(name)
        named = name if short.lower() == name.lower() else f"{style.wrapped(name, 26, lines=1)} ({short})"
        count = formatting.count(counts[name])
        axes.text(x + 0.09, y, f"{named}  {count}", fontsize=6.3, color=TEXT, va="center_baseline")
    rows = -(-len(counts) // LEGEND_COLUMNS)
    if unsure:
        y = top + 0.2 + 0.17 * rows
        axes.plot([0.17], [y], "s", color=MUTED, markersize=4.2, markeredgewidth=0, alpha=UNSURE)
        text = "no class to rely on (unlike the training galaxies, or no class likely)"
        text += f"  {formatting.count(unsure)}"
        axes.text(0.26, y, text, fontsize=6.3, color=TEXT, va="center_baseline")
        rows += 1
    if without:
        y = top + 0.2 + 0.17 * rows
        axes.text(0.26, y, f"not marked: {without}", fontsize=6.3, color=TEXT, va="center_baseline")
        rows += 1
    total = formatting.plural(sum(counts.values()) + unsure, "marked source")
    text = f"{total}. Marks: the square that was classified, fainter where the probability is lower; "
    text += "numbers: probability in percent."
    if unlabelled:
        text += f" {formatting.plural(unlabelled, 'label')} had no room."
    y = top + 0.26 + 0.17 * rows
    axes.text(0.14, y, text, fontsize=6.3, color=MUTED, va="center_baseline")
