from __future__ import annotations

import numpy as np
import pytest

from morphoscope.images.sample import sampled
from morphoscope.images.stretch import sky_of


@pytest.mark.parametrize("width", [1000, 1024, 2000, 3600, 4000])
def test_a_sample_comes_from_all_columns(width: int) -> None:
    column_N = np.tile(np.arange(width, dtype=np.int16), width)
    found = sampled(column_N)
    assert 15_000 < found.size <= 21_000
    assert len(np.unique(found)) == width


def test_a_small_image_is_its_own_sample() -> None:
    values = np.arange(19_999)
    assert np.array_equal(sampled(values), values)


def test_few_columns_do_not_make_the_sky() -> None:
    image_HW = np.random.default_rng(0).normal(10, 1, (2000, 2000)).astype(np.float32)
    image_HW[:, ::200] += 5
    level, noise = sky_of(image_HW.ravel())
    assert level == pytest.approx(10, abs=0.1)
    assert noise == pytest.approx(1, abs=0.1)
