"""Translate predicted probabilities from one set of classes to another.

Shape letters: N galaxies, K classes before, L after.
"""

from __future__ import annotations

import numpy as np

from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.kind import Scheme

# Disturbed and Merging have no counterpart: `tong`'s rules do not use the question "anything odd?".
GALAXY10_TO_FIVE = {
    "Round Smooth": "Completely Round Smooth",
    "In-between Round Smooth": "In-between Smooth",
    "Cigar Shaped Smooth": "Cigar-shaped Smooth",
    "Barred Spiral": "Spiral",
    "Unbarred Tight Spiral": "Spiral",
    "Unbarred Loose Spiral": "Spiral",
    "Edge-on without Bulge": "Edge-on",
    "Edge-on with Bulge": "Edge-on",
}
KNOWN = ((GALAXY10, FIVE_CLASS, GALAXY10_TO_FIVE),)


def translation(source: Scheme, target: Scheme) -> np.ndarray | None:
    """(K, L) of 0 and 1: the target class of each source class; None where no translation is known.

    A row of zeros is a class without a counterpart.
    """
    for before, after, classes in KNOWN:
        if (source.output_names, target.output_names) == (before.classes, after.classes):
            rows = [[float(classes.get(name) == other) for other in after.classes] for name in before.classes]
            return np.array(rows, np.float32)
    return None


def translated(predictions_NK: np.ndarray, matrix_KL: np.ndarray) -> np.ndarray:
    """Probabilities of the target classes, (N, L) float32 that sum to 1, given that it is one of them.

    If only classes without a counterpart are probable, all target classes are equally likely.
    """
    summed_NL = predictions_NK.astype(np.float64) @ matrix_KL + 1e-12
    return (summed_NL / summed_NL.sum(axis=1, keepdims=True)).astype(np.float32)
