from __future__ import annotations

import numpy as np
import pytest

from morphoscope.augment.params import GOLDEN, MASK, View, _mixed, _uniforms, draw_params, identity, views
from morphoscope.errors import UsageError
from morphoscope.recipes import Augment


def test_the_hash_is_splitmix64():
    # First outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) from state 0.
    states = np.array([step * GOLDEN & MASK for step in (1, 2, 3)], np.uint64)
    assert [f"{value:016X}" for value in _mixed(states).tolist()] == [
        "E220A8397B1DCDAF",
        "6E789E6AA1B965F4",
        "06C45D188009454F",
    ]


def test_draws_are_uniform_and_independent():
    rows = np.arange(20_000)
    params = draw_params(Augment(rotation=180, zoom=(0.5, 1.5), shift=1.0, shear=45), 0, 0, rows)
    columns = np.stack([params.angle / 180, 2 * params.zoom[:, 0] - 2, *params.shift.T, params.shear / 45])
    # Of n uniform deviates in ±1: mean 0 ± 1/√(3n) = 0.004, variance 1/3, correlations 0 ± 1/√n = 0.007.
    assert np.abs(columns.mean(axis=1)).max() < 0.02
    np.testing.assert_allclose(columns.var(axis=1), 1 / 3, rtol=0.03)
    assert np.abs(np.corrcoef(columns) - np.eye(5)).max() < 0.035
    neighbours = np.corrcoef(columns[:, :-1], columns[:, 1:])[:5, 5:]
    assert np.abs(neighbours).max() < 0.035
    assert params.flip_horizontal.mean() == pytest.approx(0.5, abs=0.02)
    assert (params.flip_horizontal == params.flip_vertical).mean() == pytest.approx(0.5, abs=0.02)


def test_epochs_and_seeds_do_not_repeat_each_other():
    """A hash that only added its inputs would give epoch 1 of row 0 to epoch 0 of row 1."""
    angles = {
        draw_params(Augment(), seed, epoch, [row], [repeat]).angle[0]
        for seed in range(5)
        for epoch in range(5)
        for row in range(5)
        for repeat in range(5)
    }
    assert len(angles) == 5**4


def test_uniforms_lie_in_the_half_open_unit_interval():
    extreme = _uniforms(np.array([0, MASK], np.uint64), 50)
    assert extreme.min() >= 0
    assert extreme.max() < 1


def test_draws_stay_within_the_recipe():
    config = Augment(
        rotation=30,
        zoom=(0.9, 1.2),
        shear=5,
        shift=0.1,
        brightness=0.3,
        contrast=0.2,
        channel_shift=12,
        channel_gain=0.1,
        gamma=0.25,
        saturation=0.5,
        blur=1.5,
        noise=4,
    )
    params = draw_params(config, 1, 2, range(2000))
    for values, low, high in [
        (params.angle, -30, 30),
        (params.zoom, 0.9, 1.2),
        (params.shear, -5, 5),
        (params.shift, -0.1, 0.1),
        (params.brightness, 0.7, 1.3),
        (params.contrast, 0.8, 1.2),
        (params.channel_shift, -12, 12),
        (params.channel_gain, 0.9, 1.1),
        (np.log(params.gamma), -np.log(1.25), np.log(1.25)),
        (params.saturation, 0.5, 1.5),
        (params.blur, 0, 1.5),
        (params.noise, 0, 4),
    ]:
        spread = high - low
        assert low <= values.min() < low + 0.01 * spread
        assert high - 0.01 * spread < values.max() <= high


def test_strength_scales_every_magnitude():
    base = {
        "rotation": 40.0,
        "shear": 5.0,
        "shift": 0.1,
        "zoom": (0.8, 1.25),
        "channel_shift": 10.0,
        "noise": 3.0,
    }
    weak, strong = (draw_params(Augment(**base, strength=factor), 0, 0, range(500)) for factor in (1.0, 2.0))
    np.testing.assert_allclose(strong.angle, 2 * weak.angle)
    np.testing.assert_allclose(strong.shear, 2 * weak.shear)
    np.testing.assert_allclose(strong.shift, 2 * weak.shift)
    np.testing.assert_allclose(strong.channel_shift, 2 * weak.channel_shift)
    np.testing.assert_allclose(strong.noise, 2 * weak.noise)
    assert 0.64 <= strong.zoom.min() < 0.65
    assert 1.55 < strong.zoom.max() <= 1.5625
    none = draw_params(Augment(**base, strength=0.0), 0, 0, range(50))
    assert not none.angle.any()
    assert (none.zoom == 1).all()


def test_strength_cannot_make_an_impossible_warp():
    wild = draw_params(Augment(shear=60, brightness=0.9, contrast=0.9, strength=50), 0, 0, range(500))
    assert (np.abs(wild.shear) < 90).all()
    assert (np.abs(wild.angle) <= 180).all()
    assert (wild.zoom > 0).all()
    assert (wild.brightness >= 0).all()
    assert (wild.contrast >= 0).all()


def test_flips_can_be_switched_off_one_by_one():
    params = draw_params(Augment(flip_horizontal=False), 0, 0, range(100))
    assert not params.flip_horizontal.any()
    assert params.flip_vertical.any()


@pytest.mark.parametrize("number", [1, 2, 4, 8, 16, 24, 48])
def test_views_begin_with_the_image_itself_and_are_all_different(number):
    seen = views(Augment(), number)
    assert len(set(seen)) == number
    assert seen[0] == View()
    assert {view.angle % 45 for view in seen} == {0.0}
    assert sum(view.flip_horizontal for view in seen) == (number // 2 if number in (2, 16, 48) else 0)
    assert {view.zoom for view in seen} == ({1.0, 0.85, 1.18} if number > 16 else {1.0})
    if number > 16:
        assert seen[: number // 3] == views(Augment(), number // 3)


def test_views_mirror_the_way_the_recipe_does():
    up_and_down = views(Augment(flip_horizontal=False), 2)
    assert up_and_down[1] == View(flip_vertical=True)


@pytest.mark.parametrize("number", [2, 16, 48])
def test_views_never_mirror_what_has_a_handedness(number):
    config = Augment(flip_horizontal=False, flip_vertical=False)
    with pytest.raises(UsageError, match=r"augment.flip_horizontal .* use 1, 4, 8 or 24 views"):
        views(config, number)
    assert len(views(config, 8)) == 8


def test_another_number_of_views_is_refused():
    with pytest.raises(UsageError, match=r"evaluation\.views is 3; .* 1, 2, 4, 8, 16, 24 or 48"):
        views(Augment(), 3)


def test_the_identity_changes_nothing():
    params = identity(3)
    assert len(params) == 3
    assert not params.angle.any()
    assert not params.noise.any()
    assert (params.zoom == 1).all()


def test_zoom_is_one_factor_or_one_an_axis():
    together = draw_params(Augment(zoom=(0.7, 1.3)), 0, 0, range(200)).zoom
    np.testing.assert_array_equal(together[:, 0], together[:, 1])
    apart = draw_params(Augment(zoom=(0.7, 1.3), zoom_apart=True), 0, 0, range(200)).zoom
    np.testing.assert_array_equal(apart[:, 0], together[:, 0])
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.2


def test_channels_are_shifted_each_or_alike():
    each = draw_params(Augment(channel_shift=20), 0, 0, range(100)).channel_shift
    assert np.ptp(each, axis=1).min() > 0
    alike = draw_params(Augment(channel_shift=20, channels_alike=True), 0, 0, range(100)).channel_shift
    assert not np.ptp(alike, axis=1).any()
    np.testing.assert_array_equal(alike[:, 0], each[:, 0])
