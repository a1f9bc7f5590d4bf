from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from morphoscope.report.html.document import LARGEST, data_uri


def shown(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_small_pictures_keep_their_pixels_and_colours() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16] = (220, 90, 30)
    image[:, 16:] = (20, 60, 200)
    assert np.abs(shown(data_uri(image)).astype(int) - image).max() < 8


def test_large_pictures_are_scaled_down_in_proportion() -> None:
    image = np.full((400, 800, 3), 77, np.uint8)
    small = shown(data_uri(image))
    assert small.shape == (LARGEST // 2, LARGEST, 3)
    assert np.abs(small.astype(int) - 77).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_bands(channels: int) -> None:
    assert shown(data_uri(np.full((8, 8, channels), 40, np.uint8))).shape == (8, 8, 3)
