"""The report of any kind of label, from its scores and from what its scheme describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.labels.scheme import Scheme
from morphoscope.report import formatting
from morphoscope.report.examples import Examples
from morphoscope.report.figures.described import described_chart
from morphoscope.report.sections_uncertainty import add_calibration, add_ood
from morphoscope.report.summary import Headline
from morphoscope.report.tables import SCORES, Table, is_score
from morphoscope.report.terminal import columns, plain, signed
from morphoscope.report.tested import Tested

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.report.context import ReportContext
    from morphoscope.report.html.document import Page

EXAMPLES = 7  # pictures in a row
VOTE_ROWS = 8  # answers whose typical galaxies are shown


class KindReport:
    """The report of a kind of label from its scores alone.

    Args:
        kind: of label.
    """

    title: str = ""
    """The kind's metric, for people."""
    why_explained: str = "the output that says most"
    """Why the maps of a report are those of their output."""
    card_title: str = ""
    """The metric in the head of a model card."""
    card_answer: str = ""
    """What a network gives for an image, in a model card; empty: the kind's ``output_meaning``."""

    def __init__(self, kind: type[Scheme]) -> None:
        self.kind = kind
        self.title = self.title or kind.metric.replace("_", " ")
        self.card_title = self.card_title or self.title
        self.card_answer = self.card_answer or kind.output_meaning

    # The page.

    def add_counts(self, page: Page, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Galaxies by part of the split, where there is more to say than their number."""

    def examples(self, scheme: Scheme, targets: np.ndarray, rows: np.ndarray, seed: int) -> Examples:
        """Training galaxies that show what the labels mean.

        Args:
            scheme: the labels.
            targets: of these rows.
            rows: of the store.
            seed: of a random choice.
        """
        found = {
            name: rows[scheme.examples_of(targets, k, EXAMPLES, seed)].tolist()
            for k, name in enumerate(scheme.output_names[:VOTE_ROWS])
        }
        found = {name: some for name, some in found.items() if some}
        return Examples(found, {}, f"Training galaxies by label; n = {formatting.count(len(rows))}.")

    def title_of(self, store: Store, row: int) -> str:
        """What stands above the pictures of one galaxy."""
        return str(store.table.column("id")[row].as_py())

    def add_results(self, page: Page, context: ReportContext) -> None:
        """Sections on the test galaxies, below the table of scores."""
        for part in context.run.scheme.report_parts(context.test):
            page.section(part.key, part.title)
            if part.chart is not None:
                page.chart(part.key, described_chart(part.chart), part.chart.caption)
            if part.rows:
                page.table(Table(headings=part.headings, rows=part.rows, caption=part.caption))
        add_calibration(page, context)
        add_ood(page, context)

    def headline(self, metrics: Mapping[str, Any]) -> Headline | None:
        """The headline of a run's ``metrics.json``; None when nothing was measured on a test split."""
        test = metrics.get("test") or {}
        if not formatting.known(test.get("n")):
            return None
        return self._headline(test, Tested.of(metrics).headline(test["n"]))

    def _headline(self, test: Mapping[str, Any], galaxies: str) -> Headline:
        low, high = formatting.bounds_of(test, self.kind.metric)
        between = formatting.interval(low, high, 4)
        return Headline(
            figure=formatting.number(formatting.value_of(test, self.kind.metric), 4),
            label=f"{self.title} on {galaxies}",
            interval=f"95 % interval {between}" if between else "no interval was computed",
        )

    # A terminal.

    def score_line(self, test: Mapping[str, Any]) -> str:
        """The metric as short text."""
        return f"{self.title} {plain(test[self.kind.metric], 4)}"

    def summary_lines(self, test: Mapping[str, Any]) -> list[str]:
        """The main scores after a training or an evaluation, one per line."""
        lines = [f"{self.score_line(test)}, n = {test['n']}", *self._further_lines(test)]
        return lines + [f"note: {note}" for note in test.get("notes", [])]

    def _further_lines(self, test: Mapping[str, Any]) -> list[str]:
        others = [key for key, value in test.items() if is_score(value) and key != self.kind.metric]
        return [f"{dict(SCORES).get(key, key.replace('_', ' '))} {plain(test[key], 4)}" for key in others]

    def ensemble_lines(self, measured: Mapping[str, Any]) -> list[str]:
        """The members beside the ensemble, one per line."""
        lines = [f"{name} alone: {self.score_line(test)}" for name, test in measured["members"].items()]
        return [*lines, f"mutual information {measured['mutual_information']:.3f} nats on average"]

    def compare_table(self, result: Mapping[str, Any]) -> str:
        """The result of :func:`morphoscope.evaluation.compare.compare` as aligned plain text."""
        rows = [["run", *self._compared_titles()]]
        rows += [[run["name"], *self._compared_numbers(run)] for run in result["runs"]]
        parts = [f"{result['n']} test galaxies\n\n{columns(rows)}"]
        for pair in result["pairs"]:
            parts.append(f"{pair['second']} against {pair['first']}: {self._pair_text(pair)}")
        return "\n\n".join(parts)

    def _compared_titles(self) -> list[str]:
        return [key.replace("_", " ") for key in self.kind.compared_scores]

    def _compared_numbers(self, run: Mapping[str, Any]) -> list[str]:
        return [plain(run[key], 4) if key in run else "–" for key in self.kind.compared_scores]

    def _pair_text(self, pair: Mapping[str, Any]) -> str:
        return f"{self.title} {signed(pair['difference'], 1, 4)}"

    # A model card.

    def card_results(self, test: Mapping[str, Any]) -> list[str]:
        """The scores as Markdown."""
        lines = [f"{self.score_line(test)}, n = {test['n']}", *self._further_lines(test)]
        return [f"- {line}" for line in lines]
