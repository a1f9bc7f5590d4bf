"""Numbers as text: percentages, intervals, durations, metrics; a dash for what is unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

DASH = "–"
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NBSP = "\u00a0"  # keeps a number and its unit on one line


def known(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """A fixed number of digits after the point, or a dash."""
    return f"{value:.{digits}f}".replace("-", "−") if known(value) else DASH


def percent(value: Any, digits: int = 1) -> str:
    """A share as percent, e.g. 92.4 %."""
    return f"{number(100 * value, digits)}{NBSP}%" if known(value) else DASH


def sure(value: Any) -> str:
    """A probability as percent, with a decimal only near 0 and 1, so that it never reads as certain."""
    return percent(value, 1 if known(value) and (value > 0.99 or value < 0.01) else 0)


def count(value: Any) -> str:
    """A whole number in groups of three, thin spaces between them."""
    return f"{round(value):,}".replace(",", "\u202f") if known(value) else DASH


def plural(value: int, noun: str, many: str | None = None) -> str:
    """A number with its noun: 1 galaxy, 12 galaxies.

    >>> plural(1, "epoch"), plural(2, "galaxy", "galaxies")
    ('1 epoch', '2 galaxies')
    """
    return f"{count(value)} {noun if value == 1 else many or noun + 's'}"


def interval(low: Any, high: Any, digits: int = 3, *, as_percent: bool = False) -> str:
    """``0.897–0.948`` or ``89.7–94.8 %``; empty when either end is unknown."""
    if not (known(low) and known(high)):
        return ""
    if as_percent:
        return f"{number(100 * low, 1)}–{number(100 * high, 1)}{NBSP}%"
    return f"{number(low, digits)}–{number(high, digits)}"


def duration(seconds: Any) -> str:
    """Seconds as 42 s, 7 min 5 s or 3 h 12 min."""
    if not known(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(text: Any) -> str:
    """An ISO date and time as 21 November 2026, 10:12 UTC; empty for empty text, unchanged if not a date."""
    if not text:
        return ""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M}{zone}"


def value_of(metrics: Mapping[str, Any], name: str) -> Any:
    """The value of a metric that may be ``{"value", "low", "high"}``, a bare number, or absent."""
    entry = metrics.get(name)
    return entry.get("value") if isinstance(entry, dict) else entry


def bounds_of(metrics: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """The interval of a metric, (None, None) if it has none."""
    entry = metrics.get(name)
    return (entry.get("low"), entry.get("high")) if isinstance(entry, dict) else (None, None)


PERCENT = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "train_accuracy",
    "validation_accuracy",
    "on_galaxy",
    "galaxy_area",
    "dead_maps",
)
ERROR_DIGITS = 5


def shown(value: float | None, metric: str, spread: float | None = None) -> str:
    """A metric of a study: percent for shares, else a suitable number of digits."""
    if not known(value):
        return DASH
    if metric.startswith("support: "):
        return count(value)
    if metric in PERCENT or ": " in metric:
        text = number(100 * value, 2)
        return f"{text} ± {number(100 * spread, 2)}" if known(spread) else text
    if metric in ("epochs", "seconds", "parameters"):
        return count(value)
    digits = (
        ERROR_DIGITS
        if "rmse" in metric
        else 3
        if "loss" in metric or metric == "r2"
        else 2
        if metric == "alignment"
        else 1
    )
    text = number(value, digits)
    return f"{text} ± {number(spread, digits)}" if known(spread) else text
