"""`cheng`: where each table, figure and setting of the paper is."""

from __future__ import annotations

from morphoscope.studies.elements import Element

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
