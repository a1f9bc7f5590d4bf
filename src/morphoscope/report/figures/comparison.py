"""Figures for single questions of the studies: frozen layers, attention, cost.

Shape letters: S seeds, F fractions, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import formatting
from morphoscope.report.figures import style
from morphoscope.report.figures.studies import percent_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHANGE = "Change of recall\n(percentage points)"
_SWEEP_WIDTH = 4.7  # inches
_HOLLOW = {"markerfacecolor": style.PAPER, "markeredgewidth": 1.1}


@style.styled
def sweep(
    fractions: Sequence[float],
    measured: Mapping[str, Any],
    published: Mapping[str, Sequence[float]] | None = None,
    *,
    metric: str = "accuracy",
    label: str = "share of the layers that keep frozen ImageNet weights",
) -> Figure:
    """A score against the share of the network that is frozen (`fu` Table 1, sections 3 and 4).

    Measured series are lines with filled marks, ± 1 standard deviation over seeds and the seeds as dots;
    published ones are dashed with open marks, in the colour of the measured series of the same name.

    Args:
        fractions: (F,) shares from 0 to 1.
        measured: series such as "test" → (S, F) or (F,) values; NaN where it was not run.
        published: series → (F,) values; NaN where the paper gives none.
        metric: "accuracy" is shown in percent, any other as it is.
        label: of the horizontal axis.
    """
    published = published or {}
    x = np.asarray(fractions, float)
    names = list(dict.fromkeys([*measured, *published]))
    figure = style.new_figure(_SWEEP_WIDTH, 3.3)
    axes = figure.subplots()
    for number, name in enumerate(names):
        colour = style.SERIES[number % len(style.SERIES)]
        if name in published:
            values = np.asarray(published[name], float)
            look: dict[str, Any] = {"linestyle": (0, (3, 2)), "marker": "o", "markersize": 5, **_HOLLOW}
            axes.plot(x, values, color=colour, linewidth=1, label=f"{name}, published", **look)
        if name in measured:
            _measured_series(axes, x, np.atleast_2d(np.asarray(measured[name], float)), name, colour)
    axes.set_xticks(x, [formatting.percent(value, 0) for value in x])
    axes.set_xlabel(label)
    axes.set_ylabel({"rmse": "RMSE"}.get(metric, metric))
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(percent_ticks())
    axes.grid(axis="y")
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        widest = max(style.text_width(each, 7.5) for each in labels)
        columns = 2 if 2 * (widest + 0.6) < _SWEEP_WIDTH else 1
        figure.set_figheight(3.1 + 0.17 * -(-len(labels) // columns))
        figure.legend(loc="outside lower left", ncols=columns, borderaxespad=0.2, handlelength=2.6)
    return figure


def _measured_series(axes: Axes, x: np.ndarray, values_SF: np.ndarray, name: str, colour: str) -> None:
    runs_F = np.isfinite(values_SF).sum(axis=0)
    if not runs_F.any():
        return
    ran = runs_F > 0
    mean = np.full(len(x), np.nan)
    mean[ran] = np.nanmean(values_SF[:, ran], axis=0)
    most = int(runs_F.max())
    seeds = f" (n = {most})" if runs_F[ran].min() == most else f" (n = {runs_F[ran].min()}–{most})"
    axes.plot(x, mean, color=colour, marker="o", markersize=4.5, label=f"{name}, measured{seeds}", zorder=3)
    several = runs_F > 1
    if several.any():
        spread = np.nanstd(values_SF[:, several], axis=0, ddof=1)
        axes.errorbar(
            x[several], mean[several], spread, fmt="none", ecolor=colour, elinewidth=1.1, capsize=2.5
        )
        step = 0.022 * (np.ptp(x) or 1.0)
        for values in values_SF:
            axes.plot(x + step, values, "o", color=colour, markersize=2, alpha=0.7, markeredgewidth=0)


@style.styled
def confusion_change(
    confusion_a: Any,
    confusion_b: Any,
    classes: Sequence[str],
    names: tuple[str, str] = ("first", "second"),
) -> Figure:
    """Two confusion matrices as shares of their rows, and what changed in each class's recall (`tong` Fig 7).

    Args:
        confusion_a: (K, K) counts, rows the truth.
        confusion_b: the same of the second model.
        classes: K names.
        names: of the two models.
    """
    size = len(classes)
    shares = [_row_shares(confusion, size) for confusion in (confusion_a, confusion_b)]
    labels = [style.wrapped(each, 24, lines=1) for each in classes]
    widest = max(style.text_width(label, 7) for label in labels)
    left, below = 0.38 + widest, 0.34 + 0.65 * widest  # they are turned by 40°
    last = max(style.text_width(line, 8.5, "bold") for line in _CHANGE.split("\n")) + 0.1
    side = min(0.46 * size, (style.WIDTH - left - last - 0.45) / 2)
    cell = side / size
    titles = [style.wrapped(name, max(int(side / 0.075), 8), lines=3) for name in names]
    top = 0.2 + 0.14 * max(title.count("\n") + 1 for title in (*titles, _CHANGE))
    width, height = left + 2 * side + last + 0.45, top + side + below
    figure, _ = style.canvas(width, height)
    lefts = (left, left + side + 0.2, left + 2 * side + 0.4)
    panels = [
        figure.add_axes((at / width, below / height, each / width, side / height))
        for at, each in zip(lefts, (side, side, last), strict=True)
    ]
    for axes, shares_KK, title in zip(panels[:2], shares, titles, strict=True):
        _matrix(axes, shares_KK, cell)
        axes.set_title(title)
        look: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": 7}
        axes.set_xticks(np.arange(size) + 0.5, labels, **look)
        axes.set_yticks([])
        axes.text(size / 2, size + (below - 0.05) / cell, "predicted", ha="center", color=style.MUTED)
    panels[0].set_yticks(np.arange(size) + 0.5, labels, fontsize=7)
    panels[0].set_ylabel("truth (cells: % of the row)")
    panels[0].yaxis.set_label_coords((0.17 - left) / side, 0.5)
    _changes(panels[2], 100 * (np.diag(shares[1]) - np.diag(shares[0])))
    return figure


def _row_shares(confusion: Any, size: int) -> np.ndarray:
    """(K, K) shares of each row; NaN for a class without galaxies."""
    counts_KK = np.asarray(confusion, float).reshape(size, size)
    sums_K1 = counts_KK.sum(axis=1, keepdims=True)
    return np.divide(counts_KK, sums_K1, out=np.full_like(counts_KK, np.nan), where=sums_K1 > 0)


def _matrix(axes: Axes, shares_KK: np.ndarray, cell: float) -> None:
    from matplotlib.patches import Rectangle

    small = 7 if cell > 0.3 else 6 if cell > 0.22 else 5
    for (truth, called), share in np.ndenumerate(shares_KK):
        corner, side = (called + 0.025, truth + 0.025), 0.95
        axes.add_patch(Rectangle(corner, side, side, facecolor=style.GRID, alpha=0.55))
        if not share > 0:
            continue
        colour = style.FILL if truth == called else style.ERROR_FILL
        axes.add_patch(Rectangle(corner, side, side, facecolor=colour, alpha=0.06 + 0.94 * share))
        if cell < 0.12:
            continue
        digits = 1 if cell > 0.3 else 0
        ink = style.ON_FILL if share > 0.5 else style.INK
        text = formatting.number(100 * share, digits)
        axes.text(called + 0.5, truth + 0.5, text, ha="center", va="center", fontsize=small, color=ink)
    axes.set(xlim=(0, len(shares_KK)), ylim=(len(shares_KK), 0))
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)


def _changes(axes: Axes, points_K: np.ndarray) -> None:
    """Bars of percentage points, one a class."""
    largest = max(float(np.nanmax(np.abs(points_K), initial=0.0, where=np.isfinite(points_K))), 0.1)
    for row, points in enumerate(points_K):
        if not np.isfinite(points):
            axes.text(0, row + 0.5, "no galaxies", fontsize=6.5, va="center", ha="center", color=style.MUTED)
            continue
        colour = style.FILL if points >= 0 else style.ERROR_FILL
        axes.barh(row + 0.5, points, height=0.5, color=colour)
        text = f"{'+' if points > 0 else ''}{formatting.number(float(points), 1)}"
        away = 0.06 * largest if points >= 0 else -0.06 * largest
        axes.text(points + away, row + 0.5, text, fontsize=7, va="center", ha="left" if away > 0 else "right")
    low, high = np.nanmin(points_K, initial=0.0), np.nanmax(points_K, initial=0.0)
    axes.set_xlim(low - (1.1 if low < 0 else 0.1) * largest, high + 1.1 * largest)
    axes.axvline(0, color=style.RULE, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    axes.set_ylim(len(points_K), 0)
    axes.set_title(_CHANGE)


@style.styled
def oversampling_bars(before: Mapping[str, int], after: Mapping[str, int]) -> Figure:
    """Training galaxies of each class before and after oversampling (`fu` Fig 2).

    Args:
        before: class → galaxies.
        after: class → galaxies with repetitions.
    """
    names = list(before)
    figure = style.new_figure(style.WIDTH, 0.75 + 0.25 * max(len(names), 3))
    axes = figure.subplots()
    y = np.arange(len(names))
    own = np.array([before[name] for name in names], float)
    copies = np.array([max(after.get(name, 0) - before[name], 0) for name in names], float)
    words = f"galaxies ({formatting.count(own.sum())})"
    axes.barh(y, own, height=0.64, color=style.FILL, alpha=0.9, label=words)
    words = f"repetitions ({formatting.count(copies.sum())})"
    axes.barh(y, copies, left=own, height=0.64, color=style.FILL, alpha=0.3, label=words)
    largest = max((own + copies).max(initial=0), 1)
    for row, (few, more) in enumerate(zip(own, copies, strict=True)):
        times = f"  ×{formatting.NBSP}{formatting.number((few + more) / few, 2)}" if few else ""
        text = (
            f"{formatting.count(few)} → {formatting.count(few + more)}{times}"
            if more
            else formatting.count(few)
        )
        axes.text(few + more + 0.012 * largest, row, text, va="center_baseline", fontsize=7.5)
    axes.set_yticks(y, [style.wrapped(name, 34) for name in names])
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.3 * largest), xlabel="training galaxies in an epoch")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
    return figure


@style.styled
def runtime_bars(
    rows: Mapping[str, tuple[float | None, float | None]], published: Mapping[str, float] | None = None
) -> Figure:
    """What a training costs: seconds an epoch and training images a second (`ng` Tables I and II).

    Args:
        rows: model → (seconds an epoch, images a second); None where it was not run.
        published: model → the paper's seconds an epoch, on its own machine.
    """
    published = published or {}
    figure = style.new_figure(style.WIDTH, 0.85 + 0.24 * max(len(rows), 2))
    panels = figure.subplots(1, 2, sharey=True)
    paper = [published.get(label) for label in rows]
    titles = ("Seconds an epoch", "Training images a second")
    for axes, title, which in zip(panels, titles, (0, 1), strict=True):
        values = [pair[which] for pair in rows.values()]
        _costs(axes, values, paper if which == 0 else [])
        axes.set_title(title)
    panels[0].set_yticks(range(len(rows)), [style.wrapped(label, 34) for label in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    if any(value is not None for value in paper):
        handle = panels[0].plot(
            [], [], "o", color=style.SERIES[1], markersize=5, label="published", **_HOLLOW
        )
        figure.legend(handles=handle, loc="outside lower left", borderaxespad=0.2)
    return figure


def _costs(axes: Axes, values: Sequence[float | None], published: Sequence[float | None]) -> None:
    """Bars from zero; on a logarithmic axis, where they would have no zero, dots."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    known = [value for value in (*values, *published) if formatting.known(value) and value > 0]
    spread = bool(known) and max(known) > 30 * min(known)
    if spread:
        axes.set_xscale("log")
        axes.set_xlim(min(known) / 1.6, max(known) * 5)
        axes.xaxis.set_major_formatter(EngFormatter(sep=formatting.NBSP))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.25 * max(known, default=1.0))
    for row, value in enumerate(values):
        if not formatting.known(value):
            axes.text(0.02, row, "not run", transform=axes.get_yaxis_transform(), color=style.MUTED)
            axes.texts[-1].set(va="center_baseline", fontsize=7.5)
            continue
        if spread:
            axes.plot(value, row, "o", color=style.SERIES[0], markersize=5)
        else:
            axes.barh(row, value, height=0.6, color=style.FILL, alpha=0.9)
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
        text = axes.annotate(
            formatting.number(value, digits), (value, row), (6, 0), textcoords="offset points"
        )
        text.set(va="center_baseline", fontsize=7.5)
    for row, value in enumerate(published):
        if formatting.known(value):
            axes.plot(value, row, "o", color=style.SERIES[1], markersize=5, zorder=3, **_HOLLOW)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
