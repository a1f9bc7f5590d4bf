"""Charts that a kind of label describes by their numbers.

Shape letters: M numbers of a series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.labels.scheme import Chart


@style.styled
def described_chart(chart: Chart) -> Figure:
    """Horizontal bars by name, or lines against a number; intervals where they are known.

    Args:
        chart: what to draw; numbers that are not finite are left out.
    """
    height = 2.6 if len(chart.at) else 0.75 + 0.24 * max(len(chart.names), 2)
    figure = style.new_figure(style.WIDTH, height)
    axes = figure.subplots()
    draw = _lines if len(chart.at) else _bars
    draw(axes, chart)
    if any(chart.values):
        figure.legend(loc="outside upper right", ncols=3, borderaxespad=0.1)
    return figure


def _bars(axes: Axes, chart: Chart) -> None:
    size = 0.8 / max(len(chart.values), 1)
    for number, (name, values) in enumerate(chart.values.items()):
        middle = np.arange(len(chart.names)) - 0.4 + size * (number + 0.5)
        colour = style.SERIES[number % len(style.SERIES)]
        axes.barh(middle, values, height=0.9 * size, color=colour, alpha=0.85, label=name)
        errors = _errors(chart, name)
        if errors is not None:
            axes.errorbar(values, middle, xerr=errors, fmt="none", ecolor=style.INK, elinewidth=0.8)
    axes.set_yticks(
        np.arange(len(chart.names)), [style.wrapped(name, 44) for name in chart.names], fontsize=7
    )
    axes.set_ylim(len(chart.names) - 0.4, -0.6)
    axes.set_xlabel(chart.label)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _lines(axes: Axes, chart: Chart) -> None:
    for number, (name, values) in enumerate(chart.values.items()):
        colour = style.SERIES[number % len(style.SERIES)]
        axes.errorbar(chart.at, values, yerr=_errors(chart, name), color=colour, marker="o", label=name)
    axes.set_xlabel(chart.at_label)
    axes.set_ylabel(chart.label)
    axes.grid(axis="y")


def _errors(chart: Chart, name: str) -> np.ndarray | None:
    """Distances to both ends of the intervals, (2, M); an unknown end is drawn as none."""
    if name not in chart.low or name not in chart.high:
        return None
    ends = (np.asarray(end[name], float) for end in (chart.low, chart.high))
    return np.nan_to_num(np.abs([end - np.asarray(chart.values[name], float) for end in ends]))
