from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.simulation.sampling import BUILDERS, draw_galaxy
from morphoscope.simulation.votes import answer_chances, count_column, draw_votes, error_rate, visibility


@pytest.mark.parametrize("morphology", BUILDERS)
def test_chances_are_chances_for_every_question(morphology: str):
    chances = answer_chances(draw_galaxy(morphology, np.random.default_rng(2)), 4.0)
    assert set(chances) == {question.key for question in GALAXY_ZOO_2.questions}
    for key, values in chances.items():
        assert len(values) == len(GALAXY_ZOO_2.question(key).answers)
        assert values.sum() == pytest.approx(1)
        assert values.min() > 0


def test_votes_follow_the_galaxy():
    def mean(morphology: str, column: str) -> float:
        place = GALAXY_ZOO_2.columns.index(column)
        drawn = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            drawn.append(draw_votes(draw_galaxy(morphology, rng), 4.0, rng).fractions_K[place])
        return float(np.mean(drawn))

    assert mean("Round Smooth", "Class7.1") > 0.6
    assert mean("Cigar Shaped Smooth", "Class7.3") > 0.4
    assert mean("Edge-on with Bulge", "Class2.1") > 0.6
    assert mean("Edge-on with Bulge", "Class9.1") > mean("Edge-on without Bulge", "Class9.1") + 0.3
    assert mean("Barred Spiral", "Class3.1") > 0.4 > 0.2 > mean("Unbarred Tight Spiral", "Class3.1")
    assert mean("Unbarred Tight Spiral", "Class10.1") > mean("Unbarred Loose Spiral", "Class10.1") + 0.2
    assert mean("Merging", "Class8.6") > 0.2 > mean("Round Smooth", "Class8.6")


def test_fractions_are_counts_of_the_volunteers():
    rng = np.random.default_rng(0)
    for _ in range(5):
        votes = draw_votes(draw_galaxy("Barred Spiral", rng), 4.0, rng)
        assert votes.fractions_K[:3] * votes.volunteers == pytest.approx(votes.counts_K[:3])
        assert votes.counts_K[:3].sum() == votes.volunteers
        assert np.abs(GALAXY_ZOO_2.sum_errors(votes.fractions_K[None])).max() < 1e-9
        counts = dict(zip(GALAXY_ZOO_2.columns, votes.counts_K.tolist(), strict=True))
        smooth, disc = counts["Class1.1"], counts["Class1.2"]
        assert counts["Class7.1"] + counts["Class7.2"] + counts["Class7.3"] == smooth
        assert counts["Class2.1"] + counts["Class2.2"] == disc
        assert counts["Class6.1"] + counts["Class6.2"] == smooth + disc


def test_counts_have_columns_of_their_own():
    columns = {count_column(answer) for answer in GALAXY_ZOO_2.columns}
    assert len(columns) == 37
    assert not columns & set(GALAXY_ZOO_2.columns)


def test_volunteers_err_more_on_faint_and_small_galaxies():
    """The same bar and arms find fewer votes, and agreement shrinks, where little can be seen."""
    galaxy = draw_galaxy("Barred Spiral", np.random.default_rng(3))
    bright = replace(galaxy, r_mag=14.5, arms=replace(galaxy.arms, contrast=1.5))
    faint = replace(bright, r_mag=18.0)
    plain, hard = answer_chances(bright, 7.0), answer_chances(faint, 2.0)
    assert error_rate(visibility(faint, 2.0)) > 2 * error_rate(visibility(bright, 7.0))
    for question in ("Q1", "Q3", "Q4", "Q10"):
        right = int(plain[question].argmax())
        assert hard[question][right] < plain[question][right] - 0.03
    assert plain["Q7"].max() > hard["Q7"].max()


def test_ambiguous_galaxies_divide_the_volunteers():
    def entropy(axis_ratio: float) -> float:
        galaxy = replace(draw_galaxy("Round Smooth", np.random.default_rng(3)), axis_ratio=axis_ratio)
        chances = answer_chances(galaxy, 4.0)["Q7"]
        return float(-(chances * np.log(chances)).sum())

    assert entropy(0.78) > entropy(0.95) + 0.1
