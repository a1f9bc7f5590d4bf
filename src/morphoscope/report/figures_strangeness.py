"""The distribution of distances from the training's galaxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled
def strangeness(done: Mapping[str, Any]) -> Figure:
    """Shares of test galaxies, and of non-galaxies where there are any, by their distance.

    Args:
        done: as from ``strangeness_results``: ``histogram`` with ``edges``, ``test`` and ``non_galaxies``.
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
    axes.set(xlim=(edges[0], edges[-1]), xlabel="out_of_distribution", ylabel="share")
    axes.grid(axis="y")
    axes.legend(loc="upper right")
    return figure
