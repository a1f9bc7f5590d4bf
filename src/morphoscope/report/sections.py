"""The sections of a report that show data, training and results, each from what the run has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.report import examples, figures, formatting
from morphoscope.report.context import ReportContext
from morphoscope.report.figures import style
from morphoscope.report.figures.votes import FEW
from morphoscope.report.html.document import GalleryRow, Picture, data_uri
from morphoscope.report.sections_uncertainty import add_calibration, add_ood
from morphoscope.report.summary import data_facts
from morphoscope.report.tables import class_table, score_table, split_table, vote_table

if TYPE_CHECKING:
    from morphoscope.data.splits.split import Split
    from morphoscope.data.store import Store
    from morphoscope.report.html.document import Page

EXAMPLES = 7  # pictures in a row
AUGMENTED = 4  # galaxies whose augmented draws are shown
MISTAKES = 15
SHOWN_MAPS = 9
PANELS = 9  # answers in the figure of predicted against true fractions
VOTE_ROWS = 8  # answers whose typical galaxies are shown


def add_data(page: Page, evidence: ReportContext) -> None:
    """What the data were, examples, and augmented samples."""
    page.section("data", "The data")
    counts = evidence.metrics.get("counts") or {}
    page.facts(data_facts(evidence.run, evidence.store, counts))
    if counts and isinstance(evidence.run.scheme, Classes):
        total = sum(sum(part.values()) for part in counts.values())
        caption = f"Galaxies per class and part of the split, n = {formatting.count(total)}."
        page.chart("class_counts", figures.class_counts(counts), caption)
        page.table(split_table(counts), folded="The same as a table")
    if evidence.store is not None and evidence.split is not None and len(evidence.split.train):
        _add_examples(page, evidence, evidence.store, evidence.split)
        _add_augmented(page, evidence, evidence.store, evidence.split)


def _add_examples(page: Page, evidence: ReportContext, store: Store, split: Split) -> None:
    scheme, rows = evidence.run.scheme, split.train
    targets = store.targets()[rows]
    if isinstance(scheme, Classes):
        chosen = examples.examples_per_class(
            targets, rows, scheme.classes, EXAMPLES, evidence.run.recipe.seed
        )
        sums = [int((targets == index).sum()) for index in range(scheme.outputs)]
        notes = {name: f"n = {formatting.count(n)}" for name, n in zip(scheme.classes, sums, strict=True)}
        caption = "Galaxies of each class, drawn at random from the training split; n is how many it has."
    else:
        answers = examples.spread_answers(targets, scheme.answers, VOTE_ROWS)
        columns = [scheme.answers.index(name) for name in answers]
        found = examples.examples_per_answer(targets[:, columns], rows, answers, EXAMPLES)
        texts = examples.answer_texts(scheme)
        # The meaning is the title where it is known, and the column's name stands below it.
        chosen = {texts.get(name, name): some for name, some in found.items()}
        notes = {texts[name]: name for name in found if name in texts}
        caption = (
            "The training galaxies with the highest fraction of some answers (those whose fractions vary "
            f"most); n = {formatting.count(len(rows))}."
        )
    if not chosen:
        return
    page.section("examples", "Example galaxies")
    shelves = [
        GalleryRow(
            name,
            notes.get(name, ""),
            [Picture(data_uri(store.images[row]), f"{name}, row {row}") for row in some],
        )
        for name, some in chosen.items()
    ]
    page.gallery("class_examples", figures.class_examples(store, chosen, notes), shelves, caption)


def _add_augmented(page: Page, evidence: ReportContext, store: Store, split: Split) -> None:
    from morphoscope.augment.cpu import Augmenter

    recipe = evidence.run.recipe
    rng = np.random.default_rng(recipe.seed)
    rows = rng.choice(split.train, min(AUGMENTED, len(split.train)), replace=False)
    images = [store.images[row] for row in rows]
    shown = figures.augmented_draws(images, rows, Augmenter(recipe.augment, recipe.seed), EXAMPLES - 1)
    titles = [_title_of(store, int(row)) for row in rows]
    page.section("augmented", "As the network sees them")
    size = recipe.augment.size
    shelves = [
        GalleryRow(
            title,
            "",
            [
                Picture(
                    data_uri(image),
                    f"{title}, {'plain' if place == 0 else f'augmented, draw {place}'}",
                    ("plain" if place == 0 else f"draw {place}",) if first else (),
                )
                for place, image in enumerate(drawn)
            ],
        )
        for first, (title, drawn) in zip(
            [True] + [False] * len(titles), zip(titles, shown, strict=True), strict=False
        )
    ]
    caption = (
        f"Training galaxies at the network's {size} × {size} pixels: at the left plain, as in the test, then "
        f"{EXAMPLES - 1} augmented draws, one for each of the first epochs."
    )
    page.gallery("augmented", figures.augmented_grid(shown, titles), shelves, caption)


def _title_of(store: Store, row: int) -> str:
    scheme = store.scheme
    if isinstance(scheme, Classes):
        return scheme.classes[int(store.column(scheme.column)[row])]
    return str(store.table.column("id")[row].as_py())


def add_training(page: Page, evidence: ReportContext) -> None:
    """The curves."""
    page.section("training", "Training")
    history = evidence.history
    if not len(history.get("epoch", ())):
        page.text("The run has no history of its epochs.")
        return
    best = evidence.run.header.best_epoch
    metric = evidence.run.scheme.metric
    name = {"accuracy": "accuracy", "rmse": "RMSE"}.get(metric, metric)
    epochs = formatting.plural(len(history["epoch"]), "epoch")
    seconds = np.asarray(history.get("seconds", ()), float)
    took = f" in {formatting.duration(float(np.nansum(seconds)))}" if np.isfinite(seconds).any() else ""
    training = evidence.run.recipe.training
    averaged = " Validation is of the moving average of the weights." if training.ema else ""
    marked = best is not None and len(history["epoch"]) > 1
    kept = f" The dotted line marks epoch {best}, whose weights were kept." if marked else ""
    softened = training.label_smoothing or training.mixup or training.cutmix
    strict = " The training loss is that of smoothed or mixed labels." if softened else ""
    page.chart(
        "training_curves",
        figures.training_curves(history, metric, best),
        f"Loss, {name} and learning rate over {epochs}{took}. Training values are means over an epoch's "
        f"augmented batches while the weights still move.{strict}{averaged}{kept}",
    )


def add_maps(page: Page, evidence: ReportContext) -> None:
    """Saliency and Grad-CAM of held-out galaxies of the class with the best F1 (`cheng` Figs 8, 9)."""
    from morphoscope.explanation.explain import Explainer
    from morphoscope.explanation.selection import BEST_F1, choose_galaxies
    from morphoscope.inference.predictor import Predictor
    from morphoscope.report.figures.maps import METHOD_NAMES, dead_words, map_panel

    run, store = evidence.run, evidence.store
    if store is None or not evidence.test:
        return
    try:
        rows, target = choose_galaxies(run, store, BEST_F1, SHOWN_MAPS)
        explain = Explainer(Predictor(run, views=1))
        images = [store.images[row] for row in rows]
        found = [explain(images, method=method, target=target) for method in ("saliency", "gradcam")]
    except MorphoscopeError:  # whose words may name folders, which a page that is shared should not
        evidence.missing.append(
            "There are no maps of what the network looks at; 'morphoscope explain' says why not."
        )
        return
    page.section("maps", "What it looks at")
    why = "the class with the highest F1" if isinstance(run.scheme, Classes) else "the highest fractions"
    for maps in found:
        page.chart(
            f"maps_{maps.method}",
            map_panel(maps),
            f"{METHOD_NAMES[maps.method]} for {target} ({why}): held-out galaxies, beside each its map from "
            f"nothing to its own largest values; the percentage is the network's answer.{dead_words(maps)}",
        )
    page.text("'morphoscope explain' makes more of them, and --score measures whether they are right.")


def add_evaluation(page: Page, evidence: ReportContext) -> None:
    """Scores, and where the network fails."""
    page.section("results", "Results")
    test = evidence.test
    if not test:
        page.text("Nothing was measured: the run has no test results.")
        return
    page.table(score_table(test, evidence.metrics.get("validation")))
    scheme = evidence.run.scheme
    if isinstance(scheme, Classes):
        _add_classes(page, evidence, scheme)
    else:
        _add_votes(page, evidence, scheme)


def _add_classes(page: Page, evidence: ReportContext, scheme: Classes) -> None:
    test = evidence.test
    n = f"n = {formatting.count(test.get('n'))}"
    if test.get("confusion"):
        page.section("confusion", "Confusion matrix")
        caption = (
            "Truth in rows, prediction in columns: galaxies and the share of their row. Blue is right, "
            f"orange wrong; the stronger, the larger the share. Test split, {n}."
        )
        page.chart("confusion_matrix", figures.confusion_matrix(test["confusion"], scheme.classes), caption)
    if test.get("per_class"):
        page.section("classes", "Class by class")
        page.table(class_table(test))
    add_calibration(page, evidence)
    add_ood(page, evidence)
    _add_mistakes(page, evidence, scheme)


def _add_mistakes(page: Page, evidence: ReportContext, scheme: Classes) -> None:
    table = evidence.predictions
    if table is None:
        return
    mistakes = examples.confident_mistakes(table, scheme.classes, MISTAKES)
    page.section("mistakes", "Most confidently wrong")
    if not mistakes:
        page.text(
            f"Every one of the {formatting.plural(table.num_rows, 'test galaxy', 'test galaxies')} is right."
        )
        return
    if evidence.store is None:
        page.text("The pictures of these galaxies need the store, which was not at hand.")
        return
    store = evidence.store
    cards = [
        Picture(
            data_uri(store.images[mistake.row]),
            f"{mistake.truth} taken for {mistake.predicted}",
            (
                mistake.predicted,
                f"truth: {mistake.truth}",
                f"{formatting.sure(mistake.probability)} sure, truth "
                f"{formatting.sure(mistake.truth_probability)}",
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
    galaxies = formatting.plural(table.num_rows, "test galaxy", "test galaxies")
    caption = (
        f"{which} wrong answers on {galaxies}, surest first: the network's answer, the label, and the "
        "probability of both. Some of these labels may be wrong."
    )
    figure = figures.most_wrong([store.images[mistake.row] for mistake in mistakes], mistakes)
    page.gallery("most_wrong", figure, [GalleryRow("", "", cards)], caption, cards=True)


def _add_votes(page: Page, evidence: ReportContext, scheme: VoteFractions) -> None:
    test = evidence.test
    texts = examples.answer_texts(scheme)
    n = f"Test split, n = {formatting.count(test.get('n'))}."
    if test.get("per_question"):
        page.section("questions", "Question by question")
        caption = f"RMSE of the answers of each question, with 95 % intervals. {n}"
        page.chart("votes_per_question", figures.votes_per_question(test), caption)
    if test.get("per_answer"):
        page.section("answers", "Answer by answer")
        caption = (
            "RMSE of each answer, with 95 % intervals; the orange mark is the RMSE of always answering with "
            f"the mean. {n}"
        )
        page.chart("votes_per_answer", figures.votes_per_answer(test, texts), caption)
        page.table(vote_table(test["per_answer"], texts), folded="The same as a table")
    add_calibration(page, evidence)
    add_ood(page, evidence)
    if evidence.predictions is None:
        return
    truth, predicted = examples.vote_arrays(evidence.predictions, scheme.answers)
    panels = examples.spread_answers(truth, scheme.answers, PANELS)
    columns = [scheme.answers.index(name) for name in panels]
    few = len(truth) <= FEW
    drawn = (
        "One dot a galaxy" if few else "The stronger the colour, the more galaxies, on a logarithmic scale"
    )
    page.section("scatter", "Predicted against true fractions")
    page.chart(
        "votes_scatter",
        figures.votes_scatter(truth[:, columns], predicted[:, columns], examples.titled(panels, texts)),
        f"The answers whose true fractions vary most. {drawn}; "
        f"on the dashed line the prediction is right. {n}",
    )
    _add_worst(page, evidence, scheme, texts)


def _add_worst(page: Page, evidence: ReportContext, scheme: VoteFractions, texts: dict[str, str]) -> None:
    if evidence.predictions is None or evidence.store is None:
        return
    store = evidence.store
    worst = examples.worst_votes(evidence.predictions, scheme.answers, MISTAKES)
    if not worst:
        return
    page.section("mistakes", "The worst galaxies")
    lines = [
        (
            f"RMSE {formatting.number(error.rmse)}",
            examples.titled([error.answer], texts)[0],
            f"said {formatting.number(error.predicted, 2)}, truth {formatting.number(error.truth, 2)}",
        )
        for error in worst
    ]
    images = [store.images[error.row] for error in worst]
    cards = [
        Picture(data_uri(image), f"galaxy {error.id}", words)
        for image, error, words in zip(images, worst, lines, strict=True)
    ]
    captions = ["\n".join(style.wrapped(line, 30, lines=2) for line in words) for words in lines]
    caption = (
        f"The {len(worst)} test galaxies with the greatest RMSE over their own answers, and the answer that "
        "is off most."
    )
    page.gallery(
        "worst_votes", figures.image_cards(images, captions), [GalleryRow("", "", cards)], caption, cards=True
    )
