"""`fu`: DenseNet-121 on Galaxy10 DECaLS with 0 to 100 % of its layers frozen at ImageNet weights.

"k %" is taken to mean that the first ⌊427 · k⌋ layers, as Keras counts them, are frozen at ImageNet weights
and the others start from random weights and learn. Only this reading makes 0 % far worse than 20 %; the
other one (ImageNet weights everywhere) is the option ``rest-imagenet``. The paper does not state the split,
image size, batch size or ranges of the augmentation. Rare classes are repeated after the split, never
before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from morphoscope.recipes import Augment, Data, Model, Optimiser, Recipe, Schedule, Training
from morphoscope.studies.fu.paper import IMAGENET_EVERYWHERE, PUBLISHED
from morphoscope.studies.study import Study, few_galaxies

if TYPE_CHECKING:
    from morphoscope.studies.page_context import StudyPage
    from morphoscope.studies.results import Row

PERCENT = (0, 20, 40, 60, 80, 100)
LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    IMAGENET_EVERYWHERE: (
        "trainable layers start from ImageNet weights too, so 0 % is full fine-tuning",
        {"model.rest": "pretrained"},
    ),
}


def densenet121(percent: int) -> Recipe:
    """Table 1: ten epochs of Adam at 5e-4; shifts, colour shifts and rotations, no flips or shear."""
    return Recipe(
        name=f"fu/densenet121-{percent}",
        about=f"DenseNet-121 with {percent} % of its layers frozen at ImageNet weights",
        data=Data(scheme="galaxy10", split="fu", balance="oversample"),
        augment=Augment(
            size=256,
            rotation=90,
            zoom=(1.0, 1.0),
            shift=0.1,
            channel_shift=20,
            channels_alike=True,
            border="replicate",
            flip_horizontal=False,
            flip_vertical=False,
        ),
        model=Model(name="densenet121.tv_in1k", frozen=percent / 100, rest="random"),
        optimiser=Optimiser(name="adam", lr=5e-4, weight_decay=0, clip=0),
        schedule=Schedule(name="constant", warmup=0),
        training=Training(epochs=10, batch=32, ema=0, restore_best=False),
    )


def lite0(percent: int) -> Recipe:
    """The same experiment with packaged ImageNet weights (no download), on any classes."""
    return densenet121(percent).changed(
        name=f"fu/efficientnet-lite0-{percent}",
        about=f"EfficientNet-Lite0 with {percent} % of its layers frozen at packaged ImageNet weights",
        data={"scheme": None},
        model={"name": "tf_efficientnet_lite0"},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    *(lambda percent=percent: densenet121(percent) for percent in PERCENT),
    *(lambda percent=percent: lite0(percent) for percent in PERCENT),
)


def _sections(page: StudyPage) -> None:
    """Tables 1 and 2, Figs 2 and 3, and the sweep as a figure."""
    from morphoscope.studies.sections import add_diagram, add_frozen_maps, add_unit, class_report, confusion

    page.page.section("sweep", "How much to freeze")
    _add_sweep(page)
    best = page.best()
    if best is not None:
        class_report(page, best.name)
        confusion(page, best.name)
    series = {
        words: {f"{percent} %": f"fu/{kind}-{percent}" for percent in PERCENT}
        for kind, words in (("densenet121", "DenseNet-121"), ("efficientnet-lite0", "EfficientNet-Lite0"))
    }
    add_frozen_maps(page, series, "Table 2")
    _add_rankings(page)
    page.page.section("balance", "Oversampling")
    _add_balance(page)
    page.page.section("structure", "Structure")
    add_unit(
        page, "dense-block", ("Dense connections: every layer takes the output of all earlier ones (Fig 3).")
    )
    add_diagram(page, "fu/densenet121-20", "the paper's Fig 3")
    _add_layers(page)


def _add_sweep(page: StudyPage) -> None:
    """Accuracy against the frozen fraction (A26)."""
    from morphoscope.report.figures.comparison import sweep

    measured: dict[str, list[list[float]]] = {}
    published: dict[str, list[float]] = {}
    for kind, words in (("densenet121", "DenseNet-121"), ("efficientnet-lite0", "EfficientNet-Lite0")):
        rows = [page.row(f"fu/{kind}-{percent}") for percent in PERCENT]
        if any(row is not None and row.runs() for row in rows):
            measured[f"{words}, test"] = _by_seed(page, rows, "accuracy")
            measured[f"{words}, training"] = _by_seed(page, rows, "train_accuracy")
    for metric, words in (("accuracy", "test"), ("train_accuracy", "training")):
        values = [page.published(f"fu/densenet121-{percent}", metric) for percent in PERCENT]
        published[f"DenseNet-121, {words}"] = [math.nan if value is None else value for value in values]
    page.page.chart(
        "sweep",
        sweep([percent / 100 for percent in PERCENT], measured, published, metric="accuracy"),
        "Accuracy against the fraction of layers that keep their ImageNet weights (Table 1); bars "
        "are standard deviations over seeds. The paper has a single run of each.",
    )


def _add_rankings(page: StudyPage) -> None:
    """The frozen fractions ranked by accuracy and by Grad-CAM (Tables 1 and 2)."""
    from morphoscope.report import formatting
    from morphoscope.report.formatting import shown
    from morphoscope.report.tables import Table
    from morphoscope.studies.fu.paper import GRADCAM, ranking

    words = {percent: (rank, text) for percent, rank, text in GRADCAM.rows}
    accuracy = {
        percent: page.published(f"fu/densenet121-{percent}", "accuracy") or 0.0 for percent in PERCENT
    }
    order = ranking(accuracy)
    kinds = ("densenet121", "efficientnet-lite0")
    headings = ["Frozen", "Rank by accuracy", "Rank by Grad-CAM", "The paper on its maps"]
    headings += [
        f"{name}: {what}" for name in ("DenseNet-121", "Lite0") for what in ("accuracy", "on the galaxy")
    ]
    rows = []
    for percent in PERCENT:
        rank, text = words[percent]
        cells = [
            f"{percent} %",
            str(order.index(percent) + 1),
            formatting.DASH if rank is None else str(rank),
            text,
        ]
        for kind in kinds:
            row = page.row(f"fu/{kind}-{percent}")
            for metric in ("accuracy", "on_galaxy"):
                cells.append(shown(None if row is None else row.mean(metric), metric))
        rows.append(cells)
    page.page.table(
        Table(
            headings=headings,
            rows=rows,
            text_columns=frozenset({0, 3}),
            caption=(
                "The paper's two rankings, by test accuracy (Table 1) and by its description of the "
                "Grad-CAM maps (Table 2; we put it into ranks, 1 is best), next to the accuracy and the "
                "percentage of the maps' energy on the galaxy measured here."
            ),
        )
    )


def _by_seed(page: StudyPage, rows: list[Row | None], metric: str) -> list[list[float]]:
    """(S, F) values by seed and fraction, NaN where a row was not run."""

    def value(row: Row | None, seed: int) -> float:
        values = row.trainings[seed].values if row is not None else {}
        return values.get(metric, math.nan)

    return [[value(row, seed) for row in rows] for seed in range(page.options.seeds)]


def _add_balance(page: StudyPage) -> None:
    """Galaxies per class before and after oversampling the training split (Fig 2)."""
    import numpy as np

    from morphoscope.data.splits.file import limited
    from morphoscope.report.figures.comparison import oversampling_bars
    from morphoscope.training.galaxies import oversample

    run, classes = page.first_run(), page.store.need_scheme().class_names
    if run is None or classes is None:
        return
    rows = limited(run.split(page.store).train, run.recipe.data.limit, run.recipe.seed)
    labels = page.store.targets()
    repeated = oversample(rows, labels[rows], run.recipe.seed)
    before, after = (
        dict(zip(classes, np.bincount(labels[each], minlength=len(classes)).tolist(), strict=True))
        for each in (rows, repeated)
    )
    page.page.chart(
        "oversampling",
        oversampling_bars(before, after),
        "The galaxies trained on before and after rare classes are repeated (Fig 2); the test split is "
        "untouched.",
    )


def _add_layers(page: StudyPage) -> None:
    """The layer at which each fraction ends, and how many parameters are trainable."""
    from morphoscope.models.network import parameter_count
    from morphoscope.report import formatting
    from morphoscope.report.tables import Table

    rows = []
    for percent in PERCENT:
        network = page.network(f"fu/densenet121-{percent}")
        whole = parameter_count(network)
        learning = parameter_count(network, trainable_only=True)
        rows.append(
            [
                f"{percent} %",
                str(427 * percent // 100),
                formatting.count(learning),
                formatting.percent(1 - learning / whole),
            ]
        )
    page.page.table(
        Table(
            headings=[
                "Frozen layers",
                "of 427, as Keras counts",
                "Trainable parameters",
                "Frozen parameters",
            ],
            rows=rows,
            text_columns=frozenset(),
            caption="Layers are not parameters: the first fifth of DenseNet-121's layers holds a tenth of "
            "them.",
        )
    )


STUDY = Study(
    published=PUBLISHED,
    recipes=RECIPES,
    scheme="galaxy10",
    how_to_get_data="morphoscope data fetch galaxy10 STORE, or morphoscope data simulate STORE --count 4000",
    quick={"augment.size": 64, "training.epochs": 3, "training.batch": 16} | few_galaxies(200, 100),
    literal=LITERAL,
    sections=_sections,
    map_series=tuple(
        tuple(f"fu/{kind}-{percent}" for percent in PERCENT) for kind in ("densenet121", "efficientnet-lite0")
    ),
)
