"""Five classes from Galaxy Zoo 2 votes by `tong`'s threshold rules, and from Galaxy10's ten classes.

Source: `tong`, table I. A galaxy that meets no rule has no class; one that meets several gets the first.

The thresholds are applied to the challenge's own cumulative columns by default: that reproduces the
published counts of the first four classes exactly (8436, 8069, 579 and 3903 of 61,578); the fifth, 7806
spirals, has not been checked. On these columns "Class7.x ≥ 0.5" already implies "Class1.1 ≥ 0.469", so the
latter never decides.

Shape letters: N galaxies, K classes before, L after a translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from morphoscope.labels.classes import Classes
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.kind import UNLABELLED, Scheme
from morphoscope.labels.tree import GALAXY_ZOO_2, SPIRAL_COLUMN

SPIRAL_THRESHOLD = 0.619  # on Class4.1; a published label file in circulation used 0.69 instead


@dataclass(frozen=True)
class Rule:
    """A class, and the smallest fraction required in each of its columns (all must hold)."""

    name: str
    conditions: tuple[tuple[str, float], ...]


FIVE_CLASS_RULES = (
    Rule("Completely Round Smooth", (("Class1.1", 0.469), ("Class7.1", 0.50))),
    Rule("In-between Smooth", (("Class1.1", 0.469), ("Class7.2", 0.50))),
    Rule("Cigar-shaped Smooth", (("Class1.1", 0.469), ("Class7.3", 0.50))),
    Rule("Edge-on", (("Class1.2", 0.430), ("Class2.1", 0.602))),
    Rule("Spiral", (("Class1.2", 0.430), ("Class2.2", 0.715), (SPIRAL_COLUMN, SPIRAL_THRESHOLD))),
)

FIVE_CLASS = Classes(name="five-class", classes=tuple(rule.name for rule in FIVE_CLASS_RULES))


def five_class_labels(
    fractions_NK: np.ndarray,
    *,
    spiral_threshold: float = SPIRAL_THRESHOLD,
    conditional: bool = False,
) -> np.ndarray:
    """The class of each galaxy, (N,) int64; −1 where no rule is met or a vote that it needs is missing.

    Args:
        fractions_NK: the 37 cumulative vote fractions, columns as in ``GALAXY_ZOO_2.columns``.
        spiral_threshold: smallest Class4.1 of a spiral.
        conditional: compare conditional fractions (of those who were asked) instead of the raw columns.
    """
    fractions = np.asarray(fractions_NK, dtype=np.float64)
    if conditional:
        fractions = GALAXY_ZOO_2.conditional(fractions)
    labels = np.full(len(fractions), UNLABELLED, dtype=np.int64)
    for index, rule in reversed(list(enumerate(FIVE_CLASS_RULES))):  # the first rule is written last
        met = np.ones(len(fractions), dtype=bool)
        for column, smallest in _conditions(rule, spiral_threshold):
            met &= fractions[:, GALAXY_ZOO_2.columns.index(column)] >= smallest
        labels[met] = index
    return labels


def _conditions(rule: Rule, spiral_threshold: float) -> Iterator[tuple[str, float]]:
    for column, smallest in rule.conditions:
        yield column, spiral_threshold if column == SPIRAL_COLUMN else smallest


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

    The class that a catalogue states stays the answer: where a sum of several classes exceeds the counterpart
    of the single most probable class, these two probabilities are exchanged. (Whoever translates the column
    ``predicted`` gets this class; on 2,224 real galaxies it is right as often as the largest sum or more.)
    If only classes without a counterpart are probable, all target classes are equally likely.
    """
    predictions_NK = np.asarray(predictions_NK, np.float64)
    summed_NL = predictions_NK @ matrix_KL + 1e-12
    summed_NL /= summed_NL.sum(axis=1, keepdims=True)
    known_K = matrix_KL.any(axis=1)
    stated_N = matrix_KL[np.where(known_K, predictions_NK, -1.0).argmax(axis=1)].argmax(axis=1)
    rows, largest_N = np.arange(len(summed_NL)), summed_NL.argmax(axis=1)
    stated_p, largest_p = summed_NL[rows, stated_N], summed_NL[rows, largest_N]
    summed_NL[rows, largest_N], summed_NL[rows, stated_N] = stated_p, largest_p
    return summed_NL.astype(np.float32)
