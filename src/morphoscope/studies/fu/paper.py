"""What `fu` publishes: DenseNet-121 with 0 to 100 % of its ImageNet weights on Galaxy10 DECaLS."""

from __future__ import annotations

from morphoscope.studies.claims import Claim, Every, LargerGap, Number, above, at_least, highest, lowest
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
)

PAPER = Paper(
    key="fu",
    authors=("Xueying Fu",),
    title="Transferability exploration of weight based on ImageNet for galaxy classification",
    data_set="Galaxy10 DECaLS, 256 px, three colours",
    galaxies=17736,
    outputs=10,
)

PERCENT = (0, 20, 40, 60, 80, 100)
IMAGENET_EVERYWHERE = "rest-imagenet"  # with it, 0 % is full fine-tuning, not "no ImageNet weights"
TABLE_1 = Table(
    name="Table 1",
    about="DenseNet-121 by percentage of ImageNet weights",
    columns=("percent", "train loss", "train accuracy", "test loss", "test accuracy"),
    rows=(
        (0, 0.62, 0.78, 0.91, 0.65),
        (20, 0.36, 0.87, 0.60, 0.79),
        (40, 0.42, 0.85, 0.68, 0.73),
        (60, 0.41, 0.85, 0.66, 0.76),
        (80, 0.63, 0.77, 0.87, 0.67),
        (100, 1.22, 0.56, 1.26, 0.48),
    ),
    remark="A single run each.",
)
GRADCAM = Table(
    name="Table 2",
    about="what the text says of the Grad-CAM maps",
    columns=("percent", "rank", "words"),
    rows=(
        (0, None, "no map: the gradients vanish"),
        (20, 1, "on the galaxy and the size of it"),
        (40, 1, "on the galaxy, much as at 20 %"),
        (60, 2, "slightly off the galaxy"),
        (80, 3, "on the galaxy, but far too wide"),
        (100, 4, "often off the galaxy"),
    ),
    remark="The ranks are ours, from the wording: 1 is best, equal ranks are not distinguished.",
)
FROZEN_LAYERS = Table(
    name="Frozen layers",
    about="how many of Keras' 427 layers are frozen, and the trainable parameters that remain, head included",
    columns=("percent", "layers", "trainable"),
    rows=(
        (0, 0, 6_964_106),
        (20, 85, 6_312_714),
        (40, 170, 5_227_146),
        (60, 256, 3_809_034),
        (80, 341, 1_730_698),
        (100, 427, 10_250),
    ),
    remark="Not in the paper, which does not say what is counted.",
)

ROWS = tuple(
    PublishedRow(
        key=f"fu/densenet121-{percent}",
        label=f"{percent} %",
        metrics={
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "test_loss": test_loss,
            "accuracy": accuracy,
            "epochs": 10,
        },
        where="Table 1; section 2.3",
    )
    for percent, train_loss, train_accuracy, test_loss, accuracy in TABLE_1.rows
)


def ranking(accuracies: dict[int, float]) -> tuple[int, ...]:
    """Percentages from highest to lowest accuracy; in a tie the smaller percentage comes first."""
    return tuple(sorted(accuracies, key=lambda percent: (-accuracies[percent], percent)))


def claims_of(network: str, asked_of: str = "") -> tuple[Claim, ...]:
    """The paper's claims about Table 1, tested on the rows ``fu/NETWORK-0`` to ``-100``."""
    row = {percent: f"fu/{network}-{percent}" for percent in PERCENT}
    every = tuple(row.values())
    where = "abstract; Table 1; section 3.1"
    return (
        Claim(
            "20 % is the best of all.", "abstract; section 3.1", highest("accuracy", row[20], every), asked_of
        ),
        Claim(
            "100 % is the worst of all.",
            "Table 1; section 3.2",
            lowest("accuracy", row[100], every),
            asked_of,
        ),
        Claim(
            "No ImageNet weights at all is worse than 20, 40 and 60 %.",
            where,
            Every(tuple(above("accuracy", row[percent], row[0]) for percent in (20, 40, 60))),
            asked_of,
            void_with=IMAGENET_EVERYWHERE,
        ),
        Claim("60 % is better than 40 %.", "Table 1", above("accuracy", row[60], row[40]), asked_of),
        Claim(
            "80 % falls behind 60 % but stays ahead of no ImageNet weights at all.",
            "Table 1",
            Every((above("accuracy", row[60], row[80]), above("accuracy", row[80], row[0]))),
            asked_of,
            void_with=IMAGENET_EVERYWHERE,
        ),
        Claim(
            "Grad-CAM finds the galaxy best at 20 and 40 %, worse at 60, 80 and 100 %.",
            "section 3.2, Table 2 (measured here as the fraction of the map's energy on the galaxy)",
            Every(
                tuple(above("on_galaxy", row[best], row[rest]) for best in (20, 40) for rest in (60, 80, 100))
            ),
            asked_of,
        ),
        Claim(
            "With 0 % the gradients vanish, and there is no Grad-CAM map.",
            "section 3.2, Table 2 (measured here as most maps being zero everywhere)",
            at_least("dead_maps", (row[0],), 0.5),
            asked_of,
            void_with=IMAGENET_EVERYWHERE,
        ),
        Claim(
            "Early layers carry simple features, late ones features of ImageNet's objects.",
            "section 3.2 (measured here as freezing the last fifth costing more accuracy than the second)",
            LargerGap(
                (Number(row[80], "accuracy"), Number(row[100], "accuracy")),
                (Number(row[20], "accuracy"), Number(row[40], "accuracy")),
            ),
            asked_of,
        ),
    )


CLAIMS = (
    *claims_of("densenet121"),
    *claims_of("efficientnet-lite0", asked_of="EfficientNet-Lite0"),
)

CONTRADICTIONS = (
    Contradiction(
        "abstract; section 2.2",
        "Using 20 % of ImageNet's data is best.",
        "The percentage refers to weights; all the data are always used.",
        "Weights.",
    ),
    Contradiction(
        "Table 1; section 3.2",
        "Judged by the maps, 40 % is as good as 20 % and better than 60 %.",
        "Judged by accuracy, 60 % (0.76) is better than 40 % (0.73).",
        "Both rankings are shown. With a single run each, the order of 40 and 60 % means little.",
    ),
    Contradiction(
        "section 3.2; Table 1",
        "With 0 % the gradients vanish.",
        "That network did learn: 0.65 in testing, 0.78 in training.",
        "A map without positive values is reported as such; training is judged by its scores.",
    ),
    Contradiction(
        "section 3.2; section 2.2",
        "Using all ImageNet weights is unreasonable.",
        "The experiment varies which layers are frozen. Starting from all ImageNet weights with "
        "every layer trainable was not tried.",
        "Freezing and transfer are kept apart: rest-imagenet starts all layers from ImageNet weights.",
    ),
    Contradiction(
        "section 2.2",
        "DenseNet was designed for galaxies.",
        "It was designed for everyday images such as ImageNet's.",
        "None needed.",
    ),
    Contradiction(
        "section 1; Table 1",
        "20 % gives the best result, 79 %.",
        "The introduction quotes 89 % for a fine-tuned DenseNet-121 on the same galaxies.",
        "The quoted number is shown next to the table.",
    ),
)

READINGS = (
    Reading(
        "k percent",
        "the first k % of the layers keep their ImageNet weights and are frozen",
        "100 % has the lowest training accuracy (0.56), as a frozen network would; and a small "
        "percentage is said to carry simple features, as early layers do.",
    ),
    Reading(
        "Start of the other layers",
        "random",
        "With ImageNet weights everywhere, 0 % would be full fine-tuning, which is unlikely to be "
        "far worse than 20 %.",
        option=IMAGENET_EVERYWHERE,
    ),
    Reading(
        "What is counted",
        "Keras' 427 layers, rounded down",
        "Counted by parameters, the same percentages would end at other layers.",
    ),
    Reading("Frozen batch normalisation", "uses ImageNet's means", "As frozen layers in Keras do."),
    Reading("Image size", "256 px", "The data set's own size; none is stated."),
    Reading("Split", "a fifth of each class for testing, no validation"),
    Reading("Batch", "32", "Keras' default."),
    Reading(
        "Ranges of the augmentation",
        "turn ±90°, shift 10 %, up to 20 grey levels, the same on all channels (as Keras does), no flips",
        "Flips are mentioned only as something the tool can do.",
    ),
)
DEVIATIONS = (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    WEIGHTS,
    Deviation(
        "Oversampling",
        "Rare classes are repeated; the paper does not say whether before or after the split.",
        "After the split, training galaxies only.",
        "Before the split, copies of one galaxy could be in both training and test.",
    ),
)
REFERENCES = (
    Reference(
        "DenseNet-121, fine-tuned (Hui et al. 2022)", "accuracy", 0.89, "section 1", "quoted, same data set"
    ),
    Reference(
        "EfficientNetV2-S (Hui et al. 2022)",
        "accuracy",
        0.8657,
        "section 1",
        "quoted as 2.43 points lower, at twice the time",
    ),
)

PUBLISHED = Published(
    paper=PAPER,
    rows=ROWS,
    tables=(TABLE_1, GRADCAM, FROZEN_LAYERS),
    claims=CLAIMS,
    contradictions=CONTRADICTIONS,
    readings=READINGS,
    deviations=DEVIATIONS,
    references=REFERENCES,
)


_STUDY = "studies/fu/study.py: "
_PAGE = "studies/sections.py: "

ELEMENTS = (
    Element("Table 1", "loss and accuracy by fraction of frozen layers", _STUDY + "_add_sweep"),
    Element("Table 2", "image, Grad-CAM and overlay by fraction", _PAGE + "add_frozen_maps"),
    Element("Table 2, in words", "ranking of the fractions by their maps", _STUDY + "_add_rankings"),
    Element("Fig 1", "a galaxy of each class", "report/sections.py: add_data"),
    Element("Fig 2", "rare classes are repeated", _STUDY + "_add_balance", "Oversampling"),
    Element("Fig 3", "dense connections", _PAGE + "add_unit"),
    Element(
        "section 1",
        "89 % for a fine-tuned DenseNet-121, 2.43 less for EfficientNetV2-S",
        "studies/fu/paper.py: REFERENCES",
    ),
    Element("data", "Galaxy10 DECaLS", "data/sources/galaxy10.py: ingest_galaxy10"),
    Element("split", "not said", "data/splits/split.py: SPLITS", "Split"),
    Element("image size", "not said", _STUDY + "densenet121", "Image size"),
    Element(
        "augmentation", "colour shift, shifts, turns", _STUDY + "densenet121", "Ranges of the augmentation"
    ),
    Element(
        "geometry",
        "several steps, each of which resamples",
        "augment/cpu.py: matrices",
        "Geometry of the augmentation",
    ),
    Element("DenseNet-121", "7,047,754 parameters", _STUDY + "densenet121"),
    Element("k percent", "0, 20, 40, 60, 80, 100", "models/pretrained.py: frozen_layers", "k percent"),
    Element("what is counted", "layers", "models/pretrained.py: frozen_layers", "What is counted"),
    Element(
        "the other layers", "not said", "models/pretrained.py: reinitialise_rest", "Start of the other layers"
    ),
    Element(
        "frozen layers", "keep their statistics", "models/network.py: Network", "Frozen batch normalisation"
    ),
    Element("dead maps", '"gradient diffusion"', "report/figures/maps.py: dead_words"),
    Element("loss", "categorical cross-entropy", "labels/classes.py: Classes"),
    Element("optimiser, epochs", "Adam, 5e-4, constant; 10", _STUDY + "densenet121"),
    Element("batch", "not said", _STUDY + "densenet121", "Batch"),
    Element("start", "ImageNet weights", "models/pretrained.py: load_start", "Starting weights"),
    Element("framework", "Keras", "training/task.py: GalaxyTask", "Framework"),
    Element("precision", "single", "models/precision.py: training_type", "Precision"),
    Element("repetition", "one run", "studies/study.py: Options", "Repetition"),
)
