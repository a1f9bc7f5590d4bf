"""Vote counts: likelihood, intervals, averages, calibration, catalogue and what is refused."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom, dirichlet_multinomial

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.ensemble import mutual_information
from morphoscope.labels.concentrations import averaged, fit_scales
from morphoscope.labels.scheme import Classes, VoteCounts
from morphoscope.labels.tree_files import TreeAnswer, TreeQuestion, VoteTree
from morphoscope.metrics.vote_counts import (
    count_log_losses,
    count_metrics,
    coverage_parts,
    credible_intervals,
    expected_fractions,
    predictive_ranks,
)

TREE = VoteTree(
    name="small",
    questions=(
        TreeQuestion(
            key="shape",
            answers=(
                TreeAnswer(key="smooth", next="odd"),
                TreeAnswer(key="disc", next="bar"),
                TreeAnswer(key="star"),
            ),
        ),
        TreeQuestion(
            key="bar", answers=(TreeAnswer(key="yes", next="odd"), TreeAnswer(key="no", next="odd"))
        ),
        TreeQuestion(key="odd", answers=(TreeAnswer(key="yes"), TreeAnswer(key="no"))),
    ),
)
SCHEME = VoteCounts(name="small", tree=TREE, volunteers=40)
SLICES = SCHEME.slices
ONE = [slice(0, 3)]


def drawn(count: int, alpha_K: np.ndarray, seed: int = 0, volunteers: int = 40) -> np.ndarray:
    """Votes of volunteers who walk down the tree, (count, 7)."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((count, 7))
    for row in range(count):
        shape = rng.multinomial(volunteers, rng.dirichlet(alpha_K[:3]))
        bar = rng.multinomial(shape[1], rng.dirichlet(alpha_K[3:5]))
        odd = rng.multinomial(shape[0] + shape[1], rng.dirichlet(alpha_K[5:]))
        counts[row] = [*shape, *bar, *odd]
    return counts


def test_check_values_of_the_loss() -> None:
    assert count_log_losses([[3, 1, 1]], [[2, 1, 1]], ONE)[0, 0] == pytest.approx(2.639057, abs=5e-7)
    assert count_log_losses([[5, 0]], [[1, 1]], [slice(0, 2)])[0, 0] == pytest.approx(1.791759, abs=5e-7)
    one = VoteCounts(name="one", tree=VoteTree(name="one", questions=TREE.questions[-1:]))
    loss = one._losses(torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 0.0]]))
    assert loss.item() == pytest.approx(1.791759, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0.05, 150)), min_size=2, max_size=7),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0.05, 150)), min_size=2, max_size=7),
)
def test_likelihood_is_that_of_scipy(first: list, second: list) -> None:
    counts, alpha = (np.array([pair[k] for pair in (*first, *second)], float) for k in (0, 1))
    slices = [slice(0, len(first)), slice(len(first), len(first) + len(second))]
    found = count_log_losses(counts[None], alpha[None], slices)[0]
    for piece, loss in zip(slices, found, strict=True):
        votes = counts[piece].astype(int)
        assert loss == pytest.approx(
            -dirichlet_multinomial.logpmf(votes, alpha[piece], votes.sum()), abs=1e-8
        )


def test_probabilities_of_all_outcomes_add_up_to_one() -> None:
    outcomes = np.array([c for c in product(range(5), repeat=3) if sum(c) == 4], float)
    losses = count_log_losses(outcomes, np.tile([0.7, 2.0, 30.0], (len(outcomes), 1)), ONE)
    assert np.exp(-losses).sum() == pytest.approx(1)
    # fractions known for certain: the binomial distribution
    many = 1e9 * np.array([[0.3, 0.7]])
    binomial = comb(5, 2) * 0.3**2 * 0.7**3
    assert np.exp(-count_log_losses([[2, 3]], many, [slice(0, 2)]))[0, 0] == pytest.approx(binomial, rel=1e-5)


def test_torch_and_numpy_agree_and_gradients_are_right() -> None:
    counts = drawn(6, np.array([3.0, 2, 1, 1, 2, 1, 4]))
    outputs = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    alpha = SCHEME.probabilities(outputs)
    assert 1 <= alpha.min() <= alpha.max() <= 101
    loss = SCHEME.loss(outputs, torch.from_numpy(counts).float())
    assert loss.item() == pytest.approx(SCHEME.log_losses(counts, alpha.numpy()).mean(), rel=1e-5)
    exact, votes, step = alpha.double().requires_grad_(), torch.from_numpy(counts), 1e-6
    SCHEME._losses(exact, votes).sum().backward()
    for k in range(7):
        moved = step * torch.eye(7, dtype=torch.float64)[k]
        up, down = (SCHEME._losses(exact.detach() + sign * moved, votes) for sign in (1, -1))
        assert exact.grad is not None
        np.testing.assert_allclose(exact.grad[:, k], (up - down) / (2 * step), rtol=1e-5, atol=1e-8)


def test_counts_can_be_learned_by_squared_error_to_compare() -> None:
    squared = SCHEME.with_outputs("sigmoid", "squared-error")
    assert squared.model_dump(mode="json")["learned_by"] == "squared-error"
    assert "learned_by" not in SCHEME.model_dump(mode="json")
    assert squared.mismatch(SCHEME) == ""
    votes = torch.tensor([[10.0, 20, 10, 5, 15, 3, 27], [0.0, 0, 0, 0, 0, 0, 0]])
    fractions = np.array([0.25, 0.5, 0.25, 0.25, 0.75, 0.1, 0.9])
    outputs = torch.tensor(np.log([fractions, fractions]), dtype=torch.float32, requires_grad=True)
    loss = squared.loss(outputs, votes)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-10)
    # 40 volunteers of whom 30 give all answers to the first question alike
    wrong = torch.tensor([[30.0, 5, 5, 5, 0, 0, 35]])
    of_all = np.array([0.25, 0.5, 0.25, 0.125, 0.375, 0.075, 0.675])
    expected = np.square(of_all - wrong.numpy() / 40).mean()
    assert squared.loss(outputs[:1], wrong).item() == pytest.approx(expected, rel=1e-5)
    alpha = squared.probabilities(outputs).detach().numpy()
    assert expected_fractions(alpha, SLICES)[0] == pytest.approx(fractions, abs=0.006)
    np.testing.assert_allclose(np.add.reduceat(alpha[0], [0, 3, 5]), 10, rtol=1e-5)
    with pytest.raises(UsageError, match=r"model\.likelihood = student-t is for measurements"):
        SCHEME.with_outputs("sigmoid", "student-t")
    with pytest.raises(UsageError, match=r"squared-error is for vote counts; the labels are classes"):
        Classes(name="two", classes=("a", "b")).with_outputs("sigmoid", "squared-error")


def test_a_question_that_nobody_was_asked_is_out_of_the_loss() -> None:
    votes = torch.tensor([[10.0, 0, 0, 0, 0, 4, 6], [0.0, 0, 0, 0, 0, 0, 0]])
    outputs = torch.zeros(2, 7, requires_grad=True)
    SCHEME.loss(outputs, votes).backward()
    assert outputs.grad is not None
    assert outputs.grad[0, 3:5].tolist() == [0, 0]
    assert outputs.grad[1].abs().max() == 0
    assert (outputs.grad[0, [0, 1, 2, 5, 6]] != 0).all()


def test_intervals_and_ranks_are_those_of_scipy() -> None:
    alpha = np.random.default_rng(1).uniform(0.5, 80, (20, 7))
    low, high = credible_intervals(alpha, SLICES)
    others = alpha[:, :3].sum(axis=1) - alpha[:, 1]
    np.testing.assert_allclose(low[:, 1], beta.ppf(0.05, alpha[:, 1], others), rtol=1e-9)
    np.testing.assert_allclose(high[:, 1], beta.ppf(0.95, alpha[:, 1], others), rtol=1e-9)
    asked = np.arange(1, 21)
    counts = np.random.default_rng(2).integers(0, asked + 1)
    below, upto = predictive_ranks(counts, asked, alpha[:, 1], others)
    np.testing.assert_allclose(below, betabinom.cdf(counts - 1, asked, alpha[:, 1], others), atol=1e-10)
    np.testing.assert_allclose(upto, betabinom.cdf(counts, asked, alpha[:, 1], others), atol=1e-10)


def test_coverage_is_exact_in_expectation() -> None:
    # every outcome weighted by its probability: exactly the level, though counts are whole numbers
    alpha, asked = np.array([[2.5, 4.0]]), 6
    outcomes = np.array([[c, asked - c] for c in range(asked + 1)], float)
    chance = np.exp(-count_log_losses(outcomes, np.repeat(alpha, 7, axis=0), [slice(0, 2)]))[:, 0]
    parts = coverage_parts(outcomes, np.repeat(alpha, 7, axis=0), [slice(0, 2)], (0.3, 0.9))
    np.testing.assert_allclose(chance @ parts[:, 0], [0.3, 0.9], atol=1e-9)
    assert np.isnan(coverage_parts(np.zeros((1, 2)), alpha, [slice(0, 2)])).all()


def test_metrics_of_the_truth_and_of_too_narrow_predictions() -> None:
    alpha = np.array([6.0, 4, 1, 3, 7, 1.5, 6])
    counts = drawn(600, alpha)
    predicted = np.tile(alpha, (600, 1))
    right = count_metrics(counts, predicted, SCHEME.questions, SCHEME.output_names, SLICES, bootstrap=200)
    narrow = count_metrics(counts, 12 * predicted, SCHEME.questions, SCHEME.output_names, SLICES, bootstrap=0)
    assert right["coverage_90"]["value"] == pytest.approx(0.9, abs=0.02)
    assert right["coverage_90"]["low"] < right["coverage_90"]["value"] < right["coverage_90"]["high"]
    assert narrow["coverage_90"]["value"] < 0.75
    assert right["log_loss"]["value"] < narrow["log_loss"]["value"]
    assert right["rmse"]["value"] == pytest.approx(narrow["rmse"]["value"])
    shape, bar, _ = right["per_question"]
    assert (shape["asked"], shape["votes"]) == (600, 600 * 40)
    assert bar["votes"] == counts[:, 3:5].sum()
    assert all(abs(row["bias"]) < 0.02 for row in right["per_answer"])
    # predicting the mean cannot beat predicting the mean
    assert all(row["rmse"] == pytest.approx(row["spread"], rel=0.02) for row in right["per_answer"])
    counts[:, 3:5] = 0
    unasked = SCHEME.measure(counts, predicted, bootstrap=0)
    assert unasked["per_question"][1]["rmse"] is None
    assert unasked["notes"] == ["nobody was asked bar about these galaxies"]
    titles = [part.title for part in SCHEME.report_parts(unasked)]
    assert titles == ["Question by question", "Answer by answer", "Do the intervals hold?"]


def test_the_calibration_finds_the_factor_that_was_put_in() -> None:
    alpha = np.array([6.0, 4, 1, 3, 7, 1.5, 6])
    counts, factors = drawn(1500, alpha, seed=3), np.repeat([4.0, 0.5, 2.0], [3, 2, 2])
    scales = fit_scales(SLICES, counts, np.tile(alpha * factors, (1500, 1)))
    np.testing.assert_allclose(np.array(scales.scales) * [4.0, 0.5, 2.0], 1, rtol=0.12)
    corrected = scales(np.tile(alpha * factors, (2, 1)))
    np.testing.assert_allclose(
        expected_fractions(corrected, SLICES)[0], expected_fractions(alpha, SLICES), rtol=1e-6
    )
    counts[:, 3:5] = 0
    assert fit_scales(SLICES, counts, np.tile(alpha, (1500, 1))).scales[1] == 1


def test_an_average_has_the_mean_fractions_and_the_variance_of_the_mixture() -> None:
    members = np.random.default_rng(4).uniform(1, 60, (3, 5, 7)).astype(np.float32)
    together = averaged(members, SLICES)
    fractions = expected_fractions(members, SLICES)
    np.testing.assert_allclose(expected_fractions(together, SLICES), fractions.mean(axis=0), rtol=1e-5)

    def variance(alpha: np.ndarray) -> np.ndarray:
        mean = alpha / alpha.sum()
        return mean * (1 - mean) / (alpha.sum() + 1)

    mixture = np.mean([variance(members[s, 0, :3].astype(float)) for s in range(3)], axis=0)
    mixture += fractions[:, 0, :3].var(axis=0)
    assert variance(together[0, :3].astype(float)).sum() == pytest.approx(mixture.sum(), rel=1e-5)
    same = np.stack([members[0]] * 3)
    assert (averaged(same, SLICES) == members[0]).all()
    assert mutual_information(SCHEME, same).tolist() == [0] * 5
    apart = np.array([[[90.0, 5, 5, 3, 3, 3, 3]], [[5.0, 90, 5, 3, 3, 3, 3]]])
    assert averaged(apart, SLICES)[0, :3].sum() < 20  # two sure networks that disagree are not sure together


def test_the_catalogue_follows_the_tree() -> None:
    alpha = np.array([[30.0, 60, 10, 8, 2, 1, 9], [80.0, 10, 10, 5, 5, 9, 1]])
    values = {name: column.to_pylist() for name, column in SCHEME.catalogue_values(alpha).items()}
    assert list(values) == [column.name for column in SCHEME.catalogue_columns()]
    assert values["bar_yes_fraction"][0] == pytest.approx(0.8)
    assert values["bar_yes_fraction_of_all"][0] == pytest.approx(0.6 * 0.8)
    assert values["bar_asked"] == pytest.approx([24, 4])
    assert values["odd_asked"] == pytest.approx([36, 36])
    assert values["path"] == ["shape_disc|bar_yes|odd_no", "shape_smooth|odd_yes"]
    assert values["odd_yes_fraction_low"][1] < 0.9 < values["odd_yes_fraction_high"][1]
    assert values["shape_star_dirichlet"] == [10, 10]


def test_galaxies_without_votes_are_unlabelled() -> None:
    rows = [dict.fromkeys(SCHEME.columns, 0), dict.fromkeys(SCHEME.columns, 0) | {"odd_yes_count": 2}]
    table = pa.Table.from_pylist(rows)
    assert SCHEME.labelled(table).tolist() == [False, True]
    assert SCHEME.strata(SCHEME.targets(table)).tolist() == [-1, 0]


VOTES = {
    "shape_smooth_count": [3, 0],
    "shape_disc_count": [2, 5],
    "shape_star_count": [0, 0],
    "bar_yes_count": [1, 4],
    "bar_no_count": [1, 1],
    "odd_yes_count": [0, 1],
    "odd_no_count": [5, 4],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"bar_yes_count": [0.5, 4]},
            "galaxy a: 'bar_yes_count' is 0.5; a whole number of votes was expected",
        ),
        ({"odd_no_count": [5, -1]}, "galaxy b: 'odd_no_count' is -1; a whole number"),
        ({"odd_no_count": [5, np.inf]}, "galaxy b: 'odd_no_count' is inf"),
        ({"odd_no_count": [5, 3e9]}, r"galaxy b: 'odd_no_count' is 3e\+09; .* at most 1,000,000,000"),
        (
            {"bar_no_count": [1, np.nan]},
            r"galaxy b: 'bar_no_count' is empty \(NaN\) and other answers to 'bar'",
        ),
        ({"bar_yes_count": [0, 0], "bar_no_count": [0, 0]}, "question 'bar' has no votes in the whole table"),
        ({"bar_no_count": ["one", "two"]}, "column 'bar_no_count' is string"),
    ],
)
def test_what_is_no_count_is_refused_before_training(change: dict, message: str) -> None:
    table = pa.table(VOTES | change)
    with pytest.raises(MorphoscopeError, match=f"^t.csv: .*{message}"):
        SCHEME.read_columns(table, SCHEME.columns, ["a", "b"], "t.csv")


def test_an_unasked_question_may_be_empty() -> None:
    table = pa.table(VOTES | {"bar_yes_count": [None, 4], "bar_no_count": [None, 1]})
    columns = SCHEME.read_columns(table, SCHEME.columns, ["a", "b"], "t.csv")
    assert columns["bar_yes_count"].tolist() == [0, 4]
    assert columns["bar_yes_count"].dtype == np.int32


@pytest.mark.slow
def test_every_packaged_tree_learns_and_predicts() -> None:
    from morphoscope.labels.tree_files import tree_file, tree_names

    for name in tree_names():
        scheme = VoteCounts(name=name, tree=tree_file(name).tree())
        outputs = torch.randn(4, scheme.outputs)
        alpha = scheme.probabilities(outputs).numpy()
        values = scheme.catalogue_values(alpha)
        assert len(values) == 5 * scheme.outputs + len(scheme.questions) + 1
        assert torch.isfinite(scheme.loss(outputs, torch.randint(0, 9, alpha.shape)))
