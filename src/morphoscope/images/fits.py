"""FITS images to RGB: one band to grey, two or three bands to colour, by a stretch with a name.

Shape letters: B bands (1 to 3, red first), H, W pixels.

A stretch needs to know where the sky lies and how bright is bright. Both are measured in each image,
because cutouts come in counts, in electrons and in nanomaggies alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.images.fits_bands import read_planes

STRETCHES = ("lupton", "asinh", "linear", "as-served")

# The survey pictures that Galaxy10 DECaLS holds were made with I' = 0.03 + flux, Q = 20, and their sky
# noise is about 0.01 in these units: 33 and 10 of 255 grey levels. "lupton" gives any image that look.
SKY_LEVEL = 0.03
SKY_NOISE = 0.01
SOFTENING = 20.0  # Q of Lupton et al. (2004), PASP 116, 133


def check_stretch(stretch: str) -> None:
    """Refuse a stretch that does not exist.

    Raises:
        UsageError: the name is unknown; the nearest one is named.
    """
    if stretch not in STRETCHES:
        raise UsageError(f"no stretch '{stretch}'{did_you_mean(stretch, STRETCHES, 'stretches')}")


def read_fits(content: bytes, *, name: str, stretch: str = "lupton", bands: Sequence[str] = ()) -> np.ndarray:
    """An image of a FITS file as RGB.

    Without ``bands``, the first image of the file is taken: one plane becomes grey, two are red and blue,
    three red, green and blue, (B, H, W) or (H, W, B), in this order, unless the header's BANDS (as in
    Legacy Surveys cutouts, "grz") says otherwise: then the longest wavelength is red. Extensions that are
    named as bands (EXTNAME or FILTER) are taken together. See :mod:`morphoscope.images.fits_bands` for
    ``bands``.

    Args:
        content: the file, gzipped or not.
        name: what messages call it.
        stretch: one of :data:`STRETCHES`.
        bands: one to three bands to take out of the file, in any order; none: all that there are.

    Returns:
        (H, W, 3) uint8; row 0 is the top (FITS counts rows from the bottom). NaN and infinite pixels are
        black.

    Raises:
        MorphoscopeError: damaged, no image in it, more than three planes, or a band is not there.
    """
    check_stretch(stretch)
    return stretched(read_planes(content, name, bands), stretch, name=name)[::-1].copy()


def read_bands(sources: Sequence[Path | bytes], *, stretch: str = "lupton", name: str = "") -> np.ndarray:
    """FITS files or contents of one band each as RGB: one, two (red, blue) or three (red, green, blue).

    Returns:
        (H, W, 3) uint8, row 0 at the top.

    Raises:
        MorphoscopeError: a file is damaged or has more than one plane, or their sizes differ.
    """
    check_stretch(stretch)
    bands = []
    names = [name or "image" if isinstance(source, bytes) else str(source) for source in sources]
    for source, called in zip(sources, names, strict=True):
        content = source if isinstance(source, bytes) else files.read_bytes(source, called)
        planes = read_planes(content, called)
        if len(planes) != 1:
            raise MorphoscopeError(f"{called}: has {len(planes)} planes; one band a file was expected here")
        bands += planes
    return stretched(bands, stretch, name=name or names[0])[::-1].copy()


def stretched(bands: Sequence[np.ndarray], stretch: str, *, name: str) -> np.ndarray:
    """Measured values to 0..255.

    Args:
        bands: one, two or three arrays (H, W) of any number type and byte order, the reddest first. Of two,
            the middle channel is the mean, taken after sky and noise (or the percentiles) of each are
            brought to the same level and before the curve.
        stretch: "lupton": asinh of the mean intensity that keeps colours (Lupton et al. 2004), sky and
            noise of each band brought to those of the survey's pictures; "asinh" (softening 0.1) and
            "linear": each band from its 1st to its 99.5th percentile; "as-served": values are grey levels
            already.
        name: what messages call the image.

    Returns:
        (H, W, 3) uint8; pixels that are not finite are black.

    Raises:
        MorphoscopeError: sizes differ, no pixel is finite, or "as-served" meets values beyond 0..255.
    """
    check_stretch(stretch)
    if len({band.shape for band in bands}) != 1:
        sizes = ", ".join("×".join(map(str, band.shape)) for band in bands)
        raise MorphoscopeError(f"{name}: the bands differ in size ({sizes})")
    planes_BHW = np.stack([np.asarray(band, np.float32) for band in bands])
    finite_BHW = np.isfinite(planes_BHW)
    if not finite_BHW.any(axis=(1, 2)).all():
        raise MorphoscopeError(f"{name}: no pixel has a finite value")
    levels_BHW = _levels(planes_BHW, finite_BHW, stretch, name)
    if len(levels_BHW) == 2:
        levels_BHW = _with_mean_between(levels_BHW)
        finite_BHW = np.stack([finite_BHW[0], finite_BHW.all(axis=0), finite_BHW[1]])
    scaled_BHW = _curved(levels_BHW, stretch)
    grey_BHW = np.rint(255.0 * np.clip(scaled_BHW, 0.0, 1.0)).astype(np.uint8)
    grey_BHW[~finite_BHW] = 0
    return np.ascontiguousarray(np.broadcast_to(grey_BHW, (3, *grey_BHW.shape[1:])).transpose(1, 2, 0))


def _levels(planes_BHW: np.ndarray, finite_BHW: np.ndarray, stretch: str, name: str) -> np.ndarray:
    """Each band in the units of the stretch's curve: linear in the flux."""
    values = [plane[finite] for plane, finite in zip(planes_BHW, finite_BHW, strict=True)]
    filled_BHW = np.where(finite_BHW, planes_BHW, 0.0)
    if stretch == "as-served":
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        if low < 0 or high > 255:
            raise MorphoscopeError(
                f"{name}: values run from {low:.4g} to {high:.4g}, and stretch as-served needs grey levels "
                "from 0 to 255; choose lupton, asinh or linear"
            )
        return filled_BHW / 255.0
    if stretch == "lupton":
        sky, noise = np.array([sky_of(v) for v in values], np.float32).T[:, :, None, None]
        return SKY_LEVEL + SKY_NOISE * (filled_BHW - sky) / noise
    limits = np.array([np.percentile(v, (1.0, 99.5)) for v in values], np.float32)
    low, high = limits.T[:, :, None, None]
    return np.clip((filled_BHW - low) / np.maximum(high - low, np.finfo(np.float32).tiny), 0.0, 1.0)


def _curved(levels_BHW: np.ndarray, stretch: str) -> np.ndarray:
    if stretch == "lupton":
        return _lupton(levels_BHW)
    return np.arcsinh(10.0 * levels_BHW) / np.arcsinh(10.0) if stretch == "asinh" else levels_BHW


def _with_mean_between(levels_BHW: np.ndarray) -> np.ndarray:
    return np.stack([levels_BHW[0], levels_BHW.mean(axis=0), levels_BHW[1]])


def sky_of(values: np.ndarray) -> tuple[float, float]:
    """Level and noise of the sky: the median after clipping at 3σ, and σ from the pixels below it."""
    # The sky of a cutout is smooth: a sample of its pixels gives the same answer in a tenth of the time.
    values = values[:: max(1, values.size // 20_000)]
    brightest = float(values.max())
    level, noise = _level_and_noise(values)
    for _ in range(5):
        kept = values[np.abs(values - level) <= 3 * noise]
        if noise == 0 or len(kept) == len(values):
            break
        values = kept
        level, noise = _level_and_noise(values)
    if noise == 0:  # a picture without noise: its brightest pixels just saturate
        noise = (brightest - level) * SKY_NOISE * SOFTENING / np.sinh(np.sqrt(SOFTENING))
    return level, noise or 1.0


def _level_and_noise(values: np.ndarray) -> tuple[float, float]:
    level = np.median(values)
    return float(level), float(1.4826 * np.median(level - values[values <= level]))


def _lupton(flux_BHW: np.ndarray) -> np.ndarray:
    """Eq. 2 of Lupton et al. (2004): colours are kept where one band would saturate."""
    intensity_HW = np.maximum(flux_BHW.mean(axis=0), 1e-6)
    factor_HW = np.arcsinh(SOFTENING * intensity_HW) / (np.sqrt(SOFTENING) * intensity_HW)
    picture_BHW = np.maximum(flux_BHW * factor_HW, 0.0)
    return picture_BHW / np.maximum(picture_BHW.max(axis=0), 1.0)
