"""Label schemes: classes, vote fractions, vote counts, measurements, decision trees, threshold rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.labels.classes import Classes, probability_column
    from morphoscope.labels.five_class import five_class_labels
    from morphoscope.labels.kind import Chart, Column
    from morphoscope.labels.measurement_columns import Quantity
    from morphoscope.labels.measurements import Measurements
    from morphoscope.labels.own import (
        MeasuredColumns,
        classes_from_names,
        measurements_from_columns,
        scheme_from_columns,
    )
    from morphoscope.labels.scheme import Scheme, scheme_from
    from morphoscope.labels.tree import GALAXY_ZOO_2, DecisionTree
    from morphoscope.labels.tree_files import VoteTree, tree_file, tree_names
    from morphoscope.labels.vote_counts import VoteCounts
    from morphoscope.labels.vote_fractions import GALAXY_ZOO_2_VOTES, VoteFractions

__all__ = [
    "GALAXY_ZOO_2",
    "GALAXY_ZOO_2_VOTES",
    "Chart",
    "Classes",
    "Column",
    "DecisionTree",
    "MeasuredColumns",
    "Measurements",
    "Quantity",
    "Scheme",
    "VoteCounts",
    "VoteFractions",
    "VoteTree",
    "classes_from_names",
    "five_class_labels",
    "measurements_from_columns",
    "probability_column",
    "scheme_from",
    "scheme_from_columns",
    "tree_file",
    "tree_names",
]
_PUBLIC = {
    "Chart": "morphoscope.labels.kind",
    "Classes": "morphoscope.labels.classes",
    "Column": "morphoscope.labels.kind",
    "DecisionTree": "morphoscope.labels.tree",
    "GALAXY_ZOO_2": "morphoscope.labels.tree",
    "GALAXY_ZOO_2_VOTES": "morphoscope.labels.vote_fractions",
    "MeasuredColumns": "morphoscope.labels.own",
    "Measurements": "morphoscope.labels.measurements",
    "Quantity": "morphoscope.labels.measurement_columns",
    "Scheme": "morphoscope.labels.scheme",
    "VoteCounts": "morphoscope.labels.vote_counts",
    "VoteFractions": "morphoscope.labels.vote_fractions",
    "VoteTree": "morphoscope.labels.tree_files",
    "classes_from_names": "morphoscope.labels.own",
    "five_class_labels": "morphoscope.labels.five_class",
    "measurements_from_columns": "morphoscope.labels.own",
    "probability_column": "morphoscope.labels.classes",
    "scheme_from": "morphoscope.labels.scheme",
    "scheme_from_columns": "morphoscope.labels.own",
    "tree_file": "morphoscope.labels.tree_files",
    "tree_names": "morphoscope.labels.tree_files",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
