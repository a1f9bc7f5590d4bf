"""Stretches: mapping measured fluxes to 0..255, with their scales and the sky level.

Shape letters: B bands (1 to 3, red first), H, W pixels.

A stretch needs a sky level and a brightness scale. ``legacy`` and ``sdss`` take both from the surveys'
published images, for fluxes in nanomaggies; the others measure them in each image, because cutouts may be
in counts, electrons or nanomaggies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.images.sample import sampled


@dataclass(frozen=True)
class PublishedScales:
    """How a survey's published images are made from fluxes in nanomaggies per pixel.

    Attributes:
        factors: multiplier of each band.
        floor: m, the level of empty sky.
        softening: Q of Lupton et al. (2004).
    """

    factors: dict[str, float]
    floor: float
    softening: float


# Both as the DESI Legacy Surveys' sky viewer paints its layers (github.com/legacysurvey/imagine,
# map/views.py); "legacy" is also the stretch of the pictures in Galaxy10 DECaLS and Galaxy Zoo DECaLS.
PUBLISHED = {
    "legacy": PublishedScales({"g": 6.0, "r": 3.4, "i": 3.0, "z": 2.2}, floor=0.03, softening=20.0),
    "sdss": PublishedScales({"u": 1.5, "g": 2.5, "r": 1.5, "i": 1.0, "z": 0.4}, floor=0.02, softening=20.0),
}
STRETCHES = ("lupton", *PUBLISHED, "asinh", "linear", "as-served")
"""Stretches to a picture of three channels."""
VALUES, LEVELS = "values", "bands"
PLANES = (VALUES, LEVELS)
"""Instead of a picture, one plane a band: float32 values as measured, or grey levels from each band alone."""
MOST_PLANES = 8

# "lupton" gives any image the sky of the Legacy Surveys' images: I' = 0.03 + flux with Q = 20, and a noise
# of about 0.01 in these units: 33 and 10 of 255 grey levels.
SKY_LEVEL = 0.03
SKY_NOISE = 0.01
SOFTENING = 20.0  # Q of Lupton et al. (2004), PASP 116, 133
ASSUMED = "assumed"  # assumed for bands unless their headers say that units differ
_MOST_UNEQUAL = 30.0  # ratio of two bands' noise above which their units must differ


@dataclass(frozen=True)
class Flux:
    """What is known about the values of one band.

    Attributes:
        band: its label (see :func:`morphoscope.images.bands.band_label`); empty if unknown.
        unit: flux unit as in the header; empty if unknown, and for counts, which depend on the exposure.
        nanomaggies: nanomaggies per unit; None if unknown.
        survey: a key of :data:`PUBLISHED` if the header names the survey.
    """

    band: str = ""
    unit: str = ""
    nanomaggies: float | None = None
    survey: str = ""


@dataclass(frozen=True)
class Rendering:
    """How an image was rendered.

    Attributes:
        no_data: fraction of pixels without data in at least one band; they get the colour of the sky.
        scaling: "legacy", "sdss", "asinh", "linear" or "as-served"; "lupton" for one band, "lupton, one
            scale" for bands of one unit of flux, "lupton, by noise" for bands in different units.
        quality: what is wrong with the image, see :func:`morphoscope.images.coverage.lacking`.
    """

    no_data: float
    scaling: str
    quality: tuple[str, ...] = ()


def check_stretch(stretch: str) -> None:
    """Refuse a stretch that does not exist.

    Raises:
        UsageError: the name is unknown; the message suggests the most similar one.
    """
    known = (*STRETCHES, *PLANES)
    if stretch not in known:
        raise UsageError(f"no stretch '{stretch}'{did_you_mean(stretch, known, 'stretches')}")


def check_bands(bands: Sequence[str], stretch: str) -> None:
    """Refuse planes without names, and a picture of more than three bands.

    Raises:
        UsageError: it is either.
    """
    if stretch in PLANES and not bands:
        raise UsageError(
            f"the stretch '{stretch}' keeps every band as a plane of its own; name them with --bands"
        )
    if stretch not in PLANES and len(bands) > 3:
        raise UsageError(
            f"--bands {','.join(bands)}: a picture with the stretch '{stretch}' has one, two or three bands; "
            f"--stretch {VALUES} keeps up to {MOST_PLANES}, each as a plane"
        )


def stretched(
    bands: Sequence[np.ndarray], stretch: str, *, name: str, flux: Sequence[Flux] = ()
) -> np.ndarray:
    """The image alone; see :func:`rendered`."""
    return rendered(bands, stretch, name=name, flux=flux)[0]


_MEASURED: ContextVar[list[tuple[Sequence[np.ndarray], Sequence[Flux]]] | None] = ContextVar(
    "measured", default=None
)


@contextmanager
def measured_values() -> Iterator[list[tuple[Sequence[np.ndarray], Sequence[Flux]]]]:
    """Collect, for each image that this thread renders in the block, its values before any stretch.

    Yields:
        A list that gets the bands (H, W) of each image, reddest first and north up, and what is known of
        each.
    """
    collected: list[tuple[Sequence[np.ndarray], Sequence[Flux]]] = []
    token = _MEASURED.set(collected)
    try:
        yield collected
    finally:
        _MEASURED.reset(token)


def rendered(
    bands: Sequence[np.ndarray], stretch: str, *, name: str, flux: Sequence[Flux] = ()
) -> tuple[np.ndarray, Rendering]:
    """Map measured values to 0..255, or keep them.

    Args:
        bands: one, two or three (for planes up to eight) arrays (H, W) of any numeric type and byte order,
            reddest first; pixels without data are NaN or infinite. For two bands, the middle channel is their
            mean, taken before the curve.
        stretch: "legacy" and "sdss": the surveys' published scales, for fluxes in nanomaggies (assumed if
            the unit is unknown). "lupton": asinh of the mean intensity, which keeps colours (Lupton et al.
            2004); sky and noise become those of the Legacy Surveys' images. Bands with the same flux unit
            share one scale, so equal fluxes are white; bands whose units differ or are unknown, or whose
            noise differs by a factor of thirty, are each scaled by their own noise. If the headers of two
            or three bands name a survey with published scales, these are used. "asinh" (softening 0.1) and
            "linear": each band from its 1st to its 99.5th percentile. "as-served": values are already grey
            levels. "values": each band as it is; "bands": each band by "lupton" from its own sky and noise.
        name: name used in messages.
        flux: what is known about each band; if empty, one unit is assumed.

    Returns:
        The image, (H, W, 3) uint8, and how it was made. A pixel without data in some band gets the colour
        of the sky (black if as-served). For "values" (H, W, B) float32 and for "bands" (H, W, B) uint8, where
        a pixel without data in a band gets that band's sky.

    Raises:
        MorphoscopeError: sizes differ, a band has no data at all, values are beyond 0..255 for "as-served",
            or a published stretch has no scale for a band.
    """
    import cv2  # imported here, since the names of the stretches are needed without it

    from morphoscope.images.coverage import lacking

    check_stretch(stretch)
    if len({band.shape for band in bands}) != 1:
        sizes = ", ".join("×".join(map(str, band.shape)) for band in bands)
        raise MorphoscopeError(f"{name}: the bands differ in size ({sizes})")
    collected = _MEASURED.get()
    if collected is not None:
        collected.append((bands, flux or [Flux()] * len(bands)))
    if stretch not in PLANES and len(bands) > 3:
        raise MorphoscopeError(f"{name}: a picture has one, two or three bands, not {len(bands)}")
    with np.errstate(over="ignore"):
        planes_BHW = np.stack([np.asarray(band, np.float32) for band in bands])
    known_BHW = np.isfinite(planes_BHW)
    whole = bool(known_BHW.all())
    lost_HW = np.zeros(planes_BHW.shape[1:], bool) if whole else ~known_BHW.all(axis=0)
    values = [plane.ravel() for plane in planes_BHW]
    if not whole:
        values = [plane[known] for plane, known in zip(planes_BHW, known_BHW, strict=True)]
        if not all(map(len, values)):
            which = "" if len(bands) == 1 else f" in band {[len(v) > 0 for v in values].index(False) + 1}"
            raise MorphoscopeError(f"{name}: no pixel has a value{which}: no exposure covers the image there")
    if stretch in PLANES:
        image_HWB = _planes(planes_BHW, known_BHW, values, stretch)
        quality = () if whole else lacking(np.asarray(lost_HW))
        return image_HWB, Rendering(float(lost_HW.mean()), stretch, quality)
    if not whole:
        planes_BHW[:, lost_HW] = np.nan
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # found below
        levels_BHW, sky_B, scaling = _levels(
            planes_BHW, values, stretch, name, flux or [Flux(unit=ASSUMED)] * len(bands)
        )
        if not whole:
            levels_BHW = np.where(lost_HW, sky_B[:, None, None], levels_BHW)
        if len(levels_BHW) == 2:
            levels_BHW = np.stack([levels_BHW[0], levels_BHW.mean(axis=0), levels_BHW[1]])
        # In place, step by step: allocating for each step would take as long as the arithmetic.
        scaled_BHW = _curved(levels_BHW, scaling)
        np.clip(scaled_BHW, 0.0, 1.0, out=scaled_BHW)
        scaled_BHW *= 255.0
    try:
        with np.errstate(invalid="raise"):
            grey_BHW = np.rint(scaled_BHW, out=scaled_BHW).astype(np.uint8)
    except FloatingPointError as error:
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        raise MorphoscopeError(
            f"{name}: its values, {low:.3g} to {high:.3g}, are too far apart for the single precision "
            f"in which the stretch {stretch} is computed"
        ) from error
    image_HWC = np.asarray(cv2.merge(list(grey_BHW) * (1 if len(grey_BHW) == 3 else 3)))
    if whole:
        return image_HWC, Rendering(0.0, scaling)
    return image_HWC, Rendering(float(lost_HW.mean()), scaling, lacking(np.asarray(lost_HW)))


def _planes(
    planes_BHW: np.ndarray, known_BHW: np.ndarray, values: list[np.ndarray], stretch: str
) -> np.ndarray:
    """Each band alone, (H, W, B): its values, or grey levels from its own sky and noise."""
    skies = [sky_of(band) for band in values]
    out_HWB = np.empty((*planes_BHW.shape[1:], len(planes_BHW)), np.float32)
    for number, (level, noise) in enumerate(skies):
        plane_HW = np.where(known_BHW[number], planes_BHW[number], np.float32(level))
        if stretch == LEVELS:
            with np.errstate(over="ignore", invalid="ignore"):
                plane_HW = (plane_HW - np.float32(level)) * np.float32(SKY_NOISE / noise) + SKY_LEVEL
                plane_HW = np.clip(_curved(plane_HW[None], "lupton")[0], 0.0, 1.0) * np.float32(255.0)
        out_HWB[:, :, number] = plane_HW
    return out_HWB if stretch == VALUES else np.rint(out_HWB).astype(np.uint8)


def _levels(
    planes_BHW: np.ndarray, values: list[np.ndarray], stretch: str, name: str, flux: Sequence[Flux]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Each band in the units of the stretch's curve, its sky level in them, and what was done.

    The planes may be overwritten.
    """
    if stretch == "as-served":
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        if low < 0 or high > 255:
            raise MorphoscopeError(
                f"{name}: values run from {low:.4g} to {high:.4g}, and stretch as-served needs grey levels "
                "from 0 to 255; choose lupton, asinh or linear"
            )
        return planes_BHW / 255.0, np.zeros(len(values), np.float32), stretch
    if stretch in ("asinh", "linear"):
        percentiles = np.array([np.percentile(v, (1.0, 50.0, 99.5)) for v in values], np.float32)
        low, middle, high = percentiles.T
        width = np.maximum(high - low, np.finfo(np.float32).tiny)
        scaled = (planes_BHW - low[:, None, None]) / width[:, None, None]
        return np.clip(scaled, 0.0, 1.0), (middle - low) / width, stretch
    if stretch == "lupton":
        stretch = _named_survey(flux)
    if stretch in PUBLISHED:
        factor_B = np.array(_published_factors(stretch, flux, name), np.float32)
        floor = np.float32(PUBLISHED[stretch].floor)
        sky_B = np.array([sky_of(v)[0] for v in values], np.float32)
        return planes_BHW * factor_B[:, None, None] + floor, sky_B * factor_B + floor, stretch
    sky_B, noise_B = np.array([sky_of(v) for v in values], np.float32).T
    unit_B = _one_unit(flux, noise_B)
    scaling = "lupton" if len(values) == 1 else "lupton, by noise" if unit_B is None else "lupton, one scale"
    if unit_B is not None:  # the noise of the middle one of three bands, or the mean of two
        noise_B = np.exp(np.median(np.log(noise_B * unit_B))).astype(np.float32) / unit_B
    planes_BHW -= sky_B[:, None, None]
    planes_BHW *= SKY_NOISE
    planes_BHW /= noise_B[:, None, None]
    planes_BHW += SKY_LEVEL
    return planes_BHW, np.full(len(values), SKY_LEVEL, np.float32), scaling


def _named_survey(flux: Sequence[Flux]) -> str:
    """The published stretch of the survey that all headers name; "lupton" if there is none."""
    surveys = {band.survey for band in flux}
    survey = surveys.pop() if len(surveys) == 1 else ""
    if len(flux) > 1 and survey and all(band.band in PUBLISHED[survey].factors for band in flux):
        return survey
    return "lupton"


def _published_factors(stretch: str, flux: Sequence[Flux], name: str) -> list[float]:
    factors = PUBLISHED[stretch].factors
    for band in flux:
        if band.band not in factors:
            there = f"the image's is '{band.band}'" if band.band else "the image does not say which it has"
            raise MorphoscopeError(
                f"{name}: stretch {stretch} has scales for the bands {', '.join(factors)}, and {there}; name "
                "them with --bands, or choose the stretch lupton"
            )
    return [factors[band.band] * (band.nanomaggies or 1.0) for band in flux]


def _one_unit(flux: Sequence[Flux], noise_B: np.ndarray) -> np.ndarray | None:
    """Factors (B,) that convert bands to one flux unit; None if that is not possible."""
    factors = [band.nanomaggies for band in flux]
    if len(flux) > 1 and all(factor is not None for factor in factors):
        return np.array(factors, np.float32)
    units = {band.unit.lower() for band in flux}
    unequal = noise_B.max() > _MOST_UNEQUAL * noise_B.min()
    return None if len(units) > 1 or "" in units or unequal else np.ones(len(flux), np.float32)


def _curved(levels_BHW: np.ndarray, scaling: str) -> np.ndarray:
    if scaling in PUBLISHED:
        return lupton(np.maximum(levels_BHW, 0.0), PUBLISHED[scaling].softening)
    if scaling.startswith("lupton") and len(levels_BHW) == 1:  # the same for a single band
        levels_BHW *= np.float32(SOFTENING)
        _arcsinh(np.maximum(levels_BHW, 0.0, out=levels_BHW))
        levels_BHW /= np.sqrt(np.float32(SOFTENING))
        return levels_BHW
    if scaling.startswith("lupton"):  # keep colours where one band would saturate
        picture_BHW = lupton(levels_BHW, SOFTENING)
        np.maximum(picture_BHW, 0.0, out=picture_BHW)
        brightest_HW = picture_BHW.max(axis=0)
        picture_BHW /= np.maximum(brightest_HW, 1.0, out=brightest_HW)
        return picture_BHW
    return np.arcsinh(10.0 * levels_BHW) / np.arcsinh(10.0) if scaling == "asinh" else levels_BHW


def lupton(planes_BHW: np.ndarray, softening: float) -> np.ndarray:
    """Eq. 2 of Lupton et al. (2004), PASP 116, 133: every band keeps its ratio to the compressed mean.

    The mean I of the bands becomes arcsinh(Q·I)/√Q, the form that the DESI Legacy Surveys' viewer uses; a
    mean below 1e-6 counts as 1e-6.

    Args:
        planes_BHW: scaled fluxes.
        softening: Q.

    Returns:
        (B, H, W), not clipped.
    """
    q = np.float32(softening)
    mean_HW = planes_BHW.mean(axis=0)
    np.maximum(mean_HW, 1e-6, out=mean_HW)
    gain_HW = _arcsinh(q * mean_HW)
    gain_HW /= np.sqrt(q)
    gain_HW /= mean_HW
    return planes_BHW * gain_HW


def _arcsinh(values: np.ndarray) -> np.ndarray:
    """The arcsinh of non-negative values, in place; numpy's takes three times as long for float32."""
    np.minimum(values, 1e18, out=values)  # its square is finite
    root = values * values
    root += 1.0
    np.sqrt(root, out=root)
    root += values
    return np.log(root, out=values)


def sky_of(values: np.ndarray) -> tuple[float, float]:
    """Level and noise of the sky: the median after clipping at 3σ, and σ from the pixels below it."""
    # The sky of a cutout is smooth: a sample of its pixels gives the same answer in a tenth of the time. Once
    # they are sorted, whatever is clipped is a slice and a median its middle.
    values = sampled(values)
    values = np.sort(values if values.dtype.kind == "f" else values.astype(np.float64))
    brightest = float(values[-1])
    level, noise = _level_and_noise(values)
    for _ in range(5):
        first, last = np.searchsorted(values, np.array([level - 3 * noise, level + 3 * noise], values.dtype))
        last += np.searchsorted(values[last:], values.dtype.type(level + 3 * noise), "right")
        if noise == 0 or last - first == len(values):
            break
        values = values[first:last]
        level, noise = _level_and_noise(values)
    if noise == 0:  # an image without noise: its brightest pixels just saturate
        noise = (brightest - level) * SKY_NOISE * SOFTENING / np.sinh(np.sqrt(SOFTENING))
    return level, noise or 1.0


def _level_and_noise(rising: np.ndarray) -> tuple[float, float]:
    level = _middle(rising)
    below = rising[: np.searchsorted(rising, rising.dtype.type(level), "right")]
    return level, 1.4826 * (level - _middle(below))


def _middle(rising: np.ndarray) -> float:
    """The median of sorted values."""
    half = len(rising) // 2
    return float(rising[half]) if len(rising) % 2 else 0.5 * (float(rising[half - 1]) + float(rising[half]))
