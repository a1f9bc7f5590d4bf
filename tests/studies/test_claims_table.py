"""The table of claims: a verdict says how many seeds bear it out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from morphoscope.studies.claims import UNALTERED, Claim, above, class_metric, rising
from morphoscope.studies.common import add_claims
from morphoscope.studies.page_context import StudyPage
from morphoscope.studies.results import Measured, Results, Row
from morphoscope.studies.study import Options, find_study, resolved_rows

CLAIMS = (
    Claim("B is better.", "", above("accuracy", "x/b", "x/a")),
    Claim("B is larger.", "", rising("parameters", ("x/a", "x/b"))),
)
ROUND = "Round Smooth"


def _statuses(seeds: list[dict[str, float]], error: float = 0.0) -> list[str]:
    """What the table says of the claims, from the accuracies of every seed and their error."""
    return [row[2] for row in _table(seeds, error)]


def _table(
    seeds: list[dict[str, float]], error: float = 0.0, claims: tuple[Claim, ...] = CLAIMS
) -> list[list[str]]:
    measured = {
        name: {
            "accuracy": sum(seed[name] for seed in seeds) / len(seeds),
            "parameters": {"x/a": 1.0, "x/b": 2.0}[name],
            class_metric("f1", ROUND): 0.5,
        }
        for name in ("x/a", "x/b")
    }
    tables = []
    page = SimpleNamespace(
        page=SimpleNamespace(section=lambda *_: None, table=tables.append),
        study=SimpleNamespace(published=SimpleNamespace(claims=claims), rows=lambda: measured),
        results=SimpleNamespace(
            measured=lambda: measured,
            errors=lambda: {name: {"accuracy": error} for name in measured},
            of_seed=lambda seed: {name: {"accuracy": value} for name, value in seeds[seed].items()},
        ),
        options=Options(seeds=len(seeds)),
        conditions=UNALTERED,
        short=lambda name: name.split("/")[1],
    )
    add_claims(page)  # type: ignore[arg-type]
    return tables[0].rows


def test_numbers_stand_in_the_order_of_the_rows_under_the_names_of_their_metrics() -> None:
    claim = Claim("F1 falls.", "", rising(class_metric("f1", ROUND), ("x/a", "x/b")))
    rows = _table([{"x/a": 0.5, "x/b": 0.6}], claims=(*CLAIMS, claim))
    assert rows[0][3] == "Test accuracy: a 50.00, b 60.00"
    assert rows[2][3] == "F1 of Round Smooth: a 50.00, b 50.00"


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([0.1, 0.1, -0.05], "holds (in 2 of 3 seeds)"),
        ([-0.1, -0.1, 0.05], "does not hold (in 2 of 3 seeds)"),
        ([0.1], "holds (one seed)"),
    ],
)
def test_a_verdict_says_how_many_seeds_bear_it_out(gaps: list[float], expected: str) -> None:
    statuses = _statuses([{"x/a": 0.5, "x/b": 0.5 + gap} for gap in gaps])
    assert statuses == [expected, "holds"]


@pytest.mark.parametrize(
    ("error", "expected"), [(0.04, "holds (one seed, within the error)"), (0.03, "holds (one seed)")]
)
def test_a_verdict_says_that_other_galaxies_might_turn_it_around(error: float, expected: str) -> None:
    """A difference of 0.1 is 1.77 standard errors of 0.04 · √2, and 2.36 of 0.03 · √2."""
    assert _statuses([{"x/a": 0.5, "x/b": 0.6}], error)[0] == expected


def test_quick_rows_of_other_lengths_are_not_what_a_claim_about_epochs_needs() -> None:
    """With --quick 15 and 30 epochs of DINOv2 are one training of 3."""
    study, options = find_study("ng"), Options(quick=True)
    recipes = resolved_rows(study, options)
    fifteen, thirty = "ng/dinov2-base", "ng/dinov2-base-30"
    run: Any = SimpleNamespace()
    results = Results(
        {
            fifteen: Row(recipes[fifteen], [Measured(0, run)]),
            thirty: Row(recipes[thirty], [Measured(0, run, same_as=fifteen)]),
        }
    )
    nothing: Any = None
    conditions = StudyPage(study, results, nothing, options, nothing, recipes).conditions
    assert conditions.other_epochs[thirty] == "was trained for 3 epochs, not 30"
    assert conditions.same_as == {thirty: fifteen}
    claim = next(each for each in study.published.claims if each.text.startswith("DINOv2 overfits"))
    numbers = {fifteen: {"rmse": 0.1}, thirty: {"rmse": 0.1}}
    assert claim.verdict(numbers) is False
    assert claim.verdict(numbers, conditions) is None
