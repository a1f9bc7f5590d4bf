"""Measured shapes, against profiles with known numbers and statmorph called by hand."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import statmorph
from astropy.io import fits

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.catalogue.measure import _bands_of
from morphoscope.images.coverage import uncovered
from morphoscope.images.stretch import Flux
from morphoscope.measurement import SHAPE_COLUMNS, ShapeSettings, central_segment, measure_shape
from morphoscope.measurement.shapes import NAMES, Bands, colours, noise_map, within

SETTINGS = ShapeSettings()


def disc(side: int = 100, scale: float = 4.0, noise: float = 0.2, peak: float = 100.0) -> np.ndarray:
    """A round exponential disc on a sky of 5, (H, W)."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    sky = np.random.default_rng(1).normal(5.0, noise, (side, side))
    return peak * np.exp(-np.hypot(x, y) / scale) + sky


def test_an_exponential_disc_has_its_known_radii_and_no_asymmetry():
    found = measure_shape(Bands([disc()], [Flux()]), SETTINGS)
    assert (found["flag"], found["reason"]) == (0, "")
    half = 1.678 * 4.0
    assert found["rhalf_circ"] == pytest.approx(half, rel=0.03)
    assert found["rpetro_circ"] == pytest.approx(2.16 * half, rel=0.03)  # Graham et al. 2005, table 1, n = 1
    assert abs(found["asymmetry"]) < 0.01
    assert 2.5 < found["concentration"] < 2.9
    assert found["xc_asymmetry"] == pytest.approx(49.5, abs=0.1)
    assert set(found) <= {*NAMES, "flag", "reason"}


def test_a_bright_knot_makes_it_asymmetric():
    image = disc()
    y, x = np.mgrid[:100, :100]
    image += 50 * np.exp(-np.hypot(x - 54, y - 51) / 1.5)
    lopsided = measure_shape(Bands([image], [Flux()]), SETTINGS)
    assert lopsided["asymmetry"] > 0.05


def test_colours_are_the_flux_ratios_where_zero_points_are_known():
    red = disc(noise=0.01)
    blue = (red - 5) * 0.5 * 0.1 + 3  # half the flux, in units ten times as large, on another sky
    bands = Bands([red, blue], [Flux("r", "", 1.0), Flux("g", "", 10.0)])
    segment = central_segment(red, np.zeros(red.shape, bool), 1.5)
    assert colours(bands, segment)["g_r"] == pytest.approx(2.5 * np.log10(2), abs=0.01)
    assert colours(Bands(bands.planes, [Flux("r"), Flux("g")]), segment) == {}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.random.default_rng(0).normal(0, 1, (64, 64)), "source"),
        (np.full((64, 64), 3.0), "the sky has no noise"),
        (np.roll(disc(64, 2.0), 26, axis=1), "no source is in the middle"),
    ],
)
def test_what_cannot_be_measured_has_a_reason_and_no_numbers(image: np.ndarray, words: str):
    found = measure_shape(Bands([image], [Flux()]), SETTINGS)
    assert found["flag"] == 4
    assert words in found["reason"]
    assert set(found) == {"flag", "reason"}


def test_a_galaxy_that_takes_too_long_is_given_up():
    found = measure_shape(Bands([disc(200)], [Flux()]), ShapeSettings(seconds=0.01))
    assert found == {"flag": 4, "reason": "took more than 0.01 s"}
    with within(5.0):
        time.sleep(0)


def test_pixels_without_data_are_left_out():
    image = disc()
    image[:, :12] = np.nan
    found = measure_shape(Bands([image], [Flux()]), SETTINGS)
    assert found["rhalf_circ"] == pytest.approx(1.678 * 4.0, rel=0.05)


def test_every_column_is_documented():
    assert all(column.description and column.ucd for column in SHAPE_COLUMNS)
    assert len(set(NAMES)) == len(NAMES)


REAL = (
    "fits_cutouts/*.fits",
    "real_files/sdss-profit/*fitim.fits",
    "real_files/2mass-blast/*.fits",
    "real_files/ps1-tractor/*_sci.fits",
    "real_files/odd-astroquery/query_images.fits",
    "real_files/hst-slsim/test_galaxy_images_23.5.fits",
    "real_files/jwst-slsim/COSMOSWeb_galaxy_6701_image.fits",
    "real_files/decam-legacypipe/*N15.fits",
)


def _by_hand(plane_HW: np.ndarray) -> dict[str, float]:
    """statmorph's own call with all its measurements, on the same segments and noise."""
    lost_HW = uncovered(plane_HW)
    filled_HW = np.where(lost_HW, 0.0, plane_HW)
    segment = central_segment(filled_HW, lost_HW, SETTINGS.threshold)
    bare_HW = filled_HW - segment.sky
    np.random.seed(0)  # noqa: NPY002 - statmorph draws from the global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape = statmorph.SourceMorphology(
            bare_HW, segment.labels, segment.label, mask=lost_HW, weightmap=noise_map(bare_HW, segment, None)
        )
    return {name: float(shape[name]) for name in NAMES} | {"flag": float(shape.flag)}


def _compare(paths: list[Path]) -> int:
    compared = 0
    for path in paths:
        (item,) = open_input(path).items
        bands = _bands_of(item)
        assert not isinstance(bands, str), bands
        plane = np.asarray(bands.planes[bands.reference], np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PS1's headers have a card that astropy mends with a remark
            stored = np.asarray(fits.getdata(path), np.float64)
        assert any(np.array_equal(plane, turned, equal_nan=True) for turned in _turned(stored)), path.name
        found = measure_shape(bands, SETTINGS)
        if "concentration" not in found:
            continue
        expected = _by_hand(plane)
        for name in (*NAMES, "flag"):
            if np.isfinite(expected[name]) and expected[name] != -99:
                assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), (path.name, name)
        compared += 1
    return compared


def _turned(stored: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(each, k) for each in (stored, stored[::-1]) for k in range(4)]


def test_statmorph_called_by_hand_gives_the_same_numbers_for_two_real_galaxies(shared_data: Path):
    paths = sorted((shared_data / "real_files" / "sdss-profit").glob("*fitim.fits"))[:2]
    assert _compare(paths) == len(paths) == 2


@pytest.mark.slow
def test_statmorph_called_by_hand_gives_the_same_numbers_for_real_files(shared_data: Path):
    paths = [path for pattern in REAL for path in sorted(shared_data.glob(pattern))]
    assert _compare(paths) >= 20
