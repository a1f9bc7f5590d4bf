from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from morphoscope.augment import cpu
from morphoscope.augment.cpu import Augmenter, View, draw_params, identity, matrices, reduction
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment

STILL = {"rotation": 0.0, "flip_horizontal": False, "flip_vertical": False, "zoom": (1.0, 1.0), "shift": 0.0}


def noise_images(count: int, side: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (count, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def oval(side: int, x0: float, y0: float, angle: float, long: float = 16.0, short: float = 7.0) -> np.ndarray:
    """A Gaussian galaxy at (x0, y0) from the middle whose long axis is turned by ``angle``, (H, W)."""
    middle = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - middle
    turn = np.deg2rad(angle)  # counter-clockwise on the screen, where y points down
    u = (x - x0) * np.cos(turn) - (y - y0) * np.sin(turn)
    v = (x - x0) * np.sin(turn) + (y - y0) * np.cos(turn)
    return 240 * np.exp(-((u / long) ** 2 + (v / short) ** 2) / 2)


def picture(plane: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(plane)[..., None], 3, axis=2).astype(np.uint8)


def with_params(count: int = 1, **changes: np.ndarray):
    plain = identity(count)
    return type(plain)(**{**plain.__dict__, **changes})


@given(
    side=st.integers(2, 70),
    channels=st.sampled_from([1, 3, 4]),
    border=st.sampled_from(["constant", "replicate", "reflect"]),
)
@settings(max_examples=25, deadline=None)
def test_at_equal_size_the_identical_picture_comes_back(side, channels, border):
    images = noise_images(2, side, channels)
    config = Augment.model_construct(**{**Augment().model_dump(), "size": side, "border": border})
    np.testing.assert_array_equal(Augmenter(config).evaluation(images), images)


@given(side=st.integers(8, 70), quarter=st.integers(-4, 8))
@settings(max_examples=25, deadline=None)
def test_quarter_turns_move_whole_pixels(side, quarter):
    images = noise_images(2, side)
    turned = Augmenter(Augment(size=side)).evaluation(images, View(angle=90.0 * quarter))
    np.testing.assert_array_equal(turned, np.rot90(images, quarter, axes=(1, 2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("shape", "crop"), [((32, 32), None), ((40, 36), 32), ((33, 33), 31), ((30, 32), 32)]
)
def test_whole_pixels_are_those_of_the_warp(monkeypatch, dtype, shape, crop):
    images = noise_images(2, 40)[:, : shape[0], : shape[1]].astype(dtype)
    augmenter = Augmenter(Augment(size=crop or 32, crop=crop))
    for angle, across, down in product((0.0, 90.0, 180.0, 270.0), (False, True), (False, True)):
        view = View(angle=angle, flip_horizontal=across, flip_vertical=down)
        found = augmenter.evaluation(images, view)
        with monkeypatch.context() as patched:
            patched.setattr(cpu, "_whole_pixels", lambda *of: False)
            np.testing.assert_array_equal(found, augmenter.evaluation(images, view))


def test_four_quarter_turns_give_the_original():
    augmenter, images = Augmenter(Augment(size=33)), noise_images(2, 33)
    turned = images
    for _ in range(4):
        turned = augmenter.evaluation(turned, View(angle=90.0))
    np.testing.assert_array_equal(turned, images)


@pytest.mark.parametrize(("view", "axis"), [(View(flip_horizontal=True), 2), (View(flip_vertical=True), 1)])
def test_flips_are_exact_and_undo_themselves(view, axis):
    augmenter, images = Augmenter(Augment(size=40)), noise_images(2, 40)
    mirrored = augmenter.evaluation(images, view)
    np.testing.assert_array_equal(mirrored, np.flip(images, axis))
    np.testing.assert_array_equal(augmenter.evaluation(mirrored, view), images)


@pytest.mark.parametrize("angle", [17.0, 45.0, -100.0, 170.0])
def test_a_turned_galaxy_is_where_geometry_puts_it(angle):
    x0, y0, own = 12.0, -9.0, 20.0
    turn = np.deg2rad(angle)
    x1 = x0 * np.cos(turn) + y0 * np.sin(turn)  # counter-clockwise on a screen with y downwards
    y1 = -x0 * np.sin(turn) + y0 * np.cos(turn)
    got = Augmenter(Augment(size=100)).evaluation([picture(oval(160, x0, y0, own))], View(angle))
    # The crop is the whole 160 pixels, so everything is 1.6 times smaller.
    expected = oval(100, x1 / 1.6, y1 / 1.6, own + angle, 10.0, 7 / 1.6)
    assert np.abs(got[0, ..., 0] - expected).max() < 4  # the warp's bilinear kernel flattens the peak
    crop = Augmenter(Augment(size=100, crop=100)).evaluation([picture(oval(160, x0, y0, own))], View(angle))
    assert np.abs(crop[0, ..., 0] - oval(100, x1, y1, own + angle)).max() < 2


def test_rotation_agrees_with_scipy():
    plane = oval(90, 10, 5, 30)
    got = Augmenter(Augment(size=90)).evaluation([picture(plane)], View(33.0))[0, ..., 0]
    known = ndimage.rotate(np.rint(plane), 33.0, reshape=False, order=1)
    inside = np.hypot(*(np.mgrid[:90, :90] - 44.5)) < 43
    assert np.abs(got - known)[inside].max() <= 1


def test_crop_and_resize_keep_pixel_centres():
    ramp = picture(np.tile(np.arange(200.0), (200, 1)))
    got = Augmenter(Augment(size=60, crop=100)).evaluation([ramp])[0, 30, :, 0]
    expected = 50 + (np.arange(60) + 0.5) * 100 / 60 - 0.5  # ends of the crop meet ends of the output
    assert np.abs(got - expected).max() <= 0.501


def test_shift_moves_the_crop_by_its_share_of_the_side():
    image = noise_images(1, 64)
    params = with_params(shift=np.array([[0.25, -0.125]]))
    got = Augmenter(Augment(size=32, crop=32)).apply(image, params)[0]
    np.testing.assert_array_equal(got, image[0, 12:44, 24:56])


def test_zoom_above_one_shows_more_sky():
    ramp = picture(np.tile(np.arange(200.0), (200, 1)))
    got = Augmenter(Augment(size=50, crop=50)).apply([ramp], with_params(zoom=np.array([[2.0, 2.0]])))[
        0, 25, :, 0
    ]
    assert np.abs(got - (50 + (np.arange(50) + 0.5) * 2 - 0.5)).max() <= 0.501


def test_shear_is_that_of_keras():
    # ImageDataGenerator's matrix for shear s on (row, column): [[1, -sin s], [0, cos s]].
    config, angle = Augment(size=41), np.deg2rad(20.0)
    matrix = matrices(config, with_params(shear=np.array([20.0])), (41, 41))[0]
    np.testing.assert_allclose(matrix[:, :2], [[np.cos(angle), 0], [-np.sin(angle), 1]])
    np.testing.assert_allclose(matrix @ [20, 20, 1], [20, 20])


def test_matrices_compose_in_the_documented_order():
    config = Augment(size=64, crop=96)
    params = with_params(
        angle=np.array([31.0]),
        flip_vertical=np.array([True]),
        zoom=np.array([[1.3, 1.3]]),
        shear=np.array([12.0]),
        shift=np.array([[0.1, -0.2]]),
    )
    cos, sin = np.cos(np.deg2rad(31.0)), np.sin(np.deg2rad(31.0))
    turn = np.array([[cos, -sin], [sin, cos]])
    shear = np.array([[np.cos(np.deg2rad(12)), 0], [-np.sin(np.deg2rad(12)), 1]])
    point = np.array([5.0, 40.0])
    inner = 96 * 1.3 / 64 * shear @ np.diag([1, -1]) @ (point - 31.5) + 96 * np.array([0.1, -0.2])
    expected = turn @ inner + [(150 - 1) / 2, (120 - 1) / 2]
    np.testing.assert_allclose(matrices(config, params, (120, 150))[0] @ [*point, 1], expected)


@pytest.mark.parametrize(
    ("side", "size", "factor"), [(128, 128, 1), (255, 128, 1), (256, 128, 2), (424, 128, 2), (424, 96, 3)]
)
def test_reduction_leaves_a_scale_from_one_to_two(side, size, factor):
    assert reduction(side, size, (424, 424)) == factor
    assert 1 <= side / size / factor < 2


def test_fine_grain_averages_out_when_an_image_is_made_small():
    images = noise_images(4, 256)
    small = Augmenter(Augment(size=32)).training(images, range(4), 0).astype(float)
    inside = small[:, 8:24, 8:24]
    ideal = 256 / np.sqrt(12) / 8  # each output pixel is the mean of 8 × 8 independent ones
    assert inside.std() < 1.3 * ideal  # 46 without the reduction, 9.2 ideally
    assert inside.mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("size", [20, 48])
def test_reading_only_the_part_that_is_seen_changes_nothing(size):
    """Inside the image all borders agree, and a reflecting border reads the whole image."""
    images = noise_images(8, 128)
    pictures = [
        Augmenter(Augment(size=size, crop=60, border=border), seed=4).training(images, range(8), 1)
        for border in ("constant", "replicate", "reflect")
    ]
    for picture_ in pictures[1:]:  # another origin rounds a few positions in single precision otherwise
        difference = np.abs(picture_.astype(int) - pictures[0])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("border", "mode"), [("constant", "constant"), ("replicate", "edge"), ("reflect", "symmetric")]
)
@pytest.mark.parametrize("factor", [1, 2])
def test_what_lies_outside_the_image(border, mode, factor):
    image = noise_images(1, 32)[0]
    size = 64 // factor
    config = Augment(size=size, crop=64, border=border)
    got = Augmenter(config).evaluation([image])[0]
    reduced = image.reshape(32 // factor, factor, 32 // factor, factor, 3).mean(axis=(1, 3))
    beyond = (16 // factor, 16 // factor)
    expected = np.pad(reduced, (beyond, beyond, (0, 0)), mode=mode)
    assert np.abs(got - expected).max() <= 0.5


def test_a_view_far_outside_is_all_border():
    params = with_params(shift=np.array([[3.0, 0.0]]))
    assert not Augmenter(Augment(size=16, crop=40)).apply(noise_images(1, 40), params).any()


def test_images_that_are_not_square_give_their_middle():
    image = noise_images(1, 60)[0, :40]
    np.testing.assert_array_equal(Augmenter(Augment(size=40)).evaluation([image])[0], image[:, 10:50])


def test_images_of_several_sizes_share_a_batch():
    images = [picture(oval(side, 0, 0, 30)) for side in (50, 80)]
    got = Augmenter(Augment(size=40, crop=40)).evaluation(images)
    np.testing.assert_array_equal(got[0], images[0][5:45, 5:45])
    np.testing.assert_array_equal(got[1], images[1][20:60, 20:60])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"brightness": np.array([0.5])}, [40, 50, 60]),
        ({"contrast": np.array([2.0])}, [32.5, 72.5, 112.5]),
        ({"channel_shift": np.array([[10.0, 0.0, -100.0, 0.0]])}, [90, 100, 20]),
        ({"brightness": np.array([4.0])}, [255, 255, 255]),
        ({"channel_gain": np.array([[0.5, 1.0, 2.0, 1.0]])}, [40, 100, 240]),
        ({"gamma": np.array([2.0])}, [80**2 / 255, 100**2 / 255, 120**2 / 255]),
        ({"saturation": np.array([0.0])}, [0.299 * 80 + 0.587 * 100 + 0.114 * 120] * 3),
        ({"saturation": np.array([2.0])}, [160 - 96.3, 200 - 96.3, 240 - 96.3]),
    ],
)
def test_colour_changes_as_documented(change, expected):
    image = np.tile(np.array([80, 100, 120], np.uint8), (16, 16, 1))
    got = Augmenter(Augment(size=16)).apply([image], with_params(**change))
    assert np.abs(got - np.array(expected)).max() <= 0.5


def test_a_blur_has_the_drawn_deviation_and_keeps_the_light():
    image = np.zeros((2, 65, 65, 3), np.uint8)
    image[:, 28:37, 28:37] = 200
    got = Augmenter(Augment(size=65)).apply(image, with_params(2, blur=np.array([3.0, 0.1]))).astype(float)
    profile = got[0, :, :, 0].sum(axis=0)
    steps = np.arange(65) - 32.0
    assert profile.sum() == pytest.approx(200 * 81, rel=0.01)
    assert np.sqrt((profile * steps**2).sum() / profile.sum()) == pytest.approx(
        np.sqrt(3.0**2 + (9**2 - 1) / 12), rel=0.03
    )
    np.testing.assert_array_equal(got[1], image[1])  # a tenth of a pixel is no blur


def test_pictures_without_colour_have_no_saturation():
    image = np.full((1, 16, 16, 1), 80, np.uint8)
    got = Augmenter(Augment(size=16)).apply(image, with_params(saturation=np.array([0.0])))
    np.testing.assert_array_equal(got, image)


def test_noise_has_the_drawn_deviation_and_no_bias():
    image = np.full((2, 64, 64, 3), 128, np.uint8)
    params = with_params(2, noise=np.array([9.0, 9.0]), noise_key=np.array([5, 77], np.uint64))
    got = Augmenter(Augment(size=64)).apply(image, params).astype(float) - 128
    assert got.std() == pytest.approx(9.0, rel=0.02)
    assert got.mean() == pytest.approx(0.0, abs=0.2)
    assert abs(np.corrcoef(got[0].ravel(), got[1].ravel())[0, 1]) < 0.03


def test_a_sample_does_not_depend_on_its_batch_or_on_threads():
    config = Augment(size=24, brightness=0.2, channel_shift=8, noise=6, shear=10)
    images, rows = noise_images(9, 40), np.array([5, 1, 700, 3, 2**40, 0, 8, 9, 10])
    whole = Augmenter(config, seed=3).training(images, rows, epoch=2)
    np.testing.assert_array_equal(Augmenter(config, seed=3, threads=4).training(images, rows, 2), whole)
    for index in (0, 4):
        alone = Augmenter(config, seed=3).training(images[index : index + 1], rows[index : index + 1], 2)
        np.testing.assert_array_equal(alone[0], whole[index])


def test_samples_differ_between_rows_epochs_seeds_and_repetitions():
    config, image = Augment(size=24), noise_images(1, 40)
    settings_ = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    pictures = [
        Augmenter(config, seed).training(image, [row], epoch, [repeat]).tobytes()
        for seed, epoch, row, repeat in settings_
    ]
    assert len(set(pictures)) == len(pictures)


def test_training_with_everything_off_is_evaluation():
    config, images = Augment(size=20, **STILL), noise_images(3, 40)
    augmenter = Augmenter(config)
    np.testing.assert_array_equal(augmenter.training(images, range(3), 0), augmenter.evaluation(images))


def test_handedness_is_kept_with_both_flips_off():
    config = Augment(size=64, flip_horizontal=False, flip_vertical=False, shear=10)
    turns = matrices(config, draw_params(config, 0, 0, range(200)), (64, 64))[:, :, :2]
    assert (np.linalg.det(turns) > 0).all()
    mirrored = matrices(Augment(), draw_params(Augment(), 0, 0, range(200)), (64, 64))[:, :, :2]
    assert 60 < (np.linalg.det(mirrored) < 0).sum() < 140


def test_progressive_size_overrides_the_recipe():
    assert Augmenter(Augment(size=64)).training(noise_images(2, 40), [0, 1], 0, size=24).shape == (
        2,
        24,
        24,
        3,
    )


def test_images_that_do_not_fit_are_named():
    augmenter, good = Augmenter(Augment(size=16)), noise_images(1, 20)[0]
    with pytest.raises(MorphoscopeError, match=r"image 1 of the batch is \(20, 20, 3\) float64"):
        augmenter.evaluation([good, good / 255])
    with pytest.raises(MorphoscopeError, match=r"image 0 .*\(20, 20\) uint8"):
        augmenter.evaluation([good[..., 0]])
    with pytest.raises(MorphoscopeError, match="image 1 of the batch has 1 channels, the first has 3"):
        augmenter.evaluation([good, good[..., :1]])
    with pytest.raises(MorphoscopeError, match="1 images came with 2 sets of augmentation parameters"):
        augmenter.apply([good], identity(2))


def test_an_empty_batch_stays_empty():
    assert Augmenter(Augment(size=16)).evaluation([]).shape == (0, 16, 16, 3)


def test_zoom_apart_stretches_along_its_own_axis():
    """A square of 20 pixels, shown with half the field along x and all of it along y, is 40 by 20."""
    image = np.zeros((1, 80, 80, 1), np.uint8)
    image[0, 30:50, 30:50] = 200
    config = Augment(size=80)
    params = replace(identity(1), zoom=np.array([[0.5, 1.0]]))
    matrix = matrices(config, params, (80, 80))[0]
    corners = np.array([[19.5, 29.5, 1], [59.5, 49.5, 1]]) @ matrix.T
    np.testing.assert_allclose(corners, [[29.5, 29.5], [49.5, 49.5]])
