"""`yan`: EfficientNetV2-S with CBAM on Galaxy10 DECaLS, beside four other networks.

The head in the text (a hidden layer of 4096) has 5 million parameters more than the published "20.6M"; both
are rows. The paper is vague about the learning rate ("over 0.01", which with Adam destroys pretrained
weights; 1e-3 here) and does not state the split, the pooling, CBAM's reduction ratio (16 here, as in Woo et
al.) or the weight of the L2 penalty. It announces progressive learning but then describes a fixed image
size; progressive learning is the option ``progressive``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from morphoscope.recipes import Augment, Data, Model, Optimiser, Recipe, Schedule, Training
from morphoscope.studies.study import Study, few_galaxies
from morphoscope.studies.yan.paper import PUBLISHED

if TYPE_CHECKING:
    from morphoscope.studies.page_context import StudyPage

FUSED = (0, 3, 4, 5, 6)
LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "adam-0.01": ("Adam's initial learning rate of 0.01", {"optimiser.lr": 0.01}),
    "progressive": (
        "progressive learning, as in the introduction: images of 128 to 224 px in four steps, while "
        "dropout (0.1 to 0.4) and augmentation grow from a quarter to full strength",
        {
            "augment.train_size": (128, 160, 192, 224),
            "training.regularisation": (0.25, 0.5, 0.75, 1.0),
        },
    ),
    "alphabetical": ("classes numbered alphabetically in the report, as folders are", {}),
}


def _base() -> Recipe:
    """Sections 2.2 and 2.3: 224 px, Adam with time decay 0.001, patience 4, hidden layer of 4096."""
    return Recipe(
        name="yan/base",
        data=Data(scheme="galaxy10", split="cheng"),
        augment=Augment(
            size=224, rotation=20, shear=17, zoom=(0.7, 1.3), zoom_apart=True, shift=0, border="replicate"
        ),
        model=Model(hidden=(4096,), hidden_l2=0.01, dropout=0.4),
        optimiser=Optimiser(name="adam", lr=1e-3, weight_decay=0, clip=0),
        schedule=Schedule(name="keras-decay", decay=1e-3),
        training=Training(epochs=50, batch=64, patience=4, ema=0),
    )


def cbam() -> Recipe:
    """Table 2, last row, as the text describes it."""
    return _base().changed(
        name="yan/efficientnetv2s-cbam",
        about="EfficientNetV2-S with CBAM on its last map and a hidden layer of 4096",
        model={"name": "tf_efficientnetv2_s.in1k", "attention": "cbam"},
    )


def cbam_published() -> Recipe:
    """Table 2, last row, to match its 20.6 million parameters: no hidden layer."""
    return cbam().changed(
        name="yan/efficientnetv2s-cbam-published",
        about="the same without the hidden layer, to match the published count",
        model={"hidden": (), "hidden_l2": 0},
    )


def _without(kind: str) -> Recipe:
    names = {"none": "", "channel": "-channel", "spatial": "-spatial"}
    words = {
        "none": "no attention",
        "channel": "channel attention only",
        "spatial": "spatial attention only",
    }
    return cbam().changed(
        name=f"yan/efficientnetv2s{names[kind]}",
        about=f"EfficientNetV2-S, {words[kind]} (an ablation the paper does not have)",
        model={"attention": kind, "pool": "average"},
    )


def other_attention(kind: str, words: str) -> Recipe:
    """Section 3, future work: other kinds of attention in place of CBAM."""
    return cbam().changed(
        name=f"yan/efficientnetv2s-{kind}",
        about=f"EfficientNetV2-S, {words} in place of CBAM (the paper's future work)",
        model={"attention": kind, "pool": "average"},
    )


def advanced_augmentation(kind: str, words: str, settings: dict[str, object]) -> Recipe:
    """Section 3, future work: Mixup, CutMix or RandAugment on top of the paper's augmentation."""
    return cbam().changed(
        settings,
        name=f"yan/efficientnetv2s-cbam-{kind}",
        about=f"the improved network trained with {words} as well (the paper's future work)",
    )


def _compared(name: str, timm_name: str, words: str) -> Recipe:
    """Table 2, rows 1 to 4: another network with the same head and protocol."""
    return _base().changed(
        name=f"yan/{name}", about=f"{words} with the same head", model={"name": timm_name, "pool": "average"}
    )


def fused(stages: int) -> Recipe:
    """Table 1's question, on galaxies: how many stages should be fused (from random weights)."""
    return cbam().changed(
        name=f"yan/fused-{stages}",
        about=f"{stages} of 6 stages fused, CBAM, from random weights",
        model={"fused": stages, "pretrained": False, "hidden": (), "hidden_l2": 0},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    lambda: _compared("mobilenetv2", "mobilenetv2_100.tv_in1k", "MobileNetV2"),
    lambda: _compared("resnet50", "resnet50.tv_in1k", "ResNet-50"),
    lambda: _compared("vgg16", "vgg16.tv_in1k", "VGG16"),
    lambda: _compared("inception-resnet-v2", "inception_resnet_v2.tf_in1k", "Inception-ResNet-v2"),
    cbam,
    cbam_published,
    lambda: _without("none"),
    lambda: _without("channel"),
    lambda: _without("spatial"),
    lambda: other_attention("eca", "efficient channel attention"),
    lambda: other_attention("bam", "the bottleneck attention module"),
    lambda: other_attention("gam", "global attention"),
    lambda: advanced_augmentation("randaugment", "RandAugment", {"augment.randaugment": 2}),
    lambda: advanced_augmentation("mixup", "Mixup", {"training.mixup": 0.2}),
    lambda: advanced_augmentation("cutmix", "CutMix", {"training.cutmix": 1.0}),
    *(lambda stages=stages: fused(stages) for stages in FUSED),
)


def _sections(page: StudyPage) -> None:
    """Tables 1 and 2, Figs 2, 3, 7, and the ablations the paper does not have."""
    from morphoscope.models.network import parameter_total
    from morphoscope.report import formatting
    from morphoscope.report.formatting import shown
    from morphoscope.report.tables import Table
    from morphoscope.studies.sections import (
        add_best_maps,
        add_diagram,
        add_differences,
        add_structure,
        add_unit,
        class_report,
        confusion,
        curves_of,
        multiply_adds,
        published_table,
    )

    page.page.section("attention", "What attention contributes")
    add_differences(
        page,
        [
            (f"yan/efficientnetv2s{tail}", "yan/efficientnetv2s")
            for tail in ("-cbam", "-channel", "-spatial", "-cbam-published")
        ],
        ["accuracy", "macro_f1"],
        "Differences from EfficientNetV2-S with the same head and no attention, percentage points. The "
        "paper has no such rows.",
    )
    page.page.section("future", "The paper's future work")
    add_differences(
        page,
        [
            (f"yan/efficientnetv2s-{kind}", "yan/efficientnetv2s-cbam")
            for kind in ("cbam-randaugment", "cbam-mixup", "cbam-cutmix", "eca", "bam", "gam")
        ],
        ["accuracy", "macro_f1"],
        "The paper's future work: additional augmentation, and other attention in place of CBAM. "
        "Differences from the improved network, percentage points.",
    )
    page.page.section("improved", "The improved network")
    named = page.named_or_best("yan/efficientnetv2s-cbam")
    if named is not None:
        class_report(page, named.name)
        confusion(page, named.name)
        curves_of(page, named.name, "Fig 5")
    published_table(page, "Table 2")
    page.page.section("fused", "How many stages to fuse")
    published_table(page, "Table 1")
    rows = []
    for stages in FUSED:
        name = f"yan/fused-{stages}"
        network = page.network(name)
        size = page.study.rows()[name].augment.size
        rows.append(
            [
                f"{stages} of 6",
                formatting.count(parameter_total(network)),
                formatting.number(multiply_adds(network, size) / 1e9, 2),
                page.value(page.row(name), "accuracy"),
                page.value(page.row(name), "images_per_second"),
            ]
        )
    page.page.table(
        Table(
            headings=[
                "Fused stages",
                "Parameters as Keras counts",
                "10⁹ multiply-adds",
                "Accuracy",
                "Images/s",
            ],
            rows=rows,
            caption=(
                "The question of Table 1, answered on galaxies: EfficientNetV2-S with CBAM from random "
                "weights (parameters at 224 px). 3 of 6 is EfficientNetV2-S itself."
            ),
        )
    )
    add_best_maps(page, {"saliency": "Fig 8, left", "gradcam": "Fig 8, right"}, "yan/efficientnetv2s-cbam")
    page.page.section("structure", "Structure")
    add_unit(page, "mbconv", "MBConv and its fused form (Fig 3).")
    add_unit(page, "channel-attention", "Channel attention of CBAM.")
    add_unit(page, "spatial-attention", "Spatial attention of CBAM.")
    add_diagram(page, "yan/efficientnetv2s-cbam", "the paper's Fig 2")
    add_structure(page, "yan/efficientnetv2s-cbam", "as in the text, with the hidden layer of 4096")
    described, fitting = (page.network(f"yan/efficientnetv2s-cbam{tail}") for tail in ("", "-published"))
    page.page.text(
        f"The network in the text has {formatting.count(parameter_total(described))} parameters as "
        "Keras counts them; without the hidden layer it has "
        f"{formatting.count(parameter_total(fitting))}, which rounds to the published "
        f"{shown(page.published('yan/efficientnetv2s-cbam', 'parameters'), 'parameters')}."
    )


STUDY = Study(
    published=PUBLISHED,
    recipes=RECIPES,
    scheme="galaxy10",
    how_to_get_data="morphoscope data fetch galaxy10 STORE, or morphoscope data simulate STORE --count 4000",
    quick={"augment.size": 64, "training.epochs": 3, "training.batch": 8} | few_galaxies(60, 50),
    quick_rows={"yan/inception-resnet-v2": {"augment.size": 80}},
    literal=LITERAL,
    sections=_sections,
)
