from __future__ import annotations

import galsim
import numpy as np
import pytest

from morphoscope.simulation import profiles
from morphoscope.simulation.survey import DECALS

FRAME = profiles.frame_of(DECALS)


@pytest.mark.parametrize("n", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (3.1, -2.2)])
def test_blurred_sersic_equals_galsims_convolution(n: float, x: float, y: float):
    ours = profiles.sersic(FRAME, n, 2.0, 0.5, 30.0, x, y)
    seeing = np.array([1.2, 1.2, 1.2])
    ours = profiles.blur(np.stack([ours] * 3), FRAME, seeing, 3.0)[1]
    profile = galsim.Sersic(n=n, half_light_radius=2.0 * 0.5**0.5).shear(q=0.5, beta=30 * galsim.degrees)
    seen = galsim.Convolve(profile.shift(x, y), galsim.Moffat(beta=3.0, fwhm=1.2))
    image = galsim.ImageD(FRAME.side, FRAME.side, scale=FRAME.scale)
    theirs = seen.drawImage(image, method="no_pixel").array[::-1]  # its rows run upwards
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.01)
    assert np.abs(ours - theirs).max() < 0.02 * theirs.max()


def test_coordinates_run_right_and_up():
    row, column = FRAME.pixel(FRAME.x_PP[5, 9], FRAME.y_PP[5, 9])
    assert (row, column) == (pytest.approx(5, abs=1e-4), pytest.approx(9, abs=1e-4))
    assert FRAME.x_PP[0, 0] < 0 < FRAME.y_PP[0, 0]
    assert FRAME.cut(np.zeros((3, FRAME.side, FRAME.side))).shape == (3, 256, 256)


def test_angles_turn_counter_clockwise_as_displayed():
    image = profiles.sersic(FRAME, 1.0, 4.0, 0.2, 45.0)
    along = (image * FRAME.x_PP * FRAME.y_PP).sum()
    assert along > 0.5 * (image * FRAME.x_PP**2).sum()


def test_blurring_moves_nothing_and_keeps_the_flux():
    cube = np.zeros((3, FRAME.side, FRAME.side), np.float32)
    profiles.add_point(cube, 100.25, 150.5, np.array([1.0, 2.0, 3.0]))
    seen = profiles.blur(cube, FRAME, np.array([1.3, 1.2, 1.1]), 3.0)
    assert seen.sum(axis=(1, 2)) == pytest.approx([1, 2, 3], rel=1e-4)
    rows, columns = np.mgrid[: FRAME.side, : FRAME.side]
    near = (np.abs(rows - 100.25) < 12) & (np.abs(columns - 150.5) < 12)
    weight = seen[1] * near
    assert (weight * rows).sum() / weight.sum() == pytest.approx(100.25, abs=0.1)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(150.5, abs=0.1)
    widths = [(band > band.max() / 2).sum() for band in seen]
    assert widths[0] > widths[1] > widths[2]


def test_stamps_add_their_flux_where_they_belong():
    cube = np.zeros((3, FRAME.side, FRAME.side), np.float32)
    profiles.add_stamp(cube, FRAME, np.array([1.0, 2.0, 4.0]), 1.0, 1.0, 0.7, 20.0, 10.0, 5.0)
    assert cube.sum(axis=(1, 2)) == pytest.approx([1, 2, 4], rel=0.03)
    assert (cube[1] * FRAME.x_PP).sum() / cube[1].sum() == pytest.approx(10, abs=0.02)
    assert (cube[1] * FRAME.y_PP).sum() / cube[1].sum() == pytest.approx(5, abs=0.02)
    profiles.add_stamp(cube, FRAME, np.ones(3), 1.0, 1.0, 0.7, 20.0, 400.0, 0.0)
    assert cube.sum() == pytest.approx(7, rel=0.03)


def test_edge_on_disc_is_one_in_the_middle_and_half_light_at_its_height():
    x, z = np.array([0.0, 0.0, 3.0]), np.array([0.0, 0.8814, 0.0])  # sech²(0.8814) = 1/2
    middle, high, far = profiles.edge_on(x, z, 3.0, 1.0)
    assert middle == pytest.approx(1, abs=1e-3)
    assert high == pytest.approx(0.5, abs=1e-3)
    assert far == pytest.approx(0.6019, abs=2e-3)  # K₁(1), Abramowitz & Stegun table 9.8
