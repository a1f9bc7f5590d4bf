"""report.html: one self-contained file about a run, and its figures at print quality beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.report.context import ReportContext
from morphoscope.report.html.document import Page, PageHeader, rendered
from morphoscope.report.kinds import report_of
from morphoscope.report.sections import add_data, add_evaluation, add_maps, add_training
from morphoscope.report.summary import (
    caveats,
    commands,
    environment_facts,
    images_seen,
    model_facts,
)
from morphoscope.report.tables import changed_fields

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.runs.run import Run


def write_report(run: Run, store: Store | None = None) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a run's folder.

    Args:
        run: a finished run; what it lacks (metrics, predictions, history) is left out with a sentence.
        store: the store it was trained on. Without it, or with another one, pictures of galaxies are
            left out and the page says so.

    Returns:
        The path of the page.
    """
    with files.explained_os_errors(run.path):
        evidence = ReportContext.of(run, store)
        page = Page(run.path / "figures")
        add_data(page, evidence)
        add_training(page, evidence)
        add_evaluation(page, evidence)
        add_maps(page, evidence)
        _add_recipe(page, run)
        _add_environment(page, evidence)
        text = _rendered(page, evidence)
        target = run.path / "report.html"
        with files.atomic_file(target) as partial:
            partial.write_text(text, encoding="utf-8")
    return target


def _add_recipe(page: Page, run: Run) -> None:
    page.section("recipe", "Model and recipe")
    page.facts(model_facts(run))
    changed = changed_fields(run.recipe)
    if changed.rows:
        page.table(changed)
    else:
        page.text("Every field has the program's default.")
    page.code(run.recipe.to_yaml(), folded="The whole recipe as YAML")


def _add_environment(page: Page, evidence: ReportContext) -> None:
    page.section("environment", "Environment")
    counts = evidence.metrics.get("counts") or {}
    images = images_seen(evidence.run, counts, len(evidence.history.get("epoch", ())))
    facts = environment_facts(evidence.environment, evidence.run.recipe.seed, images)
    if evidence.environment:
        page.facts(facts)
    else:
        page.text("The run has no environment.json: versions and hardware are not known.")
    page.section("reproduce", "How to reproduce")
    page.text(
        "In the folder that holds the run and its store. The split file names the same galaxies; on other "
        "hardware the last digits may differ."
    )
    page.code(commands(evidence.run))


def _rendered(page: Page, evidence: ReportContext) -> str:
    run = evidence.run
    notes = caveats(
        run, evidence.metrics, evidence.history, evidence.environment, evidence.split, evidence.store
    )
    return rendered(
        page,
        PageHeader(
            kind="report",
            eyebrow=" · ".join(filter(None, (f"run {run.name}", run.header.created[:10]))),
            title=run.recipe.name,
            about=run.recipe.about,
            headline=report_of(run.scheme.kind).headline(evidence.metrics),
            version=run.header.program_version,
        ),
        notes=[*evidence.missing, *notes],
    )
