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
        "not tested here: these galaxies give a no recall of Round"
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


def test_a_claim_about_epochs_needs_the_papers_own() -> None:
    numbers = {"x/a": {"rmse": 0.1}, "x/b": {"rmse": 0.2}}
    claim = Claim("Thirty epochs are worse.", "", above("rmse", "x/b", "x/a"), of_epochs=True)
    shorter = Conditions(other_epochs={"x/a": "was trained for 5 epochs, not 30"})
    assert claim.status(numbers, shorter) == "not tested here: a was trained for 5 epochs, not 30"
    assert claim.verdict(numbers) is True
    assert Claim("A is better.", "", above("rmse", "x/b", "x/a")).verdict(numbers, shorter) is True


def test_one_training_is_not_compared_with_itself() -> None:
    """With equal recipes two rows share a training, and "better" would not hold whatever was claimed."""
    numbers = {row: {"rmse": 0.1} for row in ("x/a", "x/b", "x/c")}
    claim = Claim("B is better than A.", "", above("rmse", "x/a", "x/b"))
    assert claim.verdict(numbers) is False
    twins = Conditions(same_as={"x/b": "x/a"})
    assert claim.status(numbers, twins) == "not tested here: with these options a and b are one training"
    both = Conditions(same_as={"x/a": "x/c", "x/b": "x/c"})
    assert claim.verdict(numbers, both) is None
    assert claim.verdict(numbers, Conditions(same_as={"x/b": "x/c"})) is False


def test_a_verdict_is_clear_of_the_error_or_not() -> None:
    numbers, errors = accuracies(a=0.5, b=0.6, c=0.9), accuracies(a=0.03, b=0.03, c=0.03)
    assert above("accuracy", "b", "a").clear(numbers, errors) is True  # 2.4 standard errors
    assert above("accuracy", "b", "a").clear(numbers, accuracies(a=0.04, b=0.04)) is False
    assert above("accuracy", "a", "b").clear(numbers, errors) is True  # clearly false
    assert above("accuracy", "b", "a").clear(numbers, accuracies(a=0.01)) is None
    assert above("accuracy", "b", "a", factor=1.2).clear(numbers, errors) is False  # exactly at the limit
    assert at_least("accuracy", ("c",), 0.85).clear(numbers, errors) is False
    assert at_least("accuracy", ("c",), 0.84).clear(numbers, errors) is True
    a, b, c = (Number(row, "accuracy") for row in "abc")
    assert LargerStep(a, b, c).clear(numbers, errors) is True  # 0.2 less, error 0.03 · √6


def test_several_statements_are_as_clear_as_the_weakest_that_decides() -> None:
    numbers = accuracies(a=0.5, b=0.51, c=0.9)
    errors = accuracies(a=0.03, b=0.03, c=0.03)
    true = rising("accuracy", ("a", "b", "c"))
    assert (true(numbers), true.clear(numbers, errors)) == (True, False)
    assert true.clear(numbers, accuracies(a=0.001, b=0.001, c=0.001)) is True
    false = rising("accuracy", ("c", "b", "a"))
    assert (false(numbers), false.clear(numbers, errors)) == (False, True)  # one is far off
    assert rising("accuracy", ("b", "a")).clear(numbers, errors) is False
