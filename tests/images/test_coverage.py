from __future__ import annotations

import cv2
import numpy as np
import pytest

from morphoscope.images.coverage import FillValues, fill_values, uncovered

RNG = np.random.default_rng(8)


def galaxy() -> np.ndarray:
    y, x = np.mgrid[:100, :100]
    return (50 * np.exp(-np.hypot(x - 50, y - 50) / 8) + RNG.normal(0, 1, (100, 100))).astype(np.float32)


@pytest.mark.parametrize("columns", [0, 1, 5, 20])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -32768.0, -9999.0, 1e30, -1e30])
def test_missing_columns_are_found_and_nothing_else(columns: int, value: float):
    image = galaxy()
    expected = np.zeros(image.shape, bool)
    expected[:, 100 - columns :] = columns > 0
    image[expected] = value
    np.testing.assert_array_equal(uncovered(image), expected)


def test_several_marks_in_one_image():
    image = galaxy()
    image[:10], image[10:30, :30], image[30:60, 90:] = np.nan, 0, -32768
    image[80, 20], image[85:88, 85:88] = 0, 0  # dark sky, or pixels masked one by one
    expected = np.zeros(image.shape, bool)
    expected[:10] = expected[10:30, :30] = expected[30:60, 90:] = True
    np.testing.assert_array_equal(uncovered(image), expected)


def test_integers_have_fill_values_too():
    image = np.rint(10 * galaxy()).astype(np.int16)
    image[:, :4] = -32768
    image[:, 4:8] = 0
    assert uncovered(image).sum() >= 800
    assert uncovered(image)[:, :8].all()
    assert not uncovered(image)[:, 8:].any()


@pytest.mark.parametrize(("sky", "above"), [(0, 0.4), (0, -1.3), (33, 0), (33, 0.4), (1000, 0), (1000, -1.3)])
def test_a_constant_amid_the_noise_is_no_data(sky: float, above: float):
    for part in (np.s_[:, 99:], np.s_[:, 95:], np.s_[:20], np.s_[30:60, 60:90]):
        image, expected = galaxy() + np.float32(sky), np.zeros((100, 100), bool)
        image[part], expected[part] = sky + above, True
        np.testing.assert_array_equal(uncovered(image), expected)


def test_a_constant_is_rare_elsewhere_in_counts_too():
    counts = np.rint(1000 + 15 * galaxy()).astype(np.int16)
    assert not uncovered(counts).any()
    counts[10:30, 40:80] = 1000
    assert uncovered(counts)[10:30, 40:80].all()
    assert uncovered(counts).sum() < 810


def test_plateaus_of_stars_skies_and_pictures_are_data():
    y, x = np.mgrid[:100, :100]
    smooth = (100 + 50 * np.exp(-np.hypot(x - 50, y - 50) / 3)).astype(np.float32)
    blocks = np.kron(RNG.normal(0, 1, (4, 4)), np.ones((30, 30)))
    picture = np.clip(np.rint(33 + galaxy()), 0, 255).astype(np.float32)
    picture[cv2.blur(picture, (9, 9)) < 34] = 33  # as JPEG leaves a sky
    for image in (np.minimum(galaxy(), 4), smooth, np.rint(smooth), blocks, picture):
        assert not uncovered(image).any()


@pytest.mark.parametrize("rate", [0.4, 1.0, 3.0])
def test_zeros_of_photon_counts_are_measured_values(rate: float):
    counts = RNG.poisson(rate, (150, 150)).astype(np.float32)
    assert not uncovered(counts).any()
    counts[:, 110:] = 0  # outside the field of view
    share = uncovered(counts)[:, 110:].mean()
    assert share > 0.99
    assert not uncovered(counts)[:, :100].any()


def test_an_image_clipped_at_zero_is_covered():
    assert not uncovered(np.maximum(galaxy(), 0)).any()


def test_nothing_at_all():
    assert uncovered(np.zeros((30, 20))).all()
    assert uncovered(np.full((30, 20), np.nan)).all()
    assert not uncovered(np.full((30, 20), 7.0)).any()
    assert not uncovered(1e30 * galaxy()).any()  # a unit with large numbers


def test_the_dark_sky_of_a_picture_without_noise_is_data():
    y, x = np.mgrid[:100, :100]
    smooth = 50 * np.exp(-np.hypot(x - 50, y - 50) / 8)
    smooth[smooth < 0.1] = 0
    assert not uncovered(smooth).any()
    masked = np.where(np.hypot(x - 50, y - 50) < 20, galaxy() + 3, 0)  # all but the galaxy set to zero
    assert not uncovered(np.maximum(masked, 0)).any()
    raw = galaxy() + 120  # with its sky: zeros lie far below
    raw[:, 90:] = 0
    assert uncovered(raw).sum() == 1000


@pytest.mark.parametrize("value", [99999.0, 1e10, 65535.0])
def test_fill_values_above_all_others(value: float):
    plane = galaxy()
    plane[:, 85:] = value
    assert np.array_equal(uncovered(plane), np.arange(plane.shape[1]) >= np.full((len(plane), 1), 85))
    star = galaxy() * 1000  # a saturated star ends in a plateau, and its light goes on beside it
    star = np.minimum(star, 0.5 * star.max())
    assert not uncovered(star).any()


def test_an_image_of_nothing_has_no_fill_values():
    assert fill_values(np.full(9, np.nan)) == FillValues()
