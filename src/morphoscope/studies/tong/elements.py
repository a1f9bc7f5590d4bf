"""`tong`: where each table, figure and setting of the paper is."""

from __future__ import annotations

from morphoscope.studies.elements import Element

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
