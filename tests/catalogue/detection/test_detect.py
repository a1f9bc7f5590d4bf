from __future__ import annotations

import numpy as np
import pytest

from morphoscope.catalogue.detection.detect import Sources, cutout, cutout_sides, cutouts, detect_sources
from morphoscope.errors import MorphoscopeError

SKY, NOISE = 20.0, 2.0


def _blob(shape: tuple[int, int], x: float, y: float, peak: float, a: float, b: float, angle: float = 0.0):
    """A Gaussian with semi-axes of sigma a and b."""
    rows, columns = np.indices(shape)
    u, v = columns - x, rows - y
    along, across = (
        u * np.cos(angle) + v * np.sin(angle),
        -u * np.sin(angle) + v * np.cos(angle),
    )
    return peak * np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2))


def _sky(shape: tuple[int, int] = (240, 260)) -> np.ndarray:
    return np.random.default_rng(0).normal(SKY, NOISE, (*shape, 3))


def _field() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Three galaxies on noisy sky, of which the first is the brightest and the second is edge-on."""
    image = _sky()
    places = [(60.25, 80.5), (180.0, 60.75), (120.5, 190.0)]
    shapes = [(150.0, 8.0, 8.0), (110.0, 12.0, 3.0), (60.0, 5.0, 5.0)]
    for (x, y), (peak, a, b) in zip(places, shapes, strict=True):
        image += _blob(image.shape[:2], x, y, peak, a, b)[:, :, None]
    return image.clip(0, 255).round().astype(np.uint8), places


def test_centroids_sizes_and_order_of_known_sources() -> None:
    image, places = _field()
    found = detect_sources(image)
    assert len(found) == 3
    np.testing.assert_allclose(np.stack([found.x, found.y], axis=1), places, atol=0.15)
    assert np.all(np.diff(found.flux) < 0)
    assert found.elongation[0] == pytest.approx(1.0, abs=0.05)
    assert found.elongation[1] > 2.5
    assert found.sky == pytest.approx([SKY] * 3, abs=1)
    # The flux of a Gaussian is 2 pi a b peak; a segment holds most of it, and nothing else.
    assert found.flux[0] == pytest.approx(2 * np.pi * 64 * 150, rel=0.1)
    # The edge-on galaxy's ends, at two sigma, lie inside its radius: its circle's radius would not reach.
    assert found.radius[1] > 24
    assert np.sqrt(found.area[1] / np.pi) < 20


def test_touching_galaxies_are_parted_unless_told_not_to() -> None:
    image = _sky((120, 160))
    for x in (62.0, 90.0):
        image += _blob((120, 160), x, 60.0, 120.0, 7.0, 7.0)[:, :, None]
    image = image.clip(0, 255).astype(np.uint8)
    assert len(detect_sources(image)) == 2
    assert len(detect_sources(image, contrast=1.0)) == 1


def test_what_the_border_cuts_off_is_left_out() -> None:
    image = _sky((120, 160))
    image += _blob((120, 160), 80.0, 60.0, 120.0, 6.0, 6.0)[:, :, None]
    image += _blob((120, 160), 2.0, 60.0, 120.0, 6.0, 6.0)[:, :, None]
    image += _blob((120, 160), 120.0, 117.0, 120.0, 6.0, 6.0)[:, :, None]
    found = detect_sources(image.clip(0, 255).astype(np.uint8))
    assert found.x == pytest.approx([80.0], abs=0.15)


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_regions_without_picture_give_no_sources_and_hide_what_they_cut(nothing: float) -> None:
    image = _sky((200, 200))
    image += _blob((200, 200), 140.0, 140.0, 120.0, 6.0, 6.0)[:, :, None]
    image += _blob((200, 200), 80.0, 40.0, 120.0, 6.0, 6.0)[:, :, None]
    image[:80, :80] = nothing  # the corner cuts the second one
    found = detect_sources(image)
    assert found.x == pytest.approx([140.0], abs=0.15)
    assert found.y == pytest.approx([140.0], abs=0.15)
    assert found.sky == pytest.approx([SKY] * 3, abs=1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((80, 90, 3), np.uint8),
        np.full((80, 90, 3), 17, np.uint8),
        np.full((80, 90), np.nan),
        np.zeros((5, 7), np.float32),
        _sky((200, 200)),
    ],
    ids=["black", "grey", "not a number", "tiny", "noise"],
)
def test_nothing_to_see_gives_no_sources(image: np.ndarray) -> None:
    assert len(detect_sources(image)) == 0


def test_a_grey_picture_and_its_colour_copy_give_the_same_sources() -> None:
    image, _ = _field()
    grey = image[:, :, 0]
    single, triple = detect_sources(grey), detect_sources(np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_allclose(single.x, triple.x)
    assert cutouts(grey, single, size=32)[0].shape == (32, 32)


def test_refuses_what_is_no_image() -> None:
    with pytest.raises(MorphoscopeError, match=r"an image of \(height, width\)"):
        detect_sources(np.zeros(12))


def test_cutout_centres_on_the_source_and_fills_beyond_the_border() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[10, 12] = 255
    odd = cutout(image, 12.2, 9.8, 5)
    assert odd.shape == (5, 5, 3)
    assert odd[2, 2, 0] == 255
    assert odd.sum() == 3 * 255
    corner = cutout(image, 0, 0, 7, fill=np.array([1.0, 2.0, 3.0]))
    assert corner[0, 0].tolist() == [1, 2, 3]
    assert corner[3:, 3:].sum() == 0
    outside = cutout(image, -50, 400, 4, fill=9)
    assert (outside == 9).all()


def test_cutout_sides_follow_the_source_and_have_a_least_side() -> None:
    found = detect_sources(_field()[0])
    sides = cutout_sides(found, factor=2.0, minimum=24)
    assert sides.tolist() == np.rint(4 * found.radius).astype(int).tolist()
    assert cutout_sides(found, minimum=300).tolist() == [300, 300, 300]


def test_cutouts_show_each_source_in_the_middle_at_one_size() -> None:
    image, _ = _field()
    found = detect_sources(image)
    squares = cutouts(image, found, size=64)
    assert [square.shape for square in squares] == [(64, 64, 3)] * 3
    for square in squares:
        brightest = np.unravel_index(square.sum(axis=2).argmax(), (64, 64))
        assert np.hypot(brightest[0] - 31.5, brightest[1] - 31.5) < 4
    native = cutouts(image, found)
    assert [len(square) for square in native] == cutout_sides(found).tolist()


def test_hubble_deep_field_gives_a_sensible_catalogue() -> None:
    import skimage.data

    image = skimage.data.hubble_deep_field()
    found = detect_sources(image)
    assert isinstance(found, Sources)
    assert 200 < len(found) < 400
    # The face-on spiral at the left and the giant elliptical at the right are among the ten brightest.
    for x, y in ((123, 400), (728, 474)):
        assert np.hypot(found.x[:10] - x, found.y[:10] - y).min() < 5
    assert found.x.min() > 2
    assert found.y.max() < 870
    assert np.median(cutout_sides(found)) == pytest.approx(33, abs=10)


@pytest.mark.parametrize("mark", [np.nan, 0.0, 0.4, -32768.0, 1e30])
def test_what_no_exposure_covers_changes_neither_noise_nor_sources(mark: float) -> None:
    """Measured fluxes around zero; the right third of the field has no exposure."""
    field = np.random.default_rng(3).normal(0, 1, (200, 300)).astype(np.float32)
    for x, y in ((50.0, 60.0), (130.0, 140.0)):
        field += _blob(field.shape, x, y, 40.0, 6.0, 4.0).astype(np.float32)
    alone = detect_sources(field[:, :200], floor=0.0)
    beside = field.copy()
    beside[:, 200:] = mark
    found = detect_sources(beside, floor=0.0)
    assert len(alone) == len(found) == 2
    np.testing.assert_allclose(np.stack([found.x, found.y]), np.stack([alone.x, alone.y]), atol=0.05)
    np.testing.assert_allclose(found.signal, alone.signal, rtol=0.05)
    np.testing.assert_allclose(found.radius, alone.radius, rtol=0.05)


def test_zeros_of_photon_counts_are_sky() -> None:
    counts = np.random.default_rng(4).poisson(0.3 + _blob((200, 200), 90.0, 110.0, 60.0, 6.0, 6.0))
    found = detect_sources(counts.astype(np.float32), floor=0.0)
    assert len(found) == 1
    assert (found.x[0], found.y[0]) == pytest.approx((90, 110), abs=0.3)
