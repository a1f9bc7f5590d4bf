"""The report's section on what is unlike the training: how much there is, and how well strangers are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from morphoscope.report import figures, wording
from morphoscope.report.tables import Table

if TYPE_CHECKING:
    from morphoscope.report.document import Page
    from morphoscope.report.evidence import Evidence


def add_strangeness(page: Page, evidence: Evidence) -> None:
    """What out_of_distribution means, its distribution, and the strangers it was tried "
    "on.
    """
    done = evidence.metrics.get("out_of_distribution")
    if not done:
        return
    page.section("unlike", "Unlike the training")
    page.text(strangeness_words(done))
    page.chart("out_of_distribution", figures.strangeness(done), _caption(done))
    if done["non_galaxies"]:
        page.table(strangers_table(done))


def strangeness_words(done: Mapping[str, Any]) -> str:
    """What is measured, and how many of the test galaxies are strange."""
    galaxies = wording.plural(done["galaxies"], "training galaxy", "training galaxies")
    held_out = wording.plural(done["held_out"], "validation galaxy", "validation galaxies")
    test = done["test"]
    low, high = wording.bounds_of(test, "stranger")
    share = wording.percent(wording.value_of(test, "stranger"))
    between = wording.interval(low, high, as_percent=True)
    return (
        f"Every galaxy is compared with {galaxies} by the {done['method']}. The unit is the distance within "
        f"which 95 % of {held_out} lie, so that a galaxy above 1 is stranger than they. Of the test "
        f"galaxies {share}{f' ({between})' if between else ''} are; about 5 % are expected of galaxies of "
        "the same kind."
    )


def strangers_table(done: Mapping[str, Any]) -> Table:
    """For each kind of non-galaxy how well it is told from the test galaxies."""
    rows = []
    for row in done["non_galaxies"]:
        low, high = wording.bounds_of(row, "auroc")
        rows.append(
            [
                row["name"].capitalize(),
                wording.count(row["n"]),
                wording.number(wording.value_of(row, "auroc")),
                wording.interval(low, high) or wording.DASH,
                wording.percent(wording.value_of(row, "stranger"), 0),
            ]
        )
    return Table(
        headings=["Simulated", "Pictures", "AUROC", "95 % interval", "Above 1"],
        rows=rows,
        caption=(
            f"Non-galaxies against {wording.count(done['test']['n'])} test galaxies: the share of pairs in "
            "which the non-galaxy is the stranger one, and the share that is stranger than 95 % of galaxies."
        ),
    )


def _caption(done: Mapping[str, Any]) -> str:
    others = ""
    if done["non_galaxies"]:
        pictures = sum(row["n"] for row in done["non_galaxies"])
        others = f" and of {wording.count(pictures)} simulated pictures without a galaxy"
    return (
        f"How unlike the training's galaxies: distances of {wording.count(done['test']['n'])} test "
        f"galaxies{others}, as shares of each; the line is the distance within which 95 % of validation "
        "galaxies lie. What lies beyond an end is in the last bin."
    )
