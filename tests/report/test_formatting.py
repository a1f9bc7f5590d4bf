from __future__ import annotations

import math

import pytest

from morphoscope.report import formatting


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, "0.5", True])
def test_what_is_no_finite_number_is_a_dash(unknown: object) -> None:
    assert formatting.number(unknown) == formatting.percent(unknown) == formatting.count(unknown) == "–"
    assert formatting.interval(unknown, 0.5) == formatting.interval(0.5, unknown) == ""


def test_numbers() -> None:
    assert formatting.number(0.12345, 3) == "0.123"
    assert formatting.number(-0.5, 1) == "−0.5"
    assert formatting.percent(0.9241) == "92.4\u00a0%"
    assert formatting.count(1234567) == "1\u202f234\u202f567"
    assert formatting.interval(0.8972, 0.948, as_percent=True) == "89.7–94.8\u00a0%"


def test_a_probability_is_never_rounded_to_certainty() -> None:
    assert formatting.sure(0.9962) == "99.6\u00a0%"
    assert formatting.sure(0.0012) == "0.1\u00a0%"
    assert formatting.sure(0.417) == "42\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (725, "12 min 5 s"), (11520, "3 h 12 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_moments() -> None:
    assert formatting.moment("2026-11-21T10:12:00+00:00") == "21 November 2026, 10:12 UTC"
    assert formatting.moment("some day") == "some day"
    assert formatting.moment(None) == ""


def test_metrics_may_be_bare_or_absent() -> None:
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "ece": 0.1}
    assert formatting.value_of(metrics, "accuracy") == 0.9
    assert formatting.bounds_of(metrics, "accuracy") == (0.8, 0.95)
    assert formatting.value_of(metrics, "ece") == 0.1
    assert formatting.bounds_of(metrics, "ece") == formatting.bounds_of(metrics, "rmse") == (None, None)
    assert formatting.value_of(metrics, "rmse") is None
