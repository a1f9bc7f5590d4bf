from __future__ import annotations

import cv2
import numpy as np
import pytest

from morphoscope.errors import UsageError
from morphoscope.simulation.nongalaxies import KINDS, non_galaxies
from morphoscope.simulation.survey import SURVEYS


@pytest.mark.parametrize("survey", SURVEYS)
def test_every_kind_is_drawn_in_every_survey_and_depends_on_its_number_alone(survey: str):
    for kind in KINDS:
        two = non_galaxies(kind, survey, 2, 32, seed=3)
        assert two.shape == (2, 32, 32, 3)
        assert two.dtype == np.uint8
        assert (non_galaxies(kind, survey, 1, 32, seed=3)[0] == two[0]).all()
        assert (two[0] != two[1]).any()


def _levels(kind: str, count: int = 4) -> np.ndarray:
    return non_galaxies(kind, "decals", count, 256).astype(float).mean(axis=3)


def test_a_star_shines_in_the_middle_and_empty_sky_does_not():
    star, sky = _levels("star"), _levels("empty sky")
    middle = slice(124, 132)
    assert (star[:, middle, middle].max(axis=(1, 2)) > 150).all()
    assert (sky[:, middle, middle].max(axis=(1, 2)) < 120).all()
    # A point: at 25 pixels (6.5″) it has faded.
    assert (np.median(star[:, 100, 118:138], axis=1) < 90).all()


def test_a_trail_is_a_straight_line_from_edge_to_edge():
    for picture in _levels("satellite trail"):
        bright = (picture > np.median(picture) + 25).astype(np.uint8)
        _, pieces, facts, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
        rows, columns = np.nonzero(pieces == 1 + facts[1:, cv2.CC_STAT_AREA].argmax())
        centred = np.stack([rows, columns]) - [[rows.mean()], [columns.mean()]]
        length, width = np.sqrt(np.linalg.eigvalsh(np.cov(centred))[::-1])
        assert length > 50  # a line of 256 pixels has 74
        assert length > 3 * width


def test_bleeding_and_bad_columns_run_along_columns_or_rows():
    for picture in _levels("bleeding star"):
        across = np.abs(np.diff(picture[110:146, 118:138], axis=1)).mean()
        assert across > 1.2 * np.abs(np.diff(picture[110:146, 118:138], axis=0)).mean()
    for picture in _levels("bad columns"):
        profiles = [np.median(picture, axis=axis) for axis in (0, 1)]
        assert max(np.ptp(profile) for profile in profiles) > 8


def test_a_frame_without_data_has_one_or_two_colours():
    for picture in non_galaxies("one colour", "decals", 6, 64):
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 3  # an edge may be mixed by scaling


def test_another_seed_draws_others():
    one, other = (non_galaxies("empty sky", "decals", 1, 32, seed=seed) for seed in (0, 1))
    assert (one != other).any()


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="did you mean 'ghost'"):
        non_galaxies("gost", "decals", 1, 32)
    with pytest.raises(UsageError, match="survey 'lsst'"):
        non_galaxies("ghost", "lsst", 1, 32)
