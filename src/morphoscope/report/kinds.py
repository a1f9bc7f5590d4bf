"""What a report says about each kind of label: its sections, headline, terminal lines and model card.

:class:`~morphoscope.report.kind_report.KindReport` reports any kind from its scores and from what its scheme
describes. Kinds with more to show have a class of their own in :data:`REPORTS`.

Shape letters: N galaxies, K classes or answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.labels.scheme import KINDS, Classes, Measurements, Scheme, VoteCounts, VoteFractions
from morphoscope.report import examples, figures, formatting
from morphoscope.report.count_report import CountReport
from morphoscope.report.examples import Examples
from morphoscope.report.figures.votes import FEW
from morphoscope.report.html.document import GalleryRow, Picture, data_uri
from morphoscope.report.kind_report import EXAMPLES, VOTE_ROWS, KindReport
from morphoscope.report.measurement_report import MeasurementReport
from morphoscope.report.sections_uncertainty import add_calibration, add_ood
from morphoscope.report.summary import Headline, Tile, position, tile
from morphoscope.report.tables import class_table, split_table, vote_table
from morphoscope.report.terminal import columns, p_value, percent, plain, signed

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.report.context import ReportContext
    from morphoscope.report.html.document import Page

MISTAKES = 15
PANELS = 9  # answers in the figure of predicted against true fractions
_CLASS_SCORES = (
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("ece", "calibration error"),
)


class ClassReport(KindReport):
    """Confusion, scores by class, and the galaxies that are most confidently wrong."""

    title = "accuracy"
    why_explained = "the class with the highest F1"
    card_answer = "the probability of each class"

    def add_counts(self, page: Page, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Galaxies by class and part."""
        total = sum(sum(part.values()) for part in counts.values())
        caption = f"Galaxies per class and part of the split, n = {formatting.count(total)}."
        page.chart("class_counts", figures.class_counts(counts), caption)
        page.table(split_table(counts), folded="The same as a table")

    def examples(self, scheme: Scheme, targets: np.ndarray, rows: np.ndarray, seed: int) -> Examples:
        """Of each class, drawn at random."""
        names = scheme.output_names
        chosen = examples.examples_per_class(targets, rows, names, EXAMPLES, seed)
        sums = [int((targets == index).sum()) for index in range(scheme.outputs)]
        notes = {name: f"n = {formatting.count(n)}" for name, n in zip(names, sums, strict=True)}
        caption = "Galaxies of each class, drawn at random from the training split; n is how many it has."
        return Examples(chosen, notes, caption)

    def title_of(self, store: Store, row: int) -> str:
        """Its class."""
        scheme = store.need_scheme()
        return scheme.output_names[int(store.column(scheme.columns[0])[row])]

    def add_results(self, page: Page, context: ReportContext) -> None:
        """Confusion matrix, classes, calibration, out-of-distribution, mistakes."""
        test, classes = context.test, context.run.scheme.output_names
        n = f"n = {formatting.count(test.get('n'))}"
        if test.get("confusion"):
            page.section("confusion", "Confusion matrix")
            caption = (
                "Truth in rows, prediction in columns: galaxies and the share of their row. Blue is right, "
                f"orange wrong; the stronger, the larger the share. {context.tested}, {n}."
            )
            page.chart("confusion_matrix", figures.confusion_matrix(test["confusion"], classes), caption)
        if test.get("per_class"):
            page.section("classes", "Class by class")
            page.table(class_table(test))
        add_calibration(page, context)
        add_ood(page, context)
        _add_mistakes(page, context, classes)

    def _headline(self, test: Mapping[str, Any], galaxies: str) -> Headline:
        value = formatting.value_of(test, "accuracy")
        low, high = formatting.bounds_of(test, "accuracy")
        supports = [row.get("support") or 0 for row in test.get("per_class") or []]
        baseline = max(supports) / sum(supports) if sum(supports) else None
        between = formatting.interval(low, high, as_percent=True)
        return Headline(
            figure=formatting.percent(value),
            label=f"accuracy on {galaxies}",
            interval=f"95 % interval {between}" if between else "no interval was computed",
            comparison=f"always predicting the most common class: {formatting.percent(baseline)}"
            if baseline is not None
            else "",
            tiles=[
                tile(test, "macro_recall", "Macro recall", "mean over the classes"),
                tile(test, "macro_f1", "Macro F1", "mean over the classes"),
                tile(test, "ece", "Calibration error", "0 is perfect", digits=3),
                tile(test, "log_loss", "Log loss", "nats, 0 is perfect"),
            ],
            low=position(low),
            value=position(value),
            high=position(high),
            baseline=position(baseline),
        )

    def score_line(self, test: Mapping[str, Any]) -> str:
        """Accuracy in percent."""
        return f"accuracy {percent(test['accuracy'])}"

    def _further_lines(self, test: Mapping[str, Any]) -> list[str]:
        known = [row for row in test["per_class"] if row["recall"] is not None]
        worst = min(known, key=lambda row: row["recall"])
        return [
            *(f"{name} {plain(test[key])}" for key, name in _CLASS_SCORES),
            f"weakest class: {worst['name']}, recall {worst['recall']:.2f} "
            f"({worst['recall_low']:.2f}–{worst['recall_high']:.2f}), n = {worst['support']}",
        ]

    def _compared_titles(self) -> list[str]:
        return ["accuracy", "macro F1", "calibration error"]

    def _compared_numbers(self, run: Mapping[str, Any]) -> list[str]:
        forms = (("accuracy", percent), ("macro_f1", plain), ("ece", plain))
        return [form(run[key]) if key in run else "–" for key, form in forms]

    def _pair_text(self, pair: Mapping[str, Any]) -> str:
        test = pair["mcnemar"]
        p = p_value(test["p"]) + (
            f", {p_value(test['p_holm'])} corrected for all pairs" if test["p_holm"] != test["p"] else ""
        )
        rows = [["class", "recall", "F1", "n"]]
        for row in pair["per_class"]:
            known = row["recall"] is not None
            shown = [f"{row[score]:+z.3f}" if known else "–" for score in ("recall", "f1")]
            rows.append([row["name"], *shown, str(row["support"])])
        return (
            f"accuracy {signed(pair['difference'], 100, 2)} points, "
            f"macro F1 {signed(pair['macro_f1'], 1, 3)}\n"
            f"McNemar ({test['method']}): {test['only_second']} galaxies right only in {pair['second']}, "
            f"{test['only_first']} only in {pair['first']}; {p}\n{columns(rows)}"
        )

    def card_results(self, test: Mapping[str, Any]) -> list[str]:
        """Accuracy, macro F1 and a table of the classes."""
        lines = [
            f"- accuracy {percent(test['accuracy'])}, n = {test['n']}",
            f"- macro F1 {plain(test['macro_f1'])}",
            "",
            "| class | precision | recall | F1 | n |",
            "|---|---|---|---|---|",
        ]
        for row in test["per_class"]:
            precision, recall, low, high, f1 = (
                "–" if row[key] is None else f"{row[key]:.2f}"
                for key in ("precision", "recall", "recall_low", "recall_high", "f1")
            )
            lines.append(
                f"| {row['name']} | {precision} | {recall} ({low}–{high}) | {f1} | {row['support']} |"
            )
        return lines


class VoteReport(KindReport):
    """Errors by question and answer, predicted against true fractions, and the worst galaxies."""

    title = "RMSE"
    why_explained = "the highest fractions"
    card_title = "RMSE of the vote fractions"
    card_answer = "the fraction of votes"

    def examples(self, scheme: Scheme, targets: np.ndarray, rows: np.ndarray, seed: int) -> Examples:
        """Those with the highest fractions of the answers that vary most."""
        assert isinstance(scheme, VoteFractions)
        names = scheme.answers
        answers = examples.spread_answers(targets, names, VOTE_ROWS)
        chosen = [names.index(name) for name in answers]
        found = examples.examples_per_answer(targets[:, chosen], rows, answers, EXAMPLES)
        texts = examples.answer_texts(scheme)
        # The meaning is the title where it is known, and the column's name stands below it.
        titled = {texts.get(name, name): some for name, some in found.items()}
        notes = {texts[name]: name for name in found if name in texts}
        caption = (
            "The training galaxies with the highest fraction of some answers (those whose fractions vary "
            f"most); n = {formatting.count(len(rows))}."
        )
        return Examples(titled, notes, caption)

    def add_results(self, page: Page, context: ReportContext) -> None:
        """Questions, answers, calibration, out-of-distribution, fractions, worst galaxies."""
        test, scheme = context.test, context.run.scheme
        assert isinstance(scheme, VoteFractions)
        answers, texts = scheme.answers, examples.answer_texts(scheme)
        n = f"{context.tested}, n = {formatting.count(test.get('n'))}."
        if test.get("per_question"):
            page.section("questions", "Question by question")
            caption = f"RMSE of the answers of each question, with 95 % intervals. {n}"
            page.chart("votes_per_question", figures.votes_per_question(test), caption)
        if test.get("per_answer"):
            page.section("answers", "Answer by answer")
            caption = (
                "RMSE of each answer, with 95 % intervals; the orange mark is the RMSE of always predicting "
                f"the mean. {n}"
            )
            page.chart("votes_per_answer", figures.votes_per_answer(test, texts), caption)
            page.table(vote_table(test["per_answer"], texts), folded="The same as a table")
        add_calibration(page, context)
        add_ood(page, context)
        if context.predictions is None:
            return
        truth, predicted = examples.vote_arrays(context.predictions, answers)
        panels = examples.spread_answers(truth, answers, PANELS)
        chosen = [answers.index(name) for name in panels]
        drawn = (
            "One dot per galaxy"
            if len(truth) <= FEW
            else "The stronger the colour, the more galaxies, on a logarithmic scale"
        )
        page.section("scatter", "Predicted against true fractions")
        page.chart(
            "votes_scatter",
            figures.votes_scatter(truth[:, chosen], predicted[:, chosen], examples.titled(panels, texts)),
            f"The answers whose true fractions vary most. {drawn}; "
            f"on the dashed line the prediction is right. {n}",
        )
        _add_worst(page, context, answers, texts)

    def _headline(self, test: Mapping[str, Any], galaxies: str) -> Headline:
        value = formatting.value_of(test, "rmse")
        low, high = formatting.bounds_of(test, "rmse")
        answers = test.get("per_answer") or []
        spreads = [row.get("spread") for row in answers]
        mean_rmse = None
        if spreads and all(map(formatting.known, spreads)):
            mean_rmse = float(np.sqrt(np.mean(np.square(spreads))))
        between = formatting.interval(low, high, 4)
        explained = None
        if mean_rmse and formatting.known(value):
            explained = 1 - (value / mean_rmse) ** 2
        tiles = []
        if answers:
            tiles.append(Tile("Answers", formatting.count(len(answers)), "fractions predicted per galaxy"))
        if explained is not None:
            tiles.append(Tile("Variance explained", formatting.percent(explained), "of all answers together"))
        known = [row for row in answers if formatting.known(row.get("rmse"))]
        if known:
            worst = max(known, key=lambda row: row["rmse"])
            best = min(known, key=lambda row: row["rmse"])
            tiles.append(Tile("Best answer", formatting.number(best["rmse"], 4), f"RMSE of {best['name']}"))
            tiles.append(
                Tile("Worst answer", formatting.number(worst["rmse"], 4), f"RMSE of {worst['name']}")
            )
        return Headline(
            figure=formatting.number(value, 4),
            label=f"RMSE of the vote fractions of {galaxies}",
            interval=f"95 % interval {between}" if between else "no interval was computed",
            comparison=f"always predicting the mean: {formatting.number(mean_rmse, 4)}" if mean_rmse else "",
            tiles=tiles,
        )

    def score_line(self, test: Mapping[str, Any]) -> str:
        """RMSE over all answers."""
        return f"RMSE {plain(test['rmse'], 5)}"

    def _further_lines(self, test: Mapping[str, Any]) -> list[str]:
        worst = max(test["per_question"] or test["per_answer"], key=lambda row: row["rmse"])
        return [f"largest error: {worst['name']}, RMSE {plain({'value': worst['rmse'], **worst}, 4)}"]

    def _compared_titles(self) -> list[str]:
        return ["RMSE"]

    def _compared_numbers(self, run: Mapping[str, Any]) -> list[str]:
        return [plain(run["rmse"], 5) if "rmse" in run else "–"]

    def _pair_text(self, pair: Mapping[str, Any]) -> str:
        gains = sorted(pair["per_answer"], key=lambda row: row["value"])
        ends = gains if len(gains) <= 6 else gains[:3] + gains[-3:]
        rows = [["answer", "RMSE"], *([row["name"], signed(row, 1, 5)] for row in ends)]
        return (
            f"RMSE {signed(pair['difference'], 1, 5)}, closer for {100 * pair['closer']:.0f} % of "
            f"galaxies\n{columns(rows)}"
        )

    def card_results(self, test: Mapping[str, Any]) -> list[str]:
        """RMSE, and a table of the answers."""
        lines = [f"- RMSE {plain(test['rmse'], 5)}, n = {test['n']}", "", "| answer | RMSE |", "|---|---|"]
        return lines + [f"| {row['name']} | {row['rmse']:.4f} |" for row in test["per_answer"]]


REPORTS: dict[type[Scheme], type[KindReport]] = {
    Classes: ClassReport,
    VoteFractions: VoteReport,
    VoteCounts: CountReport,
    Measurements: MeasurementReport,
}
"""Kinds of label whose reports show more than :class:`KindReport`."""


def report_of(kind: str) -> KindReport:
    """The report of a kind of label, by the name that a scheme, an evaluation or a comparison has for it."""
    scheme = KINDS[kind]
    return REPORTS.get(scheme, KindReport)(scheme)


def _add_mistakes(page: Page, context: ReportContext, classes: Sequence[str]) -> None:
    table = context.predictions
    if table is None:
        return
    mistakes = examples.confident_mistakes(table, classes, MISTAKES)
    page.section("mistakes", "Most confidently wrong")
    if not mistakes:
        page.text(f"Every one of the {context.measured_on.test(table.num_rows)} is right.")
        return
    if context.store is None:
        page.text("The images of these galaxies are in the store, which was not found.")
        return
    store = context.store
    cards = [
        Picture(
            data_uri(store.pictures[mistake.row]),
            f"{mistake.truth} taken for {mistake.predicted}",
            (
                mistake.predicted,
                f"truth: {mistake.truth}",
                f"{formatting.sure(mistake.probability)}, truth {formatting.sure(mistake.truth_probability)}",
            ),
        )
        for mistake in mistakes
    ]
    wrong = int(np.not_equal(table.column("label").to_numpy(), table.column("predicted").to_numpy()).sum())
    which = (
        f"All {wrong}"
        if wrong == len(mistakes)
        else f"The {len(mistakes)} surest of {formatting.count(wrong)}"
    )
    galaxies = context.measured_on.test(table.num_rows)
    caption = (
        f"{which} wrong predictions on {galaxies}, most confident first: the prediction, the label, and the "
        "probability of both. Some of these labels may be wrong."
    )
    figure = figures.most_wrong([store.pictures[mistake.row] for mistake in mistakes], mistakes)
    page.gallery("most_wrong", figure, [GalleryRow("", "", cards)], caption, cards=True)


def _add_worst(page: Page, context: ReportContext, answers: Sequence[str], texts: Mapping[str, str]) -> None:
    if context.predictions is None or context.store is None:
        return
    store = context.store
    worst = examples.worst_votes(context.predictions, answers, MISTAKES)
    if not worst:
        return
    page.section("mistakes", "The worst galaxies")
    lines = [
        (
            f"RMSE {formatting.number(error.rmse)}",
            examples.titled([error.answer], texts)[0],
            f"predicted {formatting.number(error.predicted, 2)}, truth {formatting.number(error.truth, 2)}",
        )
        for error in worst
    ]
    images = [store.pictures[error.row] for error in worst]
    cards = [
        Picture(data_uri(image), f"galaxy {error.id}", text)
        for image, error, text in zip(images, worst, lines, strict=True)
    ]
    captions = ["\n".join(text) for text in lines]
    caption = (
        f"The {context.measured_on.test(len(worst))} with the greatest RMSE over their own answers, and the "
        "answer with the largest error."
    )
    page.gallery(
        "worst_votes", figures.image_cards(images, captions), [GalleryRow("", "", cards)], caption, cards=True
    )
