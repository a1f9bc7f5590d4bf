"""`ng`: where each table, figure and setting of the paper is."""

from __future__ import annotations

from morphoscope.studies.elements import Element

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
        "score", "Kaggle's test images", "studies/submission.py: write_submission", "Galaxies of the score"
    ),
    Element("grey levels", "mean and deviation 0.5", _STUDY + "_base", "Grey levels"),
    Element("crops", "184 to 352 px, 128 to 288 px", _STUDY + "_base", "Crops in training"),
    Element(
        "turns, flips", "any angle, mirrored", "augment/cpu.py: matrices", "Geometry of the augmentation"
    ),
    Element("16 views at the test", "8 turns, mirrored", "augment/params.py: views", "Views at the test"),
    Element("scaled views", "better, but left out", "studies/view_scores.py: view_scores", "Scaled views"),
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
