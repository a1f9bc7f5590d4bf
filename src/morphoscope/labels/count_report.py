"""The report's sections on predicted vote counts, as charts and tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morphoscope.labels.kind import Chart, ReportPart
from morphoscope.labels.tree_files import VoteTree


def report_parts(tree: VoteTree, test: Mapping[str, Any]) -> list[ReportPart]:
    """Questions, answers and coverage.

    Args:
        tree: of the votes.
        test: from :func:`morphoscope.metrics.vote_counts.count_metrics`.
    """
    parts = []
    if test.get("per_question"):
        parts.append(_questions(tree, test))
    if test.get("per_answer"):
        parts.append(_answers(tree, test))
    if test.get("coverage"):
        parts.append(_coverage(test))
    return parts


def _questions(tree: VoteTree, test: Mapping[str, Any]) -> ReportPart:
    texts = {question.key: question.text or question.key for question in tree.questions}
    rows = [row for row in test["per_question"] if row["asked"]]
    chart = Chart(
        names=tuple(texts[row["name"]] for row in rows),
        values={"": tuple(row["rmse"] for row in rows)},
        low={"": tuple(_end(row, "low") for row in rows)},
        high={"": tuple(_end(row, "high") for row in rows)},
        label="RMSE of the expected fractions",
        caption=(
            "Error of the expected fractions of each question, weighted by its votes, with 95 % intervals. "
            f"The scatter of a finite number of votes is part of it. Test split, n = {test['n']:,}."
        ),
    )
    cells = [
        (
            texts[row["name"]],
            f"{row['asked']:,}",
            f"{row['votes']:,}",
            _number(row["log_loss"]),
            _number(row["rmse"]),
            _percent(row["coverage"]),
        )
        for row in test["per_question"]
    ]
    headings = ("Question", "Galaxies asked", "Votes", "Log loss (nats)", "RMSE", "Within 90 % interval")
    caption = (
        "Log loss: Dirichlet-multinomial, per galaxy that was asked. Last column: share of the votes' counts "
        "within the central 90 % of what was predicted for them."
    )
    return ReportPart("questions", "Question by question", chart, headings, cells, caption)


def _answers(tree: VoteTree, test: Mapping[str, Any]) -> ReportPart:
    texts = {
        f"{question.key}_{answer.key}": f"{question.key}: {answer.text or answer.key}"
        for question in tree.questions
        for answer in question.answers
    }
    rows = [row for row in test["per_answer"] if row["rmse"] is not None]
    chart = Chart(
        names=tuple(texts[row["name"]] for row in rows),
        values={
            "predicted": tuple(row["rmse"] for row in rows),
            "always the mean": tuple(row["spread"] for row in rows),
        },
        low={"predicted": tuple(_end(row, "low") for row in rows)},
        high={"predicted": tuple(_end(row, "high") for row in rows)},
        label="RMSE of the expected fraction",
        caption=(
            "Error of the expected fraction of each answer, weighted by the votes of its question, and that "
            f"of always predicting the mean fraction. Test split, n = {test['n']:,}."
        ),
    )
    cells = [
        (texts[row["name"]], _number(row["rmse"]), _signed(row["bias"]), _number(row["spread"]))
        for row in test["per_answer"]
    ]
    headings = ("Answer", "RMSE", "Bias", "Always the mean")
    return ReportPart("answers", "Answer by answer", chart, headings, cells)


def _coverage(test: Mapping[str, Any]) -> ReportPart:
    rows: Sequence[Mapping[str, Any]] = test["coverage"]
    levels = tuple(row["level"] for row in rows)
    chart = Chart(
        names=(),
        values={"found": tuple(row["value"] for row in rows), "calibrated": levels},
        low={"found": tuple(_end(row, "low") for row in rows)},
        high={"found": tuple(_end(row, "high") for row in rows)},
        at=levels,
        at_label="Predicted share within the central interval",
        label="Share of the votes within it",
        caption=(
            "Share of the held-out votes' counts that lie within the central interval predicted for them "
            "(beta-binomial), over all answers that were asked, with 95 % intervals. Below the line of "
            f"calibrated predictions the intervals are too narrow. Test split, n = {test['n']:,}."
        ),
    )
    return ReportPart("coverage", "Do the intervals hold?", chart)


def _end(row: Mapping[str, Any], end: str) -> float:
    """An end of an interval; without one, the value itself, which draws none."""
    value = row.get("rmse", row.get("value"))
    return float(value if row[end] is None else row[end])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
