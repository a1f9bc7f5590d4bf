"""All figures of a report; each is a function that returns a matplotlib figure.

Save one with :func:`morphoscope.report.figures.style.save` (PNG, PDF or SVG).
"""

from morphoscope.report.figures.data import (
    GridRow,
    augmented_draws,
    augmented_grid,
    class_counts,
    class_examples,
    image_cards,
    image_grid,
)
from morphoscope.report.figures.evaluation import confusion_matrix, most_wrong
from morphoscope.report.figures.measurements import coverage, predicted_against_true, residuals_against_truth
from morphoscope.report.figures.training import training_curves
from morphoscope.report.figures.uncertainty import ood_scores, reliability, reliability_before_and_after
from morphoscope.report.figures.votes import votes_per_answer, votes_per_question, votes_scatter

__all__ = [
    "GridRow",
    "augmented_draws",
    "augmented_grid",
    "class_counts",
    "class_examples",
    "confusion_matrix",
    "coverage",
    "image_cards",
    "image_grid",
    "most_wrong",
    "ood_scores",
    "predicted_against_true",
    "reliability",
    "reliability_before_and_after",
    "residuals_against_truth",
    "training_curves",
    "votes_per_answer",
    "votes_per_question",
    "votes_scatter",
]
