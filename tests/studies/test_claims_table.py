"""The table of claims: a verdict says how many seeds bear it out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from morphoscope.studies.claims import UNALTERED, Claim, above, rising
from morphoscope.studies.common import add_claims
from morphoscope.studies.study import Options

CLAIMS = (
    Claim("B is better.", "", above("accuracy", "x/b", "x/a")),
    Claim("B is larger.", "", rising("parameters", ("x/a", "x/b"))),
)


def _statuses(seeds: list[dict[str, float]]) -> list[str]:
    """What the table says of the claims, from the accuracies of every seed."""
    measured = {
        name: {
            "accuracy": sum(seed[name] for seed in seeds) / len(seeds),
            "parameters": {"x/a": 1.0, "x/b": 2.0}[name],
        }
        for name in ("x/a", "x/b")
    }
    tables = []
    page = SimpleNamespace(
        page=SimpleNamespace(section=lambda *_: None, table=tables.append),
        study=SimpleNamespace(published=SimpleNamespace(claims=CLAIMS)),
        results=SimpleNamespace(
            measured=lambda: measured,
            of_seed=lambda seed: {name: {"accuracy": value} for name, value in seeds[seed].items()},
        ),
        options=Options(seeds=len(seeds)),
        conditions=UNALTERED,
        short=lambda name: name.split("/")[1],
    )
    add_claims(page)  # type: ignore[arg-type]
    return [row[2] for row in tables[0].rows]


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
