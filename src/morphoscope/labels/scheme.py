"""All kinds of label, registered.

Other packages import from here, so that every kind is registered before a saved scheme is read. The
interface is :class:`morphoscope.labels.kind.Scheme`.
"""

from __future__ import annotations

from morphoscope.labels.classes import Classes, probability_column
from morphoscope.labels.kind import UNLABELLED, Chart, Column, ReportPart, Scheme
from morphoscope.labels.measurement_columns import Quantity
from morphoscope.labels.measurements import Measurements
from morphoscope.labels.registry import KINDS, AnyCorrection, register, scheme_from
from morphoscope.labels.vote_counts import VoteCounts
from morphoscope.labels.vote_fractions import GALAXY_ZOO_2_VOTES, VoteFractions

__all__ = [
    "GALAXY_ZOO_2_VOTES",
    "KINDS",
    "UNLABELLED",
    "AnyCorrection",
    "Chart",
    "Classes",
    "Column",
    "Measurements",
    "Quantity",
    "ReportPart",
    "Scheme",
    "VoteCounts",
    "VoteFractions",
    "probability_column",
    "register",
    "scheme_from",
]

register(Classes)
register(VoteFractions)
register(VoteCounts)
register(Measurements)
