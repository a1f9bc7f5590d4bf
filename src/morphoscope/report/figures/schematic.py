"""Boxes and arrows of diagrams; lengths are inches on a :func:`style.canvas`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]

LINE = 0.8  # points
COLOURS = {
    "convolution": style.SERIES[0],
    "units": style.SERIES[2],
    "attention": style.SERIES[1],
    "dense": style.SERIES[3],
    "pooling": style.SERIES[4],
    "other": style.MUTED,
}
_TINT = 0.13


def box(
    axes: Axes,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    kind: str = "other",
    tint: float = _TINT,
) -> None:
    """A rounded box in the colour of what it stands for."""
    from matplotlib.patches import FancyBboxPatch

    colour = COLOURS[kind]
    shape = "round,pad=0,rounding_size=0.04"
    for strength, line in ((tint, 0.0), (1.0, LINE)):
        axes.add_patch(
            FancyBboxPatch(
                (left, top),
                width,
                height,
                boxstyle=shape,
                facecolor=colour if line == 0 else "none",
                edgecolor=colour,
                alpha=strength,
                linewidth=line,
            )
        )


def arrow(axes: Axes, points: Sequence[Point], *, head: bool = True, colour: str = style.MUTED) -> None:
    """A line through points, with a head at the last one."""
    xs, ys = zip(*points, strict=True)
    axes.plot(
        xs, ys, color=colour, linewidth=LINE, solid_joinstyle="round", solid_capstyle="butt", zorder=1.5
    )
    if not head:
        return
    from matplotlib.patches import Polygon

    (x0, y0), (x, y) = points[-2:]
    length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5 or 1.0
    along, across = ((x - x0) / length, (y - y0) / length), (-(y - y0) / length, (x - x0) / length)
    long, wide = 0.065, 0.028
    foot = (x - long * along[0], y - long * along[1])
    corners = [
        (x, y),
        (foot[0] + wide * across[0], foot[1] + wide * across[1]),
        (foot[0] - wide * across[0], foot[1] - wide * across[1]),
    ]
    axes.add_patch(Polygon(corners, closed=True, facecolor=colour, zorder=1.6))
