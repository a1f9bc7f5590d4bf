"""What `yan` publishes: EfficientNetV2-S with CBAM on Galaxy10 DECaLS."""

from __future__ import annotations

from morphoscope.studies.claims import Claim, Every, above, highest, lowest, on_the_galaxy, rising
from morphoscope.studies.published import (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    WEIGHTS,
    Contradiction,
    Deviation,
    Element,
    Paper,
    Published,
    PublishedRow,
    Reading,
    Reference,
    Table,
    cbam_parameters,
    dense_parameters,
    share,
)

PAPER = Paper(
    key="yan",
    authors=("Xingchen Yan",),
    title="Galaxy recognition based on improved efficientNetV2S",
    data_set="Galaxy10 DECaLS, 256 px, three colours",
    galaxies=17736,
    outputs=10,
    hardware="one A100 with 40 GB, Intel Xeon Silver 4210, 101 GB of memory",
)

TABLE_1 = Table(
    name="Table 1",
    about="cost and benefit of replacing MBConv by Fused-MBConv",
    columns=("layers fused, percent", "parameters, millions", "operations, billions", "accuracy, percent"),
    rows=((0, 19, 5, 82), (30, 20, 8, 83), (50, 43, 21, 83), (80, 148, 39, 80)),
    remark=(
        "Not measured on galaxies: it resembles an ImageNet table of Tan & Le (2021), which is about "
        "another network and has partly different numbers. That this is the source is a guess."
    ),
)
TABLE_2 = Table(
    name="Table 2",
    about="top accuracy (percent) and parameters (millions) of five networks",
    columns=("key", "network", "accuracy", "parameters"),
    rows=(
        ("yan/mobilenetv2", "MobileNetV2", 78.4, 6.9),
        ("yan/resnet50", "ResNet50", 90.9, 25.6),
        ("yan/vgg16", "VGG-16", 81.7, 138.0),
        ("yan/inception-resnet-v2", "Inception-ResNet", 65.7, 55.8),
        ("yan/efficientnetv2s-cbam", "Improved EfficientNetV2S", 94.3, 20.6),
    ),
    remark="Training accuracy, since the text calls 94.3 % so.",
)

BACKBONE = 20_331_360
"""Parameters of EfficientNetV2-S without its last layer, counted as Keras does."""
_WIDTH, _CLASSES, _HIDDEN = 1280, 10, 4096
_LAYOUTS = (
    ("no attention, one layer to 10", None, ()),
    ("CBAM with reduction 16, one layer to 10", 16, ()),
    ("CBAM with reduction 8, one layer to 10", 8, ()),
    ("no attention, 4096-10", None, (_HIDDEN,)),
    ("CBAM with reduction 16, 4096-10 (the text)", 16, (_HIDDEN,)),
    ("CBAM with reduction 8, 4096-10 (the text)", 8, (_HIDDEN,)),
)


def total(reduction: int | None, hidden: tuple[int, ...]) -> int:
    """Parameters of EfficientNetV2-S with CBAM (None for no attention) and a head, counted as Keras does."""
    attention = cbam_parameters(_WIDTH, reduction) if reduction else 0
    return BACKBONE + attention + dense_parameters(_WIDTH, *hidden, _CLASSES)


PARAMETERS = Table(
    name="Parameter counts",
    about='layouts that might be "20.6M", counted as Keras does',
    columns=("layout", "parameters"),
    rows=tuple((words, total(reduction, hidden)) for words, reduction, hidden in _LAYOUTS),
    remark=(
        "20.6 million is CBAM with reduction 16 and no hidden layer, or reduction 8 if the running "
        "statistics of batch normalisation are not counted. The hidden layer in the text adds 5.2 "
        "million."
    ),
)

_OWN = "yan/efficientnetv2s-cbam"
_TWO_HEADS = (
    "One row of the paper, two layouts: the printed count leaves no room for the hidden layer in the text."
)
_TRAINING = "Training accuracy."


def _row(cells: tuple) -> PublishedRow:
    key, network, accuracy, millions = cells
    own = key == _OWN
    text = {"validation_accuracy": 0.845, "macro_precision": 0.87, "train_loss": 0.2, "validation_loss": 0.5}
    return PublishedRow(
        key=key,
        label=network,
        metrics={"train_accuracy": share(accuracy), "parameters": round(millions * 1e6)}
        | (text | {"epochs": 40} if own else {}),
        where="Table 2; section 3; abstract" if own else "Table 2",
        remark=(
            f"{_TRAINING} Validation accuracy, losses and a precision of 87 % (the kind of average is not "
            f"stated) are from the text. {_TWO_HEADS}"
        )
        if own
        else f"{_TRAINING} The parameter count is that of the ImageNet network with its own head.",
        approximate=(*text, "epochs", "parameters") if own else ("parameters",),
    )


_ROWS = tuple(_row(cells) for cells in TABLE_2.rows)
ROWS = (
    *_ROWS,
    PublishedRow(
        key="yan/efficientnetv2s-cbam-published",
        label=_ROWS[-1].label,
        metrics=_ROWS[-1].metrics,
        where=_ROWS[-1].where,
        remark=_ROWS[-1].remark,
        same_row_as=_OWN,
        approximate=_ROWS[-1].approximate,
    ),
)

_FIVE = TABLE_2.column("key")
_FUSED = tuple(f"yan/fused-{stages}" for stages in (0, 3, 4, 5, 6))
CLAIMS = (
    Claim(
        "EfficientNetV2-S with CBAM has the highest top accuracy of five networks.",
        "Table 2 (training accuracy)",
        highest("train_accuracy", _OWN, _FIVE),
    ),
    Claim(
        "It is also the best of the five on galaxies it was not trained on.",
        "section 3 (the paper gives no such number for the other four)",
        highest("accuracy", _OWN, _FIVE),
    ),
    Claim(
        "CBAM improves EfficientNetV2-S.",
        "section 2.2.3 (no number is given)",
        above("accuracy", _OWN, "yan/efficientnetv2s"),
    ),
    Claim(
        "It has fewer parameters than ResNet-50, Inception-ResNet and VGG16.",
        "abstract; Table 2, which counts VGG16 with its ImageNet head (here all have the same head)",
        Every(
            tuple(
                above("parameters", f"yan/{other}", _OWN)
                for other in ("resnet50", "inception-resnet-v2", "vgg16")
            )
        ),
    ),
    Claim(
        "It is also the fastest of the five: its epochs are the shortest.",
        "section 1 (no time is given)",
        lowest("seconds_per_epoch", _OWN, _FIVE),
    ),
    Claim(
        "The more stages are fused, the more parameters there are.",
        "section 2.2.2; Table 1",
        rising("parameters", _FUSED),
        asked_of="EfficientNetV2-S itself, on galaxies",
    ),
    Claim(
        "Fusing the first stages makes training faster.",
        "section 2.2.2",
        above("seconds_per_epoch", "yan/fused-0", "yan/fused-3"),
        asked_of="EfficientNetV2-S itself, on galaxies",
    ),
    Claim(
        "Fusing some stages does not cost accuracy; fusing all of them does.",
        "section 2.2.2; Table 1",
        Every(
            (
                above("accuracy", "yan/fused-3", "yan/fused-0", or_equal=True),
                above("accuracy", "yan/fused-3", "yan/fused-6"),
            )
        ),
        asked_of="EfficientNetV2-S itself, on galaxies",
    ),
    Claim(
        "With fused stages, training is a tenth faster than in the previous version without them.",
        "section 2.2.2",
        above("seconds_per_epoch", "yan/fused-0", "yan/fused-3", factor=1.1),
        asked_of="EfficientNetV2-S with three and with no fused stages, on galaxies",
    ),
    Claim(
        "The network looks at the middle of the galaxy.",
        "section 3, Fig 8 (measured here as Grad-CAM lying on the galaxy more than chance)",
        on_the_galaxy(_OWN),
    ),
)

CONTRADICTIONS = (
    Contradiction(
        "Table 2; section 3",
        "The network is far more accurate than ResNet-50 on validation galaxies.",
        "The table has training accuracies; for validation galaxies the text gives about 84.5 % for "
        "this network and nothing for the others.",
        "Training, validation and test accuracy are kept apart.",
    ),
    Contradiction(
        "Table 2; section 2.3",
        "The network has 20.6 million parameters and a hidden layer of 4096.",
        "With that layer it has 25.8 million; without it, 20.55.",
        "Both are rows: efficientnetv2s-cbam follows the text, -published the count.",
    ),
    Contradiction(
        "Table 2",
        "All networks are compared by their parameter counts.",
        "The counts of the other four include ImageNet's layer of 1000 classes, this one's does not; "
        "55.8 should be rounded to 55.9, and 6.9 is a wider MobileNetV2 than the standard one (3.5).",
        "All five are counted with the same head.",
    ),
    Contradiction(
        "section 2.1",
        "The data set has about 210,000 galaxies of 224 px.",
        "Galaxy10 DECaLS has 17,736 of 256 px.",
        "The data set as it is, scaled to 224 px.",
    ),
    Contradiction(
        "section 2.1; section 1",
        "The labels are from professional astronomers.",
        "According to the introduction they are from volunteers, which is right.",
        "Volunteers.",
    ),
    Contradiction(
        "section 1; section 2.3",
        "Image size and regularisation grow during training.",
        "Section 2.3 has a single size, dropout and augmentation.",
        "Fixed; growing size and regularisation is an option.",
    ),
    Contradiction(
        "section 4; section 2.2",
        "The structure and number of MBConv and Fused-MBConv layers were changed.",
        "Nothing of the kind is described.",
        "The standard EfficientNetV2-S; fused stages are separate rows.",
    ),
    Contradiction(
        "section 2.3",
        "Training lasts 50 epochs.",
        "It converges after 40 and stops there.",
        "50 at most, patience 4.",
    ),
    Contradiction(
        "abstract; section 4",
        "The network reaches 87 %.",
        "94.3 % is also given: 87 % is the precision, 94.3 % the training accuracy.",
        "Each under its own name.",
    ),
    Contradiction(
        "section 2.2.3, eq. 2",
        "Spatial attention multiplies F.",
        "In the text it multiplies F′, the output of channel attention.",
        "F′, as in CBAM.",
    ),
    Contradiction(
        "section 2.2.3, eq. 3",
        "The two pooled vectors are concatenated.",
        "Eq. 3 adds them and omits the ReLU between the two layers.",
        "Added, with the ReLU, as in CBAM.",
    ),
    Contradiction(
        "section 2.3, eq. 5",
        "The loss is one product.",
        "It is defined over n classes, but the sum is missing.",
        "The sum over classes.",
    ),
    Contradiction(
        "Fig 8",
        "The maps show Unbarred Loose Spirals, the class with the highest F1.",
        "That is class 7 in the data set's order; in alphabetical order, which the sibling paper "
        "uses, class 7 is Round Smooth. This is a guess: the paper has no table of classes.",
        "Classes by name, and the one with the highest measured F1.",
    ),
    Contradiction(
        "section 3, on Fig 7",
        "Round Smooth galaxies are hard to recognise.",
        "The same sentence is in cheng, where the table says the opposite.",
        "The measured matrix.",
    ),
)

READINGS = (
    Reading(
        "Learning rate",
        "1e-3",
        'With Adam, "over 0.01" destroys pretrained weights; the decay of 0.001 per step is kept.',
        option="adam-0.01",
    ),
    Reading(
        "Order of the classes",
        "the data set's own; classes are always named",
        "Classification reports number classes alphabetically, as folders are read.",
        option="alphabetical",
    ),
    Reading("Reduction ratio of CBAM", "16", "As in Woo et al.; 8 fits the count almost as well."),
    Reading("From the last map to the head", "mean over the map", "Not stated."),
    Reading("Split", "that of cheng", "Not stated; the two pipelines agree in many points."),
    Reading("Weight of the L2 penalty", "0.01 on the hidden layer", "Keras' default."),
    Reading(
        "Shear and zoom of 30 %",
        "±17°, and 0.7 to 1.3 on each axis",
        "0.3 rad; Keras would take 0.3 as degrees.",
    ),
    Reading(
        "Scaling of grey levels", "as the pretrained weights expect", "It is easy to scale twice in Keras."
    ),
    Reading(
        "Progressive learning",
        "not used",
        "Announced but not described; the option has four sizes, with dropout and augmentation that "
        "grow with them, as in Tan & Le (2021).",
        option="progressive",
    ),
    Reading(
        "Mixup, CutMix and RandAugment of the future work",
        "alpha 0.2 and 1; two operations of magnitude 9",
        "The usual values of Zhang et al. (2018), Yun et al. (2019) and torchvision; the paper only "
        "names the methods.",
    ),
)
DEVIATIONS = (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    WEIGHTS,
    Deviation(
        "Initial learning rate",
        "Over 0.01.",
        "1e-3.",
        "See the reading above; the literal value is an option.",
        option="adam-0.01",
    ),
    Deviation(
        "Table 1",
        "ImageNet numbers, rounded.",
        "EfficientNetV2-S with 0, 3, 4, 5 or 6 of six stages fused, trained on galaxies from random weights.",
        "The question matters for the study's own data. Three fused stages are the standard network.",
    ),
)
REFERENCES = (
    Reference(
        "ResNet-50 of Cheng, test",
        "accuracy",
        share(78.88),
        "Cheng's Table 2",
        "the same data; in training 90.9 % here and 91.82 % there",
    ),
)

PUBLISHED = Published(
    paper=PAPER,
    rows=ROWS,
    tables=(TABLE_1, TABLE_2, PARAMETERS),
    claims=CLAIMS,
    contradictions=CONTRADICTIONS,
    readings=READINGS,
    deviations=DEVIATIONS,
    references=REFERENCES,
)


_STUDY = "studies/yan/study.py: "
_PAGE = "studies/sections.py: "

ELEMENTS = (
    Element("Table 1", "cost and benefit of fused stages", _STUDY + "fused", "Table 1"),
    Element("Table 2", "accuracy and parameters of five networks", "studies/common.py: add_comparison"),
    Element("Fig 1", "a galaxy of each class", "report/sections.py: add_data"),
    Element("Fig 2", "the network", _PAGE + "add_diagram"),
    Element("Fig 3", "MBConv and Fused-MBConv", _PAGE + "add_unit"),
    Element("Fig 4", "augmented galaxies", "report/sections.py: add_data", "Geometry of the augmentation"),
    Element("Fig 5", "loss and accuracy of the improved network against the epoch", _PAGE + "curves_of"),
    Element("Fig 6", "accuracy of five networks against the epoch", "studies/common.py: add_training"),
    Element("Fig 7", "confusion matrix", _PAGE + "confusion"),
    Element("Fig 8", "saliency and Grad-CAM of nine galaxies", _PAGE + "add_best_maps"),
    Element("equations 1 to 4", "CBAM", "models/attention.py: attention", "Reduction ratio of CBAM"),
    Element("equation 5", "categorical cross-entropy", "labels/classes.py: Classes"),
    Element("section 3", "validation accuracy 84.5 %, losses, precision 87 %", "studies/yan/paper.py: ROWS"),
    Element("data", "Galaxy10 DECaLS", "data/sources/galaxy10.py: ingest_galaxy10"),
    Element("split", "not said", "data/splits/split.py: SPLITS", "Split"),
    Element("image", "224 px, rescaled", _STUDY + "_base", "Scaling of grey levels"),
    Element(
        "augmentation", "20°, shear and zoom 30 %, both flips", _STUDY + "_base", "Shear and zoom of 30 %"
    ),
    Element("improved network by the text", "CBAM, hidden layer of 4096", _STUDY + "cbam"),
    Element("improved network by its count", "20.6 million parameters", _STUDY + "cbam_published"),
    Element("pooling", "not said", "models/backbone.py: Backbone", "From the last map to the head"),
    Element("L2, dropout", "on the hidden layer, 0.4", "models/network.py: head", "Weight of the L2 penalty"),
    Element("learning rate", "over 0.01", _STUDY + "LITERAL", "Initial learning rate"),
    Element("optimiser", "Adam", _STUDY + "_base", "Learning rate"),
    Element("schedule", "Keras' time decay of 0.001", "training/optimisation.py: schedule"),
    Element("epochs, batch", "50, 64", _STUDY + "_base"),
    Element("early stopping", "patience 4", "training/callbacks.py: Epochs"),
    Element("logs", "TensorBoard", "training/fit.py: fit"),
    Element("start", "ImageNet weights", "models/pretrained.py: load_start", "Starting weights"),
    Element(
        "progressive learning", "size and regularisation grow", _STUDY + "LITERAL", "Progressive learning"
    ),
    Element(
        "section 3, future work",
        "Mixup, CutMix, RandAugment",
        _STUDY + "advanced_augmentation",
        "Mixup, CutMix and RandAugment of the future work",
    ),
    Element("section 3, future work", "GAM, BAM, ECA", _STUDY + "other_attention"),
    Element("large data", "images are read batch by batch", "data/store.py: open_store"),
    Element("class numbers", "by the alphabet", _STUDY + "LITERAL", "Order of the classes"),
    Element("framework", "Keras", "training/task.py: GalaxyTask", "Framework"),
    Element("precision", "single", "models/precision.py: training_type", "Precision"),
    Element("repetition", "one run", "studies/study.py: Options", "Repetition"),
)
