"""`cheng`: VGG16 and ResNet-18, -50, -101, -152 on Galaxy10 DECaLS, and what residual blocks contribute.

The paper does not state the learning rate (Adam's default of 1e-3 here), the ranges of the augmentation
(those of its sibling `yan`), the weight of the L2 penalty (Keras' default of 0.01), or whether the ResNets
start from ImageNet weights (they do here). Its rows differ in two things at once, depth and shortcuts; the
rows ``plain…`` and ``…-scratch`` added here differ only in the shortcuts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from morphoscope.recipes import Augment, Data, Model, Optimiser, Recipe, Schedule, Training
from morphoscope.studies.cheng.paper import PUBLISHED
from morphoscope.studies.study import Study, few_galaxies

if TYPE_CHECKING:
    from morphoscope.studies.page_context import StudyPage

DEPTHS = (18, 50, 101, 152)
LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "initial-epoch": (
        "fit(epochs=50, initial_epoch=3), as the paper has it: 47 epochs, numbered 4 to 50",
        {"training.initial_epoch": 3},
    ),
    "alphabetical": ("classes numbered alphabetically in the report, as folders are and as in Table 3", {}),
}


def _base() -> Recipe:
    """Sections 2.2 to 2.4 and Table 1: 224 px, Adam, Keras' time decay, patience 3, two hidden layers."""
    return Recipe(
        name="cheng/base",
        data=Data(scheme="galaxy10", split="cheng"),
        augment=Augment(
            size=224,
            rotation=20,
            shear=17,
            zoom=(0.7, 1.3),
            zoom_apart=True,
            shift=0,
            border="replicate",
            flip_vertical=True,
        ),
        model=Model(hidden=(512, 128), hidden_l2=0.01, dropout=0.5, normalise="unit"),
        optimiser=Optimiser(name="adam", lr=1e-3, weight_decay=0, clip=0),
        schedule=Schedule(name="keras-decay", decay=1e-5),
        training=Training(epochs=50, batch=64, patience=3, ema=0),
    )


def vgg16() -> Recipe:
    """Table 2, row 1: no residual blocks; the head takes all 7 × 7 × 512 features, not their mean."""
    return _base().changed(
        name="cheng/vgg16",
        about="VGG16 with a 512-128-10 head, the paper's network without residual blocks",
        model={"name": "vgg16.tv_in1k", "pool": "flatten"},
    )


def resnet(depth: int) -> Recipe:
    """Table 2, rows 2 to 5, with the head of the text (512-128-10)."""
    return _base().changed(
        name=f"cheng/resnet{depth}",
        about=f"ResNet-{depth} with a 512-128-10 head",
        model={"name": f"resnet{depth}.tv_in1k"},
    )


def resnet18_published() -> Recipe:
    """Table 2, row 2, to match its count of 11,196,042: biases in all convolutions, no hidden layer."""
    return _base().changed(
        name="cheng/resnet18-published",
        about="ResNet-18 to match the published count: convolutions with biases, one layer to 10 classes",
        model={"name": "residual18", "biases": True, "pretrained": False, "hidden": (), "hidden_l2": 0},
    )


def resnet_scratch(depth: int) -> Recipe:
    """The residual counterpart of the plain network: same units, random weights."""
    return _base().changed(
        name=f"cheng/resnet{depth}-scratch",
        about=f"ResNet-{depth} from random weights, for comparison with cheng/plain{depth}",
        model={"name": f"residual{depth}", "pretrained": False},
    )


def plain(depth: int) -> Recipe:
    """The same depth without shortcuts, which shows what the paper's introduction calls degradation."""
    return resnet_scratch(depth).changed(
        name=f"cheng/plain{depth}",
        about=f"{depth} layers without shortcuts, from random weights",
        model={"shortcut": "none"},
    )


def _of_each_depth(row: Callable[[int], Recipe]) -> tuple[Callable[[], Recipe], ...]:
    return tuple(lambda depth=depth: row(depth) for depth in DEPTHS)


RECIPES: tuple[Callable[[], Recipe], ...] = (
    vgg16,
    resnet18_published,
    *_of_each_depth(resnet),
    *_of_each_depth(resnet_scratch),
    *_of_each_depth(plain),
)


def _sections(page: StudyPage) -> None:
    """Tables 1 to 3, Figs 3 to 7, and depth with and without shortcuts."""
    from morphoscope.report.formatting import shown
    from morphoscope.report.tables import Table
    from morphoscope.studies.published import relative_improvement
    from morphoscope.studies.sections import (
        add_best_maps,
        add_diagram,
        add_differences,
        add_strip,
        add_structure,
        add_unit,
        class_report,
        confusion,
    )

    page.page.section("improvement", "What residual blocks contribute")
    base = page.row("cheng/vgg16")
    reference = None if base is None else base.mean("accuracy")
    rows = []
    for name in ("cheng/vgg16", "cheng/resnet18", "cheng/resnet50", "cheng/resnet101", "cheng/resnet152"):
        row, published = page.row(name), page.published(name, "accuracy")
        own = None if row is None else row.mean("accuracy")
        first = page.published("cheng/vgg16", "accuracy")
        rows.append(
            [
                page.label(name),
                str(sum(_units(name))),
                shown(published, "accuracy"),
                shown(relative_improvement(published, first) if published and first else None, "accuracy"),
                page.value(row, "accuracy"),
                shown(relative_improvement(own, reference) if own and reference else None, "accuracy"),
            ]
        )
    page.page.table(
        Table(
            headings=[
                "Network",
                "Residual blocks",
                "Published accuracy",
                "Published improvement",
                "Measured accuracy",
                "Measured improvement",
            ],
            rows=rows,
            caption=(
                "The paper's Table 2: test accuracy and its improvement relative to VGG16's, both in "
                "percent. The published gain compares different networks; in the next table only the "
                "shortcuts differ."
            ),
        )
    )
    add_differences(
        page,
        [(f"cheng/resnet{depth}-scratch", f"cheng/plain{depth}") for depth in DEPTHS],
        ["accuracy", "train_accuracy"],
        "Residual minus plain networks of the same depth, both from random weights, in percentage "
        "points: the effect of shortcuts alone. The paper has no such rows.",
    )
    page.page.section("strip", "From image to network input")
    add_strip(page, "cheng/resnet152", "Fig 2")
    page.page.section("report", "Class by class")
    named = page.named_or_best("cheng/resnet152")
    if named is not None:
        class_report(page, named.name)
        confusion(page, named.name)
    best = page.best()
    if best is not None and best is not named:
        class_report(page, best.name)
        confusion(page, best.name)
    add_best_maps(page, {"saliency": "Fig 8", "gradcam": "Fig 9"}, "cheng/resnet152")
    page.page.section("structure", "Structure")
    add_unit(page, "basic", "The residual unit of two convolutions: y = relu(F(x) + x) (Fig 4, equation 1).")
    add_unit(page, "bottleneck", "The residual unit of three convolutions, as in ResNet-50 and deeper.")
    add_diagram(page, "cheng/vgg16", "the paper's Fig 3")
    add_diagram(page, "cheng/resnet18", "the paper's Fig 5")
    add_structure(page, "cheng/vgg16", "section 2.2.1")
    for number, depth in enumerate(DEPTHS, start=1):
        add_structure(page, f"cheng/resnet{depth}", f"the paper's Table 1, column {number} of 4")


def _units(name: str) -> tuple[int, ...]:
    from morphoscope.models.residual import DEPTHS as UNITS

    depth = name.rpartition("resnet")[2]
    return UNITS[int(depth)] if depth.isdigit() else (0,)


STUDY = Study(
    published=PUBLISHED,
    recipes=RECIPES,
    scheme="galaxy10",
    how_to_get_data="morphoscope data fetch galaxy10 STORE, or morphoscope data simulate STORE --count 4000",
    quick={"augment.size": 64, "training.epochs": 3, "training.batch": 8} | few_galaxies(100, 60),
    literal=LITERAL,
    sections=_sections,
    map_series=(("cheng/resnet152", "cheng/resnet18"),),
)
