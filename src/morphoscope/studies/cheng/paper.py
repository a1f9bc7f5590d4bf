"""`cheng`'s numbers and words: VGG16 and four ResNets on Galaxy10 DECaLS."""

from __future__ import annotations

from morphoscope.labels.galaxy10 import ALPHABETICAL
from morphoscope.studies.published import (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    WEIGHTS,
    Above,
    Claim,
    Contradiction,
    Deviation,
    Every,
    LargerStep,
    Number,
    Paper,
    Published,
    PublishedRow,
    Reading,
    Table,
    above,
    at_least,
    class_metric,
    highest,
    macro_average,
    on_the_galaxy,
    rising,
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
    about="residual units of each stage, as the table's rows stand",
    columns=("row", "output", "width", "18", "50", "101", "152"),
    rows=(
        ("Conv3_x", 28, 64, 2, 3, 3, 3),
        ("Conv3_x, second line", 28, 128, 2, 4, 4, 8),
        ("Conv4_x", 14, 256, 2, 6, 23, 36),
        ("Conv5_x", 7, 512, 2, 3, 3, 3),
    ),
    remark="The units of width 64 belong to Conv2_x, at 56 px, where the table has only the pooling.",
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
    remark="The classes are numbered by the alphabet: the supports are a fifth of these classes' galaxies, "
    "not of the data set's own order.",
)
PARAMETERS = Table(
    name="Parameter counts",
    about="the two printed counts beside the layouts that give them, as Keras counts",
    columns=("network", "layout", "parameters", "printed"),
    rows=(
        ("VGG16", "224 px, flattened 7 × 7 × 512, 512-128-10", 27_627_210, 27_627_210),
        ("VGG16", "mean of the last map, 512-128-10", 15_044_298, None),
        ("ResNet-18", "mean of the last map, one layer to 10", 11_196_042, 11_196_042),
        ("ResNet-18", "mean of the last map, 512-128-10 (the text's head)", 11_520_522, None),
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
_TWO_LAYOUTS = "One row of the paper, two layouts: the printed count fits no hidden layer, the text has two."


def _row(cells: tuple) -> PublishedRow:
    key, model, _, train, test, _ = cells
    metrics = {"train_accuracy": share(train), "accuracy": share(test)}
    if key in _COUNTS:
        metrics["parameters"] = _COUNTS[key]
    report = class_report() if key == "cheng/resnet152" else {}
    return PublishedRow(
        key=key,
        label=model,
        metrics=metrics | report,
        where="Table 2, Table 3" if report else "Table 2",
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
        where="Table 2",
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
        "Residual blocks raise the accuracy over VGG16 by more than 30 % of it, in every ResNet.",
        "abstract; Table 2",
        Every(tuple(above("accuracy", row, "cheng/vgg16", factor=1.3) for row in _RESNETS)),
    ),
    Claim(
        "How many blocks matters little: from 18 to 152 layers less is gained than from VGG16 to 18.",
        "abstract; section 4",
        LargerStep(*(Number(f"cheng/{name}", "accuracy") for name in ("vgg16", "resnet18", "resnet152"))),
    ),
    Claim(
        "ResNet-152 has the highest accuracy on the training galaxies as well.",
        "section 3; Table 2",
        highest("train_accuracy", "cheng/resnet152", ("cheng/vgg16", *_RESNETS)),
    ),
    Claim(
        "The other ResNets pass 90 % on the training galaxies.",
        "section 3",
        at_least("train_accuracy", _RESNETS[:-1], 0.90),
    ),
    Claim(
        "Residual blocks cure what depth alone breaks: with shortcuts better than without, at every depth.",
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
        "ResNets end with a higher loss than VGG16, though more accurate.",
        "section 3, Fig 6 (here the validation loss, without its L2 term)",
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
        "section 3, Figs 8 and 9 (here: Grad-CAM lies on the galaxy more than chance)",
        on_the_galaxy("cheng/resnet152"),
    ),
)

CONTRADICTIONS = (
    Contradiction(
        "sections 1 and 2.3; Table 2",
        "ResNet-101 is the best network and is the one looked into.",
        "Abstract, results and Table 2 have ResNet-152 as the best.",
        "The one with the highest test accuracy, which is ResNet-152 by the paper's numbers.",
    ),
    Contradiction(
        "section 3; Table 3",
        "Round Smooth galaxies are hard to recognise.",
        "By the supports, class 7 is Round Smooth, with the best recall (0.93) and F1 (0.91); the worst are "
        "Disturbed (F1 0.54) and Unbarred Loose Spiral (0.65). Index 2 means Round Smooth only in the data "
        "set's own order, which Table 3 does not use.",
        "Rows of Table 3 are named by the alphabet; classes are never matched by number.",
    ),
    Contradiction(
        "section 3; Table 3",
        "Class 7 has the highest F1.",
        "Class 6 has the same 0.91.",
        "The highest unrounded F1; of equals the class with more galaxies.",
    ),
    Contradiction(
        "section 2.2.2; Table 1",
        "ResNet-18 has 11,196,042 parameters, 17 convolutions and 3 fully connected layers.",
        "That count is the network with a single layer to 10; with the three layers of Table 1 it has "
        "11,520,522. The 17 leave out three convolutions in shortcuts.",
        "Both layouts are rows: resnet18-published by the count, resnet18 by the text.",
    ),
    Contradiction(
        "section 2.2.2",
        "The ResNets get the same fully connected layers as VGG16.",
        "Global pooling is also said to take the place of the fully connected layers.",
        "Pooling, then 512-128-10, as Table 1 has it.",
    ),
    Contradiction(
        "section 2.2.2",
        "VGG16 and ResNet-18 are alike in parameters and layers, so that only the shortcuts differ.",
        "27.6 against 11.2 million weights. Keras has no ImageNet weights for ResNet-18, so that its "
        "start probably differed too.",
        "Plain networks of equal depth and start are rows beside the paper's.",
    ),
    Contradiction(
        "sections 2.1 and 2.3; Table 3",
        "A fifth of 17,736 galaxies, in 56 batches of 64, is the test.",
        "The supports of Table 3 add up to 3,513, which are 55 batches; a fifth is 3,547. As whole numbers "
        "of galaxies all five accuracies fit 3,513, and not 3,547 or 3,548. About 1 % of each class is "
        "missing; the paper does not say why.",
        "A fifth of each class, none missing.",
    ),
    Contradiction(
        "section 3; Table 2",
        "ResNet-152 reaches 93.75 % on the training galaxies, all others over 90 %.",
        "Table 2: 93.74 % and, of ResNet-18, 88.73 %.",
        "Table 2.",
    ),
    Contradiction(
        "section 3",
        "ResNet-152 is small, with about 27 million trainable weights.",
        "27.6 million is VGG16; ResNet-152 with this head has 59 million.",
        "The counted number.",
    ),
    Contradiction(
        "section 2.4",
        "Training stops after 3 epochs without gain, begins at epoch 3 to converge sooner, and lasts 50 "
        "epochs for every ResNet.",
        "A first epoch numbered 3 only leaves out three epochs, 47 remain; and with that patience four "
        "networks would hardly all reach the last epoch.",
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
        "The stage of width 64 works at 28 px, together with that of width 128.",
        "Only the pooling is left at 56 px, where ResNets have the stage of width 64.",
        "ResNet as He et al. describe it.",
    ),
    Contradiction(
        "section 2.2.2, eq. 2",
        "The residual is two weights with a ReLU between.",
        "That is the block of ResNet-18; 50, 101 and 152 have blocks of three convolutions.",
        "Two convolutions in ResNet-18, three in the others.",
    ),
    Contradiction(
        "section 3",
        "The ResNets' higher loss comes from gradient flow.",
        "No experiment shows it, and the loss holds an L2 term, which the accuracy does not.",
        "The L2 term is trained with; the explanation is not repeated.",
    ),
)

READINGS = (
    Reading("Learning rate", "1e-3", "Adam's default; the paper gives only the decay of 1e-5 per step."),
    Reading("Weight of the L2 penalty", "0.01 on the hidden layers", "Keras' default."),
    Reading(
        "Ranges of the augmentation",
        "turn ±20°, shear ±17°, zoom 0.7 to 1.3 on each axis, both flips",
        "Those of `yan`, which has the same pipeline; its shear of 30 % is 0.3 rad. A Keras shear of 0.3 "
        "would be 0.3 degrees, next to nothing.",
    ),
    Reading("Start of the ResNets", "ImageNet weights, all layers learn", "Said of VGG16 only."),
    Reading("Image size", "224 px", "Of 224 and 256 px only 224 gives VGG16's count, and Table 1 fits it."),
    Reading(
        "Place of the two dropouts", "after 512 and after 128", "Between three layers there are two places."
    ),
    Reading("Split", "a fifth of each class for the test, of the rest a fifth for validation, by seed"),
    Reading(
        "Order of the classes",
        "the data set's own, always by name",
        "Reports number classes by the alphabet, as folders are read.",
        option="alphabetical",
    ),
    Reading(
        "First epoch 3",
        "not used",
        "It leaves out three epochs and changes nothing else.",
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
        "3,513 were tested, by the supports of Table 3.",
        "3,547, a fifth of each class.",
        "Which 34 are missing cannot be known.",
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
