"""What galaxies the classes are made of."""

from __future__ import annotations

import numpy as np
import pytest

from morphoscope.simulation.galaxy import Galaxy
from morphoscope.simulation.isolated import FLOCCULENT, LENTICULAR
from morphoscope.simulation.sampling import BUILDERS, draw_galaxy


def drawn(morphology: str, count: int = 400) -> list[Galaxy]:
    return [draw_galaxy(morphology, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize(
    ("morphology", "lowest", "highest"),
    [("Round Smooth", 0.82, 1.0), ("In-between Round Smooth", 0.48, 0.70)],
)
def test_smooth_galaxies_are_ellipticals_and_discs_without_arms(morphology, lowest, highest):
    galaxies = drawn(morphology)
    discs = [galaxy for galaxy in galaxies if galaxy.disc]
    assert abs(len(discs) / len(galaxies) - LENTICULAR) < 0.08  # 3.4 standard deviations
    for galaxy in galaxies:
        assert galaxy.arms is None
        assert galaxy.bar is None
        assert galaxy.spheroid is not None
        assert lowest <= galaxy.axis_ratio <= highest
    shares = [galaxy.spheroid.share for galaxy in discs if galaxy.spheroid]
    assert 0.05 <= min(shares) < 0.15
    assert 0.5 < max(shares) <= 0.6


@pytest.mark.parametrize(
    ("morphology", "lowest", "highest"),
    [("Unbarred Tight Spiral", 7, 16), ("Unbarred Loose Spiral", 18, 36)],
)
def test_flocculent_spirals_wind_as_tightly_as_their_class(morphology, lowest, highest):
    arms = [galaxy.arms for galaxy in drawn(morphology)]
    pitches = [one.pitch for one in arms if one]
    assert len(pitches) == len(arms)
    assert lowest <= min(pitches) < max(pitches) <= highest
    broken = [one for one in arms if one and one.flocculence > 0.8]
    assert abs(len(broken) / len(arms) - FLOCCULENT[morphology]) < 0.07
    assert min(one.count for one in broken) >= 3


def test_the_classes_of_spirals_do_not_overlap_in_pitch():
    tight, loose = drawn("Unbarred Tight Spiral", 100), drawn("Unbarred Loose Spiral", 100)
    assert max(one.arms.pitch for one in tight if one.arms) < min(one.arms.pitch for one in loose if one.arms)


@pytest.mark.parametrize("morphology", BUILDERS)
def test_a_seed_is_a_galaxy(morphology):
    one, again, other = (draw_galaxy(morphology, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert one == again
    assert one != other
    assert one.morphology == morphology
