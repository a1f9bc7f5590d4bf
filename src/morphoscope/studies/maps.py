"""Maps of what the networks of a study look at, as the papers show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.report.figures_maps import METHOD_NAMES, dead_words, frozen_grid, map_columns, map_panel

if TYPE_CHECKING:
    from morphoscope.explanation.explain import Maps
    from morphoscope.studies.page import StudyPage
    from morphoscope.training.run import Run

NINE = 9


def add_best_maps(page: StudyPage, figures: Mapping[str, str]) -> None:
    """Maps of nine galaxies of the best class by the best row (`cheng` Figs 8, 9; `yan` Fig 8).

    Args:
        page: of the study.
        figures: method → the paper's figure.
    """
    from morphoscope.explanation.choose import BEST_F1, choose_galaxies

    best = page.best()
    if best is None:
        return
    run = best.runs()[0]
    rows, target = choose_galaxies(run, page.store, BEST_F1, NINE)
    page.page.section("maps", "What the best network looks at")
    for method, figure in figures.items():
        maps = _explained(page, run, rows, target, method)
        page.page.chart(
            f"maps_{method}",
            map_panel(maps),
            f"{METHOD_NAMES[method]} of {page.label(best.name)} for {target}, the class with its highest F1 "
            f"({figure}): held-out galaxies, each with its map and the network's answer.{dead_words(maps)}",
        )


def add_beside(page: StudyPage, names: Sequence[str], target: str, method: str, figure: str) -> None:
    """The same galaxies through several networks (`ng` Fig 8)."""
    from morphoscope.explanation.choose import choose_galaxies

    runs = {page.label(name): run for name in names if (run := page.first_run(name)) is not None}
    if len(runs) < 2:
        return
    rows, target = choose_galaxies(next(iter(runs.values())), page.store, target, 5)
    columns = {label: _explained(page, run, rows, target, method) for label, run in runs.items()}
    page.page.section("maps", "What the networks look at")
    images = next(iter(columns.values())).images
    page.page.chart(
        f"maps_{method}",
        map_columns(images, columns),
        f"{METHOD_NAMES[method]} for {target} ({figure}): held-out galaxies of the highest fraction, as the "
        "networks see them, and the map of each network.",
    )


def add_frozen_maps(page: StudyPage, series: Mapping[str, Mapping[str, str]], figure: str) -> None:
    """Origin, heat map and both superimposed for each share of frozen layers (`fu` Table 2).

    Args:
        page: of the study.
        series: network → label of a row, such as "20 %" → name of the row.
        figure: of the paper.
    """
    from morphoscope.explanation.choose import BEST_F1, choose_galaxies

    begun = False
    for network, names in series.items():
        runs = {label: run for label, name in names.items() if (run := page.first_run(name)) is not None}
        if not runs:
            continue
        if not begun:
            page.page.section("maps", "What the networks look at")
            begun = True
        best = max(runs.values(), key=lambda run: run.metrics()["test"]["accuracy"]["value"])
        rows, target = choose_galaxies(best, page.store, BEST_F1, 2)
        maps = {label: _explained(page, run, rows, target, "gradcam") for label, run in runs.items()}
        page.page.chart(
            f"frozen_maps_{network.lower()}",
            frozen_grid(maps),
            f"Grad-CAM of {network} by the share of frozen layers, for {target} ({figure}); two galaxies. "
            f"The maps run from zero to their own largest value.{dead_words(*maps.values())}",
        )


def _explained(page: StudyPage, run: Run, rows: np.ndarray, target: str, method: str) -> Maps:
    from morphoscope.evaluation.predictor import Predictor
    from morphoscope.explanation.explain import Explainer

    images = [page.store.images[row] for row in rows]
    return Explainer(Predictor(run, views=1))(images, method=method, target=target)
