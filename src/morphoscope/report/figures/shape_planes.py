"""How galaxies lie in the planes of concentration and asymmetry, and of Gini and M20.

The lines are the literature's: A = 0.35, above which mergers lie (Conselice 2003, doi:10.1086/375001);
G = −0.14 M20 + 0.33, above which mergers lie, and below it G = 0.14 M20 + 0.80, which parts early types
(above) from late ones (Lotz et al. 2008, doi:10.1111/j.1365-2966.2008.14004.x). They were drawn for
rest-frame B images at modest redshift; deeper or sharper images shift the galaxies, not the lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.images.known_columns import found_column
from morphoscope.images.tables import column_names, read_table
from morphoscope.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MERGER_ASYMMETRY = 0.35
MERGER_LINE = (-0.14, 0.33)  # G = slope · M20 + constant
EARLY_LINE = (0.14, 0.80)
_CROSSING = (MERGER_LINE[1] - EARLY_LINE[1]) / (EARLY_LINE[0] - MERGER_LINE[0])  # M20 where the lines meet
_CLASSES = ("predicted", "class", "label")
_MOST_CLASSES = len(style.SERIES)
_M20, _GINI = (0.0, -3.2), (0.3, 0.75)


def draw_planes(shapes: Path, out: Path, classes: Path | None = None) -> Path:
    """Draw both planes.

    Args:
        shapes: a table of ``morphoscope measure``.
        out: PNG, PDF or SVG.
        classes: a catalogue with ``id`` and ``predicted``, ``class`` or ``label``; None: no classes.

    Raises:
        UsageError: a column is missing, or no galaxy has both.
    """
    names = ("id", "concentration", "asymmetry", "gini", "m20", "flag")
    table = read_table(shapes, names, names=("id",))
    values = {name: np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in names[1:]}
    ids = [str(each) for each in table["id"].to_pylist()]
    groups = _groups(ids, classes)
    good = np.isfinite(np.stack([values[name].astype(float) for name in names[1:5]])).all(axis=0)
    good &= values["flag"] <= 1
    if not good.any():
        raise UsageError(f"{shapes}: no galaxy has all four of C, A, Gini and M20 with flag 0 or 1")
    return style.save(_planes(values, groups, good), out)


def _groups(ids: list[str], classes: Path | None) -> np.ndarray:
    """The class of each galaxy; the rarest are together, and those that the catalogue lacks."""
    if classes is None:
        return np.full(len(ids), "")
    there = column_names(classes)
    column = found_column(there, _CLASSES)
    if column is None:
        raise UsageError(
            f"{classes}: a column {' or '.join(_CLASSES)} was expected (columns: {', '.join(there)})"
        )
    table = read_table(classes, ("id", column), names=("id", column))
    known = dict(zip(map(str, table["id"].to_pylist()), map(str, table[column].to_pylist()), strict=True))
    found = np.array([known.get(each, "not in the catalogue") for each in ids])
    kinds, counts = np.unique(found, return_counts=True)
    kept = set(kinds[np.argsort(-counts, kind="stable")][: _MOST_CLASSES - 1])
    return (
        found
        if len(kinds) <= _MOST_CLASSES
        else np.array([each if each in kept else "others" for each in found])
    )


@style.styled
def _planes(values: Mapping[str, np.ndarray], groups: np.ndarray, good: np.ndarray) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, kind in enumerate(dict.fromkeys(groups[good].tolist())):
        here = good & (groups == kind)
        colour = style.SERIES[number % len(style.SERIES)]
        label = f"{kind or 'galaxies'} (n = {int(here.sum())})"
        look = {"s": 9, "color": colour, "alpha": 0.7, "linewidths": 0, "label": label}
        left.scatter(values["concentration"][here], values["asymmetry"][here], **look)
        right.scatter(values["m20"][here], values["gini"][here], **look)
    _lines(left, right)
    left.legend(fontsize=6.5, frameon=False, loc="upper right")
    return figure


def _lines(left: Axes, right: Axes) -> None:
    left.axhline(MERGER_ASYMMETRY, color=style.MUTED, linewidth=0.8, linestyle="--")
    left.annotate(
        "mergers above (Conselice 2003)",
        (0.02, MERGER_ASYMMETRY),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=6.5,
        color=style.MUTED,
    )
    left.set(xlabel="concentration C", ylabel="asymmetry A", title="C–A")
    m20 = np.array(_M20)
    right.plot(m20, MERGER_LINE[0] * m20 + MERGER_LINE[1], "--", color=style.MUTED, linewidth=0.8)
    early = np.array([_CROSSING, _M20[1]])
    right.plot(early, EARLY_LINE[0] * early + EARLY_LINE[1], ":", color=style.MUTED, linewidth=0.8)
    right.set(
        xlim=_M20, ylim=_GINI, xlabel="M20", ylabel="Gini G", title="Gini–M20 (lines: Lotz et al. 2008)"
    )
    for x, y, words in ((-0.25, 0.62, "mergers"), (-2.55, 0.66, "E, S0, Sa"), (-2.2, 0.36, "Sb to Irr")):
        right.annotate(words, (x, y), fontsize=6.5, color=style.MUTED)
