"""Simulated votes of volunteers.

The galaxy's parameters set the probability of each answer to each question of the Galaxy Zoo 2 tree; a
finite number of volunteers then walks down the tree. The probabilities are our own estimate of what can be
seen: harder cases (small, faint, weak structure) divide the votes, as in reality. Their means were compared
with 530 real galaxies (scripts/vote_statistics.py).

Shape letters: K the 37 answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.simulation.galaxy import Galaxy

FEWEST, MOST = 30, 55  # volunteers per galaxy; about 40, as in Galaxy Zoo 2
CARELESS = 0.03  # fraction of random answers where structure is plain to see
BLIND = 0.20  # further fraction where nothing can be seen


def _ordinal(value: float, centres: tuple[float, ...], width: float) -> np.ndarray:
    """Probabilities of ordinal answers with these centres, for a value."""
    weights = np.exp(-0.5 * ((value - np.array(centres)) / width) ** 2) + 1e-6
    return weights / weights.sum()


def _seen(amount: float) -> float:
    """Fraction of people who notice a feature of this strength."""
    return 1 - float(np.exp(-max(0.0, amount)))


def visibility(galaxy: Galaxy, half_light_radius: float) -> float:
    """How well structure can be seen, 0 (small and faint) to 1 (large and bright)."""
    size = np.clip((half_light_radius - 1.0) / 4.0, 0, 1)
    light = np.clip((18.5 - galaxy.r_mag) / 3.5, 0, 1)
    return float(0.25 + 0.75 * np.sqrt(size * light))


def answer_chances(galaxy: Galaxy, half_light_radius: float) -> dict[str, np.ndarray]:
    """Probability of each answer to each question, given that it is asked: question key → (answers,)."""
    view = visibility(galaxy, half_light_radius)
    arms, bar, debris = galaxy.arms, galaxy.bar, galaxy.disturbance
    edge_on = galaxy.disc is not None and galaxy.disc.thickness is not None
    bulge = galaxy.spheroid.share if galaxy.spheroid and galaxy.disc else 0.0
    merging = 0.85 if galaxy.companions else 0.0
    # More people see that it is not smooth than can make out spiral arms.
    structure_seen = _seen(2.2 * arms.contrast * view) if arms else 0.0
    arms_seen = _seen(1.3 * arms.contrast * view) if arms else 0.0
    bar_seen = _seen(14 * bar.share * view) if bar else 0.0
    odd = max(merging, _seen(1.8 * debris.strength))
    features = max(0.07, structure_seen, bar_seen, 0.8 * odd, 0.9 * view**0.3 if edge_on else 0.0)
    if not galaxy.disc:
        features = max(features, 0.22 if galaxy.axis_ratio < 0.4 else 0.0)
    yes = {
        "Q2": 0.94 if edge_on else 0.9 / (1 + np.exp((galaxy.axis_ratio - 0.3) / 0.05)) + 0.02,
        "Q3": max(bar_seen, 0.06),
        "Q4": max(arms_seen, 0.12 + 0.2 * odd),
        "Q6": max(0.1 + 0.85 * odd, 0.25 if galaxy.ring else 0.0, 0.2 if galaxy.dust else 0.0),
    }
    chances = {question: np.array([chance, 1 - chance]) for question, chance in yes.items()}
    chances["Q1"] = np.array([1 - features - 0.015, features - 0.005, 0.02])
    chances["Q5"] = _ordinal(np.sqrt(bulge), (0.0, 0.19, 0.38, 0.65), 0.12)
    chances["Q7"] = _ordinal(galaxy.axis_ratio, (0.95, 0.6, 0.28), 0.14)
    chances["Q8"] = _odd_chances(galaxy, merging)
    chances["Q9"] = np.array([0.2 + 0.75 * _seen(7 * bulge), 0.06, 0.8 - 0.75 * _seen(7 * bulge)])
    chances["Q10"] = _ordinal(arms.pitch if arms else 14.0, (10.0, 21.0, 35.0), 7.0 if arms else 12.0)
    chances["Q11"] = _arm_number_chances(arms.count if arms else 0, view)
    error = error_rate(view)
    chances["Q1"] = _mixed(chances["Q1"], 0.5 * error, np.array([0.7, 0.25, 0.05]))
    return {q: _mixed(p, CARELESS if q == "Q1" else error, np.ones(len(p))) for q, p in chances.items()}


def error_rate(view: float) -> float:
    """Fraction of answers that are guesses at a given :func:`visibility`."""
    return CARELESS + BLIND * (1 - view)


def _mixed(chances: np.ndarray, error: float, guesses: np.ndarray) -> np.ndarray:
    """Probabilities if a fraction ``error`` of the answers is guessed."""
    return (1 - error) * chances / chances.sum() + error * guesses / guesses.sum()


def _odd_chances(galaxy: Galaxy, merging: float) -> np.ndarray:
    """Ring, lens or arc, disturbed, irregular, other, merger, dust lane."""
    debris = galaxy.disturbance
    debris_light = sum(part.share for part in (*debris.tails, *debris.shells))
    return np.array(
        [
            1.0 if galaxy.ring else 0.05,
            0.05 + 0.5 * len(debris.shells),
            0.1 + 8 * debris_light,
            0.1 + debris.lopsidedness + 0.05 * debris.clumps,
            0.4,
            0.08 + 3.5 * merging,
            0.25 if galaxy.dust else 0.02,
        ]
    )


def _arm_number_chances(count: int, view: float) -> np.ndarray:
    """1, 2, 3, 4, more than 4 arms, cannot tell."""
    chances = np.array([0.06, 0.25, 0.08, 0.04, 0.07, 0.5])
    if count:
        chances = chances * (1.4 - view)
        chances[min(count, 5) - 1] += 0.8 * view
    return chances


@dataclass(frozen=True, eq=False)
class Votes:
    """The votes for one galaxy.

    ``fractions_K`` are cumulative as in the Galaxy Challenge, (K,) float64; ``counts_K`` is the number of
    volunteers per answer, (K,) int64; ``volunteers`` their total.
    """

    fractions_K: np.ndarray
    counts_K: np.ndarray
    volunteers: int


def count_column(answer: str) -> str:
    """The table column that holds the count of an answer: "Class1.1" → "count1.1"."""
    return answer.replace("Class", "count")


def chance_column(answer: str) -> str:
    """The table column with the probability of an answer, given that its question is asked."""
    return f"{answer}_chance"


def draw_votes(galaxy: Galaxy, half_light_radius: float, rng: np.random.Generator) -> Votes:
    """Draw the votes of a finite number of volunteers.

    Each volunteer walks down the tree, so few reach the deep questions, whose fractions are as coarse as real
    ones.
    """
    chances = answer_chances(galaxy, half_light_radius)
    volunteers = int(rng.integers(FEWEST, MOST + 1))
    asked = dict.fromkeys(chances, 0) | {GALAXY_ZOO_2.questions[0].key: volunteers}
    conditional_K = np.full(len(GALAXY_ZOO_2.columns), np.nan)
    counts_K = np.zeros(len(GALAXY_ZOO_2.columns), np.int64)
    for number in GALAXY_ZOO_2.asking_order:
        question = GALAXY_ZOO_2.questions[number]
        votes = rng.multinomial(asked[question.key], chances[question.key])
        counts_K[GALAXY_ZOO_2.slices[number]] = votes
        if asked[question.key]:
            conditional_K[GALAXY_ZOO_2.slices[number]] = votes / asked[question.key]
        for answer, count in zip(question.answers, votes.tolist(), strict=True):
            if answer.next:
                asked[answer.next] += count
    return Votes(GALAXY_ZOO_2.cumulative(conditional_K[None])[0], counts_K, volunteers)
