"""Which pixels belong to the galaxy in the middle of an image, by photutils.

The sky's level and noise are sigma-clipped (3σ) statistics of the pixels with data. On the image smoothed by
photutils' default kernel, connected pixels above a threshold make segments, and blended ones are separated
(Bertin & Arnouts 1996, doi:10.1051/aas:1996164).

Shape letters: H × W pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from morphoscope.errors import MorphoscopeError

SEEING = 3.0  # FWHM of the smoothing, pixels
LEAST_AREA = 10  # pixels of a segment
CONTRAST = 0.01  # share of a source's flux that a blended one must have to be separated
_MIDDLE = 0.15  # of the shorter side: how far from the middle the galaxy may be


@dataclass(frozen=True)
class Segment:
    """The galaxy in the middle.

    Attributes:
        labels: (H, W) int, 0 for sky.
        label: of the galaxy.
        sky: level that was subtracted.
        noise: standard deviation of the sky.
    """

    labels: np.ndarray
    label: int
    sky: float
    noise: float


def central_segment(image_HW: np.ndarray, lost_HW: np.ndarray, threshold: float) -> Segment:
    """Find the galaxy in the middle of an image.

    Args:
        image_HW: fluxes.
        lost_HW: bool, true where there is no data.
        threshold: least brightness of its pixels, in units of the sky's noise.

    Raises:
        MorphoscopeError: nothing is there, or the sky has no noise.
    """
    from astropy.convolution import convolve
    from astropy.stats import sigma_clipped_stats
    from astropy.utils.exceptions import AstropyWarning
    from photutils.segmentation import SourceFinder, make_2dgaussian_kernel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        _, sky, noise = sigma_clipped_stats(image_HW, mask=lost_HW, sigma=3.0)
        if not np.isfinite(noise) or noise <= 0:
            raise MorphoscopeError("the sky has no noise, so nothing can be told from it")
        bare_HW = np.where(lost_HW, 0.0, image_HW - sky)
        smooth_HW = convolve(bare_HW, make_2dgaussian_kernel(SEEING, size=5), mask=lost_HW)
        finder = SourceFinder(LEAST_AREA, contrast=CONTRAST, progress_bar=False)
        found = finder(smooth_HW, threshold * noise, mask=lost_HW)
    if found is None:
        raise MorphoscopeError(f"no source stands {threshold:g} noises above the sky")
    labels_HW = np.asarray(found.data)
    label = _in_the_middle(labels_HW)
    if not label:
        raise MorphoscopeError("no source is in the middle of the image")
    return Segment(labels_HW, label, float(sky), float(noise))


def _in_the_middle(labels_HW: np.ndarray) -> int:
    """The label of the middle pixel, or else the one nearest to it; 0 if none is near."""
    rows, columns = np.nonzero(labels_HW)
    height, width = labels_HW.shape
    far = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    nearest = int(far.argmin())
    if far[nearest] > _MIDDLE * min(height, width):
        return 0
    return int(labels_HW[rows[nearest], columns[nearest]])
