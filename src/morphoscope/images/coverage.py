"""Which pixels of an image no exposure covers.

Surveys mark them in many ways: NaN, a fill value such as −32768 or 1e30, exact zeros (SDSS frames, Legacy
Surveys and SWarp coadds, drizzled HST images), or one constant such as the level of the sky. Left in, they
change the level and noise of the sky.

Shape letters: H × W pixels.

What is wrong with an image although it can be read: the words of a catalogue's column ``quality``.

Shape letters: H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from morphoscope.images.sample import sampled

NO_DATA, NO_CENTRE, OFF_IMAGE = "no data", "no data at the centre", "off the image"
NO_SOURCE = "no source at the centre"
_CENTRE = 0.1  # of the sides: the middle of the picture, where the galaxy is


def lacking(lost_HW: np.ndarray) -> tuple[str, ...]:
    """How an image is incomplete: "no data 23%", "no data at the centre".

    Args:
        lost_HW: bool, true where there is no data.
    """
    share = float(lost_HW.mean()) if lost_HW.size else 0.0
    if not share:
        return ()
    half = [max(1, round(_CENTRE * side / 2)) for side in lost_HW.shape]
    middle = tuple(
        slice(side // 2 - h, side // 2 + h + side % 2) for side, h in zip(lost_HW.shape, half, strict=True)
    )
    centre = (NO_CENTRE,) if lost_HW[middle].mean() > 0.5 else ()
    return (share_of(NO_DATA, share), *centre)


def share_of(words: str, share: float) -> str:
    """A reason with its percentage of the image, which is never rounded to 0 or 100."""
    percent = min(max(round(100 * share), 1 if share >= 0.01 else 0), 99 if share < 1 else 100)
    return f"{words} {percent}%" if percent else f"{words} <1%"


def joined(reasons: Iterable[str]) -> str:
    """Reasons as one text, empty if there are none."""
    return "; ".join(reasons)


PATCH = 64  # connected zeros that are no longer dark sky, pixels
_WINDOW = 9  # side of a square of zeros that chance does not make, pixels
_SCATTERED = 0.01  # share of zeros outside such squares from which zeros are measured values (photon counts)
_CHANCE = 1e-3  # expected number of squares that measured zeros fill by chance
_HUGE, _FAR = 1e20, 1e3  # no survey's unit gives such fluxes, that much above all others
_LARGE, _TOWERING = 9999.0, 10.0  # least positive fill value, and its ratio to all other values
_FEWEST, _GAP = 9, 20.0  # a fill value occurs this often, this many noises below every other value
_FLATS, _BAND = 4, 5.0  # at most so many constants, within so many noises of the sky, are no measured values,
_RARE, _TAIL = 0.1, 0.002  # if no larger share of the others equals them, and so many are below and above
_GRAIN = 0.2  # share of equal neighbours from which an image is no noise of its own but made of plateaus
_NEAR = 3.0  # noises above zero within which the pixels beside a patch of zeros show that it is the sky


@dataclass(frozen=True)
class FillValues:
    """The values that stand for missing pixels; needed for parts of an image, which may contain nothing else.

    Attributes:
        lowest: such as −32768; None if there is none.
        highest: such as 99999; None if there is none.
        huge: whether all values from 1e20 upwards do.
        grainy: whether noise tells neighbouring pixels apart: a part with one value only holds no data.
    """

    lowest: float | None = None
    huge: bool = False
    highest: float | None = None
    grainy: bool = False


def is_grainy(plane_HW: np.ndarray) -> bool:
    """Whether neighbouring pixels in a row hardly ever agree, apart from long runs of one value."""
    same = plane_HW[:, 1:] == plane_HW[:, :-1]
    known = np.isfinite(plane_HW[:, 1:]) & np.isfinite(plane_HW[:, :-1])
    kernel = np.ones((1, _WINDOW - 1), np.uint8)
    runs = np.asarray(cv2.morphologyEx(same.astype(np.uint8), cv2.MORPH_OPEN, kernel)) > 0
    count = np.count_nonzero(known & ~runs)
    return bool(count > 0 and np.count_nonzero(same & ~runs) <= _GRAIN * count)


def fill_values(sample: np.ndarray) -> FillValues:
    """The fill values of an image, from pixels sampled all over it."""
    known = sample[np.isfinite(sample)]
    if not known.size:
        return FillValues()
    large = np.abs(known) >= _HUGE
    huge = bool(large.any() and not large.all() and np.median(np.abs(known[~large])) < _HUGE / _FAR)
    known = known[~large] if huge else known
    lowest, highest = float(known.min()), float(known.max())
    return FillValues(
        lowest if lowest < 0 and _is_fill(known, lowest) else None,
        huge,
        highest
        if highest >= _LARGE and _is_fill(-known.astype(np.float64), -highest) and _towers(known, highest)
        else None,
    )


def uncovered(plane_HW: np.ndarray, fill: FillValues | None = None) -> np.ndarray:
    """Where an image has no data.

    These are pixels that are not finite or as large as 1e20; the lowest value, if it repeats and lies far
    below all others (−32768, −9999); the highest from 9999 on, if it repeats and is ten times as large as all
    others (99999); and exact zeros in patches. Zeros that are scattered over the image are
    measured values, as in photon counts or an image clipped at zero; then only squares of 9 × 9 zeros (at the
    border: parts of squares) that chance does not make count. Patches of zeros into which a picture without
    negative values fades, as in simulations without noise or where all but a galaxy was set to zero, are
    data. Squares of 9 × 9 pixels of another constant count too where it lies amid the noise of the sky and is
    rare elsewhere: not the plateaus of saturated stars, of posterised images, or of skies without noise.

    Args:
        plane_HW: one band as measured.
        fill: of the image that this is a part of, besides what these pixels show.

    Returns:
        (H, W) bool.
    """
    absent_HW = ~np.isfinite(plane_HW)
    known = plane_HW[~absent_HW]
    if not known.size:
        return absent_HW
    lowest, highest = float(known.min()), float(known.max())
    if lowest < 0 or highest >= _LARGE:
        for found in (fill_values(known), fill or FillValues()):
            if found.huge:
                absent_HW |= np.abs(plane_HW) >= _HUGE
            for value in (found.lowest, found.highest):
                if value is not None:
                    absent_HW |= plane_HW == value
    zero_HW = plane_HW == 0
    if zero_HW.any():
        empty_HW = _empty_patches(zero_HW, absent_HW)
        if lowest < 0 or not _fades_into(plane_HW, empty_HW, zero_HW & ~absent_HW):
            absent_HW |= empty_HW
    absent_HW |= _flat_patches(plane_HW, absent_HW, whole=fill is not None and fill.grainy)
    return absent_HW


def _flat_patches(plane_HW: np.ndarray, absent_HW: np.ndarray, *, whole: bool) -> np.ndarray:
    """Patches of a constant that is not zero; ``whole``: also where there is nothing else."""
    nothing_HW = np.zeros_like(absent_HW)
    values = _repeated(plane_HW)
    if not 0 < len(values) <= _FLATS:
        return nothing_HW
    flat_HW = nothing_HW.copy()
    for value in values:
        equal_HW = (plane_HW == value) & ~absent_HW
        patch_HW = equal_HW & _solid(equal_HW | absent_HW, 1)
        count = np.count_nonzero(patch_HW)
        if count >= PATCH and np.count_nonzero(equal_HW) - count <= _RARE * (equal_HW.size - count):
            flat_HW |= patch_HW
    known_HW = ~absent_HW & ~flat_HW
    if not known_HW.any():
        return flat_HW if whole else nothing_HW
    if not flat_HW.any() or not is_grainy(np.where(known_HW, plane_HW, np.nan)):
        return nothing_HW
    light = plane_HW[known_HW]
    light = sampled(light).astype(np.float64)
    level = np.median(light)
    noise = 1.4826 * np.median(level - light[light <= level])
    for value in values:
        beyond = min(np.mean(light < value), np.mean(light > value))
        if beyond < _TAIL or abs(value - level) > _BAND * noise:
            flat_HW &= plane_HW != value
    return flat_HW


def _repeated(plane_HW: np.ndarray) -> np.ndarray:
    """The values but zero that fill nine pixels of a row in a row, where every square has such a row.

    Along the border a column counts as well.
    """
    found = []
    for lines in (plane_HW[:: _WINDOW - 1], plane_HW[-1:], plane_HW[:, [0, -1]].T):
        same = lines[:, 1:] == lines[:, :-1]
        if np.count_nonzero(same) < _WINDOW - 1:
            continue
        kernel = np.ones((1, _WINDOW - 1), np.uint8)
        inside = np.asarray(
            cv2.erode(same.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        )
        found.append(np.unique(lines[:, 1:][inside > 0]))
    values = np.unique(np.concatenate(found)) if found else np.zeros(0)
    return values[np.isfinite(values) & (values != 0)]


def _fades_into(plane_HW: np.ndarray, empty_HW: np.ndarray, dark_HW: np.ndarray) -> bool:
    """Whether the pixels next to patches of zeros are hardly brighter than zero."""
    beside_HW = cv2.dilate(empty_HW.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    beside_HW &= ~dark_HW & np.isfinite(plane_HW)
    scattered = np.count_nonzero(dark_HW & ~empty_HW)
    if not beside_HW.any() or scattered > _SCATTERED * np.count_nonzero(~empty_HW):
        return False
    light = plane_HW[~dark_HW & np.isfinite(plane_HW)]
    light = sampled(light).astype(np.float64)
    level = np.median(light)
    noise = 1.4826 * np.median(level - light[light <= level])
    return bool(np.median(plane_HW[beside_HW]) < _NEAR * noise)


def _is_fill(known: np.ndarray, lowest: float) -> bool:
    """Whether the lowest value marks missing pixels: it repeats, and a wide gap separates it from the
    others.
    """
    others = known[known != lowest]
    if known.size - others.size < _FEWEST or not others.size:
        return False
    sample = sampled(others).astype(np.float64)
    noise = 1.4826 * np.median(np.abs(sample - np.median(sample)))
    return float(others.min()) - float(lowest) > _GAP * max(noise, np.finfo(np.float32).tiny)


def _towers(known: np.ndarray, highest: float) -> bool:
    """Whether the highest value is ten times as far above zero as any other, as no saturated star is."""
    others = known[known < highest]
    return highest > _TOWERING * max(abs(float(others.max())), abs(float(others.min())))


def _empty_patches(zero_HW: np.ndarray, absent_HW: np.ndarray) -> np.ndarray:
    """The zeros that are not measured values."""
    # Missing pixels and whatever lies beyond the border may continue a patch.
    joined_HW = zero_HW | absent_HW
    solid_HW = _solid(joined_HW, 1)
    share = np.count_nonzero(zero_HW & ~solid_HW) / max(1, np.count_nonzero(~solid_HW))
    if share > _SCATTERED:
        fewest = np.log(_CHANCE / zero_HW.size) / np.log(min(share, 0.99))
        return zero_HW & _solid(joined_HW, min(fewest, _WINDOW**2))
    _, label_HW, stats, _ = map(np.asarray, cv2.connectedComponentsWithStats(zero_HW.astype(np.uint8)))
    empty = stats[:, cv2.CC_STAT_AREA] >= PATCH
    empty[np.unique(label_HW[solid_HW & zero_HW])] = True
    empty[0] = False  # everything that is not zero
    return empty[label_HW]


def _solid(joined_HW: np.ndarray, fewest: float) -> np.ndarray:
    """The squares, which may reach over the border, whose pixels (at least ``fewest``) are all set."""
    rim = _WINDOW - 1
    framed = np.pad(joined_HW, rim, constant_values=True).astype(np.uint8)
    kernel = np.ones((_WINDOW, _WINDOW), np.uint8)
    middle = np.asarray(cv2.erode(framed, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)) > 0
    if fewest > 1:
        inside = np.pad(np.ones_like(joined_HW, np.float32), rim)
        middle &= cv2.boxFilter(inside, -1, kernel.shape, normalize=False) > fewest - 0.5
    return np.asarray(cv2.dilate(middle.astype(np.uint8), kernel))[rim:-rim, rim:-rim] > 0
