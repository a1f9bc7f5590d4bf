"""Foreground and background sources, seeing, noise, and the image that the survey serves.

Shape letters: P side of the padded frame, H and W the cutout's, 3 the bands g, r, z.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from morphoscope.simulation.profiles import MOFFAT_BETAS, Frame, add_point, add_stamp, blur
from morphoscope.simulation.rendering import Light, band_ratios
from morphoscope.simulation.survey import DECALS, ZERO_POINT, Survey

GALAXIES, STARS = 30.0, 3.2  # mean number in a cutout of DECaLS, to the faintest magnitudes below
GALAXY_MAGNITUDES, GALAXY_SLOPE = (17.5, 24.0), 0.42  # d log N / dm, r band
STAR_MAGNITUDES, STAR_SLOPE = (15.0, 23.5), 0.19
CLEAR_RADIUS = 4.0  # arcsec around the centre without bright neighbours
BRIGHT = 20.5  # neighbours brighter than this magnitude count as bright
# Wings of a star's PSF beyond the Moffat core: a few per cent of its flux over several arcsec (King 1971,
# PASP 83, 199); visible only around bright stars.
WINGS, WINGS_RADIUS, WINGS_SEEN = 0.05, 4.0, 18.0


def _magnitudes(
    count: int, limits: tuple[float, float], slope: float, survey: Survey, rng: np.random.Generator
) -> np.ndarray:
    """Magnitudes whose counts grow as 10^(slope·m), (count,)."""
    low, high = (10 ** (slope * min(limit, survey.faintest)) for limit in limits)
    return np.log10(rng.uniform(low, high, count)) / slope


def add_field(light: Light, frame: Frame, rng: np.random.Generator) -> None:
    """Add neighbouring galaxies and stars to the surface brightness before the PSF (nanomaggies).

    They become the layers "neighbour" and "star".
    """
    before_PP = light.total_3PP[1].copy()
    galaxies = expected(GALAXIES, GALAXY_MAGNITUDES, GALAXY_SLOPE, frame)
    _add_galaxies(light.total_3PP, frame, rng.poisson(galaxies * rng.lognormal(0, 0.2)), rng)
    between_PP = light.total_3PP[1].copy()
    light.layers["neighbour"] = between_PP - before_PP
    stars = expected(STARS, STAR_MAGNITUDES, STAR_SLOPE, frame)
    _add_stars(light.total_3PP, frame, rng.poisson(stars * rng.lognormal(0, 0.5)), rng)
    light.layers["star"] = light.total_3PP[1] - between_PP


def expected(count: float, limits: tuple[float, float], slope: float, frame: Frame) -> float:
    """Mean number of sources in a frame, scaled from a DECaLS cutout.

    It scales with the area of sky and, for more distant galaxies, with the number counts at the fainter
    magnitudes that they correspond to; a shallower survey ends at its own limit.
    """
    survey = frame.survey
    sky = (frame.side / survey.side * survey.field / DECALS.field) ** 2
    last = min(limits[1], survey.faintest)
    return count * sky * 10 ** (slope * (survey.dimming + last - limits[1]))


def _positions(magnitudes: np.ndarray, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Positions in arcsec, (N, 2); NaN for bright neighbours that would lie on the galaxy."""
    half = frame.side * frame.scale / 2
    positions_N2 = rng.uniform(-half, half, (len(magnitudes), 2))
    crowding = (np.hypot(*positions_N2.T) < CLEAR_RADIUS) & (magnitudes < BRIGHT)
    positions_N2[crowding] = np.nan
    return positions_N2


def _add_galaxies(cube_3PP: np.ndarray, frame: Frame, count: int, rng: np.random.Generator) -> None:
    magnitudes = _magnitudes(count, GALAXY_MAGNITUDES, GALAXY_SLOPE, frame.survey, rng)
    positions_N2 = _positions(magnitudes, frame, rng)
    # Sizes: r-band half-light radius about 0.5″ at magnitude 22, larger where brighter (log-normal).
    radii = 0.5 * 10 ** (-0.13 * (magnitudes - 22)) * rng.lognormal(0, 0.35, count)
    red = rng.normal(0.75, 0.4, count)
    colours_N2 = np.stack(
        [np.clip(red, -0.1, 1.7), np.clip(0.85 * red + rng.normal(0, 0.2, count), -0.2, 1.6)], 1
    )
    shapes_N3 = np.stack(
        [rng.choice([1.0, 1.0, 2.0, 4.0], count), rng.uniform(0.3, 1.0, count), rng.uniform(0, 180, count)], 1
    )
    for magnitude, position, radius, colour, shape in zip(
        magnitudes, positions_N2, radii, colours_N2, shapes_N3, strict=True
    ):
        if np.isfinite(position[0]):
            flux_3 = 10 ** (0.4 * (ZERO_POINT - magnitude)) * band_ratios((colour[0], colour[1]))
            add_stamp(cube_3PP, frame, flux_3, shape[0], radius, shape[1], shape[2], position[0], position[1])


def _add_stars(cube_3PP: np.ndarray, frame: Frame, count: int, rng: np.random.Generator) -> None:
    magnitudes = _magnitudes(count, STAR_MAGNITUDES, STAR_SLOPE, frame.survey, rng)
    for magnitude, position in zip(magnitudes, _positions(magnitudes, frame, rng), strict=True):
        flux_3 = star_flux(magnitude, rng)
        if magnitude < 18 and rng.uniform() < 0.3:
            # Saturated cores are masked per band in the coadds, which distorts colours of stars.
            flux_3 *= rng.lognormal(0, 0.5, 3)
        if np.isfinite(position[0]):
            core = 1 - (WINGS if magnitude < WINGS_SEEN else 0)
            add_point(cube_3PP, *frame.pixel(position[0], position[1]), core * flux_3)
            if core < 1:
                add_stamp(
                    cube_3PP, frame, WINGS * flux_3, 1.5, WINGS_RADIUS, 1.0, 0.0, position[0], position[1]
                )


def star_flux(magnitude: float, rng: np.random.Generator) -> np.ndarray:
    """Flux of a star of the given r magnitude in g, r, z, nanomaggies, (3,).

    The stellar locus from turn-off to M dwarfs: r−z rises steeply where g−r saturates near 1.5. Faint ones
    are mostly M dwarfs (Covey et al. 2007, AJ 134, 2398).
    """
    temperature = rng.beta(2.5 if magnitude > 19 else 1.2, 1.0)
    g_r = 0.25 + 1.2 * min(1.0, 1.4 * temperature)
    r_z = 0.1 + 0.45 * temperature + 1.3 * max(0.0, temperature - 0.55) + rng.normal(0, 0.05)
    return 10 ** (0.4 * (ZERO_POINT - magnitude)) * band_ratios((g_r, r_z))


@lru_cache(maxsize=4)
def _noise_taps(correlation: float) -> np.ndarray:
    """Filter taps, (3,), that give white noise this correlation at one pixel and keep its variance."""
    if correlation == 0:
        return np.array([0.0, 1.0, 0.0], np.float32)
    # Taps (t, 1, t): correlation 2t/(1 + 2t²) at one pixel and t²/(1 + 2t²), below 0.1, at two.
    side = (1 - (1 - 2 * correlation**2) ** 0.5) / (2 * correlation)
    taps = np.array([side, 1.0, side])
    return (taps / np.sqrt((taps**2).sum())).astype(np.float32)


def observe(light_3PP: np.ndarray, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Blur to the survey's seeing and add its noise.

    Args:
        light_3PP: g, r, z in nanomaggies per pixel before the PSF.
        frame: of the light.
        rng: for seeing, depth and noise of this cutout.

    Returns:
        (3, H, W) float32 in the survey's bands and at its own sampling.
    """
    survey = frame.survey
    spread = rng.normal(0, survey.seeing_spread) + rng.normal(0, 0.4 * survey.seeing_spread, 3)
    seeing_3 = np.asarray(survey.seeing) * survey.distance * np.exp(spread)
    beta = MOFFAT_BETAS[rng.integers(len(MOFFAT_BETAS))]
    flux_3HW = frame.cut(blur(survey.observed(light_3PP), frame, seeing_3, beta))
    flux_3HW = flux_3HW + _noise(survey, flux_3HW, rng)
    if survey.middle_from_outer:
        flux_3HW[1] = 0.5 * (flux_3HW[0] + flux_3HW[2])
    return flux_3HW


def _noise(survey: Survey, flux_3HW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of sky and sources, correlated between neighbouring pixels, (3, H, W)."""
    white_3HW = rng.standard_normal(flux_3HW.shape, dtype=np.float32)
    sky = np.asarray(survey.sky, np.float32)[:, None, None]
    white_3HW *= np.sqrt(1 + np.maximum(flux_3HW, 0) / sky)
    taps = _noise_taps(survey.noise_correlation)
    depth = rng.normal(0, survey.noise_spread) + rng.normal(0, 0.5 * survey.noise_spread, 3)
    sigma = np.asarray(survey.noise) * np.exp(depth)
    return np.stack(
        [
            cv2.sepFilter2D(white_HW, -1, taps, taps * np.float32(s), borderType=cv2.BORDER_REFLECT)
            for white_HW, s in zip(white_3HW, sigma, strict=True)
        ]
    )


def serve(survey: Survey, flux_3HW: np.ndarray, shown: int) -> np.ndarray:
    """The image as the survey serves it: cropped, stretched, JPEG-compressed.

    ``shown`` is the side of the central part of the cutout that the image shows, pixels. The image is
    (S, S, 3) uint8 RGB, where S is the survey's ``picture``, or ``shown`` if that is None.
    """
    edge = (survey.side - shown) // 2
    image_HWC = survey.stretch(flux_3HW[:, edge : edge + shown, edge : edge + shown])
    if survey.picture is not None:
        image_HWC = resample(image_HWC, survey.picture)
    quality = [cv2.IMWRITE_JPEG_QUALITY, survey.jpeg_quality]
    data = cv2.imencode(".jpg", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR), quality)[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def resample(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """An image resized as one would resize the downloaded one."""
    if size == image_HWC.shape[0]:
        return image_HWC
    method = cv2.INTER_AREA if size < image_HWC.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image_HWC, (size, size), interpolation=method)
