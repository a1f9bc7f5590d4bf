"""Figures of uncertainty: reliability diagrams and the distribution of OOD scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import formatting
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CONFIDENCE = "stated confidence in the chosen class"
_RIGHT = "share that is right"


@style.styled
def reliability(metrics: Mapping[str, Any]) -> Figure:
    """Share that is right against the stated confidence, above how many galaxies have it.

    Args:
        metrics: as from ``classification_metrics``: ``reliability`` (bins with ``lower``, ``upper``,
            ``count``, ``confidence``, ``accuracy``, ``accuracy_low``, ``accuracy_high``), ``ece``, ``n``.
            Empty bins are not drawn.
    """
    figure = style.new_figure(style.COLUMN, 3.9)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    _draw(axes, below, metrics)
    axes.set_title(_error_words(metrics), fontsize=7.5, fontweight="normal")
    axes.set_ylabel(_RIGHT)
    below.set(xlabel=_CONFIDENCE, ylabel="galaxies")
    figure.align_ylabels()
    return figure


@style.styled
def reliability_before_and_after(
    before: Mapping[str, Any], after: Mapping[str, Any], *, votes: bool = False
) -> Figure:
    """Two reliability diagrams side by side: the network's own predictions, and the corrected ones.

    Args:
        before: as for :func:`reliability`.
        after: the same.
        votes: fractions in place of confidence and of right or wrong.
    """
    figure = style.new_figure(style.WIDTH, 3.9)
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.4, 1))
    for column, (title, metrics) in enumerate((("before", before), ("after", after))):
        _draw(grid[0, column], grid[1, column], metrics)
        words = f"{title}: {_error_words(metrics)}"
        grid[0, column].set_title(words, fontsize=7.5, fontweight="normal")
        grid[1, column].set_xlabel("stated fraction" if votes else _CONFIDENCE)
    grid[0, 0].set_ylabel("mean of the true fractions" if votes else _RIGHT)
    grid[1, 0].set_ylabel("answers" if votes else "galaxies")
    figure.align_ylabels()
    return figure


def _draw(axes: Axes, below: Axes, metrics: Mapping[str, Any]) -> None:
    bins = [entry for entry in metrics.get("reliability") or [] if entry.get("count")]
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    confidence = np.array([entry["confidence"] for entry in bins], float)
    accuracy = np.array([entry["accuracy"] for entry in bins], float)
    low = np.array([_or(entry.get("accuracy_low"), entry["accuracy"]) for entry in bins], float)
    high = np.array([_or(entry.get("accuracy_high"), entry["accuracy"]) for entry in bins], float)
    axes.errorbar(
        confidence,
        accuracy,
        yerr=np.abs([accuracy - low, high - accuracy]),
        fmt="o",
        color=style.SERIES[0],
        markersize=4,
        elinewidth=0.9,
        capsize=0,
        clip_on=False,  # whoever says 100 % lies on the edge
    )
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.grid()
    for entry in bins:
        width = entry["upper"] - entry["lower"]
        middle = (entry["lower"] + entry["upper"]) / 2
        below.bar(middle, entry["count"], width=0.88 * width, color=style.SERIES[0], alpha=0.55)
    below.yaxis.set_major_locator(_whole_numbers())
    below.grid(axis="y")
    for each in (axes, below):
        each.xaxis.set_major_formatter(_percent_ticks())
    axes.yaxis.set_major_formatter(_percent_ticks())
    axes.text(
        0.97, 0.05, "overconfident", ha="right", color=style.MUTED, fontsize=7, transform=axes.transAxes
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _error_words(metrics: Mapping[str, Any]) -> str:
    error = formatting.value_of(metrics, "ece")
    low, high = formatting.bounds_of(metrics, "ece")
    words = f"ECE {formatting.number(error)}"
    if between := formatting.interval(low, high):
        words += f" ({between})"
    return words + (f", n = {formatting.count(metrics['n'])}" if formatting.known(metrics.get("n")) else "")


def _percent_ticks() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, decimals=0, symbol=" %")


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=3, integer=True, min_n_ticks=1)


@style.styled
def ood_scores(done: Mapping[str, Any]) -> Figure:
    """Histogram of the OOD scores of test galaxies and, if there are any, of non-galaxies.

    Args:
        done: as from ``ood_results``: ``histogram`` with ``edges``, ``test`` and ``non_galaxies``.
    """
    histogram = done["histogram"]
    edges = np.asarray(histogram["edges"])
    figure = style.new_figure(style.WIDTH, 2.4)
    axes = figure.subplots()
    named = (("test galaxies", "test", style.SERIES[0]), ("non-galaxies", "non_galaxies", style.SERIES[1]))
    for name, key, colour in named:
        counts = np.asarray(histogram[key], float)
        if counts.sum():
            shares = counts / counts.sum()
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35, label=name)
            axes.stairs(shares, edges, color=colour, linewidth=1.1)
    axes.axvline(1.0, color=style.MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.set_xscale("log")
    axes.set_xticks([0.2, 0.5, 1, 2, 5, 10, 20], ["0.2", "0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set(xlim=(edges[0], edges[-1]), xlabel="OOD score", ylabel="share")
    axes.grid(axis="y")
    axes.legend(loc="upper right")
    return figure
