"""Catalogues of votes and of measurements: one galaxy, and two catalogues side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numbers_helpers import COUNT, SCHEMES, predictions, write

from morphoscope.errors import UsageError
from morphoscope.explorer.votes import branches, depths


@pytest.mark.parametrize("kind", SCHEMES)
def test_two_catalogues_of_numbers(client_of: Callable, tmp_path: Path, kind: str):
    first = write(kind, tmp_path / "first.parquet")
    order = np.random.default_rng(3).permutation(np.arange(7, COUNT))
    client = client_of(first, compare=write(kind, tmp_path / "second.parquet", 2, order))
    found = client.get("/api/compare").json()
    assert (found["both"], found["missing"], found["classes"]) == (COUNT - 7, 7, None)
    name = {"vote counts": "smooth-or-featured_smooth_fraction", "measurements": "radius"}.get(
        kind, SCHEMES[kind].output_names[0]
    )
    scheme = SCHEMES[kind]
    ours, theirs = (
        np.asarray(scheme.catalogue_values(predictions(kind, seed))[name])[7:].astype(np.float64)
        for seed in (1, 2)
    )
    said = {each["name"]: each for each in found["quantities"]}[name]
    assert said["n"] == COUNT - 7
    assert said["mean"] == pytest.approx((theirs - ours).mean(), abs=1e-6)
    assert said["rms"] == pytest.approx(np.sqrt(np.mean((theirs - ours) ** 2)), rel=1e-4)
    assert said["correlation"] == pytest.approx(np.corrcoef(ours, theirs)[0, 1], abs=1e-5)
    if kind == "measurements":
        assert said["unit"] == "arcsec"
        assert found["path"] is None
        assert [each["name"] for each in found["quantities"]] == ["radius", "redshift"]
    else:
        paths = [scheme.catalogue_values(predictions(kind, seed))["path"].to_pylist() for seed in (1, 2)]
        differ = sum(a != b for a, b in zip(*(each[7:] for each in paths), strict=True))
        assert found["path"] == {"both": COUNT - 7, "differ": differ}
    dots = client.get("/api/compare/scatter", params={"column": name}).json()
    assert dots["count"] == COUNT - 7
    assert sum(dots["counts"]) + dots["outside"] == COUNT - 7
    worst = client.get(
        "/api/page", params={"sort": f"diff_{name}", "descending": True, "count": 1, "filter": "row >= 7"}
    ).json()
    assert worst["galaxies"][0]["row"] == 7 + int(np.argmax(theirs - ours))
    largest = client.get("/api/page", params={"sort": "difference", "descending": True, "count": 80}).json()[
        "galaxies"
    ]
    apart = [galaxy["difference"] for galaxy in largest if galaxy["difference"] is not None]
    assert apart == sorted(apart, reverse=True)
    assert len(apart) == COUNT - 7


def test_kinds_that_share_nothing(client_of: Callable, tmp_path: Path):
    first = write("measurements", tmp_path / "a.parquet")
    second = write("vote counts", tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="share no column of predictions"):
        client_of(first, compare=second)
    client = client_of(first, compare=write("measurements", tmp_path / "c.parquet", 2))
    answer = client.get("/api/compare/scatter", params={"column": "mass"})
    assert answer.status_code == 400
    assert "no quantity 'mass' in common" in answer.json()["error"]


def test_the_measurements_of_one_galaxy(client_of: Callable, tmp_path: Path):
    client = client_of(write("measurements", tmp_path / "m.parquet"))
    outputs = predictions("measurements", 1)
    radius, redshift = client.get("/api/galaxy/5").json()["measurements"]
    assert (radius["name"], radius["unit"], radius["interval"]) == ("radius", "arcsec", True)
    assert radius["value"] == pytest.approx(outputs[5, 0], rel=1e-5)
    assert radius["error"] == pytest.approx(outputs[5, 2], rel=1e-5)
    assert radius["low"] < radius["value"] < radius["high"]
    low, high = np.quantile(outputs[:, 1], [0.01, 0.99])
    assert (redshift["from"], redshift["to"]) == (pytest.approx(low, rel=1e-4), pytest.approx(high, rel=1e-4))


def test_a_surveys_own_errors_are_intervals(client_of: Callable, tmp_path: Path):
    (tmp_path / "s.csv").write_text("id,mag,mag_error\na,20.5,0.25\nb,19,\n")
    client = client_of(tmp_path / "s.csv")
    (mag,) = client.get("/api/galaxy/0").json()["measurements"]
    assert (mag["low"], mag["high"], mag["interval"]) == (20.25, 20.75, False)
    (other,) = client.get("/api/galaxy/1").json()["measurements"]
    assert (other["value"], other["error"], other["low"]) == (19, None, None)


def test_the_votes_of_one_galaxy_have_intervals(client_of: Callable, tmp_path: Path):
    client = client_of(write("vote counts", tmp_path / "v.parquet"))
    answers = client.get("/api/galaxy/3").json()["votes"][0]["answers"]
    assert all(each["low"] < each["fraction"] < each["high"] for each in answers)
    fractions = (
        client_of(write("vote fractions", tmp_path / "f.parquet")).get("/api/galaxy/3").json()["votes"]
    )
    assert all(each["low"] is None for each in fractions[0]["answers"])


@pytest.mark.parametrize("kind", ["vote counts", "vote fractions"])
def test_questions_stand_branch_by_branch_below_those_that_lead_to_them(kind: str):
    tree = SCHEMES[kind].decision_tree  # type: ignore[attr-defined]
    order = branches(tree)
    assert sorted(order) == list(range(len(tree.questions)))
    at = {tree.questions[number].key: place for place, number in enumerate(order)}
    for question in tree.questions:
        for name in tree.parents(question.key):
            parent = tree.questions[int(tree.question_of[tree.columns.index(name)])]
            assert at[parent.key] < at[question.key]
    depth = depths(tree)
    level = [depth[tree.questions[number].key] for number in order]
    assert level != sorted(level)  # one branch after the other, and not all questions of a depth together


def test_a_question_says_which_answers_lead_to_it(client_of: Callable, tmp_path: Path):
    found = client_of(write("vote counts", tmp_path / "v.parquet")).get("/api/galaxy/3").json()["votes"]
    after = {question["text"]: question["after"] for question in found}
    first = "Is the galaxy simply smooth and rounded, with no sign of a disc?"
    assert after[first] == []
    assert after["How rounded is it?"] == [{"answer": "smooth", "question": first}]
