from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from morphoscope.errors import MorphoscopeError
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions, scheme_from

PAIR = Classes(name="pair", classes=("smooth", "spiral"))
VOTES = VoteFractions(name="own", answers=("bar", "ring"))


@pytest.mark.parametrize(
    "scheme", [GALAXY10, GALAXY_ZOO_2_VOTES, PAIR, VOTES], ids=lambda scheme: scheme.name
)
def test_a_scheme_survives_being_saved(scheme) -> None:
    assert scheme_from(scheme.model_dump(mode="json")) == scheme
    assert scheme.outputs == len(scheme.output_names)


def test_a_kind_from_a_newer_program_is_refused_with_the_file() -> None:
    with pytest.raises(MorphoscopeError, match=r"run\.yaml: label scheme cannot be read"):
        scheme_from({"kind": "vote-counts", "name": "own"}, "run.yaml")


@pytest.mark.parametrize("classes", [("a",), ("a", "a")])
def test_classes_must_be_two_and_distinct(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        Classes(name="bad", classes=classes)


def test_answers_must_be_distinct() -> None:
    with pytest.raises(ValidationError, match="differ"):
        VoteFractions(name="bad", answers=("a", "a"))


def test_class_targets_and_who_has_one() -> None:
    table = pa.table({"label": pa.array([1, -1, 0], pa.int16())})
    assert PAIR.targets(table).tolist() == [1, -1, 0]
    assert PAIR.targets(table).dtype == np.int64
    assert PAIR.labelled(table).tolist() == [True, False, True]


def test_vote_targets_and_who_has_all_of_them() -> None:
    table = pa.table({"ring": [0.5, 0.25], "bar": [np.nan, 1.0]})
    np.testing.assert_array_equal(VOTES.targets(table), np.array([[np.nan, 0.5], [1.0, 0.25]], np.float32))
    assert VOTES.labelled(table).tolist() == [False, True]


def test_a_missing_label_column_is_named() -> None:
    with pytest.raises(MorphoscopeError, match=r"no label column 'bar' \(did you mean 'bars'"):
        VOTES.targets(pa.table({"bars": [0.1], "ring": [0.1]}))


def test_losses_and_probabilities_against_numpy() -> None:
    import torch

    outputs = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    shares = np.exp(outputs.numpy()) / np.exp(outputs.numpy()).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(PAIR.probabilities(outputs).numpy(), shares, rtol=1e-6)
    loss = PAIR.loss(outputs, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(-np.log([shares[0, 0], shares[1, 1]]).mean(), rel=1e-6)
    weighted = PAIR.loss(outputs, torch.tensor([0, 1]), class_weights_K=torch.tensor([3.0, 1.0]))
    expected = -(3 * np.log(shares[0, 0]) + np.log(shares[1, 1])) / 4
    assert weighted.item() == pytest.approx(expected, rel=1e-6)

    fractions = 1 / (1 + np.exp(-outputs.numpy()))
    np.testing.assert_allclose(VOTES.probabilities(outputs).numpy(), fractions, rtol=1e-6)
    targets = np.array([[0.2, 0.8], [0.0, 1.0]], np.float32)
    error = VOTES.loss(outputs, torch.from_numpy(targets))
    assert error.item() == pytest.approx(((fractions - targets) ** 2).mean(), rel=1e-6)
