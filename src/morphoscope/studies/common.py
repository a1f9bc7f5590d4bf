"""Sections on every study's page: claims, published and measured values, data, networks, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from morphoscope.report import figures, formatting
from morphoscope.report.formatting import PERCENT, shown
from morphoscope.report.tables import Table
from morphoscope.studies.claims import METRICS
from morphoscope.studies.extra_scores import GALAXIES
from morphoscope.studies.study import NOT_IN_QUICK, classes_without_galaxies

if TYPE_CHECKING:
    from morphoscope.report.context import ReportContext
    from morphoscope.studies.claims import Claim
    from morphoscope.studies.page_context import StudyPage


MOST_NUMBERS = 10  # beside a claim
_SCORES_OF_A_CLASS = {"f1": "F1", "recall": "Recall", "precision": "Precision", "support": "Galaxies"}


def add_claims(page: StudyPage) -> None:
    """The paper's claims, and whether each holds here."""
    page.page.section("claims", "The paper's claims, and what was measured")
    measured = page.results.measured()
    rows = [_claim_row(page, claim, measured) for claim in page.study.published.claims]
    page.page.table(
        Table(
            headings=["Claim", "In the paper", "Here", "Measured"],
            rows=rows,
            text_columns=frozenset({0, 1, 2, 3}),
            caption=(
                "The paper's claims in our words, each with a verdict based on the means over seeds and the "
                "number of seeds in which the same is true. A verdict may be chance where there is one seed, "
                "or where seeds disagree. “Within the error” means that it is less than 1.96 standard errors "
                "of the test galaxies, or of the seeds if those scatter more, from the opposite verdict: "
                "other galaxies may well give that. The errors of losses, times and training scores are not "
                f"known. Claims about maps are checked on up to {GALAXIES} held-out galaxies, the same for "
                "rows that are compared. Fractions are in percent."
            ),
        )
    )


def _claim_row(page: StudyPage, claim: Claim, measured: Mapping[str, Mapping[str, float]]) -> list[str]:
    found = [each for each in claim.evidence(measured) if each[2] is not None]
    asked, order = list(dict.fromkeys(metric for _, metric, _ in found)), list(page.study.rows())
    found.sort(key=lambda each: (asked.index(each[1]), order.index(each[0])))
    numbers: dict[str, list[str]] = {}
    for row, metric, value in found[:MOST_NUMBERS]:
        numbers.setdefault(_name(metric), []).append(f"{page.short(row)} {shown(value, metric)}")
    text = claim.text + (f" (asked of {claim.asked_of})" if claim.asked_of else "")
    few = "; ".join(f"{name}: {', '.join(values)}" for name, values in numbers.items())
    few += "; …" if len(found) > MOST_NUMBERS else ""
    status = claim.status(measured, page.conditions)
    return [text, claim.where, f"{status}{_support(page, claim, measured)}", few or formatting.DASH]


def _support(page: StudyPage, claim: Claim, measured: Mapping[str, Mapping[str, float]]) -> str:
    """In how many seeds a claim has the verdict of the means; empty where no training was needed for it."""
    verdict = claim.verdict(measured, page.conditions)
    if verdict is None or all(metric == "parameters" for _, metric, _ in claim.evidence({})):
        return ""
    every = [claim.verdict(page.results.of_seed(seed), page.conditions) for seed in range(page.options.seeds)]
    clear = claim.clear(measured, page.results.errors(), page.conditions)
    within = ", within the error" if clear is False else ""
    if page.options.seeds == 1:
        return f" (one seed{within})"
    return f" (in {every.count(verdict)} of {formatting.plural(len(every), 'seed')}{within})"


def add_comparison(page: StudyPage) -> None:
    """Every row: published values next to measured ones (A15)."""
    page.page.section("comparison", "Published and measured")
    metrics = _compared_metrics(page)
    rows = []
    for name in page.study.rows():
        row = page.row(name)
        says = [shown(page.published(name, metric), metric) for metric in metrics]
        found = [page.value(row, metric) for metric in metrics]
        if row is None or not row.runs():
            found = ["not run", *[""] * (len(metrics) - 1)]
        seeds = formatting.count(len(row.runs())) if row and row.runs() else ""
        if any(cell != formatting.DASH for cell in says):
            rows.append([page.label(name), "published", *says, ""])
            rows.append(["", "measured", *found, seeds])
        else:
            rows.append([page.label(name), "measured", *found, seeds])
    for cited in page.study.published.references:
        if cited.metric in metrics:
            cells = [shown(cited.value if metric == cited.metric else None, metric) for metric in metrics]
            rows.append(
                [
                    f"{cited.label} ({'; '.join(filter(None, (cited.where, cited.remark)))})",
                    "cited",
                    *cells,
                    "",
                ]
            )
    n = {run.metrics()["test"]["n"] for row in page.results.rows.values() for run in row.runs()}
    counts = " or ".join(formatting.count(value) for value in sorted(n))
    unit = "Fractions are in percent. " if set(metrics) & set(PERCENT) else ""
    page.page.table(
        Table(
            headings=["Row", "", *(_name(metric) for metric in metrics), "Seeds"],
            rows=rows,
            text_columns=frozenset({0, 1}),
            caption=(
                f"{unit}Measured on {counts or 'no'} held-out galaxies; mean ± standard deviation over "
                "seeds where there are several. Rows with a single line are not in the paper; cited rows "
                "are results of others that the paper quotes."
            ),
        )
    )
    _add_dots(page)


def _add_dots(page: StudyPage) -> None:
    from morphoscope.report.figures.studies import Compared, published_and_measured

    names = list(page.study.rows())
    printed = [
        m for m in _compared_metrics(page) if any(page.published(name, m) is not None for name in names)
    ]
    metric = page.metric if page.metric in printed or not printed else printed[0]
    rows = [
        Compared(
            label=page.label(name),
            published=page.published(name, metric),
            measured=() if row is None else tuple(row.all(metric)),
        )
        for name, row in ((name, page.row(name)) for name in names)
    ]
    page.page.chart(
        "published_and_measured",
        published_and_measured(rows, metric),
        f"{_name(metric)}: published (open) and measured values (filled; bar: standard deviation over "
        "seeds, dots: single seeds).",
    )


def _compared_metrics(page: StudyPage) -> list[str]:
    """Metrics of the paper's own tables that a run also has, the study's own first."""
    own = [page.metric]
    others = ("train_accuracy", "validation_accuracy", "macro_precision", "macro_recall", "macro_f1")
    others += ("train_loss", "validation_loss", "test_loss")
    rows = page.study.published.rows
    return own + [name for name in others if any(name in row.metrics for row in rows)]


def _name(metric: str) -> str:
    names = {
        "accuracy": "Test accuracy",
        "train_accuracy": "Training accuracy",
        "validation_accuracy": "Validation accuracy",
        "validation_loss": "Validation loss",
        "macro_precision": "Macro precision",
        "macro_recall": "Macro recall",
        "macro_f1": "Macro F1",
        "rmse": "RMSE",
        "train_loss": "Training loss",
        "test_loss": "Test loss",
        "rmse_one_view": "RMSE, one view",
        "rmse_turned_views": "RMSE, 16 views",
        "rmse_scaled_views": "RMSE, 48 views",
        "seconds_per_epoch": "Seconds per epoch",
        "parameters": "Parameters",
        "on_galaxy": "Map on the galaxy",
        "galaxy_area": "Area of the galaxy",
        "alignment": "Map along the galaxy",
        "dead_maps": "Maps that are zero",
        "weighted_precision": "Weighted precision",
        "weighted_recall": "Weighted recall",
        "weighted_f1": "Weighted F1",
    }
    score, _, of = metric.partition(": ")
    if of:
        return f"{_SCORES_OF_A_CLASS.get(score, score)} of {of}"
    return names.get(metric, METRICS.get(metric, metric))


def add_data(page: StudyPage) -> None:
    """Class counts, examples, augmented samples (A1, A3, A5)."""
    from morphoscope.report.sections import add_data as add_data_of_a_run

    context = _report_context(page)
    if context is not None:
        add_data_of_a_run(page.page, context)


def _report_context(page: StudyPage) -> ReportContext | None:
    from morphoscope.report.context import ReportContext

    run = page.first_run()
    return None if run is None else ReportContext.of(run, page.store)


def add_networks(page: StudyPage) -> None:
    """Parameter counts of every row, and the structure of the main networks (A9, A10)."""
    from morphoscope.models.network import parameter_count, parameter_total

    page.page.section("networks", "The networks")
    rows = []
    for name in page.study.rows():
        network = page.network(name)
        published = page.study.published.row(name)
        rows.append(
            [
                page.short(name),
                formatting.count(parameter_count(network)),
                formatting.count(parameter_count(network, trainable_only=True)),
                formatting.count(parameter_total(network)),
                shown(None if published is None else published.metrics.get("parameters"), "parameters"),
            ]
        )
    page.page.table(
        Table(
            headings=["Row", "Parameters", "Trainable", "With running statistics", "Published"],
            rows=rows,
            caption=(
                "At the paper's image size. Keras counts the running means and variances of batch "
                "normalisation as parameters, torch does not."
            ),
        )
    )


def add_training(page: StudyPage) -> None:
    """Learning curves and run times of all networks (A11, A12)."""
    from morphoscope.report.figures.comparison import runtime_bars
    from morphoscope.report.figures.studies import all_curves

    trained = {name: row for name, row in page.results.rows.items() if row.runs()}
    if not trained:
        return
    page.page.section("training", "Training")
    histories = {page.label(name): [run.history() for run in row.runs()] for name, row in trained.items()}
    page.page.chart(
        "all_curves",
        all_curves(histories, page.metric),
        "Loss and score against epoch for all rows: mean over seeds, ± 1 standard deviation where there "
        "are several.",
    )
    best = page.best()
    if best is not None:
        run = best.runs()[0]
        page.page.chart(
            "best_curves",
            figures.training_curves(run.history(), page.metric, run.header.best_epoch),
            f"{page.label(best.name)}, seed 0: loss, score and learning rate.",
        )
    page.page.chart(
        "run_times",
        runtime_bars(
            {
                page.label(name): (row.mean("seconds_per_epoch"), row.mean("images_per_second"))
                for name, row in trained.items()
            }
        ),
        f"Seconds per epoch and training images per second on {_hardware(page)}.",
    )
    columns = {
        "epochs": "Epochs",
        "seconds_per_epoch": "Seconds per epoch",
        "seconds": "Total seconds",
        "images_per_second": "Images/s",
        "peak_memory": "Peak RAM, GiB",
        "peak_gpu_memory": "Peak GPU memory, GiB",
    }
    rows = page.study.published.rows
    known = [metric for metric in columns if any(row.mean(metric) is not None for row in trained.values())]
    columns = {metric: columns[metric] for metric in known}
    printed = [metric for metric in columns if any(metric in row.metrics for row in rows)]
    page.page.table(
        Table(
            headings=[
                "Row",
                *columns.values(),
                *(f"Published: {columns[metric].lower()}" for metric in printed),
            ],
            rows=[
                [
                    page.label(name),
                    *(shown(row.mean(metric), metric) for metric in columns),
                    *(shown(page.published(name, metric), metric) for metric in printed),
                ]
                for name, row in trained.items()
            ],
            caption=(
                f"The paper's hardware: {page.study.published.paper.hardware or 'not stated'}. Peak RAM "
                "is the whole process's; several rows may have run in one process."
            ),
        ),
        folded="The same as a table",
    )


def _hardware(page: StudyPage) -> str:
    run = page.first_run()
    known: Mapping[str, Any] = {} if run is None else run.environment()
    hardware = known.get("gpu") or known.get("processor") or "this machine"
    return str(hardware)


def add_words(page: StudyPage) -> None:
    """Contradictions, open questions and all deviations."""
    published = page.study.published
    page.page.section("contradictions", "Where the paper contradicts itself")
    page.page.table(
        Table(
            headings=["In", "It says", "Against", "Taken here"],
            rows=[[each.where, each.says, each.against, each.reading] for each in published.contradictions],
            text_columns=frozenset({0, 1, 2, 3}),
        )
    )
    page.page.section("readings", "What the paper does not specify")
    page.page.table(
        Table(
            headings=["What", "Taken", "Why", "Other reading"],
            rows=[[each.what, each.taken, each.why, _option(each.option)] for each in published.readings],
            text_columns=frozenset({0, 1, 2, 3}),
        )
    )
    page.page.section("deviations", "Deviations")
    rows = [
        [each.what, each.paper, each.here, each.why, _option(each.option)] for each in published.deviations
    ]
    page.page.table(
        Table(
            headings=["What", "The paper", "Here", "Why", "Literally"],
            rows=[*_own_deviations(page), *rows],
            text_columns=frozenset({0, 1, 2, 3, 4}),
        )
    )


def _option(name: str) -> str:
    return f"--literal {name}" if name else ""


def _own_deviations(page: StudyPage) -> list[list[str]]:
    """How this run differs from any paper's protocol: quick settings, options and missing weights."""
    options, paper = page.options, page.study.published.paper
    rows = [
        [
            "Galaxies",
            f"{paper.data_set}, {formatting.count(paper.galaxies)}",
            _about_store(page),
            "what was given",
            "",
        ]
    ]
    lacking = classes_without_galaxies(page.store)
    if lacking:
        rows.append(
            ["Classes", f"{paper.outputs}", f"no galaxy of {', '.join(lacking)}", "what was given", ""]
        )
    if options.quick:
        told = "; ".join(
            [_told(page.study.quick)]
            + [f"{page.short(row)}: {_told(own)}" for row, own in page.study.quick_rows.items()]
        )
        rows.append(["Size and length", "full protocol", told, "--quick", ""])
    if options.from_scratch and page.pretrained_in_the_paper:
        kept = " except those of EfficientNet-Lite0" if page.pretrained_here else ""
        here = f"random weights for all rows{kept}"
        rows.append(["Start", "pretrained weights for most rows", here, "--from-scratch", ""])
    for name in options.literal:
        about, settings = page.study.literal[name]
        if options.quick and set(settings) & set(NOT_IN_QUICK):
            about += "; --quick leaves out growing images and a later first epoch"
        rows.append(["Literal reading", "", about, f"--literal {name}", ""])
    if options.settings:
        rows.append(["Settings", "", ", ".join(options.settings), "--set", ""])
    return rows


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _about_store(page: StudyPage) -> str:
    side = page.store.meta.image_shape[0]
    source = page.store.meta.source or "unknown source"
    return f"{page.store.path.resolve().name}: {formatting.count(len(page.store))} of {source}, {side} px"
