"""`tong`: ResNet-50 with channel and spatial attention in every residual unit, five classes of Galaxy Zoo 2.

The rows -channel and -spatial are halves of the attention in the text (CBAM on 4C channels), not of that
with the printed parameter count, whose gates have C outputs for 4C channels. The mean and standard
deviation of each channel are taken over at most 2,000 training galaxies, which is enough for four digits.
The paper does not state the optimiser, loss or regularisation. The learning rate of 0.01 and the public
code that its attention resembles suggest SGD with momentum 0.9; an L2 term of 5e-4, whose gradient has a
factor of 2, is ``weight_decay=1e-3`` here. The paper gives no ranges for its rotations, flips, brightness
and contrast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from morphoscope.recipes import Augment, Data, Model, Optimiser, Recipe, Schedule, Training
from morphoscope.studies.study import Study, few_galaxies
from morphoscope.studies.tong.paper import PUBLISHED

if TYPE_CHECKING:
    from morphoscope.studies.page_context import StudyPage

LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "adam-0.01": (
        "Adam at the paper's learning rate of 0.01, in case TensorFlow's usual optimiser was meant",
        {"optimiser.name": "adam", "optimiser.weight_decay": 0.0},
    ),
}


def resnet50() -> Recipe:
    """Tables III and V, row 1: a convolution in all 16 shortcuts, as the published count implies."""
    return Recipe(
        name="tong/resnet50",
        about="ResNet-50 with a convolution in every shortcut, the paper's baseline",
        data=Data(scheme="five-class", split="tong"),
        augment=Augment(
            size=224, crop=224, rotation=180, zoom=(1.0, 1.0), shift=0, brightness=0.15, contrast=0.15
        ),
        model=Model(
            name="residual50", shortcut="projection", biases=True, pretrained=False, normalise="data"
        ),
        optimiser=Optimiser(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-3, clip=0),
        schedule=Schedule(name="constant", warmup=0),
        training=Training(epochs=100, batch=128, ema=0),
    )


def cs_resnet50() -> Recipe:
    """Table V, row 2, with the gates that give the published count (38,601,809)."""
    return resnet50().changed(
        name="tong/cs-resnet50",
        about="channel and spatial attention in every unit, gates to match the published count",
        model={"attention": "tiled-cbam"},
    )


def cs_resnet50_text() -> Recipe:
    """The attention as the text and its Fig 5 describe it: CBAM on the unit's 4C channels."""
    return resnet50().changed(
        name="tong/cs-resnet50-text",
        about="the same with CBAM on all 4C channels, as the text describes it",
        model={"attention": "cbam"},
    )


def channel_only() -> Recipe:
    """Channel attention only."""
    return resnet50().changed(
        name="tong/cs-resnet50-channel",
        about="channel attention only, with gates on all 4C channels (an ablation the paper does not have)",
        model={"attention": "channel"},
    )


def spatial_only() -> Recipe:
    """Spatial attention only."""
    return resnet50().changed(
        name="tong/cs-resnet50-spatial",
        about="spatial attention only (an ablation the paper does not have)",
        model={"attention": "spatial"},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    resnet50,
    cs_resnet50,
    cs_resnet50_text,
    channel_only,
    spatial_only,
)


def _sections(page: StudyPage) -> None:
    """Tables I to V, Figs 1 to 7."""
    from morphoscope.report import formatting
    from morphoscope.report.figures.comparison import confusion_change
    from morphoscope.studies.sections import (
        add_best_maps,
        add_diagram,
        add_differences,
        add_strip,
        add_structure,
        add_unit,
        class_report,
        confusion,
        confusion_of,
        published_table,
    )

    scores = ("accuracy", "macro_precision", "macro_recall", "macro_f1")
    page.page.section("attention", "What attention contributes")
    add_differences(
        page,
        [(f"tong/cs-resnet50{tail}", "tong/resnet50") for tail in ("", "-text", "-channel", "-spatial")],
        scores,
        "The paper's Table V: differences from the network without attention, percentage points. The rows "
        "-channel and -spatial are halves of the attention in the text, with gates on all 4C "
        "channels, not of that with the printed parameter count.",
    )
    before, after = confusion_of(page, "tong/resnet50"), confusion_of(page, "tong/cs-resnet50")
    scheme = page.store.need_scheme()
    if before is not None and after is not None:
        page.page.chart(
            "confusion_change",
            confusion_change(before, after, scheme.output_names, ("ResNet-50", "CS_ResNet50")),
            f"Without and with attention, and the change in each class's recall (Fig 7); n = "
            f"{formatting.count(int(before.sum()))} test galaxies over all seeds.",
        )
    _add_gains(page)
    published_table(page, "Table IV")
    confusion(page, "tong/resnet50")
    confusion(page, "tong/cs-resnet50")
    class_report(page, "tong/cs-resnet50")
    page.page.section("selection", "Class thresholds on the votes")
    _add_thresholds(page)
    published_table(page, "Table II")
    page.page.section("strip", "From image to network input")
    add_strip(page, "tong/resnet50", "Fig 3")
    add_best_maps(page, {"gradcam": "not in the paper"})
    page.page.section("structure", "Structure")
    add_unit(page, "channel-attention", "Channel attention (Fig 1, equation 1).")
    add_unit(page, "spatial-attention", "Spatial attention (Fig 2, equation 2).")
    add_unit(page, "attention-unit", "The residual unit with both (Figs 4, 5).")
    add_diagram(page, "tong/cs-resnet50", "the paper's Fig 6")
    add_structure(page, "tong/resnet50", "the paper's Table III")
    add_structure(page, "tong/cs-resnet50", "the same with attention (Table IV)")


def _add_gains(page: StudyPage) -> None:
    """Fig 7: gain in the recall of each class, published next to measured."""
    from morphoscope.report.tables import Table
    from morphoscope.studies.claims import class_metric
    from morphoscope.studies.sections import paired_difference

    table = page.study.published.table("Fig 7")
    pair = ("tong/cs-resnet50", "tong/resnet50")
    page.page.table(
        Table(
            headings=["Class", "Gain, published", "Gain here"],
            rows=[
                [name, f"{gain:+.3f}", paired_difference(page, *pair, class_metric("recall", name))]
                for _, name, gain in table.rows
            ],
            text_columns=frozenset({0}),
            caption=(
                "The paper's Fig 7: gain in the recall of each class from channel and spatial attention, "
                "percentage points; mean ± standard deviation over seeds where there are several."
            ),
        )
    )


def _add_thresholds(page: StudyPage) -> None:
    """Table I, with the number of galaxies that the rules select in this store (A4)."""
    import numpy as np

    from morphoscope.labels.five_class import FIVE_CLASS_RULES
    from morphoscope.report import formatting
    from morphoscope.report.tables import Table

    targets = page.store.targets()
    published = page.study.published.table("Table I")
    totals = published.column(published.columns[-1])
    rows = [
        [
            rule.name,
            " and ".join(f"{column} ≥ {least:g}" for column, least in rule.conditions),
            formatting.count(total),
            formatting.count(int(np.count_nonzero(targets == number))),
        ]
        for number, (rule, total) in enumerate(zip(FIVE_CLASS_RULES, totals, strict=True))
    ]
    page.page.table(
        Table(
            headings=["Class", "Thresholds on the vote fractions", "Galaxies, published", "Galaxies here"],
            rows=rows,
            text_columns=frozenset({0, 1}),
            caption=(
                "The paper's Table I: the five classes as rules; the first that holds gives the class. On "
                "all 61,578 galaxies of the challenge the first four counts are reproduced; the fifth has "
                "not been checked."
            ),
        )
    )


STUDY = Study(
    published=PUBLISHED,
    recipes=RECIPES,
    scheme="five-class",
    how_to_get_data="morphoscope data ingest galaxy-zoo KAGGLE_FOLDER STORE --scheme five-class",
    quick={"augment.size": 64, "training.epochs": 3, "training.batch": 16} | few_galaxies(300, 150),
    literal=LITERAL,
    sections=_sections,
    served_side=424,
)
