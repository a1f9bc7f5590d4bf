"""Galaxies to train on: limits, and statistics of the training split
(oversampling and loss weights for rare classes, channel means).

Balance only after splitting: duplicates made before would end up on both sides of the split.
"""

from __future__ import annotations

import numpy as np
import torch

from morphoscope.augment.cpu import sky_and_noise
from morphoscope.data.splits.file import Split, limited
from morphoscope.data.store import Store
from morphoscope.errors import UsageError
from morphoscope.models.values import Curve, Planes, levels_of
from morphoscope.progress import note
from morphoscope.recipes import Recipe


def oversample(rows: np.ndarray, labels: np.ndarray, seed: int, strength: float = 1.0) -> np.ndarray:
    """Rows, with those of rare classes repeated until every class is as large as the largest (`fu`).

    All galaxies of a class are repeated equally often, to within one; which get the extra copy is random.
    With ``strength`` ½ a class of n galaxies grows only to √(n · largest) (Mahajan et al. 2018, section 2.2):
    rare classes are seen more often but stay rare.

    Args:
        rows: (N,) row numbers.
        labels: (N,) class index of each of these rows, all of them 0 or more.
        seed: of the draw.
        strength: 1 makes all classes equally large, 0 changes nothing.

    Returns:
        (M,) int64: ``rows``, then the duplicates in shuffled order.
    """
    rows, labels = np.asarray(rows, dtype=np.int64), _known(rows, labels)
    if not len(rows):
        return rows
    random = np.random.default_rng(seed)
    counts = np.bincount(labels)
    wanted = np.rint(counts.max() * (counts / counts.max()) ** (1 - strength)).astype(int)
    duplicates = []
    classes = np.split(rows[np.argsort(labels, kind="stable")], np.cumsum(counts)[:-1])
    for members, size in zip(classes, wanted, strict=True):
        if len(members):
            again, rest = divmod(int(size) - len(members), len(members))
            duplicates += [np.tile(members, again), random.permutation(members)[:rest]]
    return np.concatenate([rows, random.permutation(np.concatenate(duplicates))])


def class_weights(labels: np.ndarray, count: int) -> np.ndarray:
    """Class weights for the loss, (K,) float32, inversely proportional to the class sizes.

    The mean weight over the galaxies is 1, so the scale of the loss is unchanged. A class without galaxies
    has weight 0.

    Args:
        labels: (N,) class indices, 0 to ``count`` − 1.
        count: K, the number of classes.
    """
    sizes = np.bincount(_known(labels, labels), minlength=count)
    if len(sizes) > count:
        raise ValueError(f"label {len(sizes) - 1} with {count} classes")
    present = sizes > 0
    shares = len(labels) / (np.maximum(sizes, 1) * max(1, np.count_nonzero(present)))
    return np.where(present, shares, 0.0).astype(np.float32)


def _known(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels, dtype=np.int64)
    if labels.shape != np.shape(rows) or np.any(labels < 0):
        raise ValueError("one label of 0 or more for each row was expected")
    return labels


SAMPLE = 2_000  # images; enough for four digits


def channel_statistics(
    store: Store,
    rows: np.ndarray,
    *,
    crop: int | None = None,
    sample: int = SAMPLE,
    planes: Planes | None = None,
    curve: Curve = "asinh",
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of some galaxies, on a scale of 0 to 1.

    Args:
        store: the store.
        rows: galaxies of the training split.
        crop: side of the centre crop that the network sees, stored pixels.
        sample: at most this many galaxies, evenly spaced.
        planes: of a store with values as measured, whose levels are meant.
        curve: from these values to levels.

    Returns:
        (C,) means and (C,) standard deviations, the latter at least one grey level.
    """
    chosen = _sample(rows, sample)
    height, width, channels = store.meta.image_shape
    top, left = ((side - min(crop or side, side)) // 2 for side in (height, width))
    total, squares, pixels = np.zeros(channels), np.zeros(channels), 0
    for row in chosen:
        image = store.images[row][top : height - top, left : width - left]
        if planes is not None and planes.sky:
            image = levels_of(image, planes.sky, planes.noise, curve)
        image = image.astype(np.float64) / 255
        total += image.sum((0, 1))
        squares += np.square(image).sum((0, 1))
        pixels += image.shape[0] * image.shape[1]
    mean = total / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, (1 / 255) ** 2))
    return tuple(map(float, mean)), tuple(map(float, deviation))


def _sample(rows: np.ndarray, most: int) -> np.ndarray:
    rows = np.asarray(rows)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]


def planes_of(store: Store, split: Split) -> Planes:
    """The channels of a store, and the median sky and noise of its training galaxies in each band if it has
    values as measured.
    """
    channels = store.meta.image_shape[2]
    if store.meta.dtype == "uint8":
        return Planes(channels)
    found = [sky_and_noise(np.asarray(store.images[row])) for row in _sample(split.train, SAMPLE)]
    sky_C, noise_C = (np.median([each[part] for each in found], axis=0) for part in (0, 1))
    flat = [name for name, noise in zip(store.meta.bands, noise_C, strict=True) if not noise > 1e-30]
    if flat:
        raise UsageError(
            f"{store.path}: the sky of the band{'s' * (len(flat) > 1)} {', '.join(flat)} has no noise, by "
            "which values become levels; check these images, or ingest them with --stretch bands"
        )
    return Planes(channels, tuple(map(float, sky_C)), tuple(map(float, noise_C)))


def check_augment(recipe: Recipe, store: Store) -> None:
    """Say what of the augmentation does nothing for the images of a store; refuse what cannot be done.

    Raises:
        UsageError: RandAugment of images that are not pictures.
    """
    augment, (_, _, channels) = recipe.augment, store.meta.image_shape
    measured = store.meta.dtype != "uint8"
    if augment.randaugment and (channels != 3 or measured):
        what = "values as measured" if measured else f"{channels} channels"
        raise UsageError(
            f"augment.randaugment changes colours of pictures, and the images of {store.path} have {what}; "
            "set augment.randaugment=0"
        )
    without = ["saturation"] if augment.saturation and (channels != 3 or measured) else []
    if measured:
        without += [name for name in ("contrast", "gamma") if getattr(augment, name)]
    if without:
        what = "values as measured" if measured else f"{channels} bands"
        fields = " and ".join(f"augment.{name}" for name in without)
        note(f"{store.path} has {what}: {fields} {'do' if len(without) > 1 else 'does'} nothing")


def training_rows(recipe: Recipe, store: Store, split: Split) -> np.ndarray:
    """The rows of one epoch, limited and oversampled by the recipe (after the split, never before)."""
    rows = limited(split.train, recipe.data.limit, recipe.seed)
    if recipe.data.balance in ("oversample", "square-root"):
        strength = 1.0 if recipe.data.balance == "oversample" else 0.5
        rows = oversample(rows, _class_labels(store)[rows], recipe.seed, strength)
    return rows


def statistics_of(
    recipe: Recipe, store: Store, split: Split, planes: Planes
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel (0..1), if the recipe normalises by its galaxies, or if no
    others are known for their bands.
    """
    others = planes.channels != 3 or bool(planes.sky)
    if recipe.model.normalise != "data" and (not others or recipe.model.normalise in ("half", "unit")):
        return None
    return channel_statistics(
        store, split.train, crop=recipe.augment.crop, planes=planes, curve=recipe.model.stretch
    )


def loss_weights(recipe: Recipe, store: Store, split: Split) -> torch.Tensor | None:
    """(K,) float32 class weights for the loss; None if the recipe has none."""
    if recipe.data.balance != "class-weights":
        return None
    labels = _class_labels(store)[split.train]
    return torch.from_numpy(class_weights(labels, store.need_scheme().outputs))


def _class_labels(store: Store) -> np.ndarray:
    scheme = store.need_scheme()
    if scheme.class_names is None:
        raise UsageError(f"data.balance needs classes as labels; this store has {scheme.noun}")
    return store.targets()
