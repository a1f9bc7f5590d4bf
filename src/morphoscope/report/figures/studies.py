"""Figures that compare the models of a study with each other and with the published values.

Shape letters: S seeds, E epochs, F fractions, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import formatting
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, np.ndarray]
_NAMES = {"accuracy": "accuracy", "train_accuracy": "training accuracy", "rmse": "RMSE", "loss": "loss"}
_LOWER_IS_BETTER = ("rmse", "loss")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)))
_HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.2}


@dataclass(frozen=True)
class Compared:
    """One row of a comparison.

    Args:
        label: the model.
        published: the paper's value; none where it gives none.
        measured: one value a seed; none: not run.
    """

    label: str
    published: float | None = None
    measured: Sequence[float] = ()


@style.styled
def all_curves(histories: Mapping[str, Sequence[History]], metric: str = "accuracy") -> Figure:
    """All models of a study against the epoch: loss and metric, training beside validation.

    `cheng` Fig 6, `yan` Fig 6. Of several seeds the mean is drawn with a band of ± 1 standard deviation, as
    far as all seeds went; where early stopping left fewer, each goes on as a thin line.

    Args:
        histories: model → one history a seed, columns as in history.csv: ``epoch`` and ``train_``/
            ``validation_`` ``loss`` and ``metric``, (E,) each; columns may be missing or NaN.
        metric: "accuracy" is shown in percent, any other name as it is.
    """
    handles = [_handle(number, label, seeds) for number, (label, seeds) in enumerate(histories.items())]
    widest = max((style.text_width(handle.get_label(), 7.5) for handle in handles), default=0.0)
    columns = max(int(style.WIDTH / (0.5 + widest)), 1)
    figure = style.new_figure(style.WIDTH, 4.4 + 0.16 * -(-len(histories) // columns))
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    parts = {"train": "training (augmented)", "validation": "validation"}
    for row, what in enumerate(("loss", "metric")):
        for axes, (part, words) in zip(panels[row], parts.items(), strict=True):
            drawn = [
                _seeds(axes, seeds, f"{part}_{what}", number, label)
                for number, (label, seeds) in enumerate(histories.items())
            ]
            name = _NAMES.get(metric, metric) if what == "metric" else "loss"
            axes.set_title(f"{name[:1].upper()}{name[1:]}, {words}")
            axes.grid(axis="y")
            if not any(drawn):
                axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=style.MUTED)
    _fit(panels[0])
    if metric == "accuracy":
        panels[1][0].yaxis.set_major_formatter(percent_ticks())
    else:
        _fit(panels[1])
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(_whole_numbers())
    if handles:
        several = any(len(seeds) > 1 for seeds in histories.values())
        title = "mean of n seeds, band ± 1 standard deviation" if several else None
        legend = figure.legend(handles=handles, loc="outside lower left", ncols=columns, title=title)
        legend.set_alignment("left")
        legend.get_title().set(fontsize=7, color=style.MUTED)
    return figure


def _look(number: int) -> dict[str, Any]:
    """Colour and dashes of the model with a number: seven colours, then the same with dashes."""
    colours = len(style.SERIES)
    return {"color": style.SERIES[number % colours], "linestyle": _DASHES[number // colours % len(_DASHES)]}


def _handle(number: int, label: str, seeds: Sequence[History]) -> Any:
    from matplotlib.lines import Line2D

    count = f" (n = {len(seeds)})" if len(seeds) > 1 else ""
    return Line2D([], [], label=style.wrapped(label, 60, 1) + count, **_look(number))


def _seeds(axes: Axes, seeds: Sequence[History], column: str, number: int, label: str) -> bool:
    """Draw one model; whether there was anything to draw."""
    curves = [
        (np.asarray(seed["epoch"], float), np.asarray(seed[column], float))
        for seed in seeds
        if column in seed and len(seed[column]) and np.isfinite(np.asarray(seed[column], float)).any()
    ]
    if not curves:
        return False
    shared = min((epochs for epochs, _ in curves), key=len)
    values_SE = np.stack([np.interp(shared, epochs, values) for epochs, values in curves])
    look = _look(number)
    marker = "o" if np.isfinite(values_SE).any(axis=0).sum() == 1 else None
    mean_E = values_SE.mean(axis=0)
    axes.plot(shared, mean_E, linewidth=1.2, marker=marker, markersize=3.5, label=label, **look)
    if len(curves) > 1:
        spread_E = values_SE.std(axis=0, ddof=1)
        bounds = (mean_E - spread_E, mean_E + spread_E)
        axes.fill_between(shared, *bounds, color=look["color"], alpha=0.15, linewidth=0)
        for epochs, values in curves:
            if len(epochs) > len(shared):
                late = slice(len(shared) - 1, None)
                axes.plot(epochs[late], values[late], linewidth=0.6, alpha=0.7, **look)
    return True


def _fit(panels: Sequence[Axes]) -> None:
    """Limits that a few wild epochs do not press all else flat with, and a word about what they leave out."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    lines = [line for axes in panels for line in axes.lines]
    values = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in lines)])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    top = 2 * float(np.quantile(values, 0.97))
    inside = values[values <= top]
    if len(inside) < len(values):
        for axes in panels:
            own = np.concatenate(
                [np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.empty(0)]
            )
            if (highest := np.nanmax(own, initial=0.0)) > top:
                words = f"up to {highest:.3g} above"
                axes.text(0.99, 0.97, words, transform=axes.transAxes, ha="right", va="top", fontsize=7)
                axes.texts[-1].set_color(style.MUTED)
    axes = panels[0]
    if inside.min() > 0 and inside.max() > 12 * inside.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    if len(inside) < len(values):
        lowest, highest = float(inside.min()), float(inside.max())
        room = 0.05 * (highest - lowest or abs(highest) or 1.0)
        logarithmic = axes.get_yscale() == "log"
        axes.set_ylim(
            lowest / 1.1 if logarithmic else lowest - room, 1.1 * highest if logarithmic else highest + room
        )


@style.styled
def published_and_measured(
    rows: Sequence[Compared], metric: str = "accuracy", digits: int | None = None
) -> Figure:
    """Published values beside what was measured, a row a model (`cheng` T2, `tong` T V, `yan` T2, `ng` T I).

    Open circles are the paper's values, filled ones the mean over seeds with ± 1 standard deviation, small
    dots the single seeds; the numbers stand at the right.

    Args:
        rows: from top to bottom.
        metric: "accuracy" or "train_accuracy" as shares of 1, shown in percent; any other as it is.
        digits: after the point; none: two of a percentage, else four.
    """
    share = metric in formatting.PERCENT
    digits = (2 if share else 4) if digits is None else digits
    figure = style.new_figure(style.WIDTH, 0.95 + 0.26 * max(len(rows), 2))
    axes, numbers = figure.subplots(1, 2, width_ratios=(2.3, 1.5), sharey=True)
    scale = 100.0 if share else 1.0
    for row, each in enumerate(rows):
        _draw_row(axes, row, each, scale)
        _write_row(numbers, row, each, scale, digits)
    unit = " (%)" if share else ""
    note = ", lower is better" if metric in _LOWER_IS_BETTER else ""
    axes.set_xlabel(f"{_NAMES.get(metric, metric)}{unit}{note}")
    axes.set_yticks(range(len(rows)), [style.wrapped(each.label, 34) for each in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="both")
    if not axes.lines:
        axes.set_xticks([])
    numbers.set_xlim(0, 1)
    numbers.set_axis_off()
    for x, words in ((0.26, "published"), (0.98, "measured")):
        numbers.text(x, -0.75, words, ha="right", va="bottom", fontsize=7.5, fontweight="bold")
    if marks := _marks(rows):
        figure.legend(handles=marks, loc="outside lower left", ncols=3, borderaxespad=0.2)
    return figure


def _draw_row(axes: Axes, row: int, each: Compared, scale: float) -> None:
    if each.published is not None:
        axes.plot(scale * each.published, row, "o", color=style.SERIES[1], markersize=6, zorder=3, **_HOLLOW)
    measured = scale * np.asarray(each.measured, float)
    if not len(measured):
        return
    mean = measured.mean()
    if len(measured) > 1:
        spread = measured.std(ddof=1)
        axes.plot([mean - spread, mean + spread], [row, row], color=style.SERIES[0], linewidth=1.4)
        below = np.full(len(measured), row + 0.26)
        axes.plot(measured, below, "o", color=style.SERIES[0], markersize=2, alpha=0.7, markeredgewidth=0)
    axes.plot(mean, row, "o", color=style.SERIES[0], markersize=5, zorder=2.5)


def _write_row(axes: Axes, row: int, each: Compared, scale: float, digits: int) -> None:
    look = {"ha": "right", "va": "center_baseline", "fontsize": 7.5}
    published = each.published if each.published is None else scale * each.published
    axes.text(0.26, row, formatting.number(published, digits), **look)
    if not len(each.measured):
        axes.text(0.98, row, "not run", color=style.MUTED, **look)
        return
    measured = scale * np.asarray(each.measured, float)
    words = formatting.number(float(measured.mean()), digits)
    if len(measured) > 1:
        words += f" ± {formatting.number(float(measured.std(ddof=1)), digits)}"
    axes.text(0.98, row, f"{words} (n = {len(measured)})", **look)


def _marks(rows: Sequence[Compared]) -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, size: float, **look: Any) -> Any:
        return Line2D([], [], marker="o", linestyle="", label=label, color=colour, markersize=size, **look)

    several = any(len(each.measured) > 1 for each in rows)
    marks = []
    if any(each.published is not None for each in rows):
        marks.append(mark("published", style.SERIES[1], 6, **_HOLLOW))
    if any(len(each.measured) for each in rows):
        words = "measured, mean ± standard deviation over seeds" if several else "measured, one seed"
        marks.append(mark(words, style.SERIES[0], 5))
    if several:
        marks.append(mark("single seeds", style.SERIES[0], 2))
    return marks


def percent_ticks() -> Any:
    """Shares of 1 as percent, with no more digits than they need."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{100 * value:.4g}{formatting.NBSP}%")


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, integer=True, min_n_ticks=1)
