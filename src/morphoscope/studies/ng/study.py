"""`ng`: 37 vote fractions of the Galaxy Challenge by regression, from a small network to DINOv2.

Images of 424 px are rotated by any angle, cropped about the centre to a random side and scaled: the side is
uniform in 184 to 352 px for the baseline networks (scaled to 128) and in 128 to 288 px for the pretrained
ones (scaled to 224; the paper says 282, its notebook 288). ImageNet networks keep their layer of 1000
classes, followed by one of 37; all inputs are normalised to ±1. The paper chose the number of epochs on the
galaxies it reports.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment, Data, Evaluation, Model, Optimiser, Recipe, Schedule, Training
from morphoscope.studies.ng.paper import PUBLISHED
from morphoscope.studies.study import Study, few_galaxies

if TYPE_CHECKING:
    from morphoscope.runs.run import Run
    from morphoscope.studies.page_context import StudyPage

LITERAL: dict[str, tuple[str, dict[str, object]]] = {}


def _base(crop: int, low: int, high: int, size: int, epochs: int) -> Recipe:
    """Section IV: squared error on sigmoid outputs, Adam 1e-4, cosine to 1e-8, 16 views."""
    return Recipe(
        name="ng/base",
        data=Data(scheme="galaxy-zoo-2", split="ng"),
        augment=Augment(
            size=size,
            crop=crop,
            rotation=180,
            zoom=(low / crop, high / crop),
            shift=0,
            flip_vertical=False,  # rotations and one flip give all symmetries of the plane
        ),
        model=Model(normalise="half"),
        optimiser=Optimiser(name="adam", lr=1e-4, weight_decay=0, clip=0),
        schedule=Schedule(name="cosine", warmup=0, final=1e-4),
        training=Training(epochs=epochs, batch=105, ema=0, restore_best=False),
        evaluation=Evaluation(views=16),
    )


def _small(attention: str, name: str, words: str) -> Recipe:
    return _base(256, 184, 352, 128, 240).changed(
        name=f"ng/{name}",
        about=words,
        model={
            "name": "baseline-cnn",
            "pretrained": False,
            "pool": "flatten",
            "attention": attention,
            "reduction": 4,
        },
    )


def _large(name: str, timm_name: str, words: str, epochs: int = 30) -> Recipe:
    return _base(224, 128, 288, 224, epochs).changed(
        name=f"ng/{name}", about=words, model={"name": timm_name, "classifier": True}
    )


def baseline() -> Recipe:
    """Table I, row 1; Fig 4."""
    return _small("none", "baseline", "five convolutions, no pretraining: the paper's baseline")


def baseline_softmax() -> Recipe:
    """Section III-B: "we have also tested Softmax"; no number is given."""
    return baseline().changed(
        name="ng/baseline-softmax",
        about="the baseline with a softmax within each question",
        model={"votes": "softmax"},
    )


def baseline_tree() -> Recipe:
    """Section III-B: "and weighting layers": the sums of the decision tree hold by construction."""
    return baseline().changed(
        name="ng/baseline-tree",
        about="the baseline with a softmax within each question, weighted by the decision tree",
        model={"votes": "tree"},
    )


def baseline_3x3() -> Recipe:
    """Section III-B: "larger kernel sizes greatly improved the performance" – than these."""
    return baseline().changed(
        name="ng/baseline-3x3",
        about="the baseline with kernels of 3 px instead of 17, 13, 9 and 7",
        model={"kernels": (3, 3, 3, 3)},
    )


def baseline_cbam() -> Recipe:
    """Table I, row 2; Figs 6, 7."""
    return _small("cbam-residual", "baseline-cbam", "the baseline with CBAM in its four blocks")


def baseline_ema() -> Recipe:
    """The third variant of the public notebook, which the paper does not report."""
    return _small("multi-scale", "baseline-ema", "the baseline with efficient multi-scale attention")


def resnet50() -> Recipe:
    """Table II."""
    return _large("resnet50", "resnet50.tv_in1k", "ResNet-50 from ImageNet weights, all layers trained")


def resnet50_scratch() -> Recipe:
    """Table II: the same from random weights, four times as long."""
    return _large("resnet50-scratch", "resnet50.tv_in1k", "ResNet-50 from random weights", 120).changed(
        model={"pretrained": False}
    )


def resnet101() -> Recipe:
    """Table II."""
    return _large("resnet101", "resnet101.tv_in1k", "ResNet-101 from ImageNet weights")


def convnext_large() -> Recipe:
    """Table II."""
    return _large("convnext-large", "convnext_large.tv_in1k", "ConvNeXt-Large from ImageNet weights")


def dinov2_base_30() -> Recipe:
    """Fig 3: thirty epochs; the paper says the network overfits after 15."""
    return dinov2_base().changed(
        name="ng/dinov2-base-30",
        about="the same for 30 epochs, as in the paper's Fig 3",
        training={"epochs": 30},
    )


def dinov2_base() -> Recipe:
    """Table II: the class token of DINOv2 with registers; its grid of 518 px is interpolated to 224 px."""
    return _large(
        "dinov2-base",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "DINOv2-B with registers, a layer from its class token to 37 outputs",
        15,
    ).changed(model={"classifier": False})


def lite0() -> Recipe:
    """Pretraining against random weights, with packaged weights (no download)."""
    return _large(
        "efficientnet-lite0", "tf_efficientnet_lite0", "EfficientNet-Lite0 from packaged ImageNet weights"
    ).changed(model={"classifier": False, "normalise": "model"})


def lite0_scratch() -> Recipe:
    """The same from random weights."""
    return lite0().changed(
        name="ng/efficientnet-lite0-scratch",
        about="EfficientNet-Lite0 from random weights",
        model={"pretrained": False},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    baseline,
    baseline_softmax,
    baseline_tree,
    baseline_3x3,
    baseline_cbam,
    baseline_ema,
    resnet50_scratch,
    resnet50,
    resnet101,
    convnext_large,
    dinov2_base,
    dinov2_base_30,
    lite0,
    lite0_scratch,
)


def _sections(page: StudyPage) -> None:
    """Tables I and II, Figs 1, 2 and 4 to 8; pretrained against random weights."""
    from morphoscope.report.figures.decision_tree import decision_tree
    from morphoscope.report.figures.votes import votes_per_question
    from morphoscope.studies.sections import (
        add_beside,
        add_diagram,
        add_differences,
        add_structure,
        add_unit,
        curves_of,
    )

    page.page.section("differences", "Attention and pretraining")
    add_differences(
        page,
        [
            ("ng/baseline-softmax", "ng/baseline"),
            ("ng/baseline-tree", "ng/baseline"),
            ("ng/baseline-3x3", "ng/baseline"),
            ("ng/baseline-cbam", "ng/baseline"),
            ("ng/baseline-ema", "ng/baseline"),
            ("ng/resnet50", "ng/resnet50-scratch"),
            ("ng/resnet101", "ng/resnet50"),
            ("ng/dinov2-base", "ng/resnet50"),
            ("ng/efficientnet-lite0", "ng/efficientnet-lite0-scratch"),
        ],
        ["rmse"],
        "Differences in RMSE; lower is better.",
    )
    _add_views(page)
    page.page.section("histories", "Training histories")
    curves_of(page, "ng/dinov2-base-30", "Fig 3")
    curves_of(page, "ng/baseline", "Fig 5")
    page.page.section("questions", "Question by question")
    best = page.best()
    if best is not None:
        metrics = best.runs()[0].metrics()["test"]
        page.page.chart(
            "votes_per_question",
            votes_per_question(metrics),
            f"RMSE of each question, {page.label(best.name)}, seed 0.",
        )
    add_beside(page, ["ng/baseline", "ng/baseline-cbam"], "Class4.1", "ablationcam", "Fig 8")
    page.page.section("tree", "The questions")
    page.page.chart(
        "decision_tree",
        decision_tree(),
        "The decision tree of Galaxy Zoo 2 with the 37 columns of the Galaxy Challenge (Fig 2).",
    )
    page.page.section("structure", "Structure")
    add_diagram(page, "ng/baseline-cbam", "the paper's Fig 4 with its attention")
    add_unit(page, "channel-attention", "Channel attention (Fig 6).")
    add_unit(page, "spatial-attention", "Spatial attention (Fig 7).")
    add_structure(page, "ng/baseline", "the paper's Fig 4")
    add_structure(page, "ng/baseline-cbam", "with CBAM in the four blocks")


def _add_views(page: StudyPage) -> None:
    """What averaging over several views at test time does for the baseline."""
    from morphoscope.report.tables import Table

    row = page.row("ng/baseline")
    if row is None or not row.runs():
        return
    views = {
        "1": "rmse_one_view",
        "16: rotated by 45°, mirrored": "rmse_turned_views",
        "48: those at three scales": "rmse_scaled_views",
    }
    page.page.table(
        Table(
            headings=["Views at test time", "RMSE"],
            rows=[[words, page.value(row, metric)] for words, metric in views.items()],
            text_columns=frozenset({0}),
            caption=(
                f"{page.label('ng/baseline')}: the mean prediction over several views of each held-out "
                "galaxy. The paper uses 16; it found scaled ones better still but left them out for "
                "their cost, and prints no number."
            ),
        )
    )


STUDY = Study(
    published=PUBLISHED,
    recipes=RECIPES,
    scheme="galaxy-zoo-2",
    how_to_get_data="morphoscope data ingest galaxy-zoo KAGGLE_FOLDER STORE",
    quick={"augment.size": 64, "training.epochs": 3, "training.batch": 8} | few_galaxies(100, 60),
    quick_rows={"ng/dinov2-base": {"augment.size": 56}, "ng/dinov2-base-30": {"augment.size": 56}},
    literal=LITERAL,
    sections=_sections,
    served_side=424,
    map_method="ablationcam",
    map_target="Class4.1",
)


def write_submission(run: Run, images: Path | str, out: Path) -> int:
    """Write ``GalaxyID,Class1.1,...,Class11.6`` for every image, sorted by id, with the recipe's views.

    Args:
        run: trained on the 37 vote fractions.
        images: folder, glob or store of the test images; ids are their file names.
        out: the CSV file; an existing one is replaced.

    Returns:
        The number of galaxies.

    Raises:
        MorphoscopeError: the run does not predict the 37 vote fractions, or an image's id is not an integer.
    """
    import pyarrow.parquet as pq

    from morphoscope.catalogue.predict import predict_catalogue
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.inference.predictor import Predictor
    from morphoscope.labels.tree import GALAXY_ZOO_2

    if run.scheme.output_names != GALAXY_ZOO_2.columns:
        raise MorphoscopeError(f"{run.path} does not predict the 37 vote fractions of the Galaxy Challenge")
    catalogue = out.with_suffix(".parquet")
    predict_catalogue(Predictor(run), CatalogueRequest(images, catalogue, overwrite=True))
    table = pq.read_table(catalogue, columns=["id", *GALAXY_ZOO_2.columns])
    rows = sorted((_number(row["id"]), row) for row in table.to_pylist())
    with files.atomic_file(out) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["GalaxyID", *GALAXY_ZOO_2.columns])
        for number, row in rows:
            writer.writerow([number, *(f"{row[name]:.8f}" for name in GALAXY_ZOO_2.columns)])
    return len(rows)


def _number(identity: str) -> int:
    try:
        return int(Path(identity).stem)
    except ValueError as error:
        raise MorphoscopeError(
            f"image '{identity}': the file names of Kaggle's images must be their GalaxyID"
        ) from error
