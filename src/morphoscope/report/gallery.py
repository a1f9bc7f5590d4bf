"""Galaxies on a page: small pictures inside the file itself, with their captions as text.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.report.figures_data import rgb

LARGEST = 224  # pixels; shown at about half of that, sharp on fine screens and in print
QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """One galaxy: its picture as a data URI, what it shows for those who do not see it, its caption."""

    uri: str
    alt: str
    lines: Sequence[str] = ()
    """Caption: the first line is emphasised."""


@dataclass(frozen=True)
class Shelf:
    """A row of pictures with a title."""

    title: str
    note: str
    pictures: Sequence[Picture]


def data_uri(image_HWC: np.ndarray) -> str:
    """An image as a ``data:`` address, JPEG, at most :data:`LARGEST` pixels along a side."""
    import cv2

    image = np.ascontiguousarray(rgb(image_HWC)[:, :, ::-1])
    height, width = image.shape[:2]
    scale = LARGEST / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Full resolution of colour: galaxies are a few pixels of colour on a dark sky.
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    done, encoded = cv2.imencode(".jpg", image, [*options, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])
    if not done:
        raise MorphoscopeError(f"an image of {image_HWC.shape} could not be written into the report")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
