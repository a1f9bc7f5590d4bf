"""Parameter recovery: a small network learns from counts alone what they were drawn from.

Its inputs are four numbers that set the fractions, so that what is tested is the likelihood, the output
layer, the calibration and the intervals, and not how well a network sees.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from morphoscope.labels.scheme import VoteCounts
from morphoscope.labels.tree_files import tree_file
from morphoscope.metrics.vote_counts import expected_fractions

SCHEME = VoteCounts(name="dr5", tree=tree_file("gz-decals-dr5").tree())
STEPS, BATCH = 360, 128


def drawn(count: int, seed: int, spread: float) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Inputs (count, 4), true fractions of those asked and counts (count, K).

    Volunteers walk down the tree. With a ``spread`` a galaxy's own fractions are drawn from a Dirichlet
    distribution of that total concentration around the true ones; 0: they are the true ones.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    inputs = rng.normal(size=(count, 4))
    logits = 0.6 * inputs @ fixed.normal(size=(4, SCHEME.outputs)) + 0.5 * fixed.normal(size=SCHEME.outputs)
    true = expected_fractions(np.exp(logits), SCHEME.slices)
    counts, tree = np.zeros_like(true), SCHEME.decision_tree
    keys = [question.key for question in tree.questions]
    for row in range(count):
        asked = dict.fromkeys(keys, 0) | {keys[0]: int(rng.integers(5, 56))}
        for question, piece in zip(tree.questions, tree.slices, strict=True):  # each after what leads to it
            own = rng.dirichlet(spread * true[row, piece]) if spread else true[row, piece]
            counts[row, piece] = rng.multinomial(asked[question.key], own)
            for answer, votes in zip(question.answers, counts[row, piece].astype(int), strict=True):
                if answer.next is not None:
                    asked[answer.next] += votes
    return torch.tensor(inputs, dtype=torch.float32), true, counts


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0, 12])
def test_fractions_are_recovered_and_intervals_hold(spread: float) -> None:
    inputs, _, counts = drawn(3000, 1, spread)
    held_out, true, votes = drawn(2000, 2, spread)
    validation, _, others = drawn(400, 3, spread)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 64), torch.nn.SiLU(), torch.nn.Linear(64, SCHEME.outputs)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS)
    targets = torch.tensor(counts, dtype=torch.float32)
    for _ in range(STEPS):
        chosen = torch.randint(0, len(inputs), (BATCH,))
        optimiser.zero_grad()
        SCHEME.loss(network(inputs[chosen]), targets[chosen]).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        alpha, tuned_on = (SCHEME.probabilities(network(each)).numpy() for each in (held_out, validation))
    calibrated = SCHEME.fit_calibrator("concentrations", others, tuned_on)(alpha)
    tree = SCHEME.decision_tree
    weight = tree.expected_sums(tree.cumulative(true))[:, tree.question_of]
    errors = expected_fractions(calibrated, SCHEME.slices) - true
    measured = SCHEME.measure(votes, calibrated, bootstrap=0)
    print(
        f"spread {spread}: mean |error| {(weight * np.abs(errors)).sum() / weight.sum():.4f}, "
        f"RMSE {np.sqrt((weight * errors**2).sum() / weight.sum()):.4f}, "
        f"coverage {SCHEME.measure(votes, alpha, bootstrap=0)['coverage_90']['value']:.4f} before and "
        f"{measured['coverage_90']['value']:.4f} after calibration"
    )
    assert (weight * np.abs(errors)).sum() / weight.sum() < 0.03
    assert measured["coverage_90"]["value"] == pytest.approx(0.9, abs=0.03)
