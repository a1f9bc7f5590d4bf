"""Masks of the components of a simulated galaxy: the ground truth for attribution maps.

Shape letters: P side of the padded frame, H and W those of the cutout, S of the image.
"""

from __future__ import annotations

import cv2
import numpy as np

from morphoscope.simulation.profiles import Frame

# Bit k of a mask stands for the k-th name. "bulge" includes whole ellipticals; "tail" everything tidal:
# tails, shells, bridges; "neighbour" chance projections.
COMPONENTS = ("bulge", "disc", "arms", "bar", "companion", "tail", "star", "neighbour")
LEAST_SHARE = 1 / 3  # of a pixel's flux that a component must contribute
_FWHM = 2.3548  # full width at half maximum over standard deviation of a Gaussian


def component_mask(layers: dict[str, np.ndarray], frame: Frame, faintest: float) -> np.ndarray:
    """The bit mask of a cutout, (H, W) uint8.

    A component has a pixel where its r-band flux, at the survey's median seeing, exceeds the noise of one
    pixel and a third of the total flux there. So masks overlap (arms on a disc), and what cannot be seen is
    in none.

    Args:
        layers: r-band image of each component before the PSF, (P, P).
        frame: of the layers.
        faintest: noise, in the units of the layers.
    """
    sigma = frame.survey.seeing[1] / _FWHM / frame.survey.pixel_scale
    blurred = {
        name: cv2.GaussianBlur(frame.cut(layer_PP), (0, 0), sigma) for name, layer_PP in layers.items()
    }
    all_HW = sum(blurred.values(), np.zeros((frame.survey.side,) * 2, np.float32))
    limit_HW = np.maximum(np.float32(LEAST_SHARE) * all_HW, np.float32(faintest))
    mask_HW = np.zeros(limit_HW.shape, np.uint8)
    for name, layer_HW in blurred.items():
        mask_HW |= (layer_HW > limit_HW).astype(np.uint8) << np.uint8(COMPONENTS.index(name))
    return mask_HW


def scaled_mask(mask_HW: np.ndarray, size: int) -> np.ndarray:
    """A resized bit mask, (S, S) uint8: a bit is set where it covers at least half of the pixel."""
    if size == mask_HW.shape[0]:
        return mask_HW
    method = cv2.INTER_AREA if size < mask_HW.shape[0] else cv2.INTER_LINEAR
    scaled_SS = np.zeros((size, size), np.uint8)
    for bit in range(len(COMPONENTS)):
        plane_HW = ((mask_HW >> bit) & 1) * np.uint8(255)
        if plane_HW.any():
            plane_SS = cv2.resize(plane_HW, (size, size), interpolation=method)
            scaled_SS |= (plane_SS >= 128).astype(np.uint8) << np.uint8(bit)
    return scaled_SS
