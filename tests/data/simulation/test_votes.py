from __future__ import annotations

import numpy as np
import pytest

from morphoscope.data.simulation.populations import BUILDERS, draw_galaxy
from morphoscope.data.simulation.votes import answer_chances, draw_votes
from morphoscope.labels.decision_tree import GALAXY_ZOO_2


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
            drawn.append(draw_votes(draw_galaxy(morphology, rng), 4.0, rng)[0][place])
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
        fractions, volunteers = draw_votes(draw_galaxy("Barred Spiral", rng), 4.0, rng)
        first = fractions[:3] * volunteers
        assert first == pytest.approx(np.round(first))
        assert np.abs(GALAXY_ZOO_2.sum_errors(fractions[None])).max() < 1e-9
