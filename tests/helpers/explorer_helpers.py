"""Helpers of the explorer's tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def pixels_of(content: bytes) -> np.ndarray:
    """The pixels of an image file, (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
