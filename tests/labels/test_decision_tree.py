from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, VoteFractions
from morphoscope.labels.tree import GALAXY_ZOO_2, Answer, DecisionTree, Question

# FIELD_NOTES §1, written down by hand from the challenge's own documentation.
SLICES = ((0, 3), (3, 5), (5, 7), (7, 9), (9, 13), (13, 15), (15, 18), (18, 25), (25, 28), (28, 31), (31, 37))
SUMS = {
    "Q1": None,
    "Q2": "Class1.2",
    "Q3": "Class2.2",
    "Q4": "Class2.2",
    "Q5": "Class2.2",
    "Q6": None,
    "Q7": "Class1.1",
    "Q8": "Class6.1",
    "Q9": "Class2.1",
    "Q10": "Class4.1",
    "Q11": "Class4.1",
}


@pytest.fixture(scope="module")
def real_votes(shared_data) -> tuple[list[str], np.ndarray]:
    path = shared_data / "galaxy_zoo_challenge" / "training_solutions_rev1_sample.csv"
    rows = np.genfromtxt(path, delimiter=",", skip_header=1)
    return [str(int(galaxy)) for galaxy in rows[:, 0]], rows[:, 1:]


def random_votes(count: int, seed: int, zeros: float = 0.2) -> np.ndarray:
    """Conditional fractions that sum to 1 in each question; some answers are chosen by nobody."""
    random = np.random.default_rng(seed)
    given_NK = random.uniform(size=(count, 37)) * (random.uniform(size=(count, 37)) >= zeros)
    for piece in GALAXY_ZOO_2.slices:
        given_NK[:, piece.start] += 1e-3  # never all zero
        given_NK[:, piece] /= given_NK[:, piece].sum(axis=1, keepdims=True)
    return given_NK


def test_columns_and_slices_are_those_of_the_challenge() -> None:
    assert len(GALAXY_ZOO_2.questions) == 11
    assert len(GALAXY_ZOO_2.columns) == 37
    assert GALAXY_ZOO_2.columns[0] == "Class1.1"
    assert GALAXY_ZOO_2.columns[-1] == "Class11.6"
    assert tuple((piece.start, piece.stop) for piece in GALAXY_ZOO_2.slices) == SLICES
    assert GALAXY_ZOO_2_VOTES.answers == GALAXY_ZOO_2.columns


def test_the_sums_derived_from_the_routing_are_the_published_ones() -> None:
    for key, column in SUMS.items():
        assert GALAXY_ZOO_2.weights(key) == (() if column is None else (column,)), key


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("Class1.1", "Q7"),
        ("Class1.2", "Q2"),
        ("Class1.3", None),
        ("Class2.1", "Q9"),
        ("Class2.2", "Q3"),
        ("Class3.2", "Q4"),
        ("Class4.1", "Q10"),
        ("Class4.2", "Q5"),
        ("Class5.4", "Q6"),
        ("Class6.1", "Q8"),
        ("Class6.2", None),
        ("Class7.3", "Q6"),
        ("Class8.7", None),
        ("Class9.2", "Q6"),
        ("Class10.3", "Q11"),
        ("Class11.6", "Q5"),
    ],
)
def test_routing(answer: str, question: str | None) -> None:
    assert GALAXY_ZOO_2.answers[GALAXY_ZOO_2.columns.index(answer)].next == question


def test_parents_are_the_answers_that_lead_there() -> None:
    assert GALAXY_ZOO_2.parents("Q1") == ()
    assert GALAXY_ZOO_2.parents("Q4") == ("Class3.1", "Class3.2")
    assert GALAXY_ZOO_2.parents("Q5") == ("Class4.2", *(f"Class11.{place}" for place in range(1, 7)))
    assert len(GALAXY_ZOO_2.parents("Q6")) == 10


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(MorphoscopeError, match="no question 'Q12'"):
        GALAXY_ZOO_2.parents("Q12")


def test_real_votes_keep_the_sums(real_votes) -> None:
    ids, fractions = real_votes
    assert fractions.shape == (530, 37)
    assert np.abs(GALAXY_ZOO_2.sum_errors(fractions)).max() < 1e-5
    GALAXY_ZOO_2.check(fractions, ids, tolerance=1e-5)


def test_real_votes_survive_the_round_trip_through_conditional_fractions(real_votes) -> None:
    _, fractions = real_votes
    conditional = GALAXY_ZOO_2.conditional(fractions)
    np.testing.assert_allclose(GALAXY_ZOO_2.cumulative(conditional), fractions, atol=2e-6)
    for number, piece in enumerate(GALAXY_ZOO_2.slices):
        sums = conditional[:, piece].sum(axis=1)
        asked = GALAXY_ZOO_2.expected_sums(fractions)[:, number]
        assert np.isnan(sums[asked == 0]).all()
        np.testing.assert_allclose(sums[asked > 0.01], 1.0, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), zeros=st.floats(0, 0.9))
def test_conditional_to_cumulative_and_back(seed: int, zeros: float) -> None:
    conditional = random_votes(20, seed, zeros)
    fractions = GALAXY_ZOO_2.cumulative(conditional)
    assert np.abs(GALAXY_ZOO_2.sum_errors(fractions)).max() < 1e-12
    assert fractions.min() >= 0
    assert fractions.max() <= 1 + 1e-12
    GALAXY_ZOO_2.check(fractions, range(20))
    back = GALAXY_ZOO_2.conditional(fractions)
    asked = GALAXY_ZOO_2.expected_sums(fractions)[:, GALAXY_ZOO_2.question_of] > 0
    np.testing.assert_allclose(back[asked], conditional[asked], rtol=1e-9)
    assert np.isnan(back[~asked]).all()


def test_what_nobody_was_asked_is_zero_votes_and_no_conditional_fraction() -> None:
    conditional = random_votes(1, 0)
    conditional[0, 0:3] = (1, 0, 0)  # all say smooth: nobody is asked Q2 and what follows
    conditional[0, 3:5] = np.nan
    fractions = GALAXY_ZOO_2.cumulative(conditional)
    assert fractions[0, 3:13].tolist() == [0.0] * 10
    assert np.isnan(GALAXY_ZOO_2.conditional(fractions)[0, 3:13]).all()


def test_a_galaxy_without_votes_stays_unknown_throughout() -> None:
    nothing = np.full((1, 37), np.nan)
    assert np.isnan(GALAXY_ZOO_2.sum_errors(nothing)).all()
    assert np.isnan(GALAXY_ZOO_2.cumulative(nothing)).all()
    assert GALAXY_ZOO_2.leaf_paths(nothing[:1]) == [()]
    GALAXY_ZOO_2.check(nothing, ["a"])


def test_leaf_paths_of_a_smooth_and_of_a_spiral_galaxy() -> None:
    smooth = random_votes(1, 1)
    for column in ("Class1.1", "Class7.3", "Class6.2"):
        smooth = chosen(smooth, column)
    smooth_paths = GALAXY_ZOO_2.leaf_paths(GALAXY_ZOO_2.cumulative(smooth))
    assert smooth_paths[0] == ("Class1.1", "Class7.3", "Class6.2")
    path = (
        "Class1.2",
        "Class2.2",
        "Class3.1",
        "Class4.1",
        "Class10.2",
        "Class11.3",
        "Class5.2",
        "Class6.1",
        "Class8.4",
    )
    spiral = random_votes(1, 2)
    for column in path:
        spiral = chosen(spiral, column)
    assert GALAXY_ZOO_2.leaf_paths(GALAXY_ZOO_2.cumulative(spiral)[:1])[0] == path
    unasked = np.full((1, 37), np.nan)
    all_three = np.concatenate([GALAXY_ZOO_2.cumulative(spiral), unasked, GALAXY_ZOO_2.cumulative(smooth)])
    assert GALAXY_ZOO_2.leaf_paths(all_three) == [path, (), ("Class1.1", "Class7.3", "Class6.2")]
    all_three[0, 9] = np.nan  # Class5.1, after some of the way
    assert GALAXY_ZOO_2.leaf_paths(all_three)[0] == ()


def chosen(conditional: np.ndarray, column: str) -> np.ndarray:
    index = GALAXY_ZOO_2.columns.index(column)
    piece = GALAXY_ZOO_2.slices[GALAXY_ZOO_2.question_of[index]]
    changed = conditional.copy()
    changed[:, piece] = 0
    changed[:, index] = 1
    return changed


def test_check_names_the_first_galaxy_the_question_and_both_sums() -> None:
    fractions = GALAXY_ZOO_2.cumulative(random_votes(6, 3))
    fractions[2, 15] += 0.25  # Class7.1
    fractions[4, 13] += 0.5  # Class6.1
    expected = fractions[2, 0]
    with pytest.raises(MorphoscopeError) as caught:
        GALAXY_ZOO_2.check(fractions, list("abcdef"))
    message = str(caught.value)
    assert message.startswith("galaxy c: the answers of Q7 (How rounded is it?)")
    assert f"sum to {expected + 0.25:.6g}, expected {expected:.6g}" in message
    assert "Class1.1" in message
    assert "1 more galaxies" in message


def test_check_refuses_missing_and_impossible_fractions() -> None:
    fractions = GALAXY_ZOO_2.cumulative(random_votes(3, 4))
    fractions[1, 20] = np.nan
    with pytest.raises(MorphoscopeError, match=r"galaxy 1: Class8\.3 is nan; a vote fraction lies between"):
        GALAXY_ZOO_2.check(fractions, range(3))
    fractions[1, 20] = -0.4
    with pytest.raises(MorphoscopeError, match=r"Class8\.3 is -0\.4"):
        GALAXY_ZOO_2.check(fractions, range(3))


def test_check_stays_quiet_below_the_tolerance() -> None:
    fractions = GALAXY_ZOO_2.cumulative(random_votes(3, 5))
    fractions[0, 0] += 5e-4
    GALAXY_ZOO_2.check(fractions, range(3))
    with pytest.raises(MorphoscopeError, match="galaxy 0"):
        GALAXY_ZOO_2.check(fractions, range(3), tolerance=1e-4)


def test_fractions_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 37\)"):
        GALAXY_ZOO_2.sum_errors(np.zeros((2, 36)))


def test_a_tree_that_leads_round_in_a_circle_is_refused() -> None:
    questions = (
        Question("Q1", "one?", (Answer("a", "Q2"),)),
        Question("Q2", "two?", (Answer("b", "Q1"), Answer("c"))),
    )
    with pytest.raises(ValueError, match="Q1 → Q2 → Q1"):
        DecisionTree("round", questions)


def test_columns_may_come_in_another_order_than_the_questions_are_asked() -> None:
    tree = DecisionTree(
        "late",
        (
            Question("Q1", "one?", (Answer("a", "Q3"), Answer("b"))),
            Question("Q2", "two?", (Answer("c"), Answer("d"))),
            Question("Q3", "three?", (Answer("e", "Q2"), Answer("f"))),
        ),
    )
    fractions = tree.cumulative(np.array([[0.5, 0.5, 0.25, 0.75, 0.4, 0.6]]))
    np.testing.assert_allclose(fractions, [[0.5, 0.5, 0.05, 0.15, 0.2, 0.3]])


def test_the_tree_of_a_scheme() -> None:
    assert GALAXY_ZOO_2_VOTES.decision_tree is GALAXY_ZOO_2
    assert VoteFractions(name="own", answers=("a", "b")).decision_tree is None
    with pytest.raises(MorphoscopeError, match=r"'galaxy-zoo-3' \(did you mean 'galaxy-zoo-2'"):
        _ = VoteFractions(name="own", answers=("a",), tree="galaxy-zoo-3").decision_tree


def test_a_network_can_keep_the_sums_of_the_tree_by_construction():
    torch = pytest.importorskip("torch")
    outputs = torch.randn(50, 37, generator=torch.Generator().manual_seed(0)) * 3
    votes = GALAXY_ZOO_2_VOTES.with_outputs("tree")
    fractions = votes.probabilities(outputs).numpy()
    assert np.abs(GALAXY_ZOO_2.sum_errors(fractions)).max() < 1e-6
    conditional = np.concatenate(
        [outputs[:, piece].double().softmax(1).numpy() for piece in GALAXY_ZOO_2.slices], axis=1
    )
    np.testing.assert_allclose(fractions, GALAXY_ZOO_2.cumulative(conditional), atol=1e-6)
    by_question = GALAXY_ZOO_2_VOTES.with_outputs("softmax").probabilities(outputs).numpy()
    np.testing.assert_allclose(by_question, conditional, atol=1e-6)


def test_the_form_of_the_outputs_is_kept_and_the_usual_one_unsaid():
    assert "outputs_by" not in GALAXY_ZOO_2_VOTES.model_dump()
    tree = GALAXY_ZOO_2_VOTES.with_outputs("tree")
    assert VoteFractions.model_validate(tree.model_dump()) == tree
    with pytest.raises(UsageError, match="needs labels that follow a decision tree"):
        VoteFractions(name="own", answers=("a", "b")).with_outputs("tree")
    with pytest.raises(UsageError, match=r"is for vote fractions; the labels are"):
        FIVE_CLASS.with_outputs("softmax")
