"""What an answer in one set of classes says in another.

Shape letters: N galaxies, K classes before, L after.
"""

from __future__ import annotations

import numpy as np

from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.kind import Scheme

# Classes that `tong`'s rules leave out (they ask for no oddness) have no place here.
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


def translation(given: Scheme, wanted: Scheme) -> np.ndarray | None:
    """(K, L) of 0 and 1: which class each becomes; None where no translation is known.

    A row of zeros is a class that the other set has not.
    """
    for source, target, classes in KNOWN:
        if (given.output_names, wanted.output_names) == (source.classes, target.classes):
            places = [
                [float(classes.get(name) == other) for other in target.classes] for name in source.classes
            ]
            return np.array(places, np.float32)
    return None


def translated(predictions_NK: np.ndarray, matrix_KL: np.ndarray) -> np.ndarray:
    """Probabilities of the other classes, (N, L) float32 that sum to 1: of those it has, which it is.

    Where nothing but classes without a counterpart is probable, all others are equally likely.
    """
    summed_NL = predictions_NK.astype(np.float64) @ matrix_KL + 1e-12
    return (summed_NL / summed_NL.sum(axis=1, keepdims=True)).astype(np.float32)
