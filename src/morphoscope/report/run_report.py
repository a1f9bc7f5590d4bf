"""report.html of a run: one self-contained page, with its figures at print quality beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from morphoscope import files
from morphoscope.extras import DRAWING, need
from morphoscope.report.context import ReportContext
from morphoscope.report.html.document import Page, PageHeader, rendered
from morphoscope.report.kinds import report_of
from morphoscope.report.sections import add_data, add_evaluation, add_maps, add_shapes, add_training
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
        run: a finished run; the page says what it lacks (metrics, predictions, history).
        store: the store it was trained on. Without it, or with another one, the page has no images of
            galaxies and says so.

    Returns:
        The path of the page.
    """
    need(DRAWING, "report", "report.html")
    with files.explained_os_errors(run.path):
        context = ReportContext.of(run, store)
        page = Page(run.path / "figures")
        add_data(page, context)
        add_training(page, context)
        add_evaluation(page, context)
        add_shapes(page, context)
        add_maps(page, context)
        _add_recipe(page, run)
        _add_environment(page, context)
        text = _rendered(page, context)
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
        page.text("Every field has its default.")
    page.code(run.recipe.to_yaml(), folded="The whole recipe as YAML")


def _add_environment(page: Page, context: ReportContext) -> None:
    page.section("environment", "Environment")
    counts = context.metrics.get("counts") or {}
    images = images_seen(context.run, counts, len(context.history.get("epoch", ())))
    facts = environment_facts(context.environment, context.run.recipe.seed, images)
    if context.environment:
        page.facts(facts)
    else:
        page.text("The run has no environment.json: versions and hardware are unknown.")
    page.section("reproduce", "How to reproduce")
    page.text(
        "Run these in the folder that holds the run and its store. The split file names the same galaxies; "
        "the last digits may differ on other hardware."
    )
    page.code(commands(context.run))


def _rendered(page: Page, context: ReportContext) -> str:
    run = context.run
    notes = caveats(run, context.metrics, context.history, context.environment, context.split, context.store)
    return rendered(
        page,
        PageHeader(
            kind="report",
            eyebrow=" · ".join(filter(None, (f"run {run.name}", run.header.created[:10]))),
            title=run.recipe.name,
            about=run.recipe.about,
            headline=report_of(run.scheme.kind).headline(context.metrics),
            version=run.header.program_version,
        ),
        notes=[*context.missing, *notes],
    )
