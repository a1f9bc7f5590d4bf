"""`yan`: where each table, figure and setting of the paper is."""

from __future__ import annotations

from morphoscope.studies.elements import Element

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
