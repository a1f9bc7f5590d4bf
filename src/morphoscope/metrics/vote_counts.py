"""Vote counts under Dirichlet-multinomial predictions: likelihood, intervals, coverage and scores.

A network predicts the concentrations α of a Dirichlet distribution for each question. The number of
volunteers who gave each of its answers then follows a Dirichlet-multinomial distribution (Mosimann 1962,
Biometrika 49, 65), and a single answer's number a beta-binomial one.

Shape letters: N galaxies, K answers of all questions together, Q questions, L levels, M (galaxy, answer)
pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.metrics import calibration_error
from morphoscope.metrics.bootstrap import resampled_sums, with_interval
from morphoscope.metrics.checks import checked_votes

INTERVAL = 0.9
"""What the credible intervals of a catalogue are meant to hold."""
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def by_question(values_NK: np.ndarray, slices: Sequence[slice]) -> np.ndarray:
    """Sums over the answers of each question, (..., Q) float64."""
    values = np.asarray(values_NK, np.float64)
    return np.stack([values[..., piece].sum(axis=-1) for piece in slices], axis=-1)


def expected_fractions(concentrations_NK: np.ndarray, slices: Sequence[slice]) -> np.ndarray:
    """Expected fractions of the volunteers who are asked, (..., K) float64; each question's sum to 1."""
    alpha = np.asarray(concentrations_NK, np.float64)
    return np.concatenate(
        [alpha[..., piece] / alpha[..., piece].sum(axis=-1, keepdims=True) for piece in slices], axis=-1
    )


def count_log_losses(
    counts_NK: np.ndarray, concentrations_NK: np.ndarray, slices: Sequence[slice]
) -> np.ndarray:
    """−ln p(counts | concentrations) of each question in nats, (N, Q) float64; 0 where nobody was asked."""
    from scipy.special import gammaln

    counts, alpha = np.asarray(counts_NK, np.float64), np.asarray(concentrations_NK, np.float64)
    answers = gammaln(counts + alpha) - gammaln(alpha) - gammaln(counts + 1)
    asked, total = by_question(counts, slices), by_question(alpha, slices)
    questions = gammaln(asked + 1) + gammaln(total) - gammaln(asked + total)
    return -(by_question(answers, slices) + questions)


def credible_intervals(
    concentrations_NK: np.ndarray, slices: Sequence[slice], level: float = INTERVAL
) -> tuple[np.ndarray, np.ndarray]:
    """Central credible intervals of the fractions, both ends (N, K) float64.

    An answer's fraction follows Beta(α, A − α), A being the sum over its question.
    """
    from scipy.special import betaincinv

    alpha = np.asarray(concentrations_NK, np.float64)
    others = _others(alpha, slices)
    tail = (1 - level) / 2
    return betaincinv(alpha, others, tail), betaincinv(alpha, others, 1 - tail)


def predictive_ranks(
    counts_M: np.ndarray, asked_M: np.ndarray, alpha_M: np.ndarray, others_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P(C < c) and P(C ≤ c) of beta-binomial counts, (M,) float64 each.

    Args:
        counts_M: c, the votes for an answer.
        asked_M: the votes of its question, at least 1.
        alpha_M: the concentration of the answer.
        others_M: those of the other answers, added up.
    """
    from scipy.special import betaln

    counts, asked = np.asarray(counts_M, np.float64), np.asarray(asked_M, np.float64)
    log_p = betaln(alpha_M, others_M + asked) - betaln(alpha_M, others_M)
    below, upto = np.zeros(len(counts)), np.exp(log_p)
    running = np.flatnonzero(counts > 0)
    step = 0
    while len(running):  # p(j + 1) / p(j) = (n − j)(α + j) / ((j + 1)(β + n − j − 1))
        n, a, b = asked[running], alpha_M[running], others_M[running]
        log_p[running] += np.log((n - step) * (a + step) / ((step + 1) * (b + n - step - 1)))
        below[running] = upto[running]
        upto[running] += np.exp(log_p[running])
        step += 1
        running = running[counts[running] > step]
    return np.minimum(below, 1.0), np.minimum(upto, 1.0)


def coverage_parts(
    counts_NK: np.ndarray,
    concentrations_NK: np.ndarray,
    slices: Sequence[slice],
    levels: Sequence[float] = LEVELS,
) -> np.ndarray:
    """How much of each vote count lies within its central predictive interval, (N, K, L) float64.

    A count is a step of the beta-binomial distribution from P(C < c) to P(C ≤ c); the part of the step within
    the interval counts, so that a correct prediction has exactly the coverage of the interval although counts
    are whole numbers (the non-randomised probability integral transform of Czado, Gneiting & Held 2009,
    Biometrics 65, 1254). Answers of questions that nobody was asked are NaN.
    """
    counts, alpha = np.asarray(counts_NK, np.float64), np.asarray(concentrations_NK, np.float64)
    others, asked = _others(alpha, slices), _of_question(counts, slices)
    rows = asked > 0
    low_M, high_M = predictive_ranks(counts[rows], asked[rows], alpha[rows], others[rows])
    width_M = np.maximum(high_M - low_M, 1e-300)
    inside = np.full((*counts.shape, len(levels)), np.nan)
    for number, level in enumerate(levels):
        tail = (1 - level) / 2
        part_M = np.clip(np.minimum(high_M, 1 - tail) - np.maximum(low_M, tail), 0, None) / width_M
        inside[rows, number] = np.minimum(part_M, 1.0)
    return inside


def count_metrics(
    counts_NK: np.ndarray,
    concentrations_NK: np.ndarray,
    questions: Sequence[str],
    answers: Sequence[str],
    slices: Sequence[slice],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of predicted concentrations on held-out votes, JSON-able.

    Args:
        counts_NK: votes for each answer.
        concentrations_NK: predicted.
        questions: Q names.
        answers: K names.
        slices: the answers of each question.
        bootstrap: resamples of the galaxies for the intervals (95 %, percentiles); 0: none.
        seed: of the resampling.

    Returns:
        ``n``; as ``{"value", "low", "high"}`` ``log_loss`` (nats per question: the sum over the questions
        divided by Q, unasked ones counting 0), ``rmse`` (of the expected fractions, each galaxy weighted by
        the question's votes; the votes' own scatter is part of it) and ``coverage_90`` (share of the votes'
        counts within the central 90 % of their predictive distribution); ``per_question``, a list of ``{name,
        asked (galaxies), votes, log_loss (per asked galaxy), rmse, low, high, coverage}``; ``per_answer``, a
        list of ``{name, rmse, low, high, bias, spread (the RMSE of always predicting the mean fraction)}``;
        ``coverage``, a list of ``{level, value, low, high}``; ``notes``.

    Raises:
        MorphoscopeError: no galaxies, no votes, wrong shapes, concentrations that are not positive.
    """
    counts, alpha = _checked(counts_NK, concentrations_NK, answers)
    galaxies, size = counts.shape
    losses_NQ = count_log_losses(counts, alpha, slices)
    asked_NQ, asked_NK = by_question(counts, slices), _of_question(counts, slices)
    fractions_NK = expected_fractions(alpha, slices)
    errors_NK = np.divide(counts, asked_NK, out=np.zeros_like(counts), where=asked_NK > 0)
    errors_NK = np.where(asked_NK > 0, fractions_NK - errors_NK, 0.0)
    squares_NK = asked_NK * np.square(errors_NK)
    inside_NKL = coverage_parts(counts, alpha, slices)
    pairs_NK = np.isfinite(inside_NKL[:, :, 0]).astype(float)
    inside_NKL = np.nan_to_num(inside_NKL)
    table = np.concatenate(
        [losses_NQ, squares_NK, asked_NK, inside_NKL.sum(axis=1), pairs_NK.sum(axis=1, keepdims=True)], axis=1
    )
    totals, samples = table.sum(axis=0), resampled_sums(table, bootstrap, seed)
    ends = np.cumsum([len(questions), size, size, len(LEVELS)]).tolist()
    loss, square, weight, inside, pairs = (
        slice(start, end) for start, end in zip([0, *ends], [*ends, ends[-1] + 1], strict=True)
    )

    def score(statistic: Any) -> dict[str, Any]:
        return with_interval(float(statistic(totals)), np.atleast_1d(statistic(samples)), galaxies)

    def rmse(chosen: slice) -> dict[str, Any]:
        within = slice(square.start + chosen.start, square.start + chosen.stop)
        over = slice(weight.start + chosen.start, weight.start + chosen.stop)
        return score(lambda sums: _root(sums[..., within].sum(axis=-1), sums[..., over].sum(axis=-1)))

    def covered(level: int) -> dict[str, Any]:
        return score(lambda sums: _share(sums[..., inside.start + level], sums[..., pairs.start]))

    ninety = LEVELS.index(INTERVAL)
    inside_of_question = by_question(inside_NKL[:, :, ninety].sum(axis=0), slices)
    pairs_of_question = by_question(pairs_NK.sum(axis=0), slices)
    per_question = []
    for number, (name, piece) in enumerate(zip(questions, slices, strict=True)):
        seen = int((asked_NQ[:, number] > 0).sum())
        of_question = rmse(piece) if seen else {"value": None, "low": None, "high": None}
        per_question.append(
            {
                "name": name,
                "asked": seen,
                "votes": round(float(asked_NQ[:, number].sum())),
                "log_loss": float(losses_NQ[:, number].sum() / seen) if seen else None,
                "rmse": of_question["value"],
                "low": of_question["low"],
                "high": of_question["high"],
                "coverage": float(inside_of_question[number] / pairs_of_question[number]) if seen else None,
            }
        )
    unasked = [row["name"] for row in per_question if not row["asked"]]
    return {
        "n": galaxies,
        "log_loss": score(lambda sums: sums[..., loss].sum(axis=-1) / (galaxies * len(questions))),
        "rmse": rmse(slice(0, size)),
        "coverage_90": covered(ninety),
        "per_question": per_question,
        "per_answer": _per_answer(counts, asked_NK, errors_NK, answers, rmse),
        "coverage": [{"level": level, **covered(number)} for number, level in enumerate(LEVELS)],
        "notes": [f"nobody was asked {', '.join(unasked)} about these galaxies"] if unasked else [],
    }


def _per_answer(
    counts: np.ndarray, asked_NK: np.ndarray, errors_NK: np.ndarray, answers: Sequence[str], rmse: Any
) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(answers):
        votes = asked_NK[:, k].sum()
        if not votes:
            rows.append(dict.fromkeys(("rmse", "low", "high", "bias", "spread")) | {"name": name})
            continue
        number = rmse(slice(k, k + 1))
        asked = asked_NK[:, k] > 0
        share = counts[asked, k] / asked_NK[asked, k]
        spread = _root((asked_NK[asked, k] * np.square(share - counts[:, k].sum() / votes)).sum(), votes)
        rows.append(
            {
                "name": name,
                "rmse": number["value"],
                "low": number["low"],
                "high": number["high"],
                "bias": float((asked_NK[:, k] * errors_NK[:, k]).sum() / votes),
                "spread": float(spread),
            }
        )
    return rows


def count_calibration(
    counts_NK: np.ndarray,
    concentrations_NK: np.ndarray,
    answers: Sequence[str],
    slices: Sequence[slice],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration of expected fractions and of their likelihood, JSON-able.

    Returns:
        ``n``; as ``{"value", "low", "high"}`` ``ece``, Σ_k Σ_b |Σ_{i in b} n_ik (f_ik − c_ik / n_ik)| over
        Σ n_ik (the calibration error of :func:`morphoscope.metrics.regression.fraction_calibration`, weighted
        by the votes), and ``log_loss`` in nats per question; ``reliability`` as there, with votes in place of
        galaxies.
    """
    counts, alpha = _checked(counts_NK, concentrations_NK, answers)
    asked_NK, stated_NK = _of_question(counts, slices), expected_fractions(alpha, slices)
    found_NK = np.divide(counts, asked_NK, out=np.zeros_like(counts), where=asked_NK > 0)
    edges = calibration_error.equal_width_edges()
    gaps = [
        asked_NK[:, k : k + 1] * calibration_error.gap_columns(stated_NK[:, k], found_NK[:, k], edges)
        for k in range(len(answers))
    ]
    losses = count_log_losses(counts, alpha, slices).sum(axis=1, keepdims=True)
    table = np.concatenate([*gaps, asked_NK.sum(axis=1, keepdims=True), losses], axis=1)
    totals, samples = table.sum(axis=0), resampled_sums(table, bootstrap, seed)
    galaxies = len(counts)

    def error(sums: np.ndarray) -> np.ndarray:
        return _share(np.abs(sums[..., :-2]).sum(axis=-1), sums[..., -2])

    divisor = galaxies * len(slices)
    return {
        "n": galaxies,
        "ece": with_interval(float(error(totals)), error(samples), galaxies, biased_upward=True),
        "log_loss": with_interval(float(totals[-1] / divisor), samples[:, -1] / divisor, galaxies),
        "reliability": _weighted_bins(stated_NK.ravel(), found_NK.ravel(), asked_NK.ravel(), edges),
    }


def _weighted_bins(
    stated: np.ndarray, found: np.ndarray, weight: np.ndarray, edges: np.ndarray
) -> list[dict[str, Any]]:
    index, size = calibration_error.bin_of(stated, edges), len(edges) - 1
    votes = np.bincount(index, weights=weight, minlength=size)
    sums = [np.bincount(index, weights=weight * values, minlength=size) for values in (stated, found)]
    return [
        {
            "lower": float(edges[b]),
            "upper": float(edges[b + 1]),
            "count": int(votes[b]),
            "confidence": float(sums[0][b] / votes[b]) if votes[b] else None,
            "accuracy": float(sums[1][b] / votes[b]) if votes[b] else None,
            "accuracy_low": None,
            "accuracy_high": None,
        }
        for b in range(size)
    ]


def compare_counts(
    counts_NK: np.ndarray,
    first_NK: np.ndarray,
    second_NK: np.ndarray,
    slices: Sequence[slice],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Second minus first on the same galaxies, resampled together, JSON-able.

    Returns:
        ``difference`` of the log loss (nats per question) and ``rmse``, that of the votes-weighted error of
        the expected fractions, as ``{"value", "low", "high"}``; ``closer``, the fraction of galaxies whose
        votes are more probable in the second.
    """
    counts = np.asarray(counts_NK, np.float64)
    asked_NK = _of_question(counts, slices)
    found_NK = np.divide(counts, asked_NK, out=np.zeros_like(counts), where=asked_NK > 0)
    columns = []
    for alpha in (first_NK, second_NK):
        errors_NK = expected_fractions(alpha, slices) - found_NK
        columns += [
            count_log_losses(counts, alpha, slices).mean(axis=1),
            (asked_NK * np.square(errors_NK)).sum(axis=1),
        ]
    table = np.stack([*columns, asked_NK.sum(axis=1)], axis=1)
    totals, samples, galaxies = table.sum(axis=0), resampled_sums(table, bootstrap, seed), len(counts)

    def loss(sums: np.ndarray) -> np.ndarray:
        return (sums[..., 2] - sums[..., 0]) / galaxies

    def rmse(sums: np.ndarray) -> np.ndarray:
        return _root(sums[..., 3], sums[..., 4]) - _root(sums[..., 1], sums[..., 4])

    return {
        "difference": with_interval(float(loss(totals)), loss(samples), galaxies),
        "rmse": with_interval(float(rmse(totals)), rmse(samples), galaxies),
        "closer": float(np.mean(columns[2] < columns[0])),
    }


def _checked(
    counts_NK: np.ndarray, concentrations_NK: np.ndarray, answers: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    counts, alpha = checked_votes(counts_NK, concentrations_NK, answers)
    if not (alpha > 0).all():
        row, column = np.argwhere(alpha <= 0)[0]
        raise MorphoscopeError(
            f"the concentration of {answers[column]} is {alpha[row, column]:g} in row {row}; a positive "
            "number was expected"
        )
    if not counts.sum():
        raise MorphoscopeError("there are no votes to measure with; galaxies with votes were expected")
    return counts, alpha


def _of_question(values_NK: np.ndarray, slices: Sequence[slice]) -> np.ndarray:
    """The sum over an answer's question, (N, K) float64."""
    sums_NQ = by_question(values_NK, slices)
    return np.repeat(sums_NQ, [piece.stop - piece.start for piece in slices], axis=1)


def _others(alpha_NK: np.ndarray, slices: Sequence[slice]) -> np.ndarray:
    """The concentrations of the other answers of a question, added up, (N, K) float64."""
    return np.maximum(_of_question(alpha_NK, slices) - alpha_NK, 1e-12)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(
        part, whole, out=np.zeros_like(np.asarray(part, np.float64)), where=np.asarray(whole) > 0
    )


def _root(squares: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.sqrt(_share(np.asarray(squares, np.float64), np.asarray(weight, np.float64)))
