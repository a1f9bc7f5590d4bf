"""Sections that several studies have: structures, diagrams, differences, confusion matrices, printed tables.

Attribution maps, arranged as in the papers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.report import figures, formatting
from morphoscope.report.figures.maps import METHOD_NAMES, dead_words, frozen_grid, map_columns, map_panel
from morphoscope.report.formatting import shown
from morphoscope.report.tables import Table
from morphoscope.studies.claims import class_metric

if TYPE_CHECKING:
    from torch import nn

    from morphoscope.explanation.explain import Maps
    from morphoscope.runs.run import Run
    from morphoscope.studies.page_context import StudyPage


def add_structure(page: StudyPage, name: str, words: str) -> None:
    """The layers of a row's network as a table (A9), taken from the network itself at the paper's image
    size.
    """
    from morphoscope.report.figures.network_summary import structure_table

    table = structure_table(page.network(name), page.study.rows()[name].augment.size)
    page.page.table(
        Table(table.headings, table.rows, table.text_columns, f"{page.label(name)}: {words}.", table.totals)
    )


def add_diagram(page: StudyPage, name: str, words: str) -> None:
    """A row's network, drawn from its module tree (A10)."""
    from morphoscope.report.figures.networks import network_diagram

    size = page.study.rows()[name].augment.size
    figure = network_diagram(page.network(name), size)
    page.page.chart(
        f"network_{page.short(name)}", figure, f"{page.label(name)}, drawn from its modules; {words}."
    )


def add_unit(page: StudyPage, kind: str, caption: str) -> None:
    """A diagram of one building block (A10)."""
    from morphoscope.report.figures.networks import building_block

    page.page.drawing(f"unit_{kind.replace('-', '_')}", building_block(kind), caption)


def add_strip(page: StudyPage, name: str, figure: str) -> None:
    """Preprocessing of a galaxy of the last class: cropped, augmented, standardised (A6)."""
    from morphoscope.augment.cpu import Augmenter
    from morphoscope.report.figures.preprocessing import processing_strip

    recipe = page.recipes[name]
    labels = page.store.targets()
    last = int(labels.max())  # the last class that has galaxies
    run, row = page.first_run(name), int(np.flatnonzero(labels == last)[0])
    mean = std = None
    if recipe.model.normalise == "unit":
        mean, std = [0.0], [1.0]
    elif run is not None:
        network = run.network()
        mean, std = ((values.flatten() / 255).tolist() for values in (network.mean, network.std))
    page.page.chart(
        "processing",
        processing_strip(
            page.store.images[row], Augmenter(recipe.augment, recipe.seed), row=row, mean=mean, std=std
        ),
        f"Preprocessing of a galaxy ({page.store.need_scheme().output_names[last]}): centre crop, "
        f"augmented versions, scaled for the network ({figure}).",
    )


def add_differences(
    page: StudyPage, pairs: Sequence[tuple[str, str]], metrics: Sequence[str], caption: str
) -> None:
    """Differences between pairs of rows: published and measured, seed by seed."""
    rows = []
    for better, base in pairs:
        title = f"{page.label(better)} − {page.label(base)}"
        says = [_signed(_gap(page, better, base, metric), metric) for metric in metrics]
        found = [paired_difference(page, better, base, metric) for metric in metrics]
        if any(cell != formatting.DASH for cell in says):
            rows.append([title, "published", *says])
            title = ""
        rows.append([title, "measured", *found])
    headings = ["", "", *(shown_name(metric) for metric in metrics)]
    page.page.table(Table(headings=headings, rows=rows, text_columns=frozenset({0, 1}), caption=caption))


def _gap(page: StudyPage, better: str, base: str, metric: str) -> float | None:
    first, second = page.published(better, metric), page.published(base, metric)
    return None if first is None or second is None else first - second


def shown_name(metric: str) -> str:
    """A metric's name as a column heading."""
    names = {"rmse": "RMSE", "macro_f1": "Macro F1"}
    return names.get(metric, metric.replace("_", " ").capitalize())


def paired_difference(page: StudyPage, better: str, base: str, metric: str) -> str:
    """Mean ± standard deviation of the differences between runs with the same seed and split."""
    first, second = page.row(better), page.row(base)
    if first is None or second is None:
        return formatting.DASH
    gaps = [
        a.values[metric] - b.values[metric]
        for a, b in zip(first.trainings, second.trainings, strict=False)
        if metric in a.values and metric in b.values
    ]
    if not gaps:
        return formatting.DASH
    mean = sum(gaps) / len(gaps)
    if len(gaps) < 2:
        return _signed(mean, metric)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1)) ** 0.5
    return f"{_signed(mean, metric)} ± {shown(spread, metric)}"


def _signed(value: float | None, metric: str) -> str:
    if value is None:
        return formatting.DASH
    text = shown(value, metric)
    return text if text.startswith("−") else f"+{text}"


def multiply_adds(network: nn.Module, image_size: int) -> int:
    """Multiply-accumulate operations for one image, counted from shapes alone."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.device("meta"):
        network.eval()(torch.empty(1, 3, image_size, image_size))
    return counter.get_total_flops() // 2


def class_report(page: StudyPage, name: str) -> None:
    """The classification report of a row (A16): published next to measured, means over seeds.

    With the literal reading ``alphabetical``, classes are numbered and sorted as folders are.
    """
    row, classes = page.row(name), page.store.need_scheme().class_names
    if row is None or not row.runs() or classes is None:
        return
    order = _class_order(page, classes)
    scores = ("precision", "recall", "f1")
    printed = any(page.published(name, class_metric("f1", each)) is not None for each in classes)
    rows = []
    for number, each in enumerate(order):
        title = f"{number} {each}" if order != classes else each
        metrics = [class_metric(score, each) for score in scores]
        says = [shown(page.published(name, metric), metric) for metric in metrics] if printed else []
        rows.append([title, *says, *(page.value(row, metric) for metric in metrics)])
        counts = [class_metric("support", each)] if printed else []
        rows[-1] += [shown(page.published(name, metric), metric) for metric in counts]
        rows[-1].append(page.value(row, class_metric("support", each)))
    for words, kind in (("Macro mean", "macro"), ("Weighted mean", "weighted")):
        means = [f"{kind}_{score}" for score in scores]
        says = [shown(page.published(name, metric), metric) for metric in means] if printed else []
        rows.append([words, *says, *(page.value(row, metric) for metric in means), *([""] * (1 + printed))])
    heads = [f"{score.capitalize()}, published" for score in scores] if printed else []
    support = ["Galaxies, published", "Galaxies"] if printed else ["Galaxies"]
    n = row.runs()[0].metrics()["test"]["n"]
    page.page.table(
        Table(
            headings=["Class", *heads, *(score.capitalize() for score in scores), *support],
            rows=rows,
            caption=f"{page.label(name)}, percent; n = {formatting.count(n)} in each of "
            f"{formatting.plural(len(row.runs()), 'training')}. The weighted recall is the accuracy.",
            totals=2,
        )
    )


def _class_order(page: StudyPage, classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(classes)) if "alphabetical" in page.options.literal else classes


def confusion(page: StudyPage, name: str) -> None:
    """The confusion matrix of a row, summed over seeds (A17)."""
    matrix, classes = confusion_of(page, name), page.store.need_scheme().class_names
    if matrix is None or classes is None:
        return
    order = _class_order(page, classes)
    columns = [classes.index(each) for each in order]
    page.page.chart(
        f"confusion_{page.short(name)}",
        figures.confusion_matrix(matrix[np.ix_(columns, columns)].tolist(), order),
        f"{page.label(name)}: true class in rows, predicted class in columns, n = "
        f"{formatting.count(int(matrix.sum()))} (all seeds).",
    )


def curves_of(page: StudyPage, name: str, figure: str) -> None:
    """Loss, score and learning rate of a row against epoch (A11, A12)."""
    run = page.first_run(name)
    if run is None:
        return
    page.page.chart(
        f"curves_{page.short(name)}",
        figures.training_curves(run.history(), page.metric, run.header.best_epoch),
        f"{page.label(name)}, seed {run.recipe.seed}: loss, score and learning rate against epoch "
        f"({figure}).",
    )


def confusion_of(page: StudyPage, name: str) -> np.ndarray | None:
    """Counts summed over the seeds of a row, true class in rows; None if the row was not measured."""
    row = page.row(name)
    if row is None or not row.runs():
        return None
    return np.sum([np.asarray(run.metrics()["test"]["confusion"]) for run in row.runs()], axis=0)


def published_table(page: StudyPage, name: str) -> None:
    """A table as printed in the paper."""
    table = page.study.published.table(name)
    columns = [column for column in table.columns if column != "key"]  # the row's name here, not printed
    cells = list(zip(*(table.column(column) for column in columns), strict=True))
    rows = [["" if cell is None else _cell(cell) for cell in row] for row in cells]
    words = {0} | {n for n, cell in enumerate(cells[0]) if isinstance(cell, str)}
    headings = [column[:1].upper() + column[1:] for column in columns]
    caption = f"The paper's {table.name}: {table.about}. {table.remark}".strip()
    page.page.table(Table(headings, rows, frozenset(words), caption))


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return formatting.count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


NINE = 9


def add_best_maps(page: StudyPage, figures: Mapping[str, str], name: str | None = None) -> None:
    """Maps of nine galaxies of a row's best class (`cheng` Figs 8, 9; `yan` Fig 8).

    Args:
        page: of the study.
        figures: method → the paper's figure.
        name: the row the paper shows; the best row if None or not run.
    """
    from morphoscope.explanation.explain import BEST_F1, choose_galaxies

    best = page.named_or_best(name)
    if best is None:
        return
    run = best.runs()[0]
    rows, target = choose_galaxies(run, page.store, BEST_F1, NINE)
    page.page.section("maps", f"What {page.label(best.name)} looks at")
    for method, figure in figures.items():
        maps = _explained(page, run, rows, target, method)
        page.page.chart(
            f"maps_{method}",
            map_panel(maps),
            f"{METHOD_NAMES[method]} of {page.label(best.name)} for {target}, the class with its "
            f"highest F1 ({figure}): held-out galaxies, each with its map and "
            f"prediction.{dead_words(maps)}",
        )


def add_beside(page: StudyPage, names: Sequence[str], target: str, method: str, figure: str) -> None:
    """The same galaxies through several networks (`ng` Fig 8)."""
    from morphoscope.explanation.explain import choose_galaxies

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
        f"{METHOD_NAMES[method]} for {target} ({figure}): the held-out galaxies with the highest "
        f"fraction, as the networks see them, and the map of each network.{dead_words(*columns.values())}",
    )


def add_frozen_maps(page: StudyPage, series: Mapping[str, Mapping[str, str]], figure: str) -> None:
    """Image, heat map and overlay for each fraction of frozen layers (`fu` Table 2).

    Args:
        page: of the study.
        series: network → label of a row, such as "20 %" → name of the row.
        figure: of the paper.
    """
    from morphoscope.explanation.explain import BEST_F1, choose_galaxies

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
            f"Grad-CAM of {network} by fraction of frozen layers, for {target} ({figure}); two "
            f"galaxies. Each map is scaled from zero to its own maximum.{dead_words(*maps.values())}",
        )


def _explained(page: StudyPage, run: Run, rows: np.ndarray, target: str, method: str) -> Maps:
    from morphoscope.explanation.explain import Explainer
    from morphoscope.inference.predictor import Predictor

    images = [page.store.images[row] for row in rows]
    return Explainer(Predictor(run, views=1, engine="torch"))(images, method=method, target=target)
