"""Augmentation parameters: random ones for training, fixed views for test-time augmentation.

Every number is a hash of (seed, epoch, row, occurrence) and of nothing else, so a sample does not depend on
its batch or on the number of workers, and a resumed training continues exactly. ``occurrence`` counts the
repetitions of a row in an oversampled epoch: each repetition gets its own parameters.

``strength`` scales all magnitudes; the zoom limits are raised to that power, which scales them about 1 and
keeps them positive. Flips have no magnitude and do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.recipes import MIRRORED, VIEWS, Augment

MAX_CHANNELS = 8
_FIRST_CHANNELS = 4  # whose numbers are among the first 24
_FURTHER = 128  # draws from here on are for the other channels; RandAugment has those in between
GOLDEN = 0x9E3779B97F4A7C15  # step of SplitMix64
MASK = 0xFFFFFFFFFFFFFFFF
DRAWS = 24  # uniform numbers for each image


@dataclass(frozen=True)
class AugmentParams:
    """Augmentation parameters of N images."""

    angle: np.ndarray  # (N,) degrees, counter-clockwise on the screen
    flip_horizontal: np.ndarray  # (N,) bool: swaps left and right
    flip_vertical: np.ndarray  # (N,) bool
    zoom: np.ndarray  # (N, 2) factor on the crop's side along x and y
    shear: np.ndarray  # (N,) degrees
    shift: np.ndarray  # (N, 2) of the crop centre along x and y, in units of the crop's side
    brightness: np.ndarray  # (N,) factor
    contrast: np.ndarray  # (N,) factor about mid-grey
    channel_shift: np.ndarray  # (N, 4 or 8) grey levels added to each channel
    channel_gain: np.ndarray  # (N, 4 or 8) factor on each channel
    gamma: np.ndarray  # (N,) power of the grey levels, in units of 255
    saturation: np.ndarray  # (N,) factor on the distance from grey
    blur: np.ndarray  # (N,) standard deviation of a Gaussian, output pixels
    noise: np.ndarray  # (N,) standard deviation, grey levels
    noise_key: np.ndarray  # (N,) uint64: sets the offset in the table of normal deviates

    def __len__(self) -> int:
        return len(self.angle)


class View(NamedTuple):
    """A rotated, mirrored or scaled version of an image (test-time augmentation)."""

    angle: float = 0.0  # degrees, counter-clockwise
    flip_horizontal: bool = False
    flip_vertical: bool = False
    zoom: float = 1.0  # factor on the crop's side; above 1 shows more sky


SCALES = (1.0, 0.85, 1.18)
"""Zoom of scaled views: a sixth closer and further, well inside what `ng`'s networks learn from."""


def draw_params(
    config: Augment,
    seed: int,
    epoch: int,
    rows: np.ndarray | Sequence[int],
    occurrences: np.ndarray | Sequence[int] | None = None,
    strength: float = 1.0,
    channels: int = 3,
) -> AugmentParams:
    """Draw the augmentation parameters of a training batch.

    Args:
        config: magnitudes.
        seed: the training seed, not negative.
        epoch: not negative.
        rows: (N,) rows of the store.
        occurrences: (N,) how often the row came before in the epoch's list; none: 0 for all.
        strength: factor on the recipe's own strength, as in a training whose regularisation grows.
        channels: of the images.
    """
    keys = _keys(seed, epoch, rows, occurrences)
    uniform = _uniforms(keys, DRAWS)  # (24, N) in [0, 1); the sixteenth sets the noise offset
    signed = 2 * uniform - 1
    strength = config.strength * strength
    low, high = (limit**strength for limit in config.zoom)
    shifts_CN, gains_CN = signed[9:13], signed[19:23]
    if channels > _FIRST_CHANNELS:
        more = MAX_CHANNELS - _FIRST_CHANNELS
        further = 2 * _uniforms(keys, _FURTHER + 2 * more)[_FURTHER:] - 1
        shifts_CN, gains_CN = np.r_[shifts_CN, further[:more]], np.r_[gains_CN, further[more:]]
    if config.channels_alike:
        shifts_CN = signed[[9] * len(shifts_CN)]
    return AugmentParams(
        angle=signed[0] * min(config.rotation * strength, 180.0),
        flip_horizontal=(uniform[1] < 0.5) & config.flip_horizontal,
        flip_vertical=(uniform[2] < 0.5) & config.flip_vertical,
        zoom=low + (high - low) * np.stack([uniform[3], uniform[23 if config.zoom_apart else 3]], axis=1),
        shear=signed[4] * min(config.shear * strength, 89.0),
        shift=np.stack([signed[5], signed[6]], axis=1) * (config.shift * strength),
        brightness=np.maximum(1 + signed[7] * (config.brightness * strength), 0.0),
        contrast=np.maximum(1 + signed[8] * (config.contrast * strength), 0.0),
        channel_shift=shifts_CN.T * (config.channel_shift * strength),
        channel_gain=np.maximum(1 + gains_CN.T * (config.channel_gain * strength), 0.0),
        gamma=(1 + config.gamma * strength) ** signed[17],
        saturation=np.maximum(1 + signed[16] * (config.saturation * strength), 0.0),
        blur=uniform[18] * (config.blur * strength),
        noise=uniform[13] * (config.noise * strength),
        noise_key=_mixed(keys + np.uint64(15 * GOLDEN & MASK)),
    )


def draw_choices(
    seed: int,
    epoch: int,
    rows: np.ndarray | Sequence[int],
    occurrences: np.ndarray | Sequence[int] | None,
    number: int,
) -> np.ndarray:
    """(N, number) further uniform numbers in [0, 1), independent of those of :func:`draw_params`."""
    keys = _keys(seed, epoch, rows, occurrences)
    return _uniforms(keys, DRAWS + number)[DRAWS:].T


def identity(count: int, view: View | None = None) -> AugmentParams:
    """AugmentParams that leave ``count`` images as they are, or show all of them in one ``view``."""
    view = view or View()
    zeros, ones = np.zeros(count), np.ones(count)
    return AugmentParams(
        angle=np.full(count, view.angle),
        flip_horizontal=np.full(count, view.flip_horizontal),
        flip_vertical=np.full(count, view.flip_vertical),
        zoom=np.full((count, 2), view.zoom),
        shear=zeros,
        shift=np.zeros((count, 2)),
        brightness=ones,
        contrast=ones,
        channel_shift=np.zeros((count, MAX_CHANNELS)),
        channel_gain=np.ones((count, MAX_CHANNELS)),
        gamma=ones,
        saturation=ones,
        blur=zeros,
        noise=zeros,
        noise_key=np.zeros(count, np.uint64),
    )


def views(config: Augment, number: int) -> tuple[View, ...]:
    """The views of test-time augmentation; the first is the image itself.

    1: the image; 2: and its mirror image; 4: quarter turns, which move whole pixels; 8: rotations in steps
    of 45°; 16: those and their mirror images (`ng`); 24 and 48: the eight or sixteen at each of
    :data:`SCALES` ("scaling the image was also found to improve the final result", `ng`). The corners of a
    rotated crop come from the stored image, so they are real sky where the store holds more than the crop.

    Raises:
        UsageError: ``number`` is none of these, or it needs mirror images and the recipe keeps handedness
            (both flips off).
    """
    if number not in VIEWS:
        some = ", ".join(map(str, VIEWS[:-1]))
        raise UsageError(
            f"evaluation.views is {number}; test-time augmentation has {some} or {VIEWS[-1]} views"
        )
    mirrored = number in MIRRORED
    if mirrored and not (config.flip_horizontal or config.flip_vertical):
        raise UsageError(
            f"evaluation.views = {number} uses mirror images, but the recipe keeps handedness "
            "(augment.flip_horizontal and augment.flip_vertical are false); use 1, 4, 8 or 24 views"
        )
    turns = 1 if number < 4 else min(number, 8)
    angles = tuple(360.0 / turns * step for step in range(turns))
    seen = tuple(View(angle) for angle in angles)
    if mirrored:
        across = config.flip_horizontal
        seen += tuple(View(angle, across, not across) for angle in angles)
    scales = SCALES if number > 16 else (1.0,)
    return tuple(view._replace(zoom=scale) for scale in scales for view in seen)


def _keys(
    seed: int,
    epoch: int,
    rows: np.ndarray | Sequence[int],
    occurrences: np.ndarray | Sequence[int] | None,
) -> np.ndarray:
    """(N,) uint64: hashes that seed each sample's own SplitMix64 stream."""
    repeats = np.zeros(1, np.int64) if occurrences is None else np.asarray(occurrences, np.int64)
    key = np.zeros(1, np.uint64)
    for number in (
        np.array([seed & MASK], np.uint64),
        np.array([epoch]),
        np.asarray(rows, np.int64),
        repeats,
    ):
        key = _mixed(key + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    return key


def _uniforms(keys: np.ndarray, number: int) -> np.ndarray:
    """(number, N) uniform deviates in [0, 1) with 53 bits."""
    counters = np.arange(number, dtype=np.uint64)[:, None]
    return (_mixed(keys + counters * np.uint64(GOLDEN)) >> np.uint64(11)) * 2.0**-53


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA): a bijection that mixes all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
