"""Figures of how well vote fractions are predicted.

Shape letters: N galaxies, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import formatting
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 150  # fewer galaxies are drawn one by one, more as a density


@style.styled
def votes_per_question(metrics: Mapping[str, Any]) -> Figure:
    """RMSE of each question as a bar with its 95 % interval; the line is the RMSE over all answers.

    Args:
        metrics: as from ``regression_metrics``: ``per_question`` (``name``, ``rmse``, ``low``, ``high``),
            ``rmse``, ``n``.
    """
    rows = metrics.get("per_question") or []
    names = [f"{number}  {style.wrapped(row['name'], 50)}" for number, row in enumerate(rows, start=1)]
    return _bars(names, rows, metrics, row_height=0.3)


@style.styled
def votes_per_answer(metrics: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> Figure:
    """RMSE of each answer with its 95 % interval, beside the RMSE of always predicting the mean.

    Args:
        metrics: as from ``regression_metrics``: ``per_answer`` (``name``, ``rmse``, ``low``, ``high``,
            ``spread``), ``rmse``, ``n``; bars of one question share a shade if ``per_question`` is there.
        texts: answer column → what it means, written beside the column's name.
    """
    rows = metrics.get("per_answer") or []
    names = [_answer_label(row["name"], (texts or {}).get(row["name"], "")) for row in rows]
    group = {
        answer: number
        for number, question in enumerate(metrics.get("per_question") or [])
        for answer in question.get("answers", ())
    }
    shades = [group.get(row["name"], 0) % 2 for row in rows]
    return _bars(names, rows, metrics, shades=shades, spread=True)


def _answer_label(name: str, text: str) -> str:
    return style.wrapped(f"{name}  {text}".strip(), 44, lines=1)


def _bars(
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    *,
    shades: Sequence[int] | None = None,
    spread: bool = False,
    row_height: float = 0.19,
) -> Figure:
    y = np.arange(len(rows))
    values = np.array([row.get("rmse") for row in rows], float)
    low = np.array([row.get("low") for row in rows], float)
    high = np.array([row.get("high") for row in rows], float)
    # An unknown end of an interval is drawn as none.
    errors = np.nan_to_num(np.abs([values - low, high - values]))
    figure = style.new_figure(style.WIDTH, 0.75 + row_height * max(len(rows), 2))
    axes = figure.subplots()
    for shade, alpha in ((0, 0.85), (1, 0.5)):
        chosen = np.flatnonzero(np.array(shades if shades is not None else np.zeros(len(rows))) == shade)
        axes.barh(y[chosen], values[chosen], height=0.66, color=style.FILL, alpha=alpha)
    axes.errorbar(values, y, xerr=errors, fmt="none", ecolor=style.INK, elinewidth=0.8)
    if spread:
        means = np.array([row.get("spread") for row in rows], float)
        label = "RMSE of always predicting the mean"
        axes.plot(means, y, "|", color=style.SERIES[1], markersize=7, markeredgewidth=1.4, label=label)
    overall = formatting.value_of(metrics, "rmse")
    if formatting.known(overall):
        label = f"all answers: {formatting.number(overall, 4)}"
        axes.axvline(overall, color=style.MUTED, linewidth=0.9, linestyle=(0, (3, 2)), label=label)
    axes.set_yticks(y, names, fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    n = f", n = {formatting.count(metrics['n'])} galaxies" if formatting.known(metrics.get("n")) else ""
    axes.set_xlabel(f"RMSE{n}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=2, borderaxespad=0.1)
    return figure


@style.styled
def votes_scatter(
    targets: np.ndarray, predictions: np.ndarray, names: Sequence[str], columns: int = 3
) -> Figure:
    """Predicted against true fraction, one panel an answer: a density, or dots for few galaxies.

    Args:
        targets: (N, K) true fractions; pairs that are not finite are left out.
        predictions: (N, K) predicted fractions.
        names: K panel titles.
        columns: panels in a row.
    """
    count = len(names)
    columns = min(columns, max(count, 1))
    rows = -(-count // columns)
    side = style.WIDTH / max(columns, 3)
    figure = style.new_figure(side * columns, rows * (side + 0.18) + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, panel in zip(grid.flat, range(rows * columns), strict=True):
        if panel >= count:
            axes.set_axis_off()
            continue
        _scatter_panel(axes, targets[:, panel], predictions[:, panel])
        axes.set_title(style.wrapped(names[panel], 32), fontsize=7.5)
    figure.supxlabel("true fraction", fontsize=8, color=style.MUTED)
    figure.supylabel("predicted fraction", fontsize=8, color=style.MUTED)
    return figure


def _scatter_panel(axes: Axes, truth: np.ndarray, predicted: np.ndarray) -> None:
    drawn = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = truth[drawn], predicted[drawn]
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    if len(truth) <= FEW:
        axes.plot(truth, predicted, "o", color=style.FILL, markersize=2.6, alpha=0.5, markeredgewidth=0)
    else:
        _density(axes, truth, predicted)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    if len(truth):
        words = f"RMSE {formatting.number(float(np.sqrt(np.mean((truth - predicted) ** 2))))}"
        axes.text(0.04, 0.96, words, va="top", fontsize=7, transform=axes.transAxes)


def _density(axes: Axes, truth: np.ndarray, predicted: np.ndarray, bins: int = 32) -> None:
    """Squares whose opacity grows with the logarithm of how many galaxies lie in them."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    edges = np.linspace(0, 1, bins + 1)
    counts, _, _ = np.histogram2d(truth, np.clip(predicted, 0, 1), bins=(edges, edges))
    here = np.argwhere(counts > 0)
    strength = np.log1p(counts[counts > 0]) / np.log1p(counts.max())
    squares = [Rectangle((float(edges[i]), float(edges[j])), 1 / bins, 1 / bins) for i, j in here]
    axes.add_collection(
        PatchCollection(squares, facecolor=style.FILL, edgecolor="none", alpha=list(0.1 + 0.9 * strength))
    )
