"""Sections of a report on uncertainty: calibration, prediction sets and out-of-distribution galaxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from morphoscope.report import figures, formatting
from morphoscope.report.tables import Table
from morphoscope.report.tested import Tested

if TYPE_CHECKING:
    from morphoscope.report.context import ReportContext
    from morphoscope.report.html.document import Page

SCORES = (
    ("ece", "Expected calibration error"),
    ("adaptive_ece", "Calibration error, equally filled bins"),
    ("log_loss", "Log loss (nats)"),
    ("brier", "Brier score"),
)
HELD_OUT = Tested()
_DIAGRAM = (
    "Fraction of correct predictions in bins of confidence, with 95 % Wilson intervals; below, the number of "
    "galaxies in each bin. On the diagonal confidence matches accuracy; below it the network is "
    "overconfident. ECE: expected calibration error."
)
_VOTE_DIAGRAM = (
    "Mean true fraction in bins of the predicted fraction, over all answers of all galaxies; below, the "
    "number in each bin. On the diagonal predictions are calibrated. ECE: calibration error, the mean over "
    "the answers."
)


def add_calibration(page: Page, context: ReportContext) -> None:
    """Reliability diagram, effect of the calibration, coverage of the prediction sets."""
    test, done = context.test, context.metrics.get("calibration")
    if not done and not test.get("reliability"):
        return
    page.section("calibration", "Calibration")
    n = f"{context.tested}, n = {formatting.count(test.get('n'))}."
    if not done:
        page.text("The run has no calibration: these are the network's own probabilities.")
        page.chart("reliability", figures.reliability(test), f"{_DIAGRAM} {n}")
        return
    scheme = context.run.scheme
    votes = scheme.class_names is None
    page.text(method_text(done, scheme.log_loss_unit, context.measured_on))
    if done["method"] == "none" and not votes:
        page.chart("reliability", figures.reliability(test), f"{_DIAGRAM} {n}")
    elif "reliability" in done["after"]:
        drawn = figures.reliability_before_and_after(done["before"], done["after"], votes=votes)
        page.chart("reliability", drawn, f"{_VOTE_DIAGRAM if votes else _DIAGRAM} {n}")
    page.table(before_and_after_table(done, context.measured_on))
    if sets := context.metrics.get("sets"):
        page.section("sets", "Prediction sets")
        page.text(set_text(sets, context.measured_on))
        page.table(set_table(sets, context.measured_on))
        page.table(set_class_table(sets), folded="Class by class")


def method_text(done: Mapping[str, Any], unit: str, measured: Tested = HELD_OUT) -> str:
    """The chosen calibration, and why it was chosen."""
    galaxies = measured.validation(done["galaxies"])
    tried = ", ".join(f"{name} {formatting.number(loss, 4)}" for name, loss in done["held_out"].items())
    chosen = {
        "none": "No calibration improved the network's own predictions",
        "temperature": f"The logits are divided by a temperature of {formatting.number(done['temperature'])}",
        "tree": "The fractions are scaled to the sums of the decision tree",
        "beta": "Each answer is calibrated by a beta curve",
        "isotonic": "Each answer is calibrated by an isotonic curve",
    }.get(done["method"], f"The predictions are corrected: {done['words']}")
    change = done["log_loss_change"]
    between = formatting.interval(change["low"], change["high"], 4)
    effect = f"On {measured.them} the log loss changed by {formatting.number(change['value'], 4)}"
    effect += f" (95 % interval {between.replace('–', ' to ')})." if between else "."
    if done["method"] == "none":
        effect = ""
    return (
        f"{chosen}. This was chosen on {galaxies} by five-fold cross-validated log loss ({unit}: {tried}). "
        f"{effect}"
    ).strip()


def before_and_after_table(done: Mapping[str, Any], measured: Tested = HELD_OUT) -> Table:
    """Calibration scores before and after, with intervals."""
    rows = []
    for key, name in SCORES:
        if key in done["before"]:
            cells = [name]
            for state in (done["before"], done["after"]):
                low, high = formatting.bounds_of(state, key)
                cells.append(formatting.number(formatting.value_of(state, key), 4))
                cells.append(formatting.interval(low, high, 4) or formatting.DASH)
            rows.append(cells)
    return Table(
        headings=["Score", "Uncalibrated", "95 % interval", "Calibrated", "95 % interval"],
        rows=rows,
        caption=f"Calibration. {measured.caption}, n = {formatting.count(done['after']['n'])}.",
    )


def set_text(sets: Mapping[str, Any], measured: Tested = HELD_OUT) -> str:
    """What the prediction sets are."""
    galaxies = measured.validation(sets["galaxies"])
    coverage = formatting.percent(sets["coverage"], 0)
    text = (
        f"A set contains every class that is probable enough for {coverage} of galaxies like these to have "
        f"their true class in it. The thresholds come from {galaxies} (split conformal prediction, score "
        f"{sets['score']}); an empty set is filled with the most probable class."
    )
    if band := sets["marginal"]["expected"]:
        between = formatting.interval(band["low"], band["high"], as_percent=True)
        text += f" With this many galaxies the coverage before filling is expected within {between} (95 %)."
    return text


def set_table(sets: Mapping[str, Any], measured: Tested = HELD_OUT) -> Table:
    """Coverage and size of the two kinds of sets."""
    rows = []
    for key, name in (("marginal", "Over all galaxies"), ("per_class", "Within every class")):
        kind = sets[key]
        low, high = formatting.bounds_of(kind, "covered")
        rows.append(
            [
                name,
                formatting.percent(formatting.value_of(kind, "covered")),
                formatting.interval(low, high, as_percent=True) or formatting.DASH,
                formatting.percent(formatting.value_of(kind, "bare_covered")),
                formatting.percent(kind["filled"]),
                formatting.number(kind["mean_size"], 2),
            ]
        )
    return Table(
        headings=[
            "Coverage",
            "Truth in the set",
            "95 % interval",
            "Before filling",
            "Filled",
            "Mean size",
        ],
        rows=rows,
        caption=(
            f"Sets for a coverage of {formatting.percent(sets['coverage'], 0)}. {measured.caption}, "
            f"n = {formatting.count(sets['marginal']['n'])}; binomial (Wilson) intervals."
        ),
    )


def set_class_table(sets: Mapping[str, Any]) -> Table:
    """Coverage class by class of both kinds of sets."""
    rows = []
    for together, within in zip(sets["marginal"]["by_class"], sets["per_class"]["by_class"], strict=True):
        cells = [together["name"], formatting.count(together["n"])]
        for row in (together, within):
            cells.append(formatting.percent(row["covered"]))
            cells.append(formatting.interval(row["low"], row["high"], as_percent=True) or formatting.DASH)
        rows.append(cells)
    headings = ["Class", "Galaxies", "Over all galaxies", "95 % interval", "Within every class"]
    return Table(headings=[*headings, "95 % interval"], rows=rows)


def add_ood(page: Page, context: ReportContext) -> None:
    """The OOD score: its meaning, its distribution, and how well it separates non-galaxies."""
    done = context.metrics.get("out_of_distribution")
    if not done:
        return
    page.section("unlike", "Out of distribution")
    page.text(ood_text(done, context.measured_on))
    page.chart("out_of_distribution", figures.ood_scores(done), _caption(done, context.measured_on))
    if done["non_galaxies"]:
        page.table(ood_table(done, context.measured_on))


def ood_text(done: Mapping[str, Any], measured: Tested = HELD_OUT) -> str:
    """What the OOD score is, and how many test galaxies it flags."""
    galaxies = formatting.plural(done["galaxies"], "training galaxy", "training galaxies")
    held_out = measured.test(done["held_out"]) if measured.folds else measured.validation(done["held_out"])
    test = done["test"]
    low, high = formatting.bounds_of(test, "stranger")
    share = formatting.percent(formatting.value_of(test, "stranger"))
    between = formatting.interval(low, high, as_percent=True)
    return (
        f"The OOD score compares a galaxy with {galaxies} by the {done['method']}. Its unit is the distance "
        f"within which 95 % of {held_out} lie. Of {measured.them} {share}"
        f"{f' ({between})' if between else ''} score above 1; about 5 % are expected of galaxies of the same "
        "kind."
    )


def ood_table(done: Mapping[str, Any], measured: Tested = HELD_OUT) -> Table:
    """How well the OOD score separates each kind of non-galaxy from the test galaxies."""
    rows = []
    for row in done["non_galaxies"]:
        low, high = formatting.bounds_of(row, "auroc")
        rows.append(
            [
                row["name"].capitalize(),
                formatting.count(row["n"]),
                formatting.number(formatting.value_of(row, "auroc")),
                formatting.interval(low, high) or formatting.DASH,
                formatting.percent(formatting.value_of(row, "stranger"), 0),
            ]
        )
    return Table(
        headings=["Simulated", "Pictures", "AUROC", "95 % interval", "Above 1"],
        rows=rows,
        caption=(
            f"Non-galaxies against {measured.test(done['test']['n'])}: the share of pairs "
            "in which the non-galaxy has the higher OOD score, and the share of them that score above 1."
        ),
    )


def _caption(done: Mapping[str, Any], measured: Tested) -> str:
    others = ""
    if done["non_galaxies"]:
        pictures = sum(row["n"] for row in done["non_galaxies"])
        others = f" and {formatting.count(pictures)} simulated images without a galaxy"
    return (
        f"OOD scores of {measured.test(done['test']['n'])}{others}, as shares of each; below the line at 1 "
        f"lie 95 % of {'them' if measured.folds else 'validation galaxies'}. Values beyond either end are in "
        "the end bins."
    )
