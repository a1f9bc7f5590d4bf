"""Sources that get no class: too small, too faint, like a star, none at all."""

from __future__ import annotations

import numpy as np
import pytest

from morphoscope.images.central_source import central_source
from morphoscope.images.coverage import NO_SOURCE
from morphoscope.images.source_quality import (
    STAR_LIKE,
    TOO_FAINT,
    TOO_SMALL,
    fault_of,
    faults_of_sources,
    half_maximum_widths,
    has_no_class,
    psf_width,
    saturated_pixels,
)


def galaxy(sigma: float, peak: float, noise: float = 3.0, side: int = 128) -> np.ndarray:
    """A round Gaussian on a noisy sky, (side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    light = 30 + peak * np.exp(-(x**2 + y**2) / (2 * sigma**2))
    noisy = light[..., None] + np.random.default_rng(0).normal(0, noise, (side, side, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "shown", "fault"),
    [
        (galaxy(12, 150), 128, ()),
        (galaxy(12, 150), 16, (TOO_SMALL,)),  # enlarged from 16 pixels
        (galaxy(1.2, 150), 424, (TOO_SMALL,)),
        (galaxy(12, 25, noise=20), 128, (TOO_FAINT,)),
        (galaxy(12, 0), 128, (NO_SOURCE,)),
        (np.full((128, 128, 3), 70, np.uint8), 128, (NO_SOURCE,)),
        (np.full((128, 128, 1), 255, np.uint8), 128, (NO_SOURCE,)),
        (np.zeros((8, 8, 3), np.uint8), 8, (NO_SOURCE,)),
    ],
)
def test_what_is_in_the_middle(image: np.ndarray, shown: float, fault: tuple[str, ...]) -> None:
    assert fault_of(central_source(image), shown, image.shape) == fault
    assert has_no_class(fault) == bool(fault)


def test_a_network_of_small_galaxies_takes_small_ones() -> None:
    small = galaxy(1.2, 150)
    assert fault_of(central_source(small), 128, small.shape, typical=0.4) == (TOO_SMALL,)
    assert fault_of(central_source(small), 128, small.shape, typical=0.06) == ()


def test_remarks_leave_the_class() -> None:
    assert not has_no_class(("no data 23%", "off the image 3%"))
    assert has_no_class(("off the image 3%", TOO_SMALL))


def test_widths_are_those_of_the_profiles() -> None:
    y, x = np.mgrid[:200, :200]
    sigmas, at = (1.5, 3.0, 5.0), (40.2, 100.7, 160.1)
    sky = sum(
        50 * np.exp(-((x - a) ** 2 + (y - a) ** 2) / (2 * s**2)) for s, a in zip(sigmas, at, strict=True)
    )
    places = np.array(at)
    found = half_maximum_widths(np.asarray(sky) + 10, places, places, np.full(3, 15.0), 10.0)
    assert found == pytest.approx(2.3548 * np.array(sigmas), rel=0.1)
    blank = half_maximum_widths(
        np.full((9, 9), np.nan), np.array([4.0]), np.array([4.0]), np.array([2.0]), 0.0
    )
    assert np.isnan(blank).all()


def test_the_psf_is_that_of_the_most_compact_bright_sources() -> None:
    widths = np.r_[np.full(5, 3.0), np.full(60, 9.0), np.full(30, 1.0)]
    signals = np.r_[np.full(65, 80.0), np.full(30, 9.0)]
    assert psf_width(widths, signals) == pytest.approx(3.0)
    assert psf_width(widths[:10], signals[:10]) == 2.0  # too few to know
    assert psf_width(np.empty(0), np.empty(0)) == 2.0


def test_sources_of_one_image() -> None:
    compact = np.full(30, 3.0)
    widths = np.r_[compact, 12.0, 12.0, 3.2, 3.2, 15.0]
    diameters = np.r_[np.full(30, 10.0), 40.0, 40.0, 40.0, 40.0, 40.0]
    signals = np.r_[np.full(30, 60.0), 60.0, 5.0, 60.0, 60.0, 60.0]
    elongations = np.r_[np.full(30, 1.5), 1.0, 1.0, 1.1, 2.5, 1.05]
    flat = np.r_[np.zeros(34, int), 9]
    faults = faults_of_sources(diameters, signals, widths, elongations, flat)
    assert faults[:30] == [(TOO_SMALL,)] * 30
    assert faults[30:] == [(), (TOO_FAINT,), (STAR_LIKE,), (), (STAR_LIKE,)]
    assert faults_of_sources(*(np.empty(0),) * 5) == []


def test_white_pixels_count_in_pictures_alone() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[19:22, 19:22] = 255
    image[5:8, 5:8, 0] = 255  # red, not white
    at = np.array([20.0, 6.0]), np.array([20.0, 6.0]), np.array([6.0, 6.0])
    assert saturated_pixels(image, *at).tolist() == [9, 0]
    assert saturated_pixels(image.astype(np.float32), *at).tolist() == [0, 0]
