from __future__ import annotations

import numpy as np
import pytest

from morphoscope.images.coverage import joined, lacking


def lost(share_of_rows: float, shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    lost_HW = np.zeros(shape, bool)
    lost_HW[: round(share_of_rows * shape[0])] = True
    return lost_HW


@pytest.mark.parametrize(
    ("lost_HW", "words"),
    [
        (lost(0), ""),
        (lost(0.23), "no data 23%"),
        (lost(0.001, (1000, 10)), "no data <1%"),
        (lost(0.999, (1000, 10)), "no data 99%; no data at the centre"),
        (lost(1), "no data 100%; no data at the centre"),
        (np.zeros((0, 0), bool), ""),
    ],
)
def test_what_an_image_lacks(lost_HW: np.ndarray, words: str) -> None:
    assert joined(lacking(lost_HW)) == words


@pytest.mark.parametrize("side", [1, 2, 9, 10, 101])
def test_the_middle_counts(side: int) -> None:
    lost_HW = np.zeros((side, side), bool)
    lost_HW[side // 2, side // 2] = lost_HW[(side - 1) // 2, (side - 1) // 2] = True
    lost_HW[(side - 1) // 2, side // 2] = True
    half = max(1, round(side / 20))
    lost_HW[side // 2 - half : side // 2 + half + 1, side // 2 - half : side // 2 + half + 1] = True
    assert "no data at the centre" in lacking(lost_HW)
    corner_HW = np.zeros((side + 20, side + 20), bool)
    corner_HW[0, 0] = True
    assert lacking(corner_HW)[1:] == ()
