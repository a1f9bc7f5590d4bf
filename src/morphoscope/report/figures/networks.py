"""Diagrams of networks: whole ones drawn from their modules, building blocks from SVG files.

Shape letters: C channels, H × W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.report import formatting
from morphoscope.report.figures import schematic, style
from morphoscope.report.figures.network_summary import Stage, shape_words, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import nn

DRAWINGS = Path(__file__).parent / "drawings"

_MARGIN = 0.06  # inches, as are all lengths here
_ARROW = 0.2
_LINE = 0.118
_NAME = 0.15  # above a box
_SHAPE = 0.16  # below a box
_BETWEEN = 0.2  # rows, for the arrow that turns round
_MOST_IN_A_ROW = 6
_WIDEST = 1.5
_PADDING = 0.05


@dataclass(frozen=True)
class _Box:
    name: str
    lines: Sequence[tuple[str, float, str, str]]  # text, size, weight, colour
    foot: str
    shape: str
    kind: str
    share: float


def building_block(kind: str) -> str:
    """The SVG drawing of a building block, in the colours of :mod:`style`.

    Args:
        kind: "basic" and "bottleneck" (`cheng` F4, `tong` F4), "attention-unit" (`tong` F5),
            "channel-attention" and "spatial-attention" (`tong` F1, F2; `ng` F6, F7), "cbam",
            "cbam-residual" (as in `ng`'s notebook), "mbconv" (`yan` F3, with Fused-MBConv) or
            "dense-block" (`fu` F3).

    Raises:
        UsageError: no such drawing.
    """
    path = DRAWINGS / f"{kind}.svg"
    if not path.is_file():
        known = [each.stem for each in DRAWINGS.glob("*.svg")]
        raise UsageError(f"there is no drawing of '{kind}'{did_you_mean(kind, known)}")
    return path.read_text(encoding="utf-8")


def network_diagram(network: nn.Module, image_size: int, channels: int = 3) -> Figure:
    """The stages of a network in the order of the data, from its own modules (`cheng` F3, F5, `tong` F6 ...).

    A box has a stage's layers, the convolutions inside its repeated units and its parameters; the bar at its
    foot is its share of all parameters. Above it is the module's name, below it the shape of the output.

    Args:
        network: on any device, also "meta"; neither changed nor computed.
        image_size: side of the input in pixels.
        channels: of the input.
    """
    return stages_diagram(stages(network, image_size, channels), image_size, channels)


@style.styled
def stages_diagram(found: Sequence[Stage], image_size: int, channels: int = 3) -> Figure:
    """The same from stages that are known already."""
    whole = sum(stage.parameters for stage in found) or 1
    passed = [stage for stage in found if stage.name]
    per_row = math.ceil((len(passed) + 1) / math.ceil((len(passed) + 1) / _MOST_IN_A_ROW))
    room = style.WIDTH - 2 * _MARGIN - (per_row - 1) * _ARROW
    width = min(room / per_row, _WIDEST)
    start = _Box(
        "",
        _lines(["image"], width, "bold"),
        "",
        shape_words((channels, image_size, image_size)),
        "other",
        0.0,
    )
    boxes = [start, *(_as_box(stage, whole, width) for stage in passed)]
    rows = [boxes[at : at + per_row] for at in range(0, len(boxes), per_row)]
    heights = [max(_height(each) for each in row) for row in rows]
    notes = _notes(found)
    full = sum(heights) + len(rows) * (_NAME + _SHAPE) + (len(rows) - 1) * _BETWEEN
    across = 2 * _MARGIN + min(per_row, len(boxes)) * (width + _ARROW) - _ARROW
    figure, axes = style.canvas(across, full + 2 * _MARGIN + 0.16 * len(notes))
    top = _MARGIN
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        top += _NAME
        for index, each in enumerate(row):
            left = _MARGIN + index * (width + _ARROW)
            _draw(axes, each, left, top, width, height)
            if index:
                middle = top + height / 2
                schematic.arrow(axes, [(left - _ARROW + 0.02, middle), (left - 0.02, middle)])
        if number + 1 < len(rows):
            _turn(axes, top + height, _MARGIN + len(row) * (width + _ARROW) - _ARROW - width / 2, width)
        top += height + _SHAPE + _BETWEEN
    for line, note in enumerate(notes):
        y = full + _MARGIN + 0.08 + 0.16 * line
        axes.text(_MARGIN, y, note, fontsize=7, color=style.MUTED, va="center")
    return figure


def _as_box(stage: Stage, whole: int, width: float) -> _Box:
    lines = [*_lines(stage.layers, width, "bold"), *_lines(stage.details, width, "normal")]
    name = stage.name
    for wrapper in ("backbone.", "trunk.", "network."):
        name = name.removeprefix(wrapper)
    share = stage.parameters / whole
    percent = formatting.percent(share, 0 if share >= 0.01 else 1) if share >= 0.0005 else "< 0.1 %"
    foot = f"{_short(stage.parameters)} ({percent})"
    return _Box(name, lines, foot, shape_words(stage.shape), stage.kind, share)


def _lines(texts: Sequence[str], width: float, weight: str) -> list[tuple[str, float, str, str]]:
    colours = [schematic.COLOURS["attention"] if "attention" in text else style.INK for text in texts]
    found = []
    for text, colour in zip(texts, colours, strict=True):
        lines, size = style.fitted(text, width - 2 * _PADDING, 6.5, weight=weight)
        found += [(line, size, weight, colour) for line in lines]
    return found


def _short(parameters: int) -> str:
    """Weights with three digits: 9.54 k, 216 k, 15.0 M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if parameters >= 0.9995 * size:
            value = parameters / size
            digits = max(0, 2 - int(math.log10(value * 1.0005)))
            return f"{value:.{digits}f}{formatting.NBSP}{unit}"
    return str(parameters)


def _height(each: _Box) -> float:
    return 0.2 + _LINE * len(each.lines) + (0.05 + _LINE if each.foot else 0.0)


def _draw(axes: Axes, each: _Box, left: float, top: float, width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    schematic.box(axes, left, top, width, height, kind=each.kind, tint=0.13 if each.foot else 0.0)
    middle, bottom = left + width / 2, top + height
    axes.text(
        middle,
        top - 0.035,
        _ending(each.name, width, 6),
        fontsize=6,
        color=style.MUTED,
        ha="center",
        va="bottom",
    )
    y = top + (height - (0.17 if each.foot else 0.0) - _LINE * (len(each.lines) - 1)) / 2
    for text, size, weight, colour in each.lines:
        axes.text(middle, y, text, fontsize=size, fontweight=weight, color=colour, ha="center", va="center")
        y += _LINE
    if each.foot:
        _, size = style.fitted(each.foot.replace(" ", formatting.NBSP), width - 2 * _PADDING, 6)
        axes.text(
            middle, bottom - 0.115, each.foot, fontsize=size, color=style.MUTED, ha="center", va="center"
        )
        bar = Rectangle((left + 0.05, bottom - 0.05), each.share * (width - 0.1), 0.028)
        bar.set(facecolor=schematic.COLOURS[each.kind])
        axes.add_patch(bar)
    _, size = style.fitted(each.shape.replace(" ", formatting.NBSP), width, 6.5)
    axes.text(middle, bottom + 0.035, each.shape, fontsize=size, ha="center", va="top")


def _ending(name: str, width: float, size: float) -> str:
    """A name, or as much of its end as fits a width."""
    shown = name
    while style.text_width(shown, size) > width and len(shown) > 2:
        shown = f"…{shown.lstrip('…')[1:]}"
    return shown


def _turn(axes: Axes, bottom: float, last: float, width: float) -> None:
    """From below the last box of a row to above the first of the next."""
    first = _MARGIN + width / 2
    level = bottom + _SHAPE + 0.06
    end = bottom + _SHAPE + _BETWEEN + 0.02
    schematic.arrow(axes, [(last, bottom + _SHAPE - 0.01), (last, level), (first, level), (first, end)])


def _notes(found: Sequence[Stage]) -> list[str]:
    parameters, statistics = (
        sum(stage.parameters for stage in found),
        sum(stage.statistics for stage in found),
    )
    learning = sum(stage.trainable for stage in found)
    note = f"{formatting.count(parameters)} parameters"
    if learning < parameters:
        note += f", {formatting.count(learning)} of them trainable"
    if statistics:
        note += f"; {formatting.count(parameters + statistics)} with running means and variances"
    notes = [note]
    for stage in found:
        if not stage.name:
            notes.append(f"{formatting.count(stage.parameters)} of them in {', '.join(stage.layers)}")
    return notes
