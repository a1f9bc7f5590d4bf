"""What `ng` publishes: 37 vote fractions of the Galaxy Challenge, from a small network to DINOv2."""

from __future__ import annotations

from morphoscope.studies.claims import Above, Claim, Every, Number, above, lowest
from morphoscope.studies.published import (
    ONE_WARP,
    PRECISION,
    SEEDS,
    Contradiction,
    Deviation,
    Element,
    Paper,
    Published,
    PublishedRow,
    Reading,
    Reference,
    Table,
)

PAPER = Paper(
    key="ng",
    authors=("Ching-Yin Ng",),
    title="Classifying galaxy morphologies with Convolutional Neural Networks and Vision Transformers",
    data_set="Galaxy Zoo – The Galaxy Challenge, 424 px; scored by Kaggle on its test images",
    galaxies=61578,
    outputs=37,
    hardware="one RTX A6000 with 48 GB, AMD 5975WX with 64 cores",
    year=2024,
    identifier="https://github.com/alvinng4/GalaxyZooChallenge",
)

_COLUMNS = ("key", "model", "rmse", "epochs", "pretrained on", "seconds", "seconds per epoch")
_BASELINES = (
    ("ng/baseline", "Baseline", 0.07742, 240, None, 19200, 80),
    ("ng/baseline-cbam", "Baseline + CBAM", 0.07693, 240, None, 19680, 82),
)
TABLE_I = Table(
    name="Table I",
    about="Kaggle's RMSE and run time of the baseline, with and without attention",
    columns=_COLUMNS,
    rows=_BASELINES,
)
TABLE_II = Table(
    name="Table II",
    about="Kaggle's RMSE and run time of all networks",
    columns=_COLUMNS,
    rows=(
        *_BASELINES,
        ("ng/resnet50-scratch", "ResNet50", 0.07574, 120, None, 15000, 125),
        ("ng/resnet50", "ResNet50", 0.07393, 30, "ImageNet-1K v1", 3750, 125),
        ("ng/resnet101", "ResNet101", 0.07400, 30, "ImageNet-1K v1", 5520, 184),
        ("ng/convnext-large", "ConvNeXt Large", 0.07357, 30, "ImageNet-1K v1", 45000, 1500),
        ("ng/dinov2-base", "DINOv2 Base", 0.07251, 15, "LVD-142M", 17400, 580),
    ),
    remark="DINOv2's total is for the 30 epochs of Fig 3; 15 take half.",
)
DIFFERENCES = Table(
    name="Differences",
    about="reductions of the RMSE stated in the text",
    columns=("from", "to", "printed"),
    rows=(
        ("ng/baseline", "ng/baseline-cbam", 0.00049),
        ("ng/baseline", "ng/resnet50-scratch", 0.00168),
        ("ng/resnet50-scratch", "ng/resnet50", 0.00181),
    ),
)


def epochs_of_runtime(cells: tuple) -> float:
    """The number of epochs implied by a row's total run time in Tables I and II."""
    return cells[_COLUMNS.index("seconds")] / cells[_COLUMNS.index("seconds per epoch")]


def _row(cells: tuple) -> PublishedRow:
    key, model, rmse, epochs, pretrained, seconds, per_epoch = cells
    remarks = ["RMSE on Kaggle's hidden test images, mean of 16 views."]
    metrics = {"rmse": rmse, "epochs": epochs, "seconds": seconds, "seconds_per_epoch": per_epoch}
    if key == "ng/baseline":
        metrics["parameters"] = 3e6
    if epochs_of_runtime(cells) != epochs:
        remarks.append(
            f"The total time is that of {epochs_of_runtime(cells):g} epochs; "
            f"{epochs} take {epochs * per_epoch} s."
        )
    return PublishedRow(
        key=key,
        label=model if pretrained is None else f"{model}, pretrained on {pretrained}",
        metrics=metrics,
        where="Tables I and II" if cells in _BASELINES else "Table II",
        remark=" ".join(remarks),
        approximate=("parameters",) if "parameters" in metrics else (),
    )


ROWS = tuple(_row(cells) for cells in TABLE_II.rows)

_NOTICEABLE = 1.1
CLAIMS = (
    Claim(
        "CBAM lowers the baseline's RMSE.",
        "Table I",
        above("rmse", "ng/baseline", "ng/baseline-cbam"),
    ),
    Claim(
        "CBAM costs no noticeable time: an epoch takes less than a tenth longer.",
        "section on CBAM, results (the limit of a tenth is ours)",
        above("seconds_per_epoch", "ng/baseline", "ng/baseline-cbam", factor=1 / _NOTICEABLE),
    ),
    Claim(
        "A simple sigmoid does better than a softmax within each question, weighted by the tree or not.",
        "section on the baseline (no number is given)",
        Every(
            (
                above("rmse", "ng/baseline-softmax", "ng/baseline"),
                above("rmse", "ng/baseline-tree", "ng/baseline"),
            )
        ),
    ),
    Claim(
        "Larger kernels make the baseline much better: 17, 13, 9 and 7 px instead of 3.",
        "section on the baseline (no number is given)",
        above("rmse", "ng/baseline-3x3", "ng/baseline"),
    ),
    Claim(
        "Averaging over rotated and mirrored views at test time lowers the error.",
        "augmentation of the test data set (no number is given)",
        Above(Number("ng/baseline", "rmse_one_view"), Number("ng/baseline", "rmse_turned_views")),
    ),
    Claim(
        "Adding scaled views lowers it further.",
        "augmentation of the test data set (found to help, left out for its cost)",
        Above(Number("ng/baseline", "rmse_turned_views"), Number("ng/baseline", "rmse_scaled_views")),
    ),
    Claim(
        "DINOv2 overfits after 15 epochs: 30 are worse.",
        "Fig 3",
        above("rmse", "ng/dinov2-base-30", "ng/dinov2-base"),
        of_epochs=True,
    ),
    Claim(
        "ResNet-50 from random weights beats the baseline in half the epochs.",
        "Table II",
        above("rmse", "ng/baseline", "ng/resnet50-scratch"),
        of_epochs=True,
    ),
    Claim(
        "ImageNet weights make ResNet-50 better in a quarter of the epochs.",
        "Table II",
        above("rmse", "ng/resnet50-scratch", "ng/resnet50"),
        of_epochs=True,
    ),
    Claim(
        "ImageNet weights make a network better.",
        "Table II; conclusion",
        above("rmse", "ng/efficientnet-lite0-scratch", "ng/efficientnet-lite0"),
        asked_of="EfficientNet-Lite0",
    ),
    Claim(
        "ResNet-101 is no better than ResNet-50.",
        "Table II",
        above("rmse", "ng/resnet101", "ng/resnet50", or_equal=True),
    ),
    Claim(
        "ConvNeXt-Large is slightly better than ResNet-50 but takes far longer per epoch.",
        "Table II",
        Every(
            (
                above("rmse", "ng/resnet50", "ng/convnext-large"),
                above("seconds_per_epoch", "ng/convnext-large", "ng/resnet50"),
            )
        ),
    ),
    Claim(
        "DINOv2 is the best of all seven.",
        "Table II; conclusion",
        lowest("rmse", "ng/dinov2-base", TABLE_II.column("key")),
    ),
    Claim(
        "An epoch of DINOv2 is far shorter than one of ConvNeXt-Large and longer than one of ResNet-50.",
        "Table II; results (far less: under a half, which is ours)",
        Every(
            (
                above("seconds_per_epoch", "ng/convnext-large", "ng/dinov2-base", factor=2),
                above("seconds_per_epoch", "ng/dinov2-base", "ng/resnet50"),
            )
        ),
    ),
    Claim(
        "The baseline with CBAM matches the best single network of the 2014 challenge.",
        "Table I",
        undecided="it needs the score of Kaggle's hidden test images (submission.csv)",
    ),
    Claim(
        "With CBAM, attention follows the galaxy's shape instead of spreading out.",
        "Fig 8 (measured here as Ablation-CAM lying more along the galaxy's major axis)",
        above("alignment", "ng/baseline-cbam", "ng/baseline"),
    ),
)

CONTRADICTIONS = (
    Contradiction(
        "Table II",
        "DINOv2 took 17,400 s for 15 epochs of 580 s.",
        "15 epochs take 8,700 s; 17,400 s are the 30 epochs of Fig 3.",
        "15 epochs; the total is shown with a remark.",
    ),
    Contradiction(
        "baseline, results; Table I",
        "The baseline takes 6 hours.",
        "240 epochs of 80 s are 19,200 s, 5 h 20 min.",
        "Table I.",
    ),
    Contradiction(
        "data augmentation; public notebook",
        "Crops for the large networks are at most 282 px.",
        "The notebook draws them below 288.",
        "128 to 288 px.",
    ),
    Contradiction(
        "training details",
        "The number of epochs is that of the best validation score.",
        "The validation galaxies are then no longer an independent test; Kaggle's test images are.",
        "The published numbers of epochs; they were not chosen on the galaxies held out here.",
    ),
    Contradiction(
        "section on CBAM; public notebook",
        "CBAM multiplies the map, as in Woo et al.",
        "The notebook adds the weighted map to the map itself.",
        "Added, as in the code that produced the numbers.",
    ),
    Contradiction(
        "section on CBAM",
        "CBAM is called self-attention.",
        "It gates channels and positions; no position attends to another.",
        "The term is not used.",
    ),
    Contradiction(
        "section on ConvNeXt; references",
        "ConvNeXt is attributed to Xie et al.; CBAM's authors include one named Cham.",
        "ConvNeXt's first author is Liu; Cham is the publisher's town.",
        "Liu et al., Woo et al.",
    ),
    Contradiction(
        "Table I; public notebook",
        "An epoch of the baseline takes 80 s.",
        "A log in the notebook's history has about 126 s, perhaps from another machine.",
        "Table I; times are measured again.",
    ),
    Contradiction(
        "Tables I and II; public notebook",
        "The small networks are the baseline and CBAM.",
        "The notebook as it stands trains a third, with multi-scale attention, which is in no table.",
        "It is a row without a published number.",
    ),
)

READINGS = (
    Reading(
        "DINOv2 Base",
        "the variant with registers; a layer from its class token to 37 outputs",
        "The paper says only Base; the notebook loads this one.",
    ),
    Reading(
        "Head of the ImageNet networks",
        "the layer of 1000 classes is kept, with one of 37 after it",
        "As in the notebook; the paper attaches a layer to the last one.",
    ),
    Reading(
        "Grey levels",
        "to ±1 for all networks",
        ("Mean and standard deviation 0.5, for pretrained networks too."),
    ),
    Reading(
        "Split",
        "9 : 1, stratified by the top answer to question 1, seed 1",
        "The ratio is from the paper, the rest from the notebook.",
    ),
    Reading("Views at the test", "8 turns by 45°, each with and without a flip, mean of 16"),
    Reading(
        "Scaled views",
        "not in the score; the page also measures the 16 views at crops of 0.85, 1 and 1.18 times the side",
        "The paper found them better but left them out, and does not state the scales.",
    ),
    Reading(
        "Smaller kernels of the baseline",
        "3 px in all four blocks",
        "The paper says larger ones are much better, but not than what.",
    ),
    Reading("Weights that are tested", "those of the last epoch", "The notebook has no early stopping."),
)
DEVIATIONS = (
    ONE_WARP,
    PRECISION,
    SEEDS,
    Deviation(
        "Galaxies of the score",
        "Kaggle's 79,975 test images, whose vote fractions are not public.",
        "The tenth of the training images that is held out; submission.csv can be scored by Kaggle.",
        "The two sets are similar but not the same, so differences in the third digit mean nothing.",
    ),
    Deviation(
        "RMSE during training",
        "The notebook averages over batches and gives the smaller last batch full weight.",
        "Averaged over all galaxies and answers.",
        "The notebook's validation value is 0.3 % too high.",
    ),
    Deviation(
        "Learning rate over time",
        "A cosine from 1e-4; in the notebook it ends at 1e-8 and is updated once per epoch.",
        "The same curve, updated at every step.",
        "All studies share one implementation; the mean learning rate is the same.",
    ),
    Deviation(
        "Crops in training",
        "Whole pixels, drawn identically in each of 8 workers; rotated by nearest neighbour.",
        "Any side between the limits, drawn for each galaxy; one bilinear warp.",
        "The same range, without the repeated draws.",
    ),
)
REFERENCES = (
    Reference(
        "Winner of the challenge, one network", "rmse", 0.07693, "evaluation metric", "S. Dieleman, 2014"
    ),
    Reference(
        "Winner of the challenge, 18 networks", "rmse", 0.07492, "evaluation metric", "S. Dieleman, 2014"
    ),
)

PUBLISHED = Published(
    paper=PAPER,
    rows=ROWS,
    tables=(TABLE_I, TABLE_II, DIFFERENCES),
    claims=CLAIMS,
    contradictions=CONTRADICTIONS,
    readings=READINGS,
    deviations=DEVIATIONS,
    references=REFERENCES,
)


_STUDY = "studies/ng/study.py: "
_PAGE = "studies/sections.py: "

ELEMENTS = (
    Element(
        "Table I", "RMSE and time of the baseline with and without CBAM", "studies/common.py: add_comparison"
    ),
    Element("Table II", "RMSE, epochs and time of seven networks", "studies/common.py: add_comparison"),
    Element("Fig 1", "galaxies of the challenge", "report/sections.py: add_data"),
    Element("Fig 2", "decision tree", "report/figures/decision_tree.py: decision_tree"),
    Element("Fig 3", "30 epochs of DINOv2: loss, RMSE, learning rate", _PAGE + "curves_of"),
    Element("Fig 4", "the baseline", _PAGE + "add_diagram"),
    Element("Fig 5", "the baseline's loss, RMSE, learning rate", _PAGE + "curves_of"),
    Element("Fig 6", "CBAM, channel attention", _PAGE + "add_unit"),
    Element("Fig 7", "CBAM, spatial attention", _PAGE + "add_unit"),
    Element("Fig 8", "Ablation-CAM of a galaxy, baseline and CBAM", _PAGE + "add_beside"),
    Element("equation 1", "RMSE", "metrics/regression.py: regression_metrics", "RMSE during training"),
    Element("data", "the Galaxy Challenge", "data/sources/galaxy_zoo.py: ingest_galaxy_zoo"),
    Element("split", "9 : 1", "data/splits/split.py: SPLITS", "Split"),
    Element(
        "score", "Kaggle's test images", "studies/ng/study.py: write_submission", "Galaxies of the score"
    ),
    Element("grey levels", "mean and deviation 0.5", _STUDY + "_base", "Grey levels"),
    Element("crops", "184 to 352 px, 128 to 288 px", _STUDY + "_base", "Crops in training"),
    Element(
        "turns, flips", "any angle, mirrored", "augment/cpu.py: matrices", "Geometry of the augmentation"
    ),
    Element("16 views at the test", "8 turns, mirrored", "augment/params.py: views", "Views at the test"),
    Element("scaled views", "better, but left out", "studies/extra_scores.py: view_scores", "Scaled views"),
    Element("baseline", "2,896,709 parameters", _STUDY + "baseline"),
    Element("larger kernels", "17, 13, 9, 7", _STUDY + "baseline_3x3", "Smaller kernels of the baseline"),
    Element("softmax, weighting layers", "tested, worse", _STUDY + "baseline_tree"),
    Element("CBAM", "in four blocks, reduction 4", _STUDY + "baseline_cbam"),
    Element(
        "ResNet-50, ResNet-101", "ImageNet weights", _STUDY + "resnet50", "Head of the ImageNet networks"
    ),
    Element("ResNet-50 from scratch", "120 epochs", _STUDY + "resnet50_scratch"),
    Element("ConvNeXt-Large", "torchvision's weights", "models/torchvision_weights.py: fetched"),
    Element("DINOv2", "15 epochs, and 30", _STUDY + "dinov2_base", "DINOv2 Base"),
    Element("loss", "squared error on sigmoids", "labels/vote_fractions.py: VoteFractions"),
    Element("optimiser", "Adam, 1e-4, batch 105", _STUDY + "_base"),
    Element("schedule", "cosine", "training/optimisation.py: schedule", "Learning rate over time"),
    Element("tested weights", "of the last epoch", _STUDY + "_base", "Weights that are tested"),
    Element("run time", "of an epoch and in all", "studies/common.py: add_training"),
    Element("precision", "single", "models/precision.py: training_type", "Precision"),
    Element("repetition", "one run", "studies/study.py: Options", "Repetition"),
)
