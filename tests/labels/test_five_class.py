from __future__ import annotations

import numpy as np
import pytest

from morphoscope.labels.five_class import FIVE_CLASS, FIVE_CLASS_RULES, five_class_labels
from morphoscope.labels.tree import GALAXY_ZOO_2

SPIRAL = 4


def votes(**fractions: float) -> np.ndarray:
    """One galaxy; ``c7_1=0.6`` sets Class7.1."""
    row = np.zeros((1, 37))
    for name, value in fractions.items():
        row[0, GALAXY_ZOO_2.columns.index(name.replace("c", "Class").replace("_", "."))] = value
    return row


@pytest.fixture(scope="module")
def real(shared_data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, votes, and the label of a real run of the rule with 0.69 (−1: not in its list)."""
    folder = shared_data / "galaxy_zoo_challenge"
    rows = np.genfromtxt(folder / "training_solutions_rev1_sample.csv", delimiter=",", skip_header=1)
    given = np.genfromtxt(
        folder / "five_class_labels_27675.csv", delimiter=",", skip_header=1, dtype=np.int64
    )
    ids = rows[:, 0].astype(np.int64)
    known = dict(given.tolist())
    return ids, rows[:, 1:], np.array([known.get(galaxy, -1) for galaxy in ids.tolist()])


@pytest.mark.parametrize(
    ("galaxy", "label"),
    [
        (votes(c1_1=0.9, c7_1=0.5), 0),
        (votes(c1_1=0.9, c7_2=0.6), 1),
        (votes(c1_1=0.9, c7_3=0.6), 2),
        (votes(c1_2=0.7, c2_1=0.602), 3),
        (votes(c1_2=0.8, c2_2=0.715, c4_1=0.619), 4),
        (votes(c1_2=0.8, c2_2=0.715, c4_1=0.618), -1),
        (votes(c1_2=0.8, c2_2=0.714, c4_1=0.7), -1),
        (votes(c1_2=0.42, c2_1=0.7), -1),
        (votes(c1_1=0.468, c7_1=0.5), -1),
        (votes(), -1),
        (votes(c1_1=0.9, c7_1=0.5, c7_2=0.5), 0),  # the first rule wins
    ],
)
def test_each_threshold_of_table_one(galaxy: np.ndarray, label: int) -> None:
    assert five_class_labels(galaxy).tolist() == [label]


def test_missing_votes_have_no_class() -> None:
    assert five_class_labels(np.full((2, 37), np.nan)).tolist() == [-1, -1]


def test_conditional_thresholds_compare_among_those_who_were_asked() -> None:
    galaxy = votes(c1_1=0.6, c1_2=0.4, c7_1=0.45, c7_2=0.15)
    assert five_class_labels(galaxy).tolist() == [-1]
    assert five_class_labels(galaxy, conditional=True).tolist() == [0]


def test_names_follow_the_rules() -> None:
    assert FIVE_CLASS.classes == tuple(rule.name for rule in FIVE_CLASS_RULES)
    assert FIVE_CLASS.classes[SPIRAL] == "Spiral"


def test_with_069_every_real_row_agrees_with_the_published_run(real) -> None:
    _, fractions, published = real
    ours = five_class_labels(fractions, spiral_threshold=0.69)
    assert np.count_nonzero(published >= 0) == 232
    np.testing.assert_array_equal(ours, published)


def test_with_0619_only_spirals_between_the_thresholds_are_new(real) -> None:
    _, fractions, published = real
    ours = five_class_labels(fractions)
    differ = ours != published
    spiral_votes = fractions[:, GALAXY_ZOO_2.columns.index("Class4.1")]
    assert np.count_nonzero(differ) == 9
    assert (ours[differ] == SPIRAL).all()
    assert (published[differ] == -1).all()
    assert ((spiral_votes[differ] >= 0.619) & (spiral_votes[differ] < 0.69)).all()
