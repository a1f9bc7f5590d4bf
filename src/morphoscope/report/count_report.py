"""The report of predicted vote counts: errors, coverage, expected against observed fractions, worst galaxies.

Shape letters: N galaxies, K answers of all questions together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.labels.scheme import Scheme, VoteCounts
from morphoscope.metrics.vote_counts import by_question, expected_fractions
from morphoscope.report import figures, formatting
from morphoscope.report.examples import Examples
from morphoscope.report.figures.votes import FEW
from morphoscope.report.html.document import GalleryRow, Picture, data_uri
from morphoscope.report.kind_report import EXAMPLES, VOTE_ROWS, KindReport
from morphoscope.report.summary import Headline, Tile, tile

if TYPE_CHECKING:
    from morphoscope.report.context import ReportContext
    from morphoscope.report.html.document import Page

PANELS = 9  # answers in the figure of expected against observed fractions
WORST = 15
FEWEST = 10  # votes for a question from which the fractions of one galaxy are drawn


class CountReport(KindReport):
    """Errors and coverage by question, expected against observed fractions, and the worst galaxies."""

    why_explained = "the answer whose structure a map can trace"
    card_answer = "concentrations of Dirichlet distributions of the votes"

    def examples(self, scheme: Scheme, targets: np.ndarray, rows: np.ndarray, seed: int) -> Examples:
        """Those with the highest fractions of the answers that vary most."""
        assert isinstance(scheme, VoteCounts)
        observed_NK = _observed(scheme, targets)
        spread_K = np.array(
            [np.std(each[np.isfinite(each)]) if np.isfinite(each).any() else 0 for each in observed_NK.T]
        )
        chosen = np.sort(np.argsort(-spread_K, kind="stable")[:VOTE_ROWS])
        texts, names = _texts(scheme), scheme.output_names
        found = {
            texts[names[k]]: rows[scheme.examples_of(targets, int(k), EXAMPLES, seed)].tolist()
            for k in chosen
        }
        found = {title: some for title, some in found.items() if some}
        caption = (
            "The training galaxies with the highest fraction of some answers (those whose fractions vary "
            f"most); n = {formatting.count(len(rows))}."
        )
        return Examples(
            found, {texts[names[k]]: names[k] for k in chosen if texts[names[k]] in found}, caption
        )

    def add_results(self, page: Page, context: ReportContext) -> None:
        """The sections of the scheme, then fractions and the worst galaxies."""
        super().add_results(page, context)
        scheme = context.run.scheme
        if context.predictions is None:
            return
        assert isinstance(scheme, VoteCounts)
        votes_NK, alpha_NK = scheme.read_predictions(context.predictions, scheme.output_names)
        expected_NK = expected_fractions(alpha_NK, scheme.slices)
        _add_scatter(page, context, scheme, votes_NK, expected_NK)
        _add_worst(page, context, scheme, votes_NK, expected_NK)

    def _headline(self, test: Mapping[str, Any], galaxies: str) -> Headline:
        low, high = formatting.bounds_of(test, "rmse")
        between = formatting.interval(low, high, 4)
        questions = [row for row in test.get("per_question") or [] if formatting.known(row.get("rmse"))]
        tiles = [
            tile(test, "log_loss", "Log loss", "nats per question"),
            tile(test, "coverage_90", "Within 90 % intervals", "share of the votes"),
        ]
        for label, choose in (("Best question", min), ("Worst question", max)):
            if questions:
                row = choose(questions, key=lambda each: each["rmse"])
                tiles.append(Tile(label, formatting.number(row["rmse"], 4), f"RMSE of {row['name']}"))
        mean = _of_the_mean(test)
        return Headline(
            figure=formatting.number(formatting.value_of(test, "rmse"), 4),
            label=f"RMSE of the expected fractions of {galaxies}",
            interval=f"95 % interval {between}" if between else "no interval was computed",
            comparison=f"always predicting the mean: {formatting.number(mean, 4)}" if mean else "",
            tiles=tiles,
        )


def _of_the_mean(test: Mapping[str, Any]) -> float | None:
    """The RMSE of always predicting the mean fractions, weighted by votes as the score is."""
    votes = {row["name"]: row["votes"] for row in test.get("per_question") or []}
    rows = [row for row in test.get("per_answer") or [] if formatting.known(row.get("spread"))]
    weights = [votes.get(row["name"].partition("_")[0], 0) for row in rows]
    if not sum(weights):
        return None
    squares = sum(weight * row["spread"] ** 2 for weight, row in zip(weights, rows, strict=True))
    return float(np.sqrt(squares / sum(weights)))


def _observed(scheme: VoteCounts, votes_NK: np.ndarray, fewest: int = 1) -> np.ndarray:
    """Fractions of the votes for each question, (N, K) float64; NaN where there are fewer votes than that."""
    asked_NK = by_question(votes_NK, scheme.slices)[:, scheme.decision_tree.question_of]
    return np.divide(votes_NK, asked_NK, out=np.full(votes_NK.shape, np.nan), where=asked_NK >= fewest)


def _texts(scheme: VoteCounts) -> dict[str, str]:
    """Answer → question and answer for people."""
    return {
        f"{question.key}_{answer.key}": f"{question.key}: {answer.text or answer.key}"
        for question in scheme.tree.questions
        for answer in question.answers
    }


def _add_scatter(
    page: Page, context: ReportContext, scheme: VoteCounts, votes_NK: np.ndarray, expected_NK: np.ndarray
) -> None:
    observed_NK = _observed(scheme, votes_NK, FEWEST)
    many = np.isfinite(observed_NK).sum(axis=0) >= 2
    spread_K = np.array(
        [np.nanstd(each) if some else -1 for each, some in zip(observed_NK.T, many, strict=True)]
    )
    chosen = np.sort(np.argsort(-spread_K, kind="stable")[:PANELS])
    chosen = chosen[spread_K[chosen] >= 0]
    if not len(chosen):
        return
    texts, names = _texts(scheme), scheme.output_names
    drawn = (
        "One dot per galaxy"
        if len(votes_NK) <= FEW
        else "The stronger the colour, the more galaxies, on a logarithmic scale"
    )
    page.section("scatter", "Expected against observed fractions")
    page.chart(
        "votes_scatter",
        figures.votes_scatter(
            observed_NK[:, chosen], expected_NK[:, chosen], [texts[names[k]] for k in chosen]
        ),
        f"The answers whose fractions vary most, of galaxies with at least {FEWEST} votes for the question. "
        f"{drawn}; on the dashed line the expectation is right. Test split, n = "
        f"{formatting.count(len(votes_NK))}.",
    )


def _add_worst(
    page: Page, context: ReportContext, scheme: VoteCounts, votes_NK: np.ndarray, expected_NK: np.ndarray
) -> None:
    store, table = context.store, context.predictions
    if store is None or table is None:
        return
    asked_NK = by_question(votes_NK, scheme.slices)[:, scheme.decision_tree.question_of]
    errors_NK = np.where(asked_NK > 0, expected_NK - np.nan_to_num(_observed(scheme, votes_NK)), 0.0)
    squares_NK = asked_NK * np.square(errors_NK)
    rmse_N = np.sqrt(squares_NK.sum(axis=1) / np.maximum(asked_NK.sum(axis=1), 1))
    order = np.argsort(-rmse_N, kind="stable")[:WORST]
    texts, names = _texts(scheme), scheme.output_names
    cards, captions, images = [], [], []
    for index in order.tolist():
        most = int(squares_NK[index].argmax())
        votes, asked = int(votes_NK[index, most]), int(asked_NK[index, most])
        lines = (
            f"RMSE {formatting.number(float(rmse_N[index]))}",
            texts[names[most]],
            f"expected {formatting.number(float(expected_NK[index, most]), 2)}, {votes} of {asked} votes",
        )
        image = store.pictures[int(table.column("row")[index].as_py())]
        images.append(image)
        cards.append(Picture(data_uri(image), f"galaxy {table.column('id')[index].as_py()}", lines))
        captions.append("\n".join(lines))
    page.section("mistakes", "The worst galaxies")
    caption = (
        f"The {context.measured_on.test(len(cards))} with the greatest error of their expected fractions, "
        "weighted by votes, and the answer that contributes most."
    )
    page.gallery(
        "worst_votes", figures.image_cards(images, captions), [GalleryRow("", "", cards)], caption, cards=True
    )
