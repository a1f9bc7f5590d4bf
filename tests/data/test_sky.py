from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphoscope.data.sky import default_group_radius, groups_from_pairs, separations, sky_groups, sky_pairs

ARCSEC = 1 / 3600


def test_pairs_within_a_radius_on_the_equator() -> None:
    ra = np.array([10.0, 10.0 + 3 * ARCSEC, 10.0 + 9 * ARCSEC, 200.0])
    dec = np.zeros(4)
    assert sky_pairs(ra, dec, 2.9).tolist() == []
    assert sky_pairs(ra, dec, 3.1).tolist() == [[0, 1]]
    assert sky_pairs(ra, dec, 9.1).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_right_ascension_wraps_and_shrinks_towards_the_pole() -> None:
    ra = np.array([359.9999, 0.0001, 0.0, 180.0, 50.0, 50.001])
    dec = np.array([0.0, 0.0, 90.0, 90.0, 80.0, 80.0])
    assert sky_pairs(ra, dec, 1.0).tolist() == [[0, 1], [2, 3], [4, 5]]
    expected = 3600 * np.array([0.0002, 0.0, 0.001 * np.cos(np.radians(80))])
    np.testing.assert_allclose(
        separations(ra, dec, np.array([[0, 1], [2, 3], [4, 5]])), expected, rtol=1e-6, atol=1e-9
    )


def test_galaxies_without_coordinates_stand_alone() -> None:
    ra = np.array([np.nan, 10.0, np.nan, 10.0])
    assert sky_pairs(ra, np.zeros(4), 5.0).tolist() == [[1, 3]]
    groups = sky_groups(ra, np.zeros(4), 5.0)
    assert groups[1] == groups[3]
    assert len(set(groups.tolist())) == 3
    assert sky_pairs(ra[:1], np.zeros(1), 5.0).shape == (0, 2)


def test_friends_of_friends_are_one_group_numbered_by_first_appearance() -> None:
    assert groups_from_pairs(np.array([[1, 3], [3, 4]]), 6).tolist() == [0, 1, 2, 1, 1, 3]


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), radius=st.floats(1.0, 200.0))
def test_pairs_and_distances_agree_with_astropy(seed: int, radius: float) -> None:
    from astropy.coordinates import SkyCoord

    random = np.random.default_rng(seed)
    ra = random.choice([0.0, 120.0, 359.99]) + random.uniform(0, 0.05, 40)
    dec = random.choice([-89.97, 0.0, 60.0]) + random.uniform(0, 0.05, 40)
    place = SkyCoord(ra % 360, dec, unit="deg")
    first, second = np.triu_indices(40, 1)
    exact = place[first].separation(place[second]).arcsec
    np.testing.assert_allclose(
        separations(ra, dec, np.stack([first, second], 1)), exact, rtol=1e-7, atol=1e-6
    )
    clear = np.abs(exact - radius) > 1e-4
    found = {tuple(pair) for pair in sky_pairs(ra, dec, radius).tolist()}
    for pair, distance in zip(
        zip(first[clear].tolist(), second[clear].tolist(), strict=True), exact[clear], strict=True
    ):
        assert (pair in found) == (distance <= radius)


def test_the_default_radius_is_half_a_cutout() -> None:
    assert default_group_radius(0.262, 256) == pytest.approx(33.5, abs=0.05)
    assert default_group_radius(None, 256) == 10.0
