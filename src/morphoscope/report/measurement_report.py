"""The report of predicted measurements: scores, coverage, predicted against true values, worst galaxies.

Shape letters: N galaxies, T quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.labels.scheme import Measurements, Scheme
from morphoscope.metrics.measurements import outliers_of, total_deviations
from morphoscope.report import figures, formatting
from morphoscope.report.examples import Examples
from morphoscope.report.figures.measurements import FEW, Panel
from morphoscope.report.html.document import GalleryRow, Picture, data_uri
from morphoscope.report.kind_report import EXAMPLES, KindReport
from morphoscope.report.summary import Headline, Tile, position, tile
from morphoscope.report.terminal import columns, percent, plain, signed

if TYPE_CHECKING:
    from morphoscope.data.store import Store
    from morphoscope.report.context import ReportContext
    from morphoscope.report.html.document import Page

PANELS = 9  # quantities in a figure
SHOWN = 4  # quantities whose lowest and highest galaxies are shown
WORST = 15


class MeasurementReport(KindReport):
    """R² and coverage, predicted against true values, and the worst galaxies."""

    title = "R²"
    why_explained = "the quantity with the highest R²"
    card_title = "R², mean over the quantities"
    card_answer = "measured quantities with their errors"

    def examples(self, scheme: Scheme, targets: np.ndarray, rows: np.ndarray, seed: int) -> Examples:
        """Those with the lowest and the highest values."""
        assert isinstance(scheme, Measurements)
        found, notes = {}, {}
        for k, quantity in enumerate(scheme.quantities[:SHOWN]):
            order = scheme.examples_of(targets, k, len(targets), seed)
            for title, some in (("lowest", order[::-1][:EXAMPLES]), ("highest", order[:EXAMPLES])):
                if len(some):
                    name = f"{quantity.name}: {title}"
                    found[name] = rows[some].tolist()
                    values = targets[some, k]
                    notes[name] = f"{values.min():.4g} to {values.max():.4g} {quantity.unit}".strip()
        caption = (
            "Training galaxies with the lowest and the highest values of each quantity; n = "
            f"{formatting.count(len(rows))}."
        )
        return Examples(found, notes, caption)

    def title_of(self, store: Store, row: int) -> str:
        """Its id and values."""
        scheme = store.need_scheme()
        assert isinstance(scheme, Measurements)
        values = [f"{name} {store.column(name)[row]:.4g}" for name in scheme.names[:2]]
        return f"{store.table.column('id')[row].as_py()}: {', '.join(values)}"

    def add_results(self, page: Page, context: ReportContext) -> None:
        """The sections of the scheme, then predicted against true values and the worst galaxies."""
        super().add_results(page, context)
        scheme = context.run.scheme
        _add_coverage(page, context.test)
        if context.predictions is None:
            return
        assert isinstance(scheme, Measurements)
        outputs = scheme.outputs_in(context.predictions.column_names)
        assert outputs is not None
        truth, predicted = scheme.read_predictions(context.predictions, outputs)
        _add_scatter(page, scheme, truth, predicted)
        _add_worst(page, context, scheme, truth, predicted)

    def _headline(self, test: Mapping[str, Any], galaxies: str) -> Headline:
        low, high = formatting.bounds_of(test, "r2")
        value = formatting.value_of(test, "r2")
        between = formatting.interval(low, high)
        rows = test.get("per_quantity") or []
        tiles = [
            tile(test, "coverage_68", "Within 68 % intervals", "share of the measurements"),
            tile(test, "coverage_90", "Within 90 % intervals", "share of the measurements"),
        ]
        for row in rows[:2]:
            name = f"σ_NMAD of {row['name']}"
            tiles.append(Tile(name, _significant(row["sigma_nmad"]["value"]), _between(row["sigma_nmad"])))
        mean = "" if len(rows) == 1 else f", mean of {len(rows)} quantities,"
        return Headline(
            figure=formatting.number(value),
            label=f"R²{mean} on {galaxies}",
            interval=f"95 % interval {between}" if between else "no interval was computed",
            comparison="always predicting the mean: 0",
            tiles=tiles,
            low=position(low),
            value=position(value),
            high=position(high),
            baseline=0.0,
        )

    def score_line(self, test: Mapping[str, Any]) -> str:
        """R², the mean over the quantities."""
        return f"R² {plain(test['r2'])}"

    def _further_lines(self, test: Mapping[str, Any]) -> list[str]:
        lines = []
        for row in test["per_quantity"]:
            if not row["n"]:
                continue
            over = " of Δ / (1 + z)" if row["redshift"] else ""
            lines.append(
                f"{row['name']}: R² {plain(row['r2'])}, bias {_significant(row['bias']['value'])}, σ_NMAD "
                f"{_significant(row['sigma_nmad']['value'])}{over}, outliers (|Δ| > "
                f"{_significant(row['outlier_limit'])}) {percent(row['outliers'])}, n = {row['n']}"
            )
        held = [f"{percent(test[f'coverage_{level}'])} within {level} % intervals" for level in (68, 90)]
        return [*lines, f"log loss {plain(test['log_loss'])} nats per measurement", ", ".join(held)]

    def _compared_titles(self) -> list[str]:
        return ["R²", "log loss", "within 90 % intervals"]

    def _compared_numbers(self, run: Mapping[str, Any]) -> list[str]:
        forms = (("r2", plain), ("log_loss", plain), ("coverage_90", percent))
        return [form(run[key]) if key in run else "–" for key, form in forms]

    def _pair_text(self, pair: Mapping[str, Any]) -> str:
        rows = [["quantity", "R²", "RMSE", "bias", "σ_NMAD", "outliers, points", "n"]]
        for row in pair["per_quantity"]:
            shown = [_change(row[key]) for key in ("r2", "rmse", "bias", "sigma_nmad")]
            rows.append([row["name"], *shown, signed(row["outliers"], 100, 1), str(row["n"])])
        difference = pair["difference"]
        r2 = "–" if difference["value"] is None else signed(difference, 1, 3)
        return f"R² {r2}, closer for {100 * pair['closer']:.0f} % of the measurements\n{columns(rows)}"

    def card_results(self, test: Mapping[str, Any]) -> list[str]:
        """R², coverage, and a table of the quantities."""
        lines = [
            f"- R² {plain(test['r2'])}, mean over the quantities, n = {test['n']}",
            f"- {percent(test['coverage_68'])} of the measurements within the predicted 68 % intervals, "
            f"{percent(test['coverage_90'])} within those of 90 %",
            "",
            "| quantity | R² | RMSE | mean bias | σ_NMAD | outliers | n |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in test["per_quantity"]:
            numbers = [_significant(row[key]["value"]) for key in ("rmse", "bias", "sigma_nmad")]
            lines.append(
                f"| {row['name']} | {plain(row['r2'])} | {' | '.join(numbers)} | {percent(row['outliers'])} "
                f"| {row['n']} |"
            )
        return lines


def _significant(value: float | None) -> str:
    return formatting.DASH if value is None else f"{value:.3g}".replace("-", "−")


def _between(number: Mapping[str, Any]) -> str:
    if number["low"] is None:
        return ""
    return f"{_significant(number['low'])} to {_significant(number['high'])}"


def _change(number: Mapping[str, Any]) -> str:
    if number["value"] is None:
        return "–"
    between = "" if number["low"] is None else f" ({number['low']:+.2g} to {number['high']:+.2g})"
    return f"{number['value']:+.2g}{between}"


def _add_coverage(page: Page, test: Mapping[str, Any]) -> None:
    rows = [row for row in test.get("per_quantity") or [] if row["n"]]
    if not rows:
        return
    page.section("coverage", "Coverage at every level")
    page.chart(
        "coverage",
        figures.coverage(rows[:PANELS]),
        "Share of the measurements within the central interval of each level, and its difference from the "
        "level, with 95 % Wilson intervals. Below the dashed line the predicted errors are too small, above "
        f"it too large. Test split, n = {formatting.count(test['n'])}.",
    )


def _add_scatter(page: Page, scheme: Measurements, truth: np.ndarray, predicted: np.ndarray) -> None:
    panels = []
    for k, quantity in enumerate(scheme.quantities[:PANELS]):
        known = np.isfinite(truth[:, k])
        if known.sum() < 2:
            continue
        values, means = truth[known, k], predicted[known, k]
        outlier = outliers_of(values, means, redshift=quantity.redshift)
        title = f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name
        panels.append(Panel(title, values, means, outlier, quantity.redshift))
    if not panels:
        return
    drawn = (
        "One dot per galaxy"
        if max(len(panel.truth) for panel in panels) <= FEW
        else "The stronger the colour, the more galaxies, on a logarithmic scale"
    )
    rule = "|Δ| above 0.15 for redshifts, above 5 σ_NMAD for others"
    n = f"Test split, n = {formatting.count(len(truth))}."
    page.section("scatter", "Predicted against true values")
    page.chart(
        "predicted_against_true",
        figures.predicted_against_true(panels),
        f"{drawn}; on the dashed line the prediction is right. Orange: outliers ({rule}). Galaxies beyond a "
        f"panel are drawn on its border. {n}",
    )
    page.section("residuals", "Residuals")
    page.chart(
        "residuals",
        figures.residuals_against_truth(panels),
        "Residual Δ, prediction − truth (for redshifts divided by 1 + z), against the true value, with the "
        "running median and the middle 68 % (dashed). Predictions lie nearer to the mean than the truth, "
        f"the more so the less an image tells: low values come out too high and high ones too low. {n}",
    )


def _add_worst(
    page: Page, context: ReportContext, scheme: Measurements, truth: np.ndarray, predicted: np.ndarray
) -> None:
    store, table = context.store, context.predictions
    if store is None or table is None:
        return
    values, errors = np.split(truth, 2, axis=1)
    means, deviations = np.split(predicted, 2, axis=1)
    away = np.nan_to_num(np.abs(values - means) / total_deviations(errors, deviations))
    order = np.argsort(-away.max(axis=1), kind="stable")[:WORST]
    cards, captions, images = [], [], []
    for index in order.tolist():
        most = int(away[index].argmax())
        quantity = scheme.quantities[most]
        lines = (
            f"{quantity.name}: {away[index, most]:.1f} errors away",
            f"predicted {means[index, most]:.3g} ± {deviations[index, most]:.2g} {quantity.unit}".strip(),
            f"true {values[index, most]:.3g} {quantity.unit}".strip(),
        )
        image = store.pictures[int(table.column("row")[index].as_py())]
        images.append(image)
        cards.append(Picture(data_uri(image), f"galaxy {table.column('id')[index].as_py()}", lines))
        captions.append("\n".join(lines))
    page.section("mistakes", "The worst galaxies")
    caption = (
        f"The {context.measured_on.test(len(cards))} whose prediction is most predicted errors away from the "
        "truth, and the quantity where it is."
    )
    page.gallery(
        "worst_measurements",
        figures.image_cards(images, captions),
        [GalleryRow("", "", cards)],
        caption,
        cards=True,
    )
