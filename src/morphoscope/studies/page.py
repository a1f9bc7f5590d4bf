"""study.html: a paper's claims, what was measured and on which data, and every deviation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.report import formatting
from morphoscope.report.formatting import shown
from morphoscope.report.html.document import Page, PageHeader, rendered
from morphoscope.report.summary import Headline, Tile
from morphoscope.studies.common import (
    add_claims,
    add_comparison,
    add_data,
    add_networks,
    add_training,
    add_words,
)
from morphoscope.studies.page_context import StudyPage

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.studies.results import Results
    from morphoscope.studies.study import Options, Study


def write_study_page(study: Study, results: Results, store: Store, out: Path, options: Options) -> Path:
    """Write ``study.html`` and ``figures/*.png`` into the study's folder; returns the page's path."""
    from morphoscope.studies.study import for_store, resolved_rows
    from morphoscope.version import __version__

    every = resolved_rows(study, replace(options, rows=()))
    recipes = {name: for_store(recipe, store, study.served_side) for name, recipe in every.items()}
    with files.explained_os_errors(out):
        page = StudyPage(study, results, store, options, Page(out / "figures"), recipes)
        add_claims(page)
        add_comparison(page)
        study.sections(page)
        add_data(page)
        add_networks(page)
        add_training(page)
        add_words(page)
        text = rendered(page.page, _top(page, __version__), notes=_notes(page))
        target = out / "study.html"
        with files.atomic_file(target) as partial:
            partial.write_text(text, encoding="utf-8")
    return target


def _top(page: StudyPage, version: str) -> PageHeader:
    paper = page.study.published.paper
    trained = [row for row in page.results.rows.values() if row.runs()]
    runs = len({run.path for row in trained for run in row.runs()})  # rows may share one
    reduced = "quick, at reduced size" if page.options.quick else ""
    names = f"{paper.authors[0]} et al." if len(paper.authors) > 1 else ", ".join(paper.authors)
    facts = [
        Tile("Rows trained", f"{len(trained)} of {len(page.study.rows())}", "of the paper and beyond"),
        Tile("Trainings", formatting.count(runs), formatting.plural(page.options.seeds, "seed")),
        Tile("Galaxies", formatting.count(len(page.store)), f"the paper: {formatting.count(paper.galaxies)}"),
        Tile("Tested on", _tested(page), "held-out galaxies"),
    ]
    return PageHeader(
        kind="study",
        eyebrow=" · ".join(filter(None, (page.study.key, names, str(paper.year or ""), reduced))),
        title=f"Quick study at reduced size: {paper.title}" if page.options.quick else paper.title,
        about=_about(page),
        headline=_headline(page, facts),
        version=version,
    )


def _headline(page: StudyPage, facts: list[Tile]) -> Headline:
    claims, measured = page.study.published.claims, page.results.measured()
    conditions, errors = page.conditions, page.results.errors()
    verdicts = [claim.verdict(measured, conditions) for claim in claims]
    decided = [verdict for verdict in verdicts if verdict is not None]
    if not decided:
        label = f"of the paper's {len(claims)} claims were tested here; the table below says why"
        return Headline(figure=f"0 / {len(claims)}", label=label, interval="", tiles=facts)
    unclear = [claim.clear(measured, errors, conditions) for claim in claims].count(False)
    return Headline(
        figure=f"{sum(decided)} / {len(decided)}",
        label=(
            "of the paper's claims tested here hold on these galaxies; "
            f"{len(verdicts) - len(decided)} of {len(verdicts)} were not tested"
        ),
        interval=f"verdicts compare means over seeds; {unclear} of them may turn around with other galaxies",
        tiles=facts,
    )


def _tested(page: StudyPage) -> str:
    n = {run.metrics()["test"]["n"] for row in page.results.rows.values() for run in row.runs()}
    return " or ".join(formatting.count(value) for value in sorted(n)) or formatting.DASH


def _about(page: StudyPage) -> str:
    store = page.store
    source = f" ({store.meta.source})" if store.meta.source else ""
    words = [f"{formatting.count(len(store))} galaxies of {store.path.resolve().name}{source}."]
    if page.options.quick:
        words.append(
            "This is a quick run: image size, number of galaxies and epochs are reduced, so its "
            "numbers show that the program works, not how good the networks are."
        )
    if page.options.from_scratch and page.pretrained_in_the_paper:
        which = "Only the EfficientNet-Lite0 networks" if page.pretrained_here else "No network"
        words.append(f"{which} had pretrained weights.")
    return " ".join(words)


def _notes(page: StudyPage) -> list[str]:
    notes = []
    for name in page.study.rows():
        row = page.row(name)
        if row is None:
            notes.append(f"{page.short(name)} was not requested.")
        elif row.why_not():
            notes.append(f"{page.short(name)} was not run: {row.why_not()}.".replace("..", "."))
        elif row.trainings[0].same_as:
            notes.append(
                f"{page.short(name)} has the same recipe as {page.short(row.trainings[0].same_as)} "
                "with these options, so it was trained once."
            )
    if page.options.seeds == 1:
        notes.append("A single seed does not show the scatter; use --seeds 3 or more.")
    return notes


def summary(study: Study, results: Results) -> list[str]:
    """Published and measured values of the study's metric, as aligned text."""
    rows = [["row", "published", "measured"]]
    for name, row in results.rows.items():
        metric = "rmse" if row.all("rmse").size else "accuracy"
        published = study.published.row(name)
        value = None if published is None else published.metrics.get(metric)
        measured = row.why_not() or shown(row.mean(metric), metric, row.deviation(metric))
        rows.append([name, shown(value, metric), measured])
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]}" for row in rows]
