from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.compare import align, outputs_of


def table(ids: list[str], labels: list[int], predicted: list[int], classes=("a", "b")) -> pa.Table:
    share = np.full(len(ids), 1 / len(classes))
    return pa.table(
        {"id": ids, "label": labels, "predicted": predicted, **{f"p_{c}": share for c in classes}}
    )


def votes(ids: list[str], truth: list[float], answer: list[float]) -> pa.Table:
    return pa.table({"id": ids, "t_x": truth, "x": answer})


BASE = table(["g1", "g2", "g3"], [0, 1, 1], [0, 0, 1])


def test_galaxies_are_matched_by_id():
    other = table(["g3", "g1", "g2"], [1, 0, 1], [10, 11, 12])
    aligned = align([("base", BASE), ("other", other)])
    assert aligned.ids.tolist() == ["g1", "g2", "g3"]
    assert aligned.truth.tolist() == [0, 1, 1]
    assert [answers.tolist() for answers in aligned.predictions] == [[0, 0, 1], [11, 12, 10]]
    assert aligned.outputs == ("a", "b")
    assert aligned.count == 3


def test_ids_that_are_numbers_are_matched_as_text():
    first = BASE.set_column(0, "id", pa.array([10, 9, 8]))
    second = table(["8", "9", "10"], [1, 1, 0], [3, 4, 5])
    assert align([("base", first), ("other", second)]).predictions[1].tolist() == [5, 4, 3]


def test_repeated_ids_are_allowed_in_the_same_order_alone():
    twice = table(["g1", "g1"], [0, 1], [0, 1])
    assert align([("base", twice), ("other", twice)]).count == 2
    other = table(["g1", "g1", "g2"], [0, 1, 0], [0, 1, 0])
    with pytest.raises(MorphoscopeError, match="base: 1 ids occur more than once"):
        align([("base", other), ("other", other.take([2, 0, 1]))])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table(["g1", "g2", "g4", "g5"], [0] * 4, [0] * 4), "1 of 3 are only in the first, 2 of 4 only in"),
        (table(["g1", "g2", "g3"], [0, 0, 1], [0, 0, 1]), r"the truth of 1 of 3 galaxies \(the first: g2\)"),
        (table(["g1", "g2", "g3"], [0, 1, 1], [0, 0, 1], ("b", "a")), "the same names in another order"),
        (
            table(["g1", "g2", "g3"], [0, 1, 1], [0, 0, 1], ("a", "b", "c")),
            "other names: classes a, b against",
        ),
        (votes(["g1"], [0.5], [0.4]), "different schemes .other names: classes a, b against votes x"),
        (BASE.drop_columns("id"), "other: predictions have no column 'id'"),
        (BASE.drop_columns("label"), "other: predictions have neither"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(other, message):
    with pytest.raises(MorphoscopeError, match=message):
        align([("base", BASE), ("other", other)])


def test_votes_are_matched_and_their_truth_compared():
    first, second = votes(["g1", "g2"], [0.5, 0.1], [0.4, 0.2]), votes(["g2", "g1"], [0.1, 0.5], [0.3, 0.6])
    aligned = align([("base", first), ("other", second)])
    assert aligned.kind == "votes"
    assert aligned.predictions[1].tolist() == [[0.6], [0.3]]
    with pytest.raises(MorphoscopeError, match="the truth of 1 of 2"):
        align([("base", first), ("other", votes(["g2", "g1"], [0.1, 0.51], [0.3, 0.6]))])


def test_an_empty_test_set_is_refused():
    with pytest.raises(MorphoscopeError, match="base: the test set is empty"):
        align([("base", BASE.slice(0, 0)), ("other", BASE)])


def test_class_names_are_read_in_the_order_of_the_columns():
    assert outputs_of(table([], [], [], ("z", "p_q", "a")), "run") == ("classes", ("z", "p_q", "a"))
