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

MEASURED = ("concentration", "asymmetry", "gini", "m20")
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
        shapes: a table of ``morphoscope measure``, or a catalogue of ``morphoscope predict --measure``, whose
            classes are drawn.
        out: PNG, PDF or SVG.
        classes: a catalogue with ``id`` and ``predicted``, ``class`` or ``label``; None: those of ``shapes``.

    Raises:
        UsageError: a column is missing, or no galaxy has both.
    """
    there = column_names(shapes)
    flag = "shape_flag" if "shape_flag" in there else "flag"
    own = found_column(there, ("predicted",)) if classes is None else None
    names = ("id", *MEASURED, flag)
    table = read_table(shapes, (*names, *((own,) if own else ())), names=("id",))
    values = {name: np.asarray(table[name].to_numpy(zero_copy_only=False), float) for name in names[1:]}
    if own:
        groups = fewer([str(name or "no class") for name in table[own].to_pylist()])
    else:
        groups = _groups([str(each) for each in table["id"].to_pylist()], classes)
    figure = planes(values, groups, values[flag] <= 1)
    if figure is None:
        raise UsageError(f"{shapes}: no galaxy has all four of C, A, Gini and M20 with flag 0 or 1")
    return style.save(figure, out)


def planes(values: Mapping[str, np.ndarray], groups: np.ndarray, good: np.ndarray) -> Figure | None:
    """Both planes as a figure; None if no galaxy can be shown.

    Args:
        values: the columns :data:`MEASURED`, (N,) each, NaN where unknown.
        groups: the class of each galaxy; see :func:`fewer`.
        good: (N,) bool, which galaxies may be shown.
    """
    shown = good & np.isfinite(np.stack([values[name] for name in MEASURED])).all(axis=0)
    return _planes(values, groups, shown) if shown.any() else None


def fewer(classes: list[str]) -> np.ndarray:
    """Classes, with the rarest together where there are more than colours."""
    found = np.array(classes)
    kinds, counts = np.unique(found, return_counts=True)
    if len(kinds) <= _MOST_CLASSES:
        return found
    kept = set(kinds[np.argsort(-counts, kind="stable")][: _MOST_CLASSES - 1])
    return np.array([each if each in kept else "others" for each in classes])


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
    return fewer([known.get(each, "not in the catalogue") for each in ids])


@style.styled
def _planes(values: Mapping[str, np.ndarray], groups: np.ndarray, good: np.ndarray) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.WIDTH, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, kind in enumerate(dict.fromkeys(groups[good].tolist())):
        here = good & (groups == kind)
        colour = style.SERIES[number % len(style.SERIES)]
        label = f"{kind or 'galaxies'} (n = {int(here.sum())})"
        look = {"s": 9, "color": colour, "alpha": 0.7, "linewidths": 0, "label": label}
        left.scatter(values["concentration"][here], values["asymmetry"][here], **look)
        right.scatter(values["m20"][here], values["gini"][here], **look)
    _lines(left, right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=6.5, frameon=False, loc="outside lower center", ncols=4)
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
