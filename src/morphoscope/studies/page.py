"""study.html: what a paper claims, what was measured, on which data, and every deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.report import wording
from morphoscope.report.document import Page, Top, rendered
from morphoscope.report.facts import Headline, Tile
from morphoscope.studies.common import (
    add_claims,
    add_comparison,
    add_data,
    add_networks,
    add_training,
    add_words,
)
from morphoscope.studies.listing import shadow
from morphoscope.studies.wording import shown

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.models.network import Network
    from morphoscope.recipe import Recipe
    from morphoscope.studies.results import Results, Row
    from morphoscope.studies.study import Options, Study
    from morphoscope.training.run import Run


@dataclass
class StudyPage:
    """What the sections of a study's page are made from, and what they share.

    Attributes:
        study: the paper and its recipes.
        results: what was measured.
        store: the galaxies.
        options: how it was run.
        page: the page that grows.
        recipes: every row of the study as it was or would be trained here.
    """

    study: Study
    results: Results
    store: Store
    options: Options
    page: Page
    recipes: Mapping[str, Recipe]

    @property
    def metric(self) -> str:
        """What the study is judged by: "accuracy" or "rmse"."""
        return self.store.need_scheme().metric

    def label(self, name: str) -> str:
        """The paper's name of a row, or what the row is about."""
        row = self.study.published.row(name)
        if row is None:
            return self.short(name)
        others = [each.label for each in self.study.published.rows if each.key != name]
        alone = row.label not in others and not row.label[0].isdigit()
        return row.label if alone else f"{row.label} ({self.short(name)})"

    def short(self, name: str) -> str:
        """A row's name without the study's."""
        return name.split("/")[-1]

    def row(self, name: str) -> Row | None:
        """A row that was asked for."""
        return self.results.rows.get(name)

    def published(self, name: str, metric: str) -> float | None:
        """What the paper says."""
        row = self.study.published.row(name)
        return None if row is None else row.metrics.get(metric)

    def network(self, name: str) -> Network:
        """The network of a row with shapes and without numbers, at the paper's size."""
        recipe = self.study.rows()[name]
        return shadow(recipe, self.store.need_scheme().outputs)

    def best(self, names: Sequence[str] | None = None) -> Row | None:
        """The measured row with the best mean of the study's metric."""
        measured = [row for name, row in self.results.rows.items() if names is None or name in names]
        measured = [row for row in measured if row.mean(self.metric) is not None]
        sign = -1 if self.metric == "rmse" else 1
        return max(measured, key=lambda row: sign * (row.mean(self.metric) or 0), default=None)

    def first_run(self, name: str | None = None) -> Run | None:
        """The first finished training, of one row or of any."""
        rows = [self.row(name)] if name else list(self.results.rows.values())
        return next((run for row in rows if row for run in row.runs()), None)

    def value(self, row: Row | None, metric: str) -> str:
        """Mean ± standard deviation over seeds as the page writes it."""
        mean = None if row is None else row.mean(metric)
        spread = None if row is None else row.deviation(metric)
        return shown(mean, metric, spread)


def write_study_page(study: Study, results: Results, store: Store, out: Path, options: Options) -> Path:
    """Write ``study.html`` and ``figures/*.png`` into the study's folder; returns the page's path."""
    from morphoscope import __version__
    from morphoscope.studies.run import fitted_to
    from morphoscope.studies.study import resolved_rows

    every = resolved_rows(study, replace(options, rows=()))
    recipes = {name: fitted_to(recipe, store) for name, recipe in every.items()}
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


def _top(page: StudyPage, version: str) -> Top:
    paper = page.study.published.paper
    measured, literal = page.results.measured(), page.options.literal
    verdicts = [claim.verdict(measured, literal) for claim in page.study.published.claims]
    decided = [verdict for verdict in verdicts if verdict is not None]
    trained = [row for row in page.results.rows.values() if row.runs()]
    runs = sum(len(row.runs()) for row in trained)
    reduced = "quick, at reduced size" if page.options.quick else ""
    names = f"{paper.authors[0]} et al." if len(paper.authors) > 1 else ", ".join(paper.authors)
    facts = [
        Tile("Rows trained", f"{len(trained)} of {len(page.study.rows())}", "of the paper and beyond"),
        Tile("Trainings", wording.count(runs), wording.plural(page.options.seeds, "seed")),
        Tile("Galaxies", wording.count(len(page.store)), f"the paper: {wording.count(paper.galaxies)}"),
        Tile("Tested on", _tested(page), "held-out galaxies"),
    ]
    return Top(
        kind="study",
        eyebrow=" · ".join(filter(None, (page.study.key, names, str(paper.year or ""), reduced))),
        title=f"Quick study at reduced size: {paper.title}" if page.options.quick else paper.title,
        about=_about(page),
        headline=Headline(
            figure=f"{sum(decided)} / {len(decided)}",
            label=f"of the paper's claims that were put to the test here hold on these galaxies; "
            f"{len(verdicts) - len(decided)} of {len(verdicts)} were not tested",
            interval="a claim is about means over seeds; see the table for their spread",
            tiles=facts,
        ),
        version=version,
    )


def _tested(page: StudyPage) -> str:
    n = {run.metrics()["test"]["n"] for row in page.results.rows.values() for run in row.runs()}
    return " or ".join(wording.count(value) for value in sorted(n)) or wording.DASH


def _about(page: StudyPage) -> str:
    store = page.store
    source = f" ({store.meta.source})" if store.meta.source else ""
    words = [f"{wording.count(len(store))} galaxies of {store.path.resolve().name}{source}."]
    if page.options.quick:
        words.append(
            "This is a quick run: images, number of galaxies and epochs are reduced, so its numbers say how "
            "the program runs and not how good the networks are."
        )
    if page.options.from_scratch:
        words.append("No network had pretrained weights but those named EfficientNet-Lite0.")
    return " ".join(words)


def _notes(page: StudyPage) -> list[str]:
    notes = []
    for name in page.study.rows():
        row = page.row(name)
        if row is None:
            notes.append(f"{page.short(name)} was not asked for and not run.")
        elif row.why_not():
            notes.append(f"{page.short(name)} was not run: {row.why_not()}.".replace("..", "."))
        elif row.trainings[0].same_as:
            notes.append(
                f"{page.short(name)} is the same training as {page.short(row.trainings[0].same_as)} with "
                "these options, and was run once."
            )
    if page.options.seeds == 1:
        notes.append("One seed tells nothing about chance; --seeds 3 or more does.")
    return notes


def summary(study: Study, results: Results) -> list[str]:
    """Published and measured values of the study's metric as aligned text."""
    rows = [["row", "published", "measured"]]
    for name, row in results.rows.items():
        metric = "rmse" if row.all("rmse").size else "accuracy"
        published = study.published.row(name)
        value = None if published is None else published.metrics.get(metric)
        measured = row.why_not() or shown(row.mean(metric), metric, row.deviation(metric))
        rows.append([name, shown(value, metric), measured])
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]}" for row in rows]
