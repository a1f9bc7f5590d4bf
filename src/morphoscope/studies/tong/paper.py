"""What `tong` publishes: ResNet-50 with and without attention, five classes of Galaxy Zoo 2."""

from __future__ import annotations

from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.studies.claims import Claim, Every, above, class_metric
from morphoscope.studies.published import (
    FRAMEWORK,
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
    Table,
    share,
)

PAPER = Paper(
    key="tong",
    authors=("Xiaoyu Tong", "Jie Shi", "Jiehao Chen", "Yuan Jiang"),
    title="Improved ResNet50 galaxy classification with multi-attention mechanism",
    data_set="Galaxy Zoo – The Galaxy Challenge (61,578 images of 424 px), five classes by thresholds",
    galaxies=28793,
    outputs=5,
    hardware="four Tesla V100 with 32 GB, Intel Gold 5218; TensorFlow 2.15",
)

TABLE_I = Table(
    name="Table I",
    about="minimum vote fractions of each class, and number of galaxies that reach them",
    columns=("class", "conditions", "galaxies"),
    rows=(
        (0, (("Class1.1", 0.469), ("Class7.1", 0.500)), 8436),
        (1, (("Class1.1", 0.469), ("Class7.2", 0.500)), 8069),
        (2, (("Class1.1", 0.469), ("Class7.3", 0.500)), 579),
        (3, (("Class1.2", 0.430), ("Class2.1", 0.602)), 3903),
        (4, (("Class1.2", 0.430), ("Class2.2", 0.715), ("Class4.1", 0.619)), 7806),
    ),
    remark=(
        "On the challenge's cumulative columns, 0.5 of Class7 implies 0.469 of Class1.1, which is "
        "therefore redundant."
    ),
)
TABLE_II = Table(
    name="Table II",
    about="galaxies in each split",
    columns=("class", "train", "test", "validation"),
    rows=(
        (0, 6748, 844, 844),
        (1, 6455, 807, 807),
        (2, 463, 58, 58),
        (3, 3122, 390, 391),
        (4, 6244, 781, 781),
    ),
    remark="Four fifths of each class, rounded down; half of the rest, rounded down, goes to the test set.",
)
TABLE_III = Table(
    name="Table III",
    about="residual units of each stage of ResNet-50",
    columns=("row", "output", "width", "units"),
    rows=(("Conv2_X", 56, 64, 3), ("Conv3_X", 28, 128, 4), ("Conv4_X", 14, 256, 6), ("Conv5_X", 7, 512, 3)),
    remark="The last row has 1000 outputs, as for ImageNet; the network has five.",
)
TABLE_IV = Table(
    name="Table IV",
    about="training of the two networks",
    columns=("key", "network", "parameters", "epochs", "learning rate", "batch"),
    rows=(
        ("tong/resnet50", "ResNet50", 38_203_269, 100, 0.01, 128),
        ("tong/cs-resnet50", "CS_ResNet50", 38_601_809, 100, 0.01, 128),
    ),
)
TABLE_V = Table(
    name="Table V",
    about="scores of the two networks, percent",
    columns=("key", "network", "accuracy", "precision", "recall", "f1"),
    rows=(
        ("tong/resnet50", "ResNet50", 88.61, 81.83, 77.84, 79.07),
        ("tong/cs-resnet50", "CS_ResNet50", 91.46, 89.08, 82.07, 84.21),
    ),
)
FIG_7 = Table(
    name="Fig 7",
    about="gain of CS_ResNet50 in the recall of each class, percentage points",
    columns=("class", "name", "gain"),
    rows=tuple(
        (index, name, gain)
        for (index, name), gain in zip(
            enumerate(FIVE_CLASS.classes), (2.400, 0.619, 12.069, 0.256, 6.274), strict=True
        )
    ),
    remark="In galaxies: 20, 5, 7, 1 and 49 more are correct, 82 in all, if the first gain is 2.370.",
)
PARAMETERS = Table(
    name="Parameter counts",
    about="the two printed parameter counts and the layouts that give them, counted as Keras does",
    columns=("network", "layout", "parameters", "printed"),
    rows=(
        ("ResNet50", "a convolution in all 16 shortcuts, biases", 38_203_269, 38_203_269),
        ("ResNet50", "a convolution in 4 shortcuts, as usual", 23_597_957, None),
        ("CS_ResNet50", "gate 4C → C/16 → C in each unit", 38_601_809, 38_601_809),
        ("CS_ResNet50", "CBAM on all 4C channels (the text)", 40_735_829, None),
    ),
)


_TWO_GATES = (
    "One row of the paper, two layouts: the printed count needs gates with C outputs for 4C "
    "channels, while the text describes CBAM on all of them."
)


def _row(cells: tuple) -> PublishedRow:
    key, network, accuracy, precision, recall, f1 = cells
    place = TABLE_IV.column("key").index(key)
    return PublishedRow(
        key=key,
        label=network,
        metrics={
            "accuracy": share(accuracy),
            "macro_precision": share(precision),
            "macro_recall": share(recall),
            "macro_f1": share(f1),
            "epochs": TABLE_IV.column("epochs")[place],
            "parameters": TABLE_IV.column("parameters")[place],
        },
        where="Tables IV and V",
        remark=_TWO_GATES if key == "tong/cs-resnet50" else "",
    )


_ROWS = tuple(_row(cells) for cells in TABLE_V.rows)
ROWS = (
    *_ROWS,
    PublishedRow(
        key="tong/cs-resnet50-text",
        label="CS_ResNet50",
        metrics=_ROWS[1].metrics,
        where="Tables IV and V",
        remark=_TWO_GATES,
        same_row_as="tong/cs-resnet50",
    ),
)

_SCORES = ("accuracy", "macro_precision", "macro_recall", "macro_f1")


def _better_in_all(network: str) -> Every:
    return Every(tuple(above(score, network, "tong/resnet50") for score in _SCORES))


CLAIMS = (
    Claim(
        "With attention ResNet-50 is better in accuracy, precision, recall and F1.",
        "abstract; Table V",
        _better_in_all("tong/cs-resnet50"),
    ),
    Claim(
        "With attention ResNet-50 is better in accuracy, precision, recall and F1.",
        "abstract; Table V",
        _better_in_all("tong/cs-resnet50-text"),
        asked_of="the attention as the text describes it",
    ),
    Claim(
        "Attention helps each of the five classes.",
        "section V.D, Fig 7; section VI",
        Every(
            tuple(
                above(class_metric("recall", name), "tong/cs-resnet50", "tong/resnet50")
                for name in FIVE_CLASS.classes
            )
        ),
    ),
)

CONTRADICTIONS = (
    Contradiction(
        "section V.B; Table V",
        "The two networks are compared on the validation galaxies.",
        "88.61 % and 91.46 % are 2,552 and 2,634 of the 2,880 test galaxies; 88.61 % is not a whole "
        "number of the 2,881 validation galaxies.",
        "The test galaxies.",
    ),
    Contradiction(
        "section V.D, Fig 7",
        "Circular galaxies gain 2.400 points.",
        "No whole number of 844 galaxies gives that; 20 give 2.370, and then the five gains add up "
        "to the 82 galaxies between the two accuracies.",
        "20 galaxies.",
    ),
    Contradiction(
        "Table V; Fig 7",
        "The recall rises by 4.23 points.",
        "The mean of the five gains in Fig 7 is 4.32 points with either value for circular galaxies.",
        "Both are printed; neither is changed.",
    ),
    Contradiction(
        "Table IV; sections II.A and IV.B",
        "Channel attention weights the channels of each unit and adds 398,540 parameters in all.",
        "That number requires gates that read 4C channels and output C, too few for the map they multiply.",
        "To match the count, each gate value is shared by four channels; CBAM on 4C channels is a "
        "separate row.",
    ),
    Contradiction(
        "Table IV; Table III, Fig 4",
        "The baseline is the standard ResNet-50.",
        "Its 38,203,269 parameters need a convolution in all 16 shortcuts; the standard network has "
        "4, and 23.6 million parameters.",
        "A convolution in all 16 shortcuts, in both networks.",
    ),
    Contradiction(
        "Table III; section IV.B",
        "The network has 1000 outputs.",
        "There are five classes, and the count fits five.",
        "Five.",
    ),
    Contradiction(
        "section I, reference 11; Fig 4",
        "For ResNet-50 the paper on pre-activation units is cited.",
        "Fig 4 and Table III show the original order, with the activation last.",
        "The original order.",
    ),
    Contradiction(
        "section II.B",
        "Two pooling operations give a map with one channel.",
        "Stacked, as in eq. 2, they give two, which a 7 × 7 convolution reduces to one.",
        "Two channels, reduced to one.",
    ),
    Contradiction(
        "section IV.B",
        "The first stage reduces the map to 56 px.",
        "The pooling before it has already done so.",
        "The standard strides.",
    ),
    Contradiction(
        "section V.B, eq. 3",
        "Accuracy includes true negatives.",
        "That is the formula for two classes.",
        "The fraction of galaxies classified correctly. Precision, recall and F1 are means over "
        "classes: the printed F1 is not the harmonic mean of the printed precision and recall.",
    ),
)

READINGS = (
    Reading(
        "Optimiser",
        "SGD with momentum 0.9",
        "It suits the learning rate of 0.01, and public code with this attention uses it.",
        option="adam-0.01",
    ),
    Reading("Loss", "categorical cross-entropy", "Not stated."),
    Reading("Learning rate over time", "constant", "No schedule is mentioned."),
    Reading(
        "Regularisation",
        "L2 penalty of 5e-4 on the weights (weight_decay 1e-3, since its gradient has a factor of 2)",
        '"A regularization technique" is not named; public code with this attention uses 5e-4.',
    ),
    Reading(
        "Start",
        "random weights",
        ("Pretrained weights are not mentioned, and none exist with 16 convolutions in shortcuts."),
    ),
    Reading(
        "Ranges of the augmentation",
        "any rotation, both flips, brightness and contrast ±15 %",
        "Rotation comes before the crop: 424 px leave room for the corners of 224 px.",
    ),
    Reading(
        "Standardisation",
        "mean and standard deviation of each channel over up to 2,000 training galaxies",
        "Mean-subtracted and scaled; the paper does not say over which pixels.",
    ),
    Reading(
        "Thresholds",
        "on the challenge's own columns",
        "The counts of the first four classes are reproduced; conditional fractions are an option of "
        "five_class_labels.",
    ),
    Reading("Weights that are tested", "those of the best validation epoch", "Not stated."),
)
DEVIATIONS = (
    FRAMEWORK,
    ONE_WARP,
    PRECISION,
    SEEDS,
    Deviation(
        "Galaxies",
        "28,793 of the challenge's 61,578 training images.",
        "Those of the store, with the same thresholds and the same splitting rule.",
        "A smaller store has fewer; the page gives the number.",
    ),
)

PUBLISHED = Published(
    paper=PAPER,
    rows=ROWS,
    tables=(TABLE_I, TABLE_II, TABLE_III, TABLE_IV, TABLE_V, FIG_7, PARAMETERS),
    claims=CLAIMS,
    contradictions=CONTRADICTIONS,
    readings=READINGS,
    deviations=DEVIATIONS,
)


_STUDY = "studies/tong/study.py: "
_PAGE = "studies/sections.py: "

ELEMENTS = (
    Element("Table I", "thresholds of the five classes and their galaxies", _STUDY + "_add_thresholds"),
    Element("Table II", "galaxies in each split", _PAGE + "published_table"),
    Element("Table III", "structure of ResNet-50", _PAGE + "add_structure"),
    Element("Table IV", "parameters, epochs, learning rate, batch", _PAGE + "published_table"),
    Element("Table V", "accuracy, precision, recall, F1 and their differences", _PAGE + "add_differences"),
    Element("Fig 1", "channel attention", _PAGE + "add_unit"),
    Element("Fig 2", "spatial attention", _PAGE + "add_unit"),
    Element("Fig 3", "cropped, augmented, standardised", _PAGE + "add_strip", "Geometry of the augmentation"),
    Element("Fig 4", "the residual unit", _PAGE + "add_unit"),
    Element("Fig 5", "the unit with attention", _PAGE + "add_unit"),
    Element("Fig 6", "the network", _PAGE + "add_diagram"),
    Element("Fig 7", "two confusion matrices, gains of each class", _STUDY + "_add_gains"),
    Element("equations 1, 2", "channel and spatial attention", "models/attention.py: attention"),
    Element(
        "equations 3 to 6",
        "accuracy, precision, recall, F1",
        "metrics/classification.py: classification_metrics",
    ),
    Element("data", "the Galaxy Challenge", "data/sources/galaxy_zoo.py: ingest_galaxy_zoo", "Galaxies"),
    Element("classes", "by thresholds on votes", "labels/five_class.py: FIVE_CLASS_RULES", "Thresholds"),
    Element("split", "8 : 1 : 1 in each class, rounded as Table II", "data/splits/split.py: SPLITS"),
    Element("image", "centre crop of 224 px", _STUDY + "resnet50"),
    Element(
        "standardisation", "mean 0, variance 1", "training/galaxies.py: statistics_of", "Standardisation"
    ),
    Element(
        "augmentation", "turn, flip, brightness, contrast", _STUDY + "resnet50", "Ranges of the augmentation"
    ),
    Element("ResNet50", "38,203,269 parameters", _STUDY + "resnet50"),
    Element("CS_ResNet50", "38,601,809 parameters", _STUDY + "cs_resnet50"),
    Element("CS_ResNet50 by the text", "CBAM on all channels", _STUDY + "cs_resnet50_text"),
    Element("optimiser", "not named", _STUDY + "resnet50", "Optimiser"),
    Element("learning rate", "0.01", _STUDY + "resnet50", "Learning rate over time"),
    Element("loss", "not named", "labels/classes.py: Classes", "Loss"),
    Element("regularisation", "not named", _STUDY + "resnet50", "Regularisation"),
    Element("epochs, batch", "100, 128", _STUDY + "resnet50"),
    Element("start", "random weights", _STUDY + "resnet50", "Start"),
    Element("tested weights", "not said", "training/callbacks.py: Epochs", "Weights that are tested"),
    Element("framework", "Keras", "training/task.py: GalaxyTask", "Framework"),
    Element("precision", "single", "models/precision.py: training_type", "Precision"),
    Element("repetition", "one run", "studies/study.py: Options", "Repetition"),
)
