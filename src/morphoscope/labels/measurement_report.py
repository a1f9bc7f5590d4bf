"""The report's sections on predicted measurements, as tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morphoscope.labels.charts import ReportPart


def report_parts(units: Mapping[str, str], test: Mapping[str, Any]) -> list[ReportPart]:
    """Scores by quantity, and whether the predicted errors hold.

    Args:
        units: quantity → unit, "" without one.
        test: from :func:`morphoscope.metrics.measurements.measurement_metrics`.
    """
    return [_quantities(units, test), _intervals(test)] if test.get("per_quantity") else []


def _quantities(units: Mapping[str, str], test: Mapping[str, Any]) -> ReportPart:
    cells = []
    for row in test["per_quantity"]:
        unit = units.get(row["name"], "")
        limit = "–" if row["outlier_limit"] is None else f"{row['outlier_limit']:.3g}"
        cells.append(
            (
                f"{row['name']} ({unit})" if unit else row["name"],
                f"{row['n']:,}",
                _shown(row["r2"], 3),
                *(
                    _shown(row[key], 3, significant=True)
                    for key in ("rmse", "bias", "median_bias", "sigma_nmad")
                ),
                f"{_percent(row['outliers'])}, beyond {limit}",
                "–" if row["spread"] is None else f"{row['spread']:.3g}",
            )
        )
    headings = (
        "Quantity",
        "Galaxies",
        "R²",
        "RMSE",
        "Mean bias",
        "Median bias",
        "σ_NMAD",
        "Outliers",
        "Spread",
    )
    redshifts = [row["name"] for row in test["per_quantity"] if row["redshift"]]
    over = (
        f" For {', '.join(redshifts)} it is divided by 1 + truth (not in R² and RMSE)." if redshifts else ""
    )
    caption = (
        f"With 95 % bootstrap intervals; test split, n = {test['n']:,}. The residual Δ is prediction − truth."
        f"{over} σ_NMAD: 1.4826 times the median of |Δ − median Δ|. Outliers: |Δ| above 0.15 for redshifts "
        "and above 5 σ_NMAD for others. Spread: standard deviation of the truth, the RMSE of always "
        "predicting the mean."
    )
    return ReportPart("quantities", "Quantity by quantity", None, headings, cells, caption)


def _intervals(test: Mapping[str, Any]) -> ReportPart:
    cells = [
        (row["name"], f"{row['n']:,}", _percent(row["coverage_68"]), _percent(row["coverage_90"]))
        for row in test["per_quantity"]
    ]
    headings = ("Quantity", "Galaxies", "Within the 68 % interval", "Within the 90 % interval")
    caption = (
        "Share of the measurements within the central interval predicted for them, with 95 % binomial "
        "(Wilson) intervals. A measurement's own error is added to the predicted one."
    )
    return ReportPart("intervals", "Do the predicted errors hold?", None, headings, cells, caption)


def _shown(number: Mapping[str, Any], digits: int, *, significant: bool = False) -> str:
    """A number with its interval; significant digits for numbers with a unit, of whatever size."""
    if number["value"] is None:
        return "–"
    form = f".{digits}{'g' if significant else 'f'}"
    text = f"{number['value']:{form}}"
    if number["low"] is None:
        return text
    return f"{text} ({number['low']:{form}} to {number['high']:{form}})"


def _percent(number: Mapping[str, Any]) -> str:
    if number["value"] is None:
        return "–"
    text = f"{100 * number['value']:.1f} %"
    if number["low"] is None:
        return text
    return f"{text} ({100 * number['low']:.1f}–{100 * number['high']:.1f})"
