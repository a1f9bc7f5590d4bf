"""Figures of how well measurements are predicted.

Shape letters: N galaxies, T quantities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.metrics.measurements import residuals, statistics
from morphoscope.report import formatting
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 400  # fewer galaxies are drawn one by one, more as a density
_COLUMNS = 3
_SHOWN = (0.25, 99.75)  # percentiles of the values between which a panel is drawn
_SHOWN_RESIDUALS = (1.0, 99.0)
_BINS = 32  # of a density, along an axis
_RUNNING, _FEWEST = 10, 12  # bins of the running median; galaxies in each of them


@dataclass(frozen=True)
class Panel:
    """One quantity of the test galaxies that have a value of it.

    Attributes:
        title: name and unit.
        truth: (N,) measurements, finite.
        predicted: (N,) means.
        outlier: (N,) bool.
        redshift: residuals are divided by 1 + truth.
    """

    title: str
    truth: np.ndarray
    predicted: np.ndarray
    outlier: np.ndarray
    redshift: bool = False


@style.styled
def predicted_against_true(panels: Sequence[Panel]) -> Figure:
    """Predicted against true value, one panel a quantity; outliers are orange."""
    figure, grid = _grid(panels)
    for axes, panel in zip(grid, panels, strict=True):
        low, high = _range(np.concatenate([panel.truth, panel.predicted]))
        axes.plot([low, high], [low, high], color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        _points(axes, panel.truth, panel.predicted, panel.outlier, (low, high), (low, high))
        axes.set_aspect("equal")
        found = statistics(panel.truth, panel.predicted, redshift=panel.redshift)
        share = formatting.percent(float(found["outliers"]))
        text = f"R² {formatting.number(float(found['r2']))}\noutliers {share}"
        axes.text(0.04, 0.96, text, va="top", fontsize=7, transform=axes.transAxes)
    figure.supxlabel("true value", fontsize=8, color=style.MUTED)
    figure.supylabel("predicted value", fontsize=8, color=style.MUTED)
    return figure


@style.styled
def residuals_against_truth(panels: Sequence[Panel]) -> Figure:
    """Residual against true value with the running median and middle 68 %; outliers are orange."""
    figure, grid = _grid(panels)
    for axes, panel in zip(grid, panels, strict=True):
        delta = residuals(panel.truth, panel.predicted, redshift=panel.redshift)
        low, high = _range(panel.truth)
        reach = float(np.abs(_range(delta, _SHOWN_RESIDUALS)).max()) or 1.0
        axes.axhline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        _points(axes, panel.truth, delta, panel.outlier, (low, high), (-reach, reach))
        _running(axes, panel.truth, delta)
        axes.set_box_aspect(1)
        if panel.redshift:
            axes.set_ylabel("Δ / (1 + z)")
    figure.supxlabel("true value", fontsize=8, color=style.MUTED)
    figure.supylabel("prediction − truth", fontsize=8, color=style.MUTED)
    return figure


@style.styled
def coverage(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of the measurements within the central interval of each level; right, the difference from it.

    Args:
        rows: of each quantity ``name`` and ``coverage``: ``level``, ``value``, ``low`` and ``high``.
    """
    figure = style.new_figure(style.WIDTH, 2.9)
    whole, difference = figure.subplots(1, 2)
    whole.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    difference.axhline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    for number, row in enumerate(rows):
        colour = style.SERIES[number % len(style.SERIES)]
        level, value, low, high = (
            np.array([each[key] for each in row["coverage"]], float)
            for key in ("level", "value", "low", "high")
        )
        errors = np.nan_to_num(np.abs([value - low, high - value]))
        drawn: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3, "linewidth": 1.1}
        whole.plot(level, value, label=row["name"], **drawn)
        aside = 0.006 * (number - (len(rows) - 1) / 2)  # so that the intervals do not hide each other
        difference.errorbar(level + aside, 100 * (value - level), yerr=100 * errors, elinewidth=0.8, **drawn)
    whole.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    whole.set_ylabel("share within it")
    difference.set_xlim(0, 1)
    difference.set_ylabel("share − level, percentage points")
    difference.grid(axis="y")
    figure.supxlabel("level of the central interval", fontsize=8, color=style.MUTED)
    figure.legend(loc="outside upper right", ncols=4, borderaxespad=0.1)
    return figure


def _grid(panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    columns = 2 if len(panels) == 4 else min(_COLUMNS, max(len(panels), 1))
    rows = -(-max(len(panels), 1) // columns)
    side = style.WIDTH / _COLUMNS
    figure = style.new_figure(side * columns + 0.3, rows * (side + 0.25) + 0.25)
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in cells[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(cells, panels, strict=False):
        axes.set_title(style.wrapped(panel.title, 32), fontsize=7.5)
        axes.tick_params(labelsize=6.5)
        axes.locator_params(nbins=5)
    return figure, cells[: len(panels)]


def _range(values: np.ndarray, shown: tuple[float, float] = _SHOWN) -> tuple[float, float]:
    """Where nearly all values lie, with a margin: a few wild ones would hide the others."""
    low, high = np.percentile(values, shown)
    margin = 0.04 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _points(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    outlier: np.ndarray,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> None:
    """Galaxies as dots or a density, outliers as dots; those beyond the panel are put on its border."""
    x, y = np.clip(x, *x_range), np.clip(y, *y_range)
    if len(x) <= FEW:
        axes.plot(
            x[~outlier], y[~outlier], "o", color=style.FILL, markersize=2.6, alpha=0.5, markeredgewidth=0
        )
    else:
        _density(axes, x[~outlier], y[~outlier], x_range, y_range)
    axes.plot(
        x[outlier], y[outlier], "D", color=style.SERIES[1], markersize=2.6, alpha=0.8, markeredgewidth=0
    )
    axes.set(xlim=x_range, ylim=y_range)


def _density(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> None:
    """Squares whose opacity grows with the logarithm of how many galaxies lie in them."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    counts, across, up = np.histogram2d(x, y, bins=_BINS, range=(x_range, y_range))
    here = np.argwhere(counts > 0)
    strength = np.log1p(counts[counts > 0]) / np.log1p(max(counts.max(), 1))
    width, height = across[1] - across[0], up[1] - up[0]
    squares = [Rectangle((float(across[i]), float(up[j])), width, height) for i, j in here]
    axes.add_collection(
        PatchCollection(squares, facecolor=style.FILL, edgecolor="none", alpha=list(0.1 + 0.9 * strength))
    )


def _running(axes: Axes, truth: np.ndarray, delta: np.ndarray) -> None:
    bins = min(_RUNNING, len(truth) // _FEWEST)
    if bins < 2:
        return
    parts = np.array_split(np.argsort(truth, kind="stable"), bins)
    at = [float(np.median(truth[part])) for part in parts]
    low, middle, high = np.array([np.percentile(delta[part], [16, 50, 84]) for part in parts]).T
    axes.plot(at, middle, color=style.INK, linewidth=1.2)
    for edge in (low, high):
        axes.plot(at, edge, color=style.INK, linewidth=0.7, linestyle=(0, (2, 2)))
