from __future__ import annotations

import math

import pytest

from morphoscope.report import wording


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, "0.5", True])
def test_what_is_no_finite_number_is_a_dash(unknown: object) -> None:
    assert wording.number(unknown) == wording.percent(unknown) == wording.count(unknown) == "–"
    assert wording.interval(unknown, 0.5) == wording.interval(0.5, unknown) == ""


def test_numbers() -> None:
    assert wording.number(0.12345, 3) == "0.123"
    assert wording.number(-0.5, 1) == "−0.5"
    assert wording.percent(0.9241) == "92.4\u00a0%"
    assert wording.count(1234567) == "1\u202f234\u202f567"
    assert wording.interval(0.8972, 0.948, as_percent=True) == "89.7–94.8\u00a0%"


def test_a_probability_is_never_rounded_to_certainty() -> None:
    assert wording.sure(0.9962) == "99.6\u00a0%"
    assert wording.sure(0.0012) == "0.1\u00a0%"
    assert wording.sure(0.417) == "42\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (725, "12 min 5 s"), (11520, "3 h 12 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_moments() -> None:
    assert wording.moment("2026-11-21T10:12:00+00:00") == "21 November 2026, 10:12 UTC"
    assert wording.moment("some day") == "some day"
    assert wording.moment(None) == ""


def test_metrics_may_be_bare_or_absent() -> None:
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "ece": 0.1}
    assert wording.value_of(metrics, "accuracy") == 0.9
    assert wording.bounds_of(metrics, "accuracy") == (0.8, 0.95)
    assert wording.value_of(metrics, "ece") == 0.1
    assert wording.bounds_of(metrics, "ece") == wording.bounds_of(metrics, "rmse") == (None, None)
    assert wording.value_of(metrics, "rmse") is None
