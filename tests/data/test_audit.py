from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.audit import audit, audit_coordinates, audit_lines, audit_path
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import UsageError
from morphoscope.labels.galaxy10 import COUNTS, GALAXY10
from morphoscope.labels.scheme import Classes, VoteFractions

ARCSEC = 1 / 3600
SCHEME = Classes(name="two", classes=("smooth", "spiral"))
# Two galaxies at one place, a third 3″ away, one alone, one without a place.
RA = np.array([10.0, 10.0, 10.0 + 3 * ARCSEC, 50.0, np.nan])


@pytest.fixture
def store(table_store):
    return table_store(np.array([0, 1, 0, 1, 1]), SCHEME, ra=RA, pixels=list("abcda"))


@pytest.fixture(scope="module")
def galaxy10(shared_data, table_store):
    path = shared_data / "galaxy10_decals" / "coordinates_17736.csv"
    ra, dec = np.genfromtxt(path, delimiter=",", skip_header=1).T
    return table_store(np.repeat(np.arange(10), COUNTS), GALAXY10, ra=ra, dec=dec, radius=67.0)


def test_galaxy10_holds_59_galaxies_twice_under_contradicting_labels(galaxy10) -> None:
    report = audit(galaxy10)
    found = {row["radius_arcsec"]: (row["pairs"], row["conflicting"]) for row in report["radii"]}
    assert found[0.1] == (59, 59)
    assert found[5.0][0] == 77
    assert found[67.0][0] == 236
    assert report["n"] == report["with_coordinates"] == 17736


def test_a_random_split_of_galaxy10_leaks_and_the_grouped_one_does_not(galaxy10) -> None:
    grouped = audit(galaxy10, split=make_split(galaxy10))["split"]
    assert grouped["crossing"] == 0
    assert grouped["examples"] == []
    leaking = audit(galaxy10, split=make_split(galaxy10, "random"))["split"]
    # A pair is parted with chance 1 − (0.7² + 0.1² + 0.2²) = 0.46: 109 of 236 expected, deviation 8.
    assert 75 < leaking["crossing"] < 143
    assert [row["radius_arcsec"] for row in leaking["radii"]] == [0.1, 5.0, 67.0]
    assert leaking["radii"][-1]["crossing"] == leaking["crossing"]


def test_pairs_conflicts_and_examples(store) -> None:
    report = audit(store, radii=(5.0, 0.1))
    assert json.loads(json.dumps(report)) == report
    near, wide = report["radii"]
    assert (near["radius_arcsec"], near["pairs"], near["conflicting"]) == (0.1, 1, 1)
    assert near["examples"] == [
        {"ids": ["g0", "g1"], "separation_arcsec": 0.0, "labels": ["smooth", "spiral"]}
    ]
    assert (wide["pairs"], wide["conflicting"]) == (3, 2)
    assert [example["ids"] for example in wide["examples"]] == [["g0", "g1"], ["g1", "g2"], ["g0", "g2"]]
    assert wide["examples"][1]["separation_arcsec"] == pytest.approx(3.0, abs=1e-4)
    assert report["with_coordinates"] == 4
    assert report["split"] is None


def test_identical_pixels(store) -> None:
    assert audit(store)["identical_pixels"] == {
        "groups": 1,
        "galaxies": 2,
        "pairs": 1,
        "conflicting": 1,
        "examples": [{"ids": ["g0", "g4"], "labels": ["smooth", "spiral"]}],
    }


def test_many_equal_images_are_counted_in_linear_time_and_number(table_store) -> None:
    store = table_store(np.tile([0, 1], 2000), SCHEME, pixels=["black"] * 3000 + ["white"] * 1000)
    found = audit(store)["identical_pixels"]
    assert (found["groups"], found["galaxies"], found["pairs"]) == (2, 4000, 3998)
    assert len(found["examples"]) == 5


def test_pairs_that_cross_a_split_are_counted_once(table_store) -> None:
    labels = np.tile([0, 1], 50)
    ra = np.repeat(np.arange(50.0), 2)  # fifty pairs, each of two classes, at one place and with equal pixels
    store = table_store(labels, SCHEME, ra=ra, pixels=[str(row // 2) for row in range(100)])
    split = make_split(store, "random", seed=2)
    parts = split.parts().reshape(50, 2)
    expected = int(np.count_nonzero(parts[:, 0] != parts[:, 1]))
    assert expected > 5
    found = audit(store, radii=(1.0,), split=split)["split"]
    assert found["crossing"] == found["identical_pixels"] == found["radii"][0]["crossing"] == expected
    assert found["train"] + found["validation"] + found["test"] == 100
    first = found["examples"][0]
    assert first["parts"][0] != first["parts"][1]
    assert set(first["parts"]) <= {"train", "validation", "test"}


def test_equal_pixels_cross_even_when_the_first_of_them_is_left_out(table_store) -> None:
    labels = np.concatenate([[-1], np.tile([0, 1], 30)])
    pixels = ["same", *(f"{row}" for row in range(60))]
    store = table_store(labels, SCHEME, pixels=pixels)
    split = make_split(store)
    one, other = split.train[0], split.test[0]
    pixels[one] = pixels[other] = "same"
    twin = table_store(labels, SCHEME, pixels=pixels)
    assert audit(twin, split=split)["split"]["crossing"] == 1


def test_validation_that_is_the_test_crosses_nothing(table_store) -> None:
    ra = np.repeat(np.arange(100.0), 2)
    store = table_store(np.tile([0, 1], 100), SCHEME, ra=ra)
    split = make_split(store, "ng")
    found = audit(store, radii=(1.0,), split=split)["split"]
    held = np.isin(np.arange(200), split.test).reshape(100, 2)
    assert found["crossing"] == np.count_nonzero(held[:, 0] != held[:, 1])


def test_stores_without_labels_conflict_with_nothing(table_store) -> None:
    unknown = table_store(np.full(5, -1), SCHEME, ra=RA)
    bare = Store(unknown.path, StoreMeta(count=5, image_shape=(1, 1, 3)), unknown.images, unknown.table)
    for store in (unknown, bare):
        found = audit(store)["radii"][1]
        assert (found["pairs"], found["conflicting"]) == (3, 0)
        assert found["examples"][0]["labels"] == [None, None]


def test_a_label_conflicts_with_no_missing_one_and_what_is_left_out_crosses_nothing(table_store) -> None:
    labels = np.tile([0, 1, -1], 30)
    ra = np.concatenate([np.full(3, 100.0), np.arange(87.0)])  # the first three galaxies at one place
    store = table_store(labels, SCHEME, ra=ra)
    report = audit(store, radii=(1.0,), split=make_split(store))
    assert (report["radii"][0]["pairs"], report["radii"][0]["conflicting"]) == (3, 1)
    assert report["split"]["crossing"] == 0


def test_votes_conflict_when_their_plurality_answers_differ(table_store) -> None:
    fractions = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.2], [0.1, 0.1], [0.1, 0.1]], np.float32)
    votes = VoteFractions(name="own", answers=("smooth", "disc"))
    found = audit(table_store(fractions, votes, ra=RA), radii=(5.0,))["radii"][0]
    assert (found["pairs"], found["conflicting"]) == (3, 2)
    assert found["examples"][0]["labels"] == ["smooth", "disc"]


def test_bare_coordinates() -> None:
    dec = np.zeros(5)
    assert [row["pairs"] for row in audit_coordinates(RA, dec)] == [1, 3, 3]
    assert audit_coordinates(RA, dec)[0]["conflicting"] == 0
    found = audit_coordinates(RA, dec, np.array([0, 1, 0, 1, 1]), radii=(1.0,))
    assert found[0]["conflicting"] == 1
    assert found[0]["examples"][0]["ids"] == [0, 1]


@pytest.mark.parametrize("radii", [(), (0.0,), (-1.0, 5.0), (float("nan"),), (4000.0,)])
def test_radii_must_be_positive_and_small(store, radii) -> None:
    with pytest.raises(UsageError, match="expected 0 to 3600 arcsec"):
        audit(store, radii=radii)


def test_a_split_of_another_store_is_refused(store, table_store) -> None:
    other = make_split(table_store(np.tile([0, 1], 20), SCHEME))
    with pytest.raises(UsageError, match="split has 40 galaxies, the store has 5"):
        audit(store, split=other)


def test_an_audit_is_printed_with_its_closest_pairs(store, table_store) -> None:
    lines = audit_lines(audit(store, radii=(5.0,)))
    assert lines == [
        "5 galaxies, 4 with coordinates",
        "within 5″: 3 pairs, 2 with contradicting labels",
        "    g0 and g1, 0.00″ apart: smooth | spiral",
        "    g1 and g2, 3.00″ apart: spiral | smooth",
        "    g0 and g2, 3.00″ apart: smooth | smooth",
        "identical pixels: 2 images in 1 groups, 1 pairs with contradicting labels",
    ]
    many = table_store(np.tile([0, 1], 20), SCHEME)
    lines = audit_lines(audit(many, split=make_split(many, "random")))
    assert lines[-1] == "split 'random' (28 train, 4 validation, 8 test): 0 pairs cross it"


def test_a_table_is_audited_by_its_columns_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,ra,dec\na,10,0\nb,10,0\n")
    monkeypatch.setattr("morphoscope.data.audit.MANY", 1)
    lines = audit_lines(audit_path(path, radii=(1.0,)))
    assert capsys.readouterr().err.count("looking for pairs among 2 galaxies") == 1
    assert lines == [
        "2 galaxies, 2 with coordinates",
        "within 1″: 1 pairs, 0 with contradicting labels",
        "    0 and 1, 0.00″ apart",
    ]
    with pytest.raises(UsageError, match="is a table; --split needs a store"):
        audit_path(path, split="random")
    path.write_text("name,magnitude\na,10\n")
    with pytest.raises(
        UsageError, match=r"columns such as ra and dec were expected \(columns: name, magnitude\)"
    ):
        audit_path(path)
