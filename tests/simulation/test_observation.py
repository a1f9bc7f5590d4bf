from __future__ import annotations

import numpy as np
import pytest

from morphoscope.simulation import observation
from morphoscope.simulation.profiles import frame_of
from morphoscope.simulation.rendering import Light
from morphoscope.simulation.survey import DECALS, EUCLID, SDSS, Survey

FRAME = frame_of(DECALS)


def _empty(seed: int) -> np.ndarray:
    nothing = np.zeros((3, FRAME.side, FRAME.side), np.float32)
    flux = observation.observe(nothing, FRAME, np.random.default_rng(seed))
    return observation.serve(DECALS, flux, DECALS.side).astype(float)


def test_empty_sky_looks_like_the_survey():
    """Against fifty Galaxy10 images: sky 33, 32, 32; noise 7 to 13; correlations 0.78 to 0.86 and 0.45."""
    images = np.stack([_empty(seed) for seed in range(8)])
    assert np.median(images, axis=(0, 1, 2)) == pytest.approx([32.5, 32.5, 32.5], abs=1.5)
    deviation = images.std(axis=(1, 2))
    assert 7 < np.median(deviation) < 13
    flat = images.reshape(8, -1, 3)
    between = np.mean([np.corrcoef(image.T)[0, 1:].mean() for image in flat])
    assert 0.65 < between < 0.9
    rest = images[..., 1] - images[..., 1].mean(axis=(1, 2), keepdims=True)
    one = (rest[:, :, 1:] * rest[:, :, :-1]).mean() / (rest**2).mean()
    two = (rest[:, :, 2:] * rest[:, :, :-2]).mean() / (rest**2).mean()
    assert 0.3 < one < 0.55
    assert abs(two) < 0.15


def test_noise_taps_keep_the_variance_and_give_the_correlation():
    taps = observation._noise_taps(0.45)
    assert (taps**2).sum() == pytest.approx(1)
    assert taps[0] * taps[1] + taps[1] * taps[2] == pytest.approx(0.45, abs=1e-5)
    assert observation._noise_taps(0.0).tolist() == [0, 1, 0]


def test_stretch_of_known_fluxes():
    """Values from the formula: an empty sky is 255·arcsinh(20·0.03)/√20 = 32.4; bright is white."""
    flux = np.zeros((3, 1, 3), np.float32)
    flux[:, 0, 1] = 100.0
    flux[2, 0, 2] = 0.2  # z alone is red
    pixels = DECALS.stretch(flux)[0]
    assert pixels[0].tolist() == [32, 32, 32]
    assert pixels[1].tolist() == [255, 255, 255]
    assert pixels[2, 0] > 2 * pixels[2, 1]
    assert pixels[2, 1] == pixels[2, 2]


def test_field_leaves_the_galaxy_alone():
    """No bright neighbour within four arcsec of the centre, some elsewhere."""
    light = Light(np.zeros((3, FRAME.side, FRAME.side), np.float32), {})
    total = light.total_3PP[1]
    for seed in range(2):
        before = total.copy()
        observation.add_field(light, FRAME, np.random.default_rng(seed))
        both = light.layers["star"] + light.layers["neighbour"]
        assert both == pytest.approx(total - before, rel=1e-4, abs=1e-4)
    radius = np.hypot(FRAME.x_PP, FRAME.y_PP)
    assert total[radius > 5].max() > 1
    assert total[radius < 3].max() < 0.5
    assert np.isfinite(light.total_3PP).all()


@pytest.mark.parametrize(
    ("survey", "brightest", "faintest"), [(DECALS, 17.5, 24.0), (SDSS, 17.5, 22.8), (EUCLID, 17.5, 24.0)]
)
def test_neighbours_have_one_density_in_the_sky(survey: Survey, brightest: float, faintest: float):
    """As many in a square arcsec to one apparent magnitude, whatever the sampling and distance."""
    frame = frame_of(survey)
    count = observation.expected(
        observation.GALAXIES, observation.GALAXY_MAGNITUDES, observation.GALAXY_SLOPE, frame
    )
    area = (frame.side * survey.pixel_scale) ** 2
    to_24 = count / area * 10 ** (observation.GALAXY_SLOPE * (24.0 - faintest - survey.dimming))
    assert to_24 == pytest.approx(observation.GALAXIES / DECALS.field**2, rel=1e-6)
    magnitudes = observation._magnitudes(
        2000, (brightest, 24.0), observation.GALAXY_SLOPE, survey, np.random.default_rng(0)
    )
    assert magnitudes.max() == pytest.approx(faintest, abs=0.02)


def test_bright_stars_have_wings_and_keep_their_flux(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(observation, "STAR_MAGNITUDES", (16.0, 16.001))
    monkeypatch.setattr(
        observation, "_positions", lambda magnitudes, frame, rng: np.zeros((len(magnitudes), 2))
    )
    cube = np.zeros((3, FRAME.side, FRAME.side), np.float32)
    observation._add_stars(cube, FRAME, 1, np.random.default_rng(1))
    wide = np.hypot(FRAME.x_PP, FRAME.y_PP) > 2
    assert cube[1][wide].sum() / cube[1].sum() == pytest.approx(observation.WINGS, rel=0.3)
    assert cube[1].sum() == pytest.approx(10 ** (0.4 * 6.5), rel=0.01)


def test_a_picture_shows_the_middle_at_the_surveys_size():
    flux = np.zeros((3, SDSS.side, SDSS.side), np.float32)
    flux[:, 120:136, 120:136] = 1.0
    picture = observation.serve(SDSS, flux, 64)
    assert picture.shape == (424, 424, 3)
    bright = (picture[..., 1] > 100).mean()
    assert bright == pytest.approx((16 / 64) ** 2, rel=0.1)


def test_surveys_mix_their_bands_and_see_farther():
    light = np.stack([np.full((2, 2), value, np.float32) for value in (1.0, 2.0, 4.0)])
    assert DECALS.observed(light) is light
    i_over_r = SDSS.observed(light)[2] / SDSS.observed(light)[1]
    assert i_over_r == pytest.approx(1.5)
    vis = EUCLID.observed(light)[0]
    assert vis == pytest.approx(3.0 * 10**-0.8)
    assert SDSS.pixels_shown(5.0) * SDSS.frame_scale == pytest.approx(8.48 * 5, rel=0.05)
    assert SDSS.pixels_shown(100.0) == SDSS.side
    assert DECALS.pixels_shown(5.0) == 256


def test_source_noise_grows_with_the_light():
    light = np.zeros((3, FRAME.side, FRAME.side), np.float32)
    light[:, :, : FRAME.side // 2] = 20.0
    noise = observation._noise(DECALS, FRAME.cut(light), np.random.default_rng(0))
    assert noise[1, :, :120].std() > 5 * noise[1, :, 136:].std()
