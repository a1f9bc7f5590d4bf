"""Sources without a class: too small, too faint, or like a star.

The thresholds are from simulated galaxies (EXPERIMENTS.md): at five resolution elements across, the packaged
network is right about 70 % of ten classes (n = 400), at eight 93 %; with a signal below 10, about less than
a third (n = 52). Below, the reason stands in a catalogue's column ``quality`` in place of a class.

Shape letters: H × W pixels, C channels, S sources.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from morphoscope.images.central_source import CentralSource
from morphoscope.images.coverage import NO_CENTRE, NO_SOURCE

TOO_SMALL, TOO_FAINT, STAR_LIKE = "too small", "too faint", "like a star"
WITHOUT_CLASS = (TOO_SMALL, TOO_FAINT, STAR_LIKE, NO_SOURCE, NO_CENTRE)
"""Reasons for which there is no class; the others are remarks."""
LEAST_ELEMENTS = 5.0
"""Resolution elements across a source: its largest diameter over the PSF's width, at least two pixels."""
LEAST_SIGNAL = 10.0
"""Brightest pixel above the sky after smoothing, in units of the sky's noise."""
NYQUIST = 2.0  # pixels
DESCRIPTION = (
    f"no class for sources of fewer than {LEAST_ELEMENTS:g} resolution elements, a signal below "
    f"{LEAST_SIGNAL:g} times the noise, or like stars"
)

FEWEST = 20  # sources that the PSF's width is estimated from
BRIGHT = 20.0  # their least signal
_COMPACT = 2  # percentile of the widths that stars and the most compact sources have
_PSF_SPREAD = 1.2  # a star is no wider than so many PSFs,
_ROUND = 1.3  # and no longer than so many times its width; if saturated,
_ROUNDER = 1.1  # so many times
_SATURATED, _FLAT = 250, 5  # grey levels in all channels, of at least so many pixels


def has_no_class(reasons: Iterable[str]) -> bool:
    """Whether one of the reasons of ``quality`` rules a class out."""
    return any(reason in WITHOUT_CLASS for reason in reasons)


def fault_of(
    source: CentralSource | None, shown: float, shape: tuple[int, ...], typical: float | None = None
) -> tuple[str, ...]:
    """Why the source in the middle of an image gets no class; empty if it may have one.

    Args:
        source: as measured in the image shown to the network; None if there is none.
        shown: side of the original that this shows, pixels: enlarging an image resolves nothing.
        shape: of the image, (H, W, C).
        typical: size of the training's galaxies as a share of the side, of images like this; a network that
            learned from smaller galaxies than usual gets those down to half of it.
    """
    if source is None:
        return (NO_SOURCE,)
    if source.signal < LEAST_SIGNAL:
        return (TOO_FAINT,)
    side = min(shape[:2])
    usual = LEAST_ELEMENTS * NYQUIST
    least = usual if typical is None else min(usual, typical * side / 2)
    across = source.size * min(shown, side)
    return (TOO_SMALL,) if across < least else ()


def psf_width(widths_S: np.ndarray, signals_S: np.ndarray) -> float:
    """Full width at half maximum of the PSF, pixels, from the sources of an image.

    The 2nd percentile of the widths of bright sources, which stars and the most compact galaxies set. It is
    no smaller than two pixels, and two where there are fewer than twenty bright ones.

    Args:
        widths_S: full widths at half maximum, pixels.
        signals_S: brightest pixel of each in units of the noise.
    """
    bright = np.asarray(widths_S, np.float64)[np.asarray(signals_S) >= BRIGHT]
    bright = bright[np.isfinite(bright)]
    return NYQUIST if len(bright) < FEWEST else max(NYQUIST, float(np.percentile(bright, _COMPACT)))


def faults_of_sources(
    diameters_S: np.ndarray,
    signals_S: np.ndarray,
    widths_S: np.ndarray,
    elongations_S: np.ndarray,
    flat_S: np.ndarray,
) -> list[tuple[str, ...]]:
    """Why each of the detected sources of one image gets no class; empty for those that may have one.

    Args:
        diameters_S: largest diameters, pixels.
        signals_S: brightest pixels in units of the noise.
        widths_S: full widths at half maximum, pixels.
        elongations_S: major over minor axis.
        flat_S: saturated pixels.
    """
    psf = psf_width(widths_S, signals_S)
    small_S = diameters_S < LEAST_ELEMENTS * psf
    # Without enough sources the PSF's width is not known, and nothing can be as narrow as it.
    narrow_S = (widths_S <= _PSF_SPREAD * psf) & (psf > NYQUIST) & (elongations_S < _ROUND)
    saturated_S = (flat_S >= _FLAT) & (elongations_S < _ROUNDER)
    return [
        (TOO_FAINT,) if faint else (STAR_LIKE,) if star else (TOO_SMALL,) if small else ()
        for faint, star, small in zip(signals_S < LEAST_SIGNAL, narrow_S | saturated_S, small_S, strict=True)
    ]


def half_maximum_widths(
    image_HW: np.ndarray, x_S: np.ndarray, y_S: np.ndarray, radius_S: np.ndarray, level: float
) -> np.ndarray:
    """Full width at half maximum of sources, (S,) pixels: the diameter of a disc of the area above half.

    Args:
        image_HW: brightness; not smoothed.
        x_S: columns of the centroids, pixels.
        y_S: rows.
        radius_S: semi-major axes; pixels farther away do not count.
        level: of the sky.
    """
    height, width = image_HW.shape
    found_S = np.full(len(x_S), np.nan)
    for row, (x, y, radius) in enumerate(zip(x_S, y_S, radius_S, strict=True)):
        reach = max(2, int(np.ceil(radius)))
        rows = slice(max(0, round(y) - reach), min(height, round(y) + reach + 1))
        columns = slice(max(0, round(x) - reach), min(width, round(x) + reach + 1))
        light = image_HW[rows, columns] - level
        near = (
            np.hypot(*np.ogrid[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]) <= reach
        )
        if near.shape == light.shape and light.size and np.isfinite(light).any():
            peak = np.nanmax(np.where(near, light, np.nan))
            found_S[row] = 2 * np.sqrt(np.count_nonzero(near & (light > peak / 2)) / np.pi)
    return found_S


def saturated_pixels(
    image_HWC: np.ndarray, x_S: np.ndarray, y_S: np.ndarray, radius_S: np.ndarray
) -> np.ndarray:
    """Pixels of sources that are white in a picture, (S,) int64; none where values were measured."""
    counts_S = np.zeros(len(x_S), np.int64)
    if image_HWC.dtype != np.uint8:
        return counts_S
    white_HW = np.asarray(image_HWC.reshape(*image_HWC.shape[:2], -1).min(axis=2) >= _SATURATED)
    for row, (x, y, radius) in enumerate(zip(x_S, y_S, radius_S, strict=True)):
        reach = max(2, int(np.ceil(radius / 2)))
        top, left = max(0, round(y) - reach), max(0, round(x) - reach)
        counts_S[row] = np.count_nonzero(white_HW[top : round(y) + reach + 1, left : round(x) + reach + 1])
    return counts_S
