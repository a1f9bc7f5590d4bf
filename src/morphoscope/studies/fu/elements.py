"""`fu`: where each table, figure and setting of the paper is."""

from __future__ import annotations

from morphoscope.studies.elements import Element

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
    Element("k percent", "0, 20, 40, 60, 80, 100", "models/freeze.py: frozen_layers", "k percent"),
    Element("what is counted", "layers", "models/freeze.py: frozen_layers", "What is counted"),
    Element(
        "the other layers", "not said", "models/freeze.py: reinitialise_rest", "Start of the other layers"
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
