"""Sections of a report on data, training and results, each from what the run has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.images.planes import as_shown
from morphoscope.report import figures, formatting
from morphoscope.report.context import ReportContext
from morphoscope.report.html.document import GalleryRow, Picture, data_uri
from morphoscope.report.kind_report import EXAMPLES
from morphoscope.report.kinds import report_of
from morphoscope.report.summary import data_facts
from morphoscope.report.tables import score_table

if TYPE_CHECKING:
    from morphoscope.data.splits.split import Split
    from morphoscope.data.store import Store
    from morphoscope.report.html.document import Page

AUGMENTED = 4  # galaxies shown with augmented versions
SHOWN_MAPS = 9


def add_data(page: Page, context: ReportContext) -> None:
    """Facts about the data, examples and augmented images."""
    page.section("data", "The data")
    counts = context.metrics.get("counts") or {}
    page.facts(data_facts(context.run, context.store, counts))
    if counts:
        report_of(context.run.scheme.kind).add_counts(page, counts)
    if context.store is not None and context.split is not None and len(context.split.train):
        _add_examples(page, context, context.store, context.split)
        if not context.run.recipe.training.linear_probe:  # it learns from views that are not augmented
            _add_augmented(page, context, context.store, context.split)


def _add_examples(page: Page, context: ReportContext, store: Store, split: Split) -> None:
    scheme, rows = context.run.scheme, split.train
    shown = report_of(scheme.kind).examples(scheme, store.targets()[rows], rows, context.run.recipe.seed)
    if not shown.rows:
        return
    page.section("examples", "Example galaxies")
    gallery_rows = [
        GalleryRow(
            name,
            shown.notes.get(name, ""),
            [Picture(data_uri(store.pictures[row]), f"{name}, row {row}") for row in some],
        )
        for name, some in shown.rows.items()
    ]
    page.gallery(
        "class_examples", figures.class_examples(store, shown.rows, shown.notes), gallery_rows, shown.caption
    )


def _add_augmented(page: Page, context: ReportContext, store: Store, split: Split) -> None:
    from morphoscope.augment.cpu import Augmenter

    recipe = context.run.recipe
    rng = np.random.default_rng(recipe.seed)
    rows = rng.choice(split.train, min(AUGMENTED, len(split.train)), replace=False)
    images = [store.images[row] for row in rows]
    shown = figures.augmented_draws(images, rows, Augmenter(recipe.augment, recipe.seed), EXAMPLES - 1)
    shown = [[as_shown(image, store.meta) for image in drawn] for drawn in shown]
    titles = [_title_of(store, int(row)) for row in rows]
    page.section("augmented", "Augmented images")
    size = recipe.augment.size
    gallery_rows = [
        GalleryRow(
            title,
            "",
            [
                Picture(
                    data_uri(image),
                    f"{title}, {'plain' if epoch == 0 else f'augmented, epoch {epoch}'}",
                    ("plain" if epoch == 0 else f"epoch {epoch}",) if first else (),
                )
                for epoch, image in enumerate(drawn)
            ],
        )
        for first, (title, drawn) in zip(
            [True] + [False] * len(titles), zip(titles, shown, strict=True), strict=False
        )
    ]
    caption = (
        f"Training galaxies at the network's {size} × {size} pixels: left without augmentation, as in the "
        f"test, then {EXAMPLES - 1} augmented versions, one for each of the first epochs."
    )
    page.gallery("augmented", figures.augmented_grid(shown, titles), gallery_rows, caption)


def _title_of(store: Store, row: int) -> str:
    return report_of(store.need_scheme().kind).title_of(store, row)


def add_training(page: Page, context: ReportContext) -> None:
    """Training curves."""
    page.section("training", "Training")
    history = context.history
    if not len(history.get("epoch", ())):
        probe = context.run.recipe.training.linear_probe
        page.text(
            "A linear probe has no epochs: its head is the best one for its penalty."
            if probe
            else "The run has no history of its epochs."
        )
        return
    best = context.run.header.best_epoch
    metric, name = context.run.scheme.metric, report_of(context.run.scheme.kind).title
    epochs = formatting.plural(len(history["epoch"]), "epoch")
    seconds = np.asarray(history.get("seconds", ()), float)
    took = f" in {formatting.duration(float(np.nansum(seconds)))}" if np.isfinite(seconds).any() else ""
    training = context.run.recipe.training
    averaged = " Validation is of the moving average of the weights." if training.ema else ""
    marked = best is not None and len(history["epoch"]) > 1
    kept = f" The dotted line marks epoch {best}, whose weights were kept." if marked else ""
    softened = training.label_smoothing or training.mixup or training.cutmix
    strict = " The training loss is that of smoothed or mixed labels." if softened else ""
    page.chart(
        "training_curves",
        figures.training_curves(history, metric, best),
        f"Loss, {name} and learning rate over {epochs}{took}. Training values are means over an epoch's "
        f"augmented batches while the weights still move.{strict}{averaged}{kept}",
    )


def add_maps(page: Page, context: ReportContext) -> None:
    """Saliency and Grad-CAM of held-out galaxies of the class with the best F1 (`cheng` Figs 8, 9)."""
    run, store = context.run, context.store
    if store is None or not context.test:
        return
    try:
        from morphoscope.explanation.explain import BEST_F1, Explainer, choose_galaxies
        from morphoscope.inference.predictor import Predictor
        from morphoscope.report.figures.maps import METHOD_NAMES, dead_words, map_panel, of_chosen_bands

        rows, target = choose_galaxies(run, store, BEST_F1, SHOWN_MAPS)
        explain = Explainer(Predictor(run, views=1, engine="torch"))
        images = [store.images[row] for row in rows]
        found = [explain(images, method=method, target=target) for method in ("saliency", "gradcam")]
    except MorphoscopeError:  # its message may name folders, which a shared page should not
        context.missing.append("There are no attribution maps; 'morphoscope explain' says why.")
        return
    page.section("maps", "Attribution maps")
    why = report_of(run.scheme.kind).why_explained
    which = "galaxies that it learned from" if run.recipe.data.folds else "held-out galaxies"
    for maps in found:
        page.chart(
            f"maps_{maps.method}",
            map_panel(of_chosen_bands(maps, store.meta)),
            f"{METHOD_NAMES[maps.method]} for {target} ({why}): {which}, beside each its map from "
            f"zero to its own maximum; the percentage is the prediction.{dead_words(maps)}",
        )
    page.text("'morphoscope explain' makes more of them; --score measures how faithful they are.")


def add_shapes(page: Page, context: ReportContext) -> None:
    """How predicted classes lie in the C–A and Gini–M20 planes, where the store has measured shapes."""
    from morphoscope.report.figures.shape_planes import MEASURED, fewer, planes

    store, predictions, classes = context.store, context.predictions, context.run.scheme.class_names
    if store is None or predictions is None or classes is None:
        return
    there = {name.lower(): name for name in store.table.column_names}
    if not all(name in there for name in MEASURED):
        return
    rows = predictions["row"].to_numpy()
    values = {name: np.asarray(store.column(there[name]), float)[rows] for name in MEASURED}
    good = np.ones(len(rows), bool)
    if flag := there.get("shape_flag", there.get("flag")):
        good = np.asarray(store.column(flag), float)[rows] <= 1
    groups = fewer([classes[number] for number in predictions["predicted"].to_pylist()])
    figure = planes(values, groups, good)
    if figure is None:
        return
    page.section("shapes", "Measured shapes")
    page.chart(
        "shape_planes",
        figure,
        f"{context.tested}: predicted classes by concentration and asymmetry, and by Gini and M20, as the "
        "store's columns have them. Dashed: mergers above A = 0.35 (Conselice 2003) and above "
        "G = −0.14 M20 + 0.33; dotted: E, S0 and Sa above G = 0.14 M20 + 0.80 (Lotz et al. 2008). The lines "
        "were drawn for rest-frame B images; on others they are a guide.",
    )


def add_evaluation(page: Page, context: ReportContext) -> None:
    """Scores, and where the network fails."""
    page.section("results", "Results")
    test = context.test
    if not test:
        page.text("The run has no test results.")
        return
    page.table(score_table(test, context.metrics.get("validation"), context.measured_on.column))
    report_of(context.run.scheme.kind).add_results(page, context)
