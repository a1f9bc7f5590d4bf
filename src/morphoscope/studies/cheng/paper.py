"""What `cheng` publishes: VGG16 and four ResNets on Galaxy10 DECaLS."""

from __future__ import annotations

from morphoscope.labels.galaxy10 import ALPHABETICAL
from morphoscope.studies.claims import (
    Above,
    Claim,
    Every,
    LargerStep,
    Number,
    above,
    at_least,
    class_metric,
    highest,
    on_the_galaxy,
    rising,
)
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
    Table,
    macro_average,
    share,
    weighted_average,
)

PAPER = Paper(
    key="cheng",
    authors=("Wenzheng Cheng",),
    title="Application and analysis of residual blocks in galaxy classification",
    data_set="Galaxy10 DECaLS, 256 px, three colours",
    galaxies=17736,
    outputs=10,
    hardware="one A100 with 40 GB; 5.8 GB of memory and 15.6 GB on the GPU in use",
)

TABLE_1 = Table(
    name="Table 1",
    about="residual units of each stage, row by row as printed",
    columns=("row", "output", "width", "18", "50", "101", "152"),
    rows=(
        ("Conv3_x", 28, 64, 2, 3, 3, 3),
        ("Conv3_x, second line", 28, 128, 2, 4, 4, 8),
        ("Conv4_x", 14, 256, 2, 6, 23, 36),
        ("Conv5_x", 7, 512, 2, 3, 3, 3),
    ),
    remark="The units of width 64 belong in Conv2_x, at 56 px, where the table lists only the pooling.",
)
TABLE_2 = Table(
    name="Table 2",
    about="accuracy of five networks, percent",
    columns=("key", "model", "residual blocks", "train", "test", "improvement"),
    rows=(
        ("cheng/vgg16", "VGG16", 0, 72.21, 59.66, 0.0),
        ("cheng/resnet18", "ResNet18", 8, 88.73, 78.51, 31.60),
        ("cheng/resnet50", "ResNet50", 16, 91.82, 78.88, 32.22),
        ("cheng/resnet101", "ResNet101", 33, 93.27, 79.99, 34.08),
        ("cheng/resnet152", "ResNet152", 50, 93.74, 80.61, 35.12),
    ),
    remark="The improvement is relative to VGG16's accuracy; in points it is 18.85 to 20.95.",
)
TABLE_3 = Table(
    name="Table 3",
    about="ResNet-152 on the test galaxies, class by class",
    columns=("class", "precision", "recall", "f1", "support"),
    rows=(
        (0, 0.80, 0.81, 0.80, 405),
        (1, 0.80, 0.85, 0.82, 66),
        (2, 0.49, 0.61, 0.54, 213),
        (3, 0.87, 0.91, 0.89, 371),
        (4, 0.92, 0.86, 0.89, 282),
        (5, 0.94, 0.83, 0.88, 401),
        (6, 0.93, 0.88, 0.91, 367),
        (7, 0.88, 0.93, 0.91, 524),
        (8, 0.67, 0.63, 0.65, 521),
        (9, 0.71, 0.72, 0.71, 363),
    ),
    remark=(
        "Classes are numbered alphabetically: the supports are a fifth of each class only in that order, "
        "not in the data set's own."
    ),
)
PARAMETERS = Table(
    name="Parameter counts",
    about="the two printed parameter counts and the layouts that give them, counted as Keras does",
    columns=("network", "layout", "parameters", "printed"),
    rows=(
        ("VGG16", "224 px, flattened 7 × 7 × 512, 512-128-10", 27_627_210, 27_627_210),
        ("VGG16", "mean of the last map, 512-128-10", 15_044_298, None),
        ("ResNet-18", "mean of the last map, one layer to 10", 11_196_042, 11_196_042),
        ("ResNet-18", "mean of the last map, 512-128-10 (the head in the text)", 11_520_522, None),
    ),
)

CLASS_NAMES = tuple(ALPHABETICAL[index] for index in TABLE_3.column("class"))


def class_report() -> dict[str, float]:
    """Table 3 as metrics of ResNet-152: each class under its own name, and the plain means over classes."""
    scores = ("precision", "recall", "f1")
    report = {
        class_metric(score, name): value
        for score in scores
        for name, value in zip(CLASS_NAMES, TABLE_3.column(score), strict=True)
    }
    supports = TABLE_3.column("support")
    report |= {class_metric("support", name): n for name, n in zip(CLASS_NAMES, supports, strict=True)}
    report |= {f"macro_{score}": macro_average(TABLE_3.column(score)) for score in scores}
    return report | {
        f"weighted_{score}": weighted_average(TABLE_3.column(score), supports) for score in scores
    }


_COUNTS = {"cheng/vgg16": 27_627_210, "cheng/resnet18": 11_196_042}
_TWO_LAYOUTS = "One row of the paper, two layouts: the printed count has no hidden layer, the text has two."


def _row(cells: tuple) -> PublishedRow:
    key, model, _, train, test, _ = cells
    epochs = 21 if key == "cheng/vgg16" else 50
    metrics: dict[str, float] = {"train_accuracy": share(train), "accuracy": share(test), "epochs": epochs}
    if key in _COUNTS:
        metrics["parameters"] = _COUNTS[key]
    report = class_report() if key == "cheng/resnet152" else {}
    return PublishedRow(
        key=key,
        label=model,
        metrics=metrics | report,
        where="Table 2, Table 3; section 2.4" if report else "Table 2; section 2.4",
        remark=_TWO_LAYOUTS if key == "cheng/resnet18" else "",
        derived=tuple(name for name in report if name.startswith(("macro_", "weighted_"))),
    )


_ROWS = tuple(_row(cells) for cells in TABLE_2.rows)
ROWS = (
    *_ROWS,
    PublishedRow(
        key="cheng/resnet18-published",
        label="ResNet18",
        metrics=_ROWS[1].metrics,
        where="Table 2; section 2.4",
        remark=_TWO_LAYOUTS,
        same_row_as="cheng/resnet18",
    ),
)

_DEPTHS = (18, 50, 101, 152)
_RESNETS = tuple(f"cheng/resnet{depth}" for depth in _DEPTHS)
CLAIMS = (
    Claim(
        "More residual blocks, higher test accuracy: 18 < 50 < 101 < 152 layers.",
        "abstract; Table 2; section 3",
        rising("accuracy", _RESNETS),
    ),
    Claim(
        "Residual blocks improve on VGG16's accuracy by more than 30 % (relative) in every ResNet.",
        "abstract; Table 2",
        Every(tuple(above("accuracy", row, "cheng/vgg16", factor=1.3) for row in _RESNETS)),
    ),
    Claim(
        "The number of blocks matters little: going from 18 to 152 layers gains less than going from "
        "VGG16 to 18.",
        "abstract; section 4",
        LargerStep(*(Number(f"cheng/{name}", "accuracy") for name in ("vgg16", "resnet18", "resnet152"))),
    ),
    Claim(
        "More residual blocks need more parameters and more training time.",
        "section 3 (no time is given)",
        Every((rising("parameters", _RESNETS), rising("seconds_per_epoch", _RESNETS))),
    ),
    Claim(
        "ResNet-152 has the highest accuracy on the training galaxies as well.",
        "section 3; Table 2",
        highest("train_accuracy", "cheng/resnet152", ("cheng/vgg16", *_RESNETS)),
    ),
    Claim(
        "The other ResNets exceed 90 % on the training galaxies.",
        "section 3",
        at_least("train_accuracy", _RESNETS[:-1], 0.90),
    ),
    Claim(
        "Residual blocks cure the degradation caused by depth: shortcuts help at every depth.",
        "abstract; section 3 (the paper has no plain network of equal depth)",
        Every(tuple(above("accuracy", f"cheng/resnet{d}-scratch", f"cheng/plain{d}") for d in _DEPTHS)),
        asked_of="plain and residual networks of equal depth, both from random weights",
    ),
    Claim(
        "Deep networks without shortcuts degrade: 152 plain layers do worse than 18.",
        "abstract; section 1",
        above("accuracy", "cheng/plain18", "cheng/plain152"),
        asked_of="plain networks, from random weights",
    ),
    Claim(
        "Round Smooth galaxies are hard to recognise: their recall is below the mean over classes.",
        "section 3, on Fig 7",
        Above(
            Number("cheng/resnet152", "macro_recall"),
            Number("cheng/resnet152", class_metric("recall", "Round Smooth")),
        ),
    ),
    Claim(
        "Class 7 of Table 3, Round Smooth, has the highest F1.",
        "section 3; Table 3",
        Every(
            tuple(
                Above(
                    Number("cheng/resnet152", class_metric("f1", "Round Smooth")),
                    Number("cheng/resnet152", class_metric("f1", name)),
                    or_equal=True,
                )
                for name in CLASS_NAMES
                if name != "Round Smooth"
            )
        ),
    ),
    Claim(
        "The weighted means over classes exceed 80 %.",
        "section 3, Table 3",
        Every(
            tuple(
                at_least(f"weighted_{score}", ("cheng/resnet152",), 0.80)
                for score in ("precision", "recall", "f1")
            )
        ),
    ),
    Claim(
        "ResNets end with a higher loss than VGG16 although they are more accurate.",
        "section 3, Fig 6 (measured here as the validation loss without its L2 term)",
        Every(
            tuple(
                above(metric, row, "cheng/vgg16")
                for row in _RESNETS
                for metric in ("validation_loss", "accuracy")
            )
        ),
    ),
    Claim(
        "The network looks at the centre of a galaxy and its surroundings.",
        "section 3, Figs 8 and 9 (measured here as Grad-CAM lying on the galaxy more than chance)",
        on_the_galaxy("cheng/resnet152"),
    ),
    Claim(
        "Stacking residual blocks draws attention to the bright centre.",
        "abstract (here: more of Grad-CAM lies on the galaxy with 152 layers than with 18)",
        above("on_galaxy", "cheng/resnet152", "cheng/resnet18"),
    ),
)

CONTRADICTIONS = (
    Contradiction(
        "sections 1 and 2.3; Table 2",
        "ResNet-101 is the best network, and the one whose maps are shown.",
        "In the abstract, the results and Table 2, ResNet-152 is the best.",
        "The network with the highest test accuracy; by the paper's numbers that is ResNet-152.",
    ),
    Contradiction(
        "section 3; Table 3",
        "Round Smooth galaxies are hard to recognise.",
        "Judging by the supports, class 7 is Round Smooth, which has the best recall (0.93) and F1 "
        "(0.91); the worst are Disturbed (F1 0.54) and Unbarred Loose Spiral (0.65). Index 2 is "
        "Round Smooth only in the data set's own order, which Table 3 does not use.",
        "Rows of Table 3 are named in alphabetical order; classes are never matched by number.",
    ),
    Contradiction(
        "section 3; Table 3",
        "Class 7 has the highest F1.",
        "Class 6 also has 0.91.",
        "The highest unrounded F1; in a tie, the class with more galaxies.",
    ),
    Contradiction(
        "section 2.2.2; Table 1",
        "ResNet-18 has 11,196,042 parameters, 17 convolutions and 3 fully connected layers.",
        "That is the count with a single layer to 10 classes; with the three layers of Table 1 it is "
        "11,520,522. The 17 omit three convolutions in shortcuts.",
        "Both layouts are rows: resnet18-published follows the count, resnet18 the text.",
    ),
    Contradiction(
        "section 2.2.2",
        "The ResNets get the same fully connected layers as VGG16.",
        "The text also says that global pooling replaces the fully connected layers.",
        "Pooling, then 512-128-10, as Table 1 has it.",
    ),
    Contradiction(
        "section 2.2.2",
        "VGG16 and ResNet-18 are alike in parameters and layers, so only the shortcuts differ.",
        "They have 27.6 and 11.2 million parameters. Keras has no ImageNet weights for ResNet-18, so "
        "it was probably initialised differently too.",
        "Plain networks of equal depth and initialisation are added as rows.",
    ),
    Contradiction(
        "sections 2.1 and 2.3; Table 3",
        "The test set is a fifth of 17,736 galaxies, in 56 batches of 64.",
        "The supports of Table 3 add up to 3,513, which is 55 batches; a fifth is 3,547. All five "
        "accuracies are whole numbers of 3,513 galaxies, but not of 3,547 or 3,548. About 1 % of "
        "each class is missing; the paper does not say why.",
        "A fifth of each class, none missing.",
    ),
    Contradiction(
        "section 3; Table 2",
        "ResNet-152 reaches 93.75 % on the training galaxies, and all others exceed 90 %.",
        "Table 2 has 93.74 %, and 88.73 % for ResNet-18.",
        "Table 2.",
    ),
    Contradiction(
        "section 3",
        "ResNet-152 is small, with about 27 million trainable weights.",
        "27.6 million is VGG16's count; ResNet-152 with this head has 59 million.",
        "The counted number is used.",
    ),
    Contradiction(
        "section 2.4",
        "Training stops after 3 epochs without improvement, starts at epoch 3 to converge sooner, "
        "and lasts 50 epochs for every ResNet.",
        "Numbering the first epoch 3 merely skips three epochs, leaving 47; and with that patience "
        "it is unlikely that all four networks reach the last epoch.",
        "50 epochs at most, patience 3; the literal numbering is an option.",
    ),
    Contradiction(
        "section 1",
        "Three networks are built.",
        "Four are listed: ResNet-18, 50, 101 and 152.",
        "Four.",
    ),
    Contradiction(
        "section 2.2.2, Table 1",
        "The stage of width 64 works at 28 px, as does that of width 128.",
        "That leaves only the pooling at 56 px, where ResNets have the stage of width 64.",
        "ResNet as He et al. describe it.",
    ),
    Contradiction(
        "section 2.2.2, eq. 2",
        "The residual is two weight layers with a ReLU between them.",
        "That is the block of ResNet-18; 50, 101 and 152 have blocks of three convolutions.",
        "Two convolutions in ResNet-18, three in the others.",
    ),
    Contradiction(
        "section 3",
        "The ResNets' higher loss is due to gradient flow.",
        "No experiment shows it, and the loss holds an L2 term, which the accuracy does not.",
        "The L2 term is part of the training loss; the explanation is not repeated.",
    ),
)

READINGS = (
    Reading("Learning rate", "1e-3", "Adam's default; the paper gives only the decay of 1e-5 per step."),
    Reading("Weight of the L2 penalty", "0.01 on the hidden layers", "Keras' default."),
    Reading(
        "Ranges of the augmentation",
        "turn ±20°, shear ±17°, zoom 0.7 to 1.3 on each axis, both flips",
        "As in yan, which has the same pipeline; its shear of 30 % is taken as 0.3 rad. In Keras a "
        "shear of 0.3 is 0.3 degrees, which is next to nothing.",
    ),
    Reading("Start of the ResNets", "ImageNet weights, all layers trainable", "Stated for VGG16 only."),
    Reading("Image size", "224 px", "Of 224 and 256 px only 224 gives VGG16's count, and it fits Table 1."),
    Reading(
        "Place of the two dropouts", "after 512 and after 128", "There are two gaps between three layers."
    ),
    Reading("Split", "a fifth of each class for testing and a fifth of the rest for validation, by seed"),
    Reading(
        "Order of the classes",
        "the data set's own; classes are always named",
        "Classification reports number classes alphabetically, as folders are read.",
        option="alphabetical",
    ),
    Reading(
        "First epoch 3",
        "not used",
        "It skips three epochs and changes nothing else.",
        option="initial-epoch",
    ),
)
DEVIATIONS = (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    WEIGHTS,
    Deviation(
        "Test galaxies",
        "3,513, according to the supports of Table 3.",
        "3,547, a fifth of each class.",
        "There is no way to know which 34 are missing.",
    ),
)

PUBLISHED = Published(
    paper=PAPER,
    rows=ROWS,
    tables=(TABLE_1, TABLE_2, TABLE_3, PARAMETERS),
    claims=CLAIMS,
    contradictions=CONTRADICTIONS,
    readings=READINGS,
    deviations=DEVIATIONS,
)


_PAPER = "studies/cheng/paper.py: "
_STUDY = "studies/cheng/study.py: "
_PAGE = "studies/sections.py: "

ELEMENTS = (
    Element("Table 1", "structure of the four ResNets", _PAGE + "add_structure"),
    Element("Table 2", "accuracy of five networks, relative improvement", _STUDY + "_sections"),
    Element("Table 3", "precision, recall, F1 and support of each class", _PAGE + "class_report"),
    Element("Fig 1", "a galaxy of each class", "report/sections.py: add_data"),
    Element(
        "Fig 2",
        ("preprocessing, from image to network input"),
        _PAGE + "add_strip",
        "Geometry of the augmentation",
    ),
    Element("Fig 3", "VGG16", _PAGE + "add_diagram"),
    Element("Fig 4", "the residual unit", _PAGE + "add_unit"),
    Element("Fig 5", "ResNet-18", _PAGE + "add_diagram"),
    Element(
        "Fig 6", "loss and accuracy of all networks against the epoch", "studies/common.py: add_training"
    ),
    Element("Fig 7", "confusion matrix", _PAGE + "confusion"),
    Element("Fig 8", "saliency of nine galaxies of the class with the highest F1", _PAGE + "add_best_maps"),
    Element("Fig 9", "Grad-CAM of the same", _PAGE + "add_best_maps"),
    Element(
        "equations 1, 2", "the residual unit of two and of three convolutions", "models/residual.py: Units"
    ),
    Element("data", "Galaxy10 DECaLS", "data/sources/galaxy10.py: ingest_galaxy10"),
    Element(
        "class folders", "train and test as folders of classes", "data/export.py: export_folders", "Split"
    ),
    Element(
        "split", "0.8 / 0.2, of the rest a fifth for validation", "data/splits/split.py: SPLITS", "Split"
    ),
    Element("test galaxies", "3,513", _PAPER + "DEVIATIONS", "Test galaxies"),
    Element("image size", "224 px", _STUDY + "_base", "Image size"),
    Element("grey levels", "divided by 255", "models/build.py: build"),
    Element("augmentation", "turns, shear, zoom, both flips", _STUDY + "_base", "Ranges of the augmentation"),
    Element(
        "geometry",
        "several steps, each of which resamples",
        "augment/cpu.py: matrices",
        "Geometry of the augmentation",
    ),
    Element("VGG16", "27,627,210 parameters", _STUDY + "vgg16"),
    Element("ResNet-18 by its count", "11,196,042 parameters", _STUDY + "resnet18_published"),
    Element("ResNets by the text", "pooling, 512-128-10", _STUDY + "resnet"),
    Element("dropout", "0.5, twice", "models/network.py: head", "Place of the two dropouts"),
    Element("L2", "on the hidden layers", "models/network.py: Network", "Weight of the L2 penalty"),
    Element("loss", "categorical cross-entropy", "labels/classes.py: Classes"),
    Element("optimiser", "Adam", _STUDY + "_base", "Learning rate"),
    Element("schedule", "Keras' time decay of 1e-5", "training/optimisation.py: schedule"),
    Element("epochs", "50; VGG16 stopped after 21", _STUDY + "_base"),
    Element("first epoch", "3", _STUDY + "LITERAL", "First epoch 3"),
    Element("batch", "64", _STUDY + "_base"),
    Element("early stopping", "patience 3, best weights restored", "training/callbacks.py: Epochs"),
    Element("logs", "TensorBoard, history", "training/fit.py: fit"),
    Element("start", "ImageNet weights", "models/pretrained.py: load_start", "Start of the ResNets"),
    Element("Keras' weights", "of VGG16 and ResNets", "models/pretrained.py: load_start", "Starting weights"),
    Element("large data", "images are read batch by batch", "data/store.py: open_store"),
    Element("class numbers", "by the alphabet", _STUDY + "LITERAL", "Order of the classes"),
    Element("memory", "RAM and GPU memory in use", "studies/common.py: add_training"),
    Element("framework", "Keras", "training/task.py: GalaxyTask", "Framework"),
    Element("precision", "single", "models/precision.py: training_type", "Precision"),
    Element("repetition", "one run", "studies/study.py: Options", "Repetition"),
)
