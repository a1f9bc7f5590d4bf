from __future__ import annotations

import math

import pytest

from morphoscope.studies.claims import (
    Above,
    Claim,
    Conditions,
    LargerStep,
    Number,
    above,
    at_least,
    highest,
    lowest,
    rising,
)


def accuracies(**rows: float) -> dict[str, dict[str, float]]:
    return {row: {"accuracy": value} for row, value in rows.items()}


def test_rising_needs_every_pair_in_order() -> None:
    check = rising("accuracy", ("a", "b", "c"))
    assert check(accuracies(a=0.1, b=0.2, c=0.3)) is True
    assert check(accuracies(a=0.1, b=0.3, c=0.2)) is False
    assert check(accuracies(a=0.1, b=0.1, c=0.3)) is False
    assert check(accuracies(a=0.1, c=0.3)) is None
    assert check(accuracies(a=0.3, c=0.1)) is False  # whatever b may be
    assert check({}) is None


def test_best_and_worst() -> None:
    rows = accuracies(a=0.1, b=0.2, c=0.3)
    assert highest("accuracy", "c", rows)(rows) is True
    assert highest("accuracy", "b", rows)(rows) is False
    assert lowest("accuracy", "a", rows)(rows) is True
    assert lowest("accuracy", "b", rows)(rows) is False
    assert highest("accuracy", "c", ("a", "c", "d"))(rows) is None
    assert highest("accuracy", "c", rows)(rows | accuracies(a=0.3)) is False


def test_above_by_a_factor_or_equal() -> None:
    rows = accuracies(a=0.5, b=0.65)
    assert above("accuracy", "b", "a", factor=1.29)(rows) is True
    assert above("accuracy", "b", "a", factor=1.31)(rows) is False
    assert above("accuracy", "a", "a")(rows) is False
    assert above("accuracy", "a", "a", or_equal=True)(rows) is True


def test_a_fixed_value_and_a_larger_step() -> None:
    rows = accuracies(a=0.5, b=0.7, c=0.8)
    assert at_least("accuracy", ("a", "b"), 0.5)(rows) is True
    assert at_least("accuracy", ("a", "b"), 0.6)(rows) is False
    assert at_least("accuracy", ("b", "d"), 0.6)(rows) is None
    a, b, c, d = (Number(row, "accuracy") for row in "abcd")
    assert LargerStep(a, b, c)(rows) is True
    assert LargerStep(a, c, b)(rows) is True
    assert LargerStep(b, c, a)(rows | accuracies(a=0.95)) is False
    assert LargerStep(a, b, d)(rows) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_was_not_measured(value: float) -> None:
    assert above("accuracy", "a", "b")(accuracies(a=value, b=0.5)) is None


def test_a_claim_says_how_it_stands_and_on_what() -> None:
    claim = Claim("b is better", "Table 9", above("accuracy", "b", "a"))
    assert claim.status(accuracies(a=0.1, b=0.2)) == "holds"
    assert claim.status(accuracies(a=0.2, b=0.1)) == "does not hold"
    assert claim.status(accuracies(a=0.2)) == (
        "not tested here: these galaxies give b no accuracy on the test galaxies, fraction"
    )
    of_a_class = Claim("round", "", Above(Number("a", "recall: Round"), Number("a", "macro_recall")))
    assert of_a_class.status({"a": {"macro_recall": 0.5}}) == (
        "not tested here: these galaxies give a no 'recall: Round'"
    )
    assert claim.evidence(accuracies(a=0.2)) == (("b", "accuracy", None), ("a", "accuracy", 0.2))
    seen = Claim("it looks right", "Fig 9")
    assert seen.verdict(accuracies(a=0.2)) is None
    assert seen.status(accuracies(a=0.2)) == "not tested here: no number of this study decides it"
    assert seen.evidence(accuracies(a=0.2)) == ()


def test_a_claim_is_not_tested_on_rows_that_are_not_those_it_speaks_of() -> None:
    claim = Claim("a beats b.", "", above("accuracy", "x/a", "x/b"))
    numbers = {"x/a": {"accuracy": 0.9}, "x/b": {"accuracy": 0.8}}
    assert claim.verdict(numbers) is True
    random = Conditions(altered={"x/b": "started from random weights"})
    assert claim.verdict(numbers, random) is None
    assert claim.status(numbers, random) == "not tested here: b started from random weights"
    missing = Conditions(not_run={"x/a": "was not requested"})
    assert claim.status({"x/b": numbers["x/b"]}, missing) == "not tested here: a was not requested"
    elsewhere = Conditions(altered={"x/c": "started from random weights"})
    assert claim.verdict(numbers, elsewhere) is True
    counted = Claim("a has more parameters.", "", above("parameters", "x/a", "x/b"))
    sizes = {"x/a": {"parameters": 2.0}, "x/b": {"parameters": 1.0}}
    assert counted.verdict(sizes, random) is True  # no training decides it


def test_a_claim_about_parameters_says_that_its_row_was_not_run() -> None:
    claim = Claim("B is larger.", "", above("parameters", "x/b", "x/a"))
    conditions = Conditions(not_run={"x/a": "was not requested"})
    assert claim.status({"x/b": {"parameters": 2.0}}, conditions) == "not tested here: a was not requested"
