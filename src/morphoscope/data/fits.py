"""FITS images to RGB: one band to grey, three bands to colour, by a stretch with a name.

Shape letters: B bands (1 or 3; three are red, green, blue), H, W pixels.

A stretch needs to know where the sky lies and how bright is bright. Both are measured in each image,
because cutouts come in counts, in electrons and in nanomaggies alike.
"""

from __future__ import annotations

import gzip
import io
import threading
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean

if TYPE_CHECKING:
    from astropy.io.fits import Header

STRETCHES = ("lupton", "asinh", "linear", "as-served")

# The survey pictures that Galaxy10 DECaLS holds were made with I' = 0.03 + flux, Q = 20, and their sky
# noise is about 0.01 in these units: 33 and 10 of 255 grey levels. "lupton" gives any image that look.
SKY_LEVEL = 0.03
SKY_NOISE = 0.01
SOFTENING = 20.0  # Q of Lupton et al. (2004), PASP 116, 133

_WAVELENGTH_ORDER = "ugrizyjhk"
_LOCK = threading.Lock()  # silencing warnings is not safe in two threads at once


def check_stretch(stretch: str) -> None:
    """Refuse a stretch that does not exist.

    Raises:
        UsageError: the name is unknown; the nearest one is named.
    """
    if stretch not in STRETCHES:
        raise UsageError(f"no stretch '{stretch}'{did_you_mean(stretch, STRETCHES, 'stretches')}")


def read_fits(content: bytes, *, name: str, stretch: str = "lupton") -> np.ndarray:
    """The first image of a FITS file as RGB.

    One plane becomes grey. Three planes, (3, H, W) or (H, W, 3), are red, green and blue in this order,
    unless the header's BANDS (as in Legacy Surveys cutouts, "grz") says otherwise: then the longest
    wavelength is red.

    Args:
        content: the file, gzipped or not.
        name: what messages call it.
        stretch: one of :data:`STRETCHES`.

    Returns:
        (H, W, 3) uint8; row 0 is the top (FITS counts rows from the bottom). NaN and infinite pixels are
        black.

    Raises:
        MorphoscopeError: damaged, no image in it, or neither one nor three planes.
    """
    check_stretch(stretch)
    data, header = _first_image(content, name)
    return stretched(_ordered(_planes(data, name), header), stretch, name=name)[::-1].copy()


def read_bands(paths: Sequence[Path], *, stretch: str = "lupton", name: str = "") -> np.ndarray:
    """Three FITS files of one band each as RGB, in the order red, green, blue.

    Returns:
        (H, W, 3) uint8, row 0 at the top.

    Raises:
        MorphoscopeError: a file is damaged or has more than one plane, or their sizes differ.
    """
    from morphoscope.data.images import read_bytes

    check_stretch(stretch)
    bands = []
    for path in paths:
        planes = _planes(_first_image(read_bytes(path, str(path)), str(path))[0], str(path))
        if len(planes) != 1:
            raise MorphoscopeError(f"{path}: has {len(planes)} planes; one band a file was expected here")
        bands += planes
    return stretched(bands, stretch, name=name or str(paths[0]))[::-1].copy()


def stretched(bands: Sequence[np.ndarray], stretch: str, *, name: str) -> np.ndarray:
    """Measured values to 0..255.

    Args:
        bands: one or three arrays (H, W) of any number type and byte order.
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
    scaled_BHW = _scale(planes_BHW, finite_BHW, stretch, name)
    grey_BHW = np.rint(255.0 * np.clip(scaled_BHW, 0.0, 1.0)).astype(np.uint8)
    grey_BHW[~finite_BHW] = 0
    return np.ascontiguousarray(np.broadcast_to(grey_BHW, (3, *grey_BHW.shape[1:])).transpose(1, 2, 0))


def _scale(planes_BHW: np.ndarray, finite_BHW: np.ndarray, stretch: str, name: str) -> np.ndarray:
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
        sky, noise = np.array([_sky(v) for v in values], np.float32).T[:, :, None, None]
        return _lupton(SKY_LEVEL + SKY_NOISE * (filled_BHW - sky) / noise)
    limits = np.array([np.percentile(v, (1.0, 99.5)) for v in values], np.float32)
    low, high = limits.T[:, :, None, None]
    share_BHW = np.clip((filled_BHW - low) / np.maximum(high - low, np.finfo(np.float32).tiny), 0.0, 1.0)
    return np.arcsinh(10.0 * share_BHW) / np.arcsinh(10.0) if stretch == "asinh" else share_BHW


def _sky(values: np.ndarray) -> tuple[float, float]:
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


def _first_image(content: bytes, name: str) -> tuple[np.ndarray, Header]:
    """The first two- or three-dimensional image of a file, as numbers in this machine's byte order."""
    from astropy.io import fits

    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise MorphoscopeError(f"{name}: is damaged ({error})") from error
    if not content.startswith(b"SIMPLE  ="):
        raise MorphoscopeError(f"{name}: is not an image (JPEG, PNG, TIFF or FITS)")
    try:
        # Warnings here are about headers that bend the standard; what cannot be read raises.
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, output_verify="ignore") as units:
                unit: Any
                for unit in units:
                    if unit.is_image and (found := _image_of(unit)) is not None:
                        return found, unit.header
    except Exception as error:  # astropy raises anything at all on bytes that are not what it expects
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MorphoscopeError(f"{name}: is damaged or cut off ({reason})") from error
    raise MorphoscopeError(f"{name}: holds no image; a FITS image of one or three planes was expected")


def _image_of(unit: Any) -> np.ndarray | None:
    data = unit.data  # BSCALE, BZERO and BLANK are applied by astropy
    if data is None or data.ndim < 2:
        return None
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _planes(data: np.ndarray, name: str) -> list[np.ndarray]:
    shape = data.shape
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    if data.ndim == 2:
        return [data]
    if data.ndim == 3 and data.shape[0] == 3:
        return list(data)
    if data.ndim == 3 and data.shape[2] == 3:
        return list(data.transpose(2, 0, 1))
    raise MorphoscopeError(
        f"{name}: the image is {'×'.join(map(str, shape))}; one or three planes were expected"
    )


def _ordered(planes: list[np.ndarray], header: Header) -> list[np.ndarray]:
    bands = str(header.get("BANDS", "")).strip().lower()
    if len(planes) != 3 or len(bands) != 3 or not set(bands) <= set(_WAVELENGTH_ORDER):
        return planes
    reddest_first = sorted(range(3), key=lambda plane: -_WAVELENGTH_ORDER.index(bands[plane]))
    return [planes[plane] for plane in reddest_first]
