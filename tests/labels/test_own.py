from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.own import classes_from_names, scheme_from_columns
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions, scheme_from
from morphoscope.labels.tree import GALAXY_ZOO_2

IDS = ["g0", "g1", "g2", "g3"]


def read(
    values: dict, columns: list[str], classes=None
) -> tuple[Classes | VoteFractions, dict[str, np.ndarray]]:
    table = pa.table(values)
    scheme = scheme_from_columns("own.csv", table, columns, classes=classes)
    return scheme, scheme.read_columns(table, columns, IDS[: table.num_rows], "own.csv")


def test_names_become_classes_in_alphabetical_order() -> None:
    scheme = classes_from_names("mine", ["ring", "disc", "ring", "", " bar "])
    assert scheme.classes == ("bar", "disc", "ring")
    assert scheme.name == "mine"


def test_whole_numbers_come_in_their_own_order() -> None:
    assert classes_from_names("mine", ["10", "9", "2"]).classes == ("2", "9", "10")
    assert classes_from_names("mine", ["1" * 5000, "9"]).classes == ("9", "1" * 5000)


@pytest.mark.parametrize("names", [["one", "one"], [], ["", " "]])
def test_fewer_than_two_classes_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError, match="at least two classes"):
        classes_from_names("mine", names)


def test_a_column_of_object_names_is_not_taken_for_classes() -> None:
    with pytest.raises(UsageError, match="2000 different labels, for example 'g0'"):
        classes_from_names("mine", (f"g{row}" for row in range(2000)))


def test_a_text_column_becomes_classes_and_indices() -> None:
    scheme, labels = read({"kind": ["ring", "disc", None, "ring"]}, ["kind"])
    assert scheme == Classes(name="own.csv", classes=("disc", "ring"))
    assert labels["label"].tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize(
    ("values", "classes", "indices"),
    [
        (pa.array([3, 1, 3, None], pa.int32()), ("1", "3"), [1, 0, 1, -1]),
        (pa.array([3.0, 1.0, 3.0, float("nan")]), ("1", "3"), [1, 0, 1, -1]),
        (pa.array([True, False, None, True]), ("false", "true"), [1, 0, -1, 1]),
        (pa.array([b"E ", b"S ", b"", b"E "]), ("E", "S"), [0, 1, -1, 0]),
        (pa.array(["E", "S", "", "E"]).dictionary_encode(), ("E", "S"), [0, 1, -1, 0]),
    ],
    ids=["integers", "floats", "booleans", "bytes", "dictionary"],
)
def test_numbers_yes_no_and_bytes_become_classes(values, classes, indices) -> None:
    scheme, labels = read({"kind": values}, ["kind"])
    assert isinstance(scheme, Classes)
    assert scheme.classes == classes
    assert labels["label"].tolist() == indices


def test_given_class_names_fix_the_order_and_numbers_count_into_them() -> None:
    assert read({"t": ["S", "E", "S"]}, ["t"], classes=("S", "E"))[1]["label"].tolist() == [0, 1, 0]
    assert read({"t": [1, 0, -1]}, ["t"], classes=("S", "E"))[1]["label"].tolist() == [1, 0, -1]


def test_a_known_scheme_takes_numbers_and_names() -> None:
    table = pa.table({"ans": ["0", "Barred Spiral"]})
    assert GALAXY10.read_columns(table, ["ans"], IDS, "t")["label"].tolist() == [0, 5]


def test_a_label_outside_the_scheme_names_the_galaxy_and_the_nearest_class() -> None:
    with pytest.raises(
        MorphoscopeError, match=r"own.csv: column 't': galaxy g1 has label 'spirall'.*'spiral'"
    ):
        read({"t": ["spiral", "spirall"]}, ["t"], classes=("spiral", "smooth"))
    with pytest.raises(MorphoscopeError, match="galaxy g1 has label '2'"):
        read({"t": [1, 2]}, ["t"], classes=("spiral", "smooth"))


def test_several_columns_become_vote_fractions() -> None:
    scheme, labels = read({"bar": [0.5, None], "ring": [0, 1]}, ["bar", "ring"])
    assert scheme == VoteFractions(name="own.csv", answers=("bar", "ring"))
    np.testing.assert_array_equal(labels["bar"], np.array([0.5, np.nan], np.float32))
    assert labels["ring"].dtype == np.float32


def test_one_column_of_fractions_becomes_votes() -> None:
    scheme, _ = read({"bar": [0.5, 1.0]}, ["bar"])
    assert scheme == VoteFractions(name="own.csv", answers=("bar",))


@pytest.mark.parametrize(("values", "fine"), [([1, 0], True), ([90, 20], False)])
def test_whole_numbers_that_are_said_to_be_votes_are_no_classes(values: list[int], fine: bool) -> None:
    table = pa.table({"bar": values})
    scheme = scheme_from_columns("own.csv", table, ["bar"], votes=True)
    assert scheme == VoteFractions(name="own.csv", answers=("bar",))
    if fine:
        assert scheme.read_columns(table, ["bar"], IDS[:2], "own.csv")["bar"].tolist() == [1.0, 0.0]
    else:
        with pytest.raises(
            MorphoscopeError, match="galaxy g0: 'bar' is 90; a vote fraction lies between 0 and 1"
        ):
            scheme.read_columns(table, ["bar"], IDS[:2], "own.csv")


def test_classes_that_look_alike_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    classes_from_names("mine", ["Edge-on", "edge on", "ring", "Ring ", "disc"])
    said = capsys.readouterr().err
    assert "mine: 'Edge-on' and 'edge on'; 'Ring' and 'ring' are read as different classes" in said
    classes_from_names("mine", ["1", "10", "ring"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", [1.2, -0.1])
def test_a_fraction_outside_zero_to_one_names_the_galaxy(value: float) -> None:
    with pytest.raises(MorphoscopeError, match=f"own.csv: galaxy g1: 'ring' is {value:g}"):
        read({"bar": [0.5, 0.5], "ring": [0.5, value]}, ["bar", "ring"])


def test_the_37_columns_of_the_challenge_follow_their_tree_in_any_order() -> None:
    fractions = np.zeros((2, 37))
    fractions[:, [0, 14, 15]] = 1.0  # smooth, nothing odd, completely round
    values = {name: fractions[:, place] for place, name in enumerate(GALAXY_ZOO_2.columns)}
    columns = sorted(GALAXY_ZOO_2.columns)
    scheme, labels = read(values, columns)
    assert scheme == GALAXY_ZOO_2_VOTES
    assert tuple(labels) == GALAXY_ZOO_2.columns
    values["Class7.1"] = np.array([1.0, 0.4])
    with pytest.raises(
        MorphoscopeError, match=r"own.csv: galaxy g1: the answers of Q7 .* sum to 0.4, expected 1"
    ):
        read(values, columns)


@pytest.mark.parametrize(
    ("columns", "classes", "reason"),
    [
        (["kindd"], None, r"no label column 'kindd' \(did you mean 'kind'"),
        ([], None, "at least one label column"),
        (["kind", "bar"], None, "'kind' is string; vote fractions"),
        (["bar", "bar"], None, "given twice"),
        (["bar", "ring"], ("a", "b"), "class names need exactly one label column, not 2"),
        (["kind"], ("a", "a"), "at least two different class names"),
    ],
)
def test_requests_that_do_not_fit_are_refused(columns, classes, reason) -> None:
    values = {"kind": ["a", "b"], "bar": [0.1, 0.2], "ring": [0.1, 0.2]}
    with pytest.raises(UsageError, match=reason):
        read(values, columns, classes)


def test_a_scheme_is_a_mapping_and_answers_have_one_of_three_forms() -> None:
    with pytest.raises(MorphoscopeError, match=r"run\.yaml: label scheme .* a mapping was expected"):
        scheme_from(["a", "b"], "run.yaml")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"model\.votes = sgmoid: sigmoid, softmax or tree was expected"):
        GALAXY_ZOO_2_VOTES.with_outputs("sgmoid")
