"""Bands that lie on different pixels, brought to one grid before they become the colours of a picture.

Shape letters: H, W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.images.fits_bands import Plane, without_warnings
from morphoscope.images.fits_plain import PlainHeader
from morphoscope.images.wcs import celestial_of

if TYPE_CHECKING:
    from astropy.io.fits import Header

_ALIKE = 0.1  # pixels by which the corners of two bands may differ to be on one grid
_SAME_SCALE = 0.01  # relative difference of pixel areas up to which fluxes per pixel compare
_LATTICE = 33  # points along each side at which positions are computed; between them, cubic splines
_CARDS = re.compile(
    r"NAXIS\d?|C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA)\d[A-Z]?|(?:CD|PC|PV)\d_\d+[A-Z]?|[AB]P?_.*|EQUINOX"
)


def on_one_grid(planes: Sequence[Plane], name: str) -> tuple[list[Plane], bool]:
    """The same bands on the pixels of the one with the smallest pixels (of the first, where they are alike).

    Fluxes per pixel are scaled to that size of pixels; those per steradian are not. Bands of which nothing
    says where they lie stay as they are if they have one size.

    Args:
        planes: bands with their headers.
        name: what messages call the image.

    Returns:
        The bands, all of one shape, those that were resampled NaN beyond their own border and without data;
        and whether any was.

    Raises:
        MorphoscopeError: sizes differ, and a band has no world coordinates.
    """
    whole = list(planes)
    shapes = [plane.pixels.shape for plane in whole]
    if len(whole) == 1 or (len(set(shapes)) == 1 and _same_cards([plane.header for plane in whole])):
        return whole, False
    found = [celestial_of(plane.header) for plane in whole]
    if any(one.wcs is None for one in found):
        if len(set(shapes)) == 1:
            return whole, False
        reason = next(one.reason for one in found if one.wcs is None)
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        raise MorphoscopeError(
            f"{name}: the bands differ in size ({sizes}) and cannot be matched by their positions: {reason}; "
            "bring them to the same pixels first"
        )
    skies: list[Any] = [one.wcs for one in found]
    areas = np.array([abs(np.linalg.det(sky.pixel_scale_matrix)) for sky in skies])
    base = int(np.flatnonzero(areas < areas.min() * (1 + _SAME_SCALE))[0])
    regridded = False
    for number, plane in enumerate(whole):
        if number == base:
            continue
        at = _positions(skies[base], shapes[base], skies[number])
        if shapes[number] == shapes[base] and _as_they_are(at):
            continue
        pixels = _sampled(plane.pixels, *at)
        ratio = areas[base] / areas[number]
        if abs(ratio - 1) > _SAME_SCALE and not plane.flux.unit.endswith("/sr"):
            pixels = pixels * np.float32(ratio)
        whole[number], regridded = replace(plane, pixels=pixels, header=whole[base].header), True
    if regridded:
        whole = [replace(plane, header=whole[base].header) for plane in whole]
    return whole, regridded


def _same_cards(headers: Sequence[Header]) -> bool:
    """Whether headers say the same of where the pixels lie."""
    first = headers[0]
    return all(header is first for header in headers) or len({_cards(header) for header in headers}) == 1


def _cards(header: Header) -> tuple[str, ...]:
    with nullcontext() if isinstance(header, PlainHeader) else without_warnings():  # astropy verifies late
        return tuple(sorted(_text(card) for card in header.cards if _CARDS.fullmatch(card.keyword)))


def _text(card: Any) -> str:
    try:
        return str(card)
    except ValueError:  # astropy reads more than it writes: a card with odd letters is like no other
        return f"{card.keyword} {id(card)}"


def _positions(base: Any, shape: tuple[int, ...], other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in another band of each pixel of the first, (H, W) each."""
    from scipy.interpolate import RectBivariateSpline

    height, width = shape
    rows, columns = (np.linspace(0, side - 1, min(side, _LATTICE)) for side in shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    with without_warnings():
        found = np.array(other.world_to_pixel(base.pixel_to_world(x, y)))
    if not np.isfinite(found).all() or min(len(rows), len(columns)) < 4:
        y, x = np.mgrid[:height, :width]
        with without_warnings():
            columns_HW, rows_HW = other.world_to_pixel(base.pixel_to_world(x, y))
        return np.asarray(columns_HW), np.asarray(rows_HW)
    columns_HW, rows_HW = (
        RectBivariateSpline(rows, columns, part)(np.arange(height), np.arange(width)) for part in found
    )
    return columns_HW, rows_HW


def _as_they_are(at: tuple[np.ndarray, np.ndarray]) -> bool:
    height, width = at[0].shape
    corners = np.ix_([0, height // 2, -1], [0, width // 2, -1])
    y, x = np.mgrid[:height, :width]
    apart = np.hypot(at[0][corners] - x[corners], at[1][corners] - y[corners])
    return bool((apart < _ALIKE).all())


def _sampled(plane_HW: np.ndarray, columns_HW: np.ndarray, rows_HW: np.ndarray) -> np.ndarray:
    """A band at positions between its pixels, linearly; NaN beyond its border."""
    return cv2.remap(
        np.ascontiguousarray(plane_HW, np.float32),
        np.asarray(columns_HW, np.float32),
        np.asarray(rows_HW, np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
