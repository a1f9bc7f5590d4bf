"""Source detection on an image of the sky: positions, sizes, and a square cutout of each source.

Shape letters: H × W pixels of the image, C channels, S sources. Pixel coordinates are (x, y) =
(column, row), counted from 0 at the centre of the first pixel of the array.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import DETECTION, need
from morphoscope.images.coverage import uncovered
from morphoscope.images.decode import crop_and_resize
from morphoscope.images.source_quality import faults_of_sources, half_maximum_widths, saturated_pixels

if TYPE_CHECKING:
    from photutils.segmentation import SegmentationImage

SEEING = 1.2  # sigma in pixels of the Gaussian that faint sources are smoothed with before detection
BLANK_AREA = 64  # pixels: smaller black patches of an image are dark sky, larger ones are outside the image
FLOOR = 1e-3  # minimum noise, in units of the image's range
MIN_AREA = 150  # pixels of a source to classify: on fewer than some 14 across hardly any shape can be told
BLANK_MARGIN = 3  # margin around pixels without data, pixels


@dataclass(frozen=True)
class Sources:
    """Detected sources, brightest first; every array is (S,).

    Attributes:
        x: column of the centroid, pixels.
        y: row of the centroid, pixels.
        radius: semi-major axis of the segment, pixels: that of the ellipse with its area and elongation,
            so that the ends of an edge-on galaxy are inside.
        area: of the segment above the threshold, pixels.
        flux: sum over the segment above the background, grey levels.
        signal: brightest pixel of the smoothed image, in units of the sky's noise.
        elongation: major over minor axis, from the second moments of the light.
        sky: colour of the background, (C,) grey levels.
        width: full width at half maximum, pixels.
        flat: saturated (white) pixels of a picture.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    area: np.ndarray
    flux: np.ndarray
    signal: np.ndarray
    elongation: np.ndarray
    sky: np.ndarray
    width: np.ndarray
    flat: np.ndarray

    def faults(self) -> list[tuple[str, ...]]:
        """Why each gets no class (see :mod:`morphoscope.images.source_quality`), (S,)."""
        return faults_of_sources(2 * self.radius, self.signal, self.width, self.elongation, self.flat)

    def __len__(self) -> int:
        return len(self.x)


def detect_sources(
    image_HWC: np.ndarray,
    *,
    threshold: float = 8.0,
    min_area: int = 60,
    contrast: float = 0.005,
    box: int = 64,
    edge: int = 2,
    floor: float = FLOOR,
) -> Sources:
    """Find stars and galaxies on an image.

    The channels are averaged, the background and its noise are estimated on a mesh, and connected pixels
    above the noise are one source unless deblending separates them (photutils). Pixels without data (NaN, or
    zeros as in the corner of a mosaic; see also :func:`morphoscope.images.coverage.uncovered`) change neither
    background nor noise. Sources that touch the border or such pixels are cut off, and left out.

    Args:
        image_HWC: (H, W) or (H, W, C); uint8 for a picture, any other real type for measured values.
        threshold: minimum brightness of a source's pixels, in units of the smoothed sky's noise.
        min_area: minimum number of connected pixels above the threshold. 60 pixels are a disc 9 across,
            about the smallest whose shape can be seen.
        contrast: fraction of the light that a component needs to be separated from its neighbour; 1: never.
        box: side of the mesh on which the background is estimated, pixels.
        edge: a source whose segment comes closer than this to the border is left out, pixels.
        floor: minimum noise, in units of the image's range; 0 for measured fluxes, whose range a single
            bright star may determine.

    Returns:
        Sources, brightest first; none on an empty or constant image.

    Raises:
        MorphoscopeError: the array is not an image, or photutils or scikit-image is not installed.
    """
    need(DETECTION, "detect", "finding sources")
    if image_HWC.ndim not in (2, 3) or not image_HWC.size:
        raise MorphoscopeError(
            f"an image of (height, width) or (height, width, channels) was expected, got {image_HWC.shape}"
        )
    channels = image_HWC.reshape(*image_HWC.shape[:2], -1)
    blank_HW = _without_data(channels)
    colour = _sky_colour(channels, blank_HW)
    if blank_HW.all():
        return _none(colour)
    # Zeros would lower the smoothed image next to a blank region, and NaN would spread.
    grey_HW = np.where(blank_HW, np.nanmean(colour), channels.mean(axis=2, dtype=np.float64))
    light_HW, noise_HW = _above_background(grey_HW, blank_HW, box, floor)
    segments = _segments(light_HW, threshold * noise_HW, blank_HW, min_area, contrast)
    if segments is None:
        return _none(colour)
    return _measured(channels, grey_HW, light_HW, noise_HW, segments, blank_HW, edge, colour)


def cutout(
    image_HWC: np.ndarray, x: float, y: float, side: int, *, fill: np.ndarray | float = 0.0
) -> np.ndarray:
    """A (side, side, C) square around (x, y), filled with the colour ``fill`` beyond the image's border."""
    height, width = image_HWC.shape[:2]
    left, top = (round(float(middle) - (side - 1) / 2) for middle in (x, y))
    square = np.empty((side, side, *image_HWC.shape[2:]), image_HWC.dtype)
    square[:] = np.asarray(fill).astype(image_HWC.dtype)
    rows = slice(max(top, 0), max(min(top + side, height), 0))
    columns = slice(max(left, 0), max(min(left + side, width), 0))
    inside = image_HWC[rows, columns]
    if inside.size:
        at = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        square[at] = inside
    return square


def cutout_sides(sources: Sources, *, factor: float = 2.0, minimum: int = 24) -> np.ndarray:
    """Side of each source's cutout, (S,) int64: ``factor`` times its length, at least ``minimum``."""
    return np.maximum(np.rint(2 * factor * sources.radius), minimum).astype(np.int64)


def cutouts(
    image_HWC: np.ndarray,
    sources: Sources,
    *,
    factor: float = 2.0,
    minimum: int = 24,
    size: int | None = None,
) -> list[np.ndarray]:
    """Square cutouts that show each source at about the same size, in the order of ``sources``.

    Args:
        image_HWC: the image the sources were found on.
        sources: S sources.
        factor: side of the cutout in units of the source's length (twice its radius).
        minimum: minimum side, pixels of the image.
        size: side to scale every cutout to; None: no scaling, so sides differ.

    Returns:
        S arrays (side, side, C) of the image's type; beyond the border they have the sky's colour.
    """
    sky = sources.sky if image_HWC.ndim == 3 else sources.sky[0]
    squares = (
        cutout(image_HWC, x, y, int(side), fill=sky)
        for x, y, side in zip(
            sources.x, sources.y, cutout_sides(sources, factor=factor, minimum=minimum), strict=True
        )
    )
    return [square if size is None else crop_and_resize(square, crop=None, size=size) for square in squares]


def _without_data(channels_HWC: np.ndarray) -> np.ndarray:
    """Pixels without data in some channel, with a margin."""
    if channels_HWC.dtype == np.uint8:
        zero_HW = (channels_HWC == 0).all(axis=2).astype(np.uint8)
        _, patch_HW, stats, _ = map(np.asarray, cv2.connectedComponentsWithStats(zero_HW))
        large = stats[:, cv2.CC_STAT_AREA] >= BLANK_AREA
        large[0] = False  # label 0 is everything that is not zero
        blank_HW = large[patch_HW]
    else:
        blank_HW = np.any([uncovered(channel) for channel in np.moveaxis(channels_HWC, 2, 0)], axis=0)
    if not blank_HW.any():
        return blank_HW
    kernel = np.ones((2 * BLANK_MARGIN + 1,) * 2, np.uint8)
    return cv2.dilate(blank_HW.astype(np.uint8), kernel).astype(bool)


def _sky_colour(channels_HWC: np.ndarray, blank_HW: np.ndarray) -> np.ndarray:
    if blank_HW.all():
        return np.zeros(channels_HWC.shape[2])
    return np.median(channels_HWC[~blank_HW], axis=0)


def _above_background(
    grey_HW: np.ndarray, blank_HW: np.ndarray, box: int, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed image without its background, and the noise of the smoothed sky, both (H, W)."""
    from photutils.background import Background2D, MedianBackground

    smooth_HW = cv2.GaussianBlur(grey_HW, (0, 0), SEEING, borderType=cv2.BORDER_REFLECT)
    box_size = tuple(min(box, side) for side in grey_HW.shape)
    with warnings.catch_warnings():
        # astropy warns that masked values were left out of the clipping, as they should be.
        warnings.simplefilter("ignore")
        background = Background2D(
            smooth_HW,
            box_size,
            mask=blank_HW,
            exclude_percentile=90,
            filter_size=3,
            bkg_estimator=MedianBackground(),
        )
    noise_HW = np.asarray(background.background_rms)
    # Without noise (a simulation, a constant image) every pixel would be a source.
    least = max(floor * float(np.ptp(smooth_HW)), np.finfo(np.float64).tiny)
    return smooth_HW - np.asarray(background.background), np.maximum(noise_HW, least)


def _segments(
    light_HW: np.ndarray, threshold_HW: np.ndarray, blank_HW: np.ndarray, min_area: int, contrast: float
) -> SegmentationImage | None:
    """Connected pixels above the threshold, deblended; None when nothing lies above the threshold."""
    from photutils.segmentation import deblend_sources
    from photutils.segmentation import detect_sources as find_segments
    from photutils.utils.exceptions import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        segments = find_segments(light_HW, threshold_HW, min_area, mask=blank_HW)
    if segments is None:
        return None
    return deblend_sources(light_HW, segments, min_area, contrast=contrast, progress_bar=False)


def _measured(
    channels_HWC: np.ndarray,
    grey_HW: np.ndarray,
    light_HW: np.ndarray,
    noise_HW: np.ndarray,
    segments: SegmentationImage,
    blank_HW: np.ndarray,
    edge: int,
    colour: np.ndarray,
) -> Sources:
    """Positions and sizes of the complete segments, brightest first."""
    from photutils.segmentation import SourceCatalog

    segments.remove_border_labels(edge, partial_overlap=True, relabel=False)
    if blank_HW.any():
        segments.remove_masked_labels(blank_HW, partial_overlap=True, relabel=False)
        beside = cv2.dilate(blank_HW.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        segments.remove_masked_labels(beside, partial_overlap=True, relabel=False)
    if segments.n_labels == 0:
        return _none(colour)
    found = SourceCatalog(light_HW, segments)
    flux = np.atleast_1d(found.segment_flux)
    order = np.argsort(-flux, kind="stable")
    peaks = (light_HW / noise_HW)[
        np.atleast_1d(found.max_value_yindex), np.atleast_1d(found.max_value_xindex)
    ]
    columns = {
        "x": found.x_centroid,
        "y": found.y_centroid,
        "radius": found.equivalent_radius * np.sqrt(found.elongation),
        "area": found.area,
        "flux": flux,
        "signal": peaks,
        "elongation": found.elongation,
    }
    values = {
        name: np.atleast_1d(getattr(column, "value", column))[order].astype(np.float64)
        for name, column in columns.items()
    }
    at = values["x"], values["y"], values["radius"]
    widths = half_maximum_widths(grey_HW, *at, float(np.nanmean(colour)))
    return Sources(**values, sky=colour, width=widths, flat=saturated_pixels(channels_HWC, *at))


def _none(colour: np.ndarray) -> Sources:
    empty = np.empty(0)
    return Sources(empty, empty, empty, empty, empty, empty, empty, colour, empty, empty)
