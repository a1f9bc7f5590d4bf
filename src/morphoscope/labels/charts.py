"""Charts and tables of numbers, as which a kind of label describes sections of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Chart:
    """A chart of numbers with their intervals.

    Attributes:
        names: categories on the axis, (M,); empty: a line plot over ``at``.
        values: series name → (M,) values; an empty name for a single series.
        caption: what the chart shows, with n.
        label: of the axis of values.
        at: (M,) positions of the values of a line plot.
        at_label: of that axis.
        low: lower ends of the intervals, as ``values``.
        high: upper ends.
    """

    names: Sequence[str]
    values: Mapping[str, Sequence[float]]
    caption: str
    label: str
    at: Sequence[float] = ()
    at_label: str = ""
    low: Mapping[str, Sequence[float]] = field(default_factory=dict)
    high: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportPart:
    """A section of a report as data: a chart, a table, or both.

    Attributes:
        key: anchor of the section, and name of the chart's file.
        title: heading.
        chart: drawn first; None: no chart.
        headings: of the table.
        rows: cells as text; empty: no table.
        caption: of the table.
    """

    key: str
    title: str
    chart: Chart | None = None
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    caption: str = ""
