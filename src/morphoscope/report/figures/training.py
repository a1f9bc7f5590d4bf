"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"accuracy": "Accuracy", "rmse": "RMSE", "r2": "R²"}


@style.styled
def training_curves(
    history: Mapping[str, np.ndarray], metric: str = "accuracy", best_epoch: int | None = None
) -> Figure:
    """Loss, the scheme's metric and the learning rate against the epoch, side by side.

    Args:
        history: columns of history.csv: ``epoch``, ``lr`` and ``train_``/``validation_`` ``loss`` and
            ``metric``, (E,) each; columns may be missing or NaN (nothing is drawn there).
        metric: "accuracy" is shown in percent, any other name as it is.
        best_epoch: marked with a line; the epoch whose weights were kept.
    """
    from matplotlib.ticker import PercentFormatter

    figure = style.new_figure(style.WIDTH, 2.45)
    loss, quality, rate = figure.subplots(1, 3)
    _curves(loss, history, "loss", best_epoch)
    loss.set_title("Loss")
    _curves(quality, history, "metric", best_epoch)
    quality.set_title(_NAMES.get(metric, metric))
    if metric == "accuracy":
        quality.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=" %"))
    scaled, unit = _in_powers_of_ten(history.get("lr", ()))
    _line(rate, {**history, "lr": scaled}, "lr", style.MUTED, "-", "")
    rate.set_title(f"Learning rate{unit}")
    rate.set_ylim(0, 1.08 * float(np.nanmax(scaled, initial=1e-9)))  # a constant rate has no range of its own
    _finish(rate, history, best_epoch)
    handles, labels = loss.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=len(handles), borderaxespad=0.2)
    return figure


def _in_powers_of_ten(values: Any) -> tuple[np.ndarray, str]:
    """Values from 1 to 10 at their largest, and the unit to write: " (10⁻⁴)"."""
    values = np.asarray(values, float)
    largest = np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values))
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    if power == 0:
        return values, ""
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return values / 10.0**power, f" (10{raised})"


def _curves(axes: Axes, history: Mapping[str, np.ndarray], what: str, best_epoch: int | None) -> None:
    _line(axes, history, f"train_{what}", style.SERIES[1], "--", "training (augmented)")
    _line(axes, history, f"validation_{what}", style.SERIES[0], "-", "validation")
    _finish(axes, history, best_epoch)


def _line(
    axes: Axes, history: Mapping[str, np.ndarray], column: str, colour: str, dashes: str, label: str
) -> None:
    epochs = np.asarray(history.get("epoch", ()), float)
    values = np.asarray(history.get(column, np.full(len(epochs), np.nan)), float)
    drawn = np.isfinite(values)
    if not drawn.any():
        return
    # A lone value between gaps is no line: it needs a mark to be seen.
    few = drawn.sum() <= 3
    axes.plot(
        epochs,
        np.where(drawn, values, np.nan),
        color=colour,
        linestyle=dashes,
        marker="o" if few else None,
        markersize=3.5,
        label=label,
    )


def _finish(axes: Axes, history: Mapping[str, np.ndarray], best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    epochs = np.asarray(history.get("epoch", ()), float)
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 0.6, epochs[0] + 0.6)
    if not axes.lines:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=style.MUTED)
    elif best_epoch is not None and best_epoch in epochs and len(epochs) > 1:
        label = "weights kept" if axes.get_legend_handles_labels()[0] else None
        axes.axvline(best_epoch, color=style.MUTED, linewidth=0.9, linestyle=(0, (1, 2)), label=label)
