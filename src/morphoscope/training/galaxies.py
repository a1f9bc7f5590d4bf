"""Galaxies to train on: split, limits, oversampling, and checks against the recipe."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from morphoscope.data.balance import channel_statistics, class_weights, limited, oversample
from morphoscope.data.splits.file import Split, load_split
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.recipes import Recipe


def split_of(recipe: Recipe, store: Store, out: Path) -> Split:
    """The split of an unfinished run, a split file, or a new split by name."""
    begun = out / "split.json"
    if begun.is_file():
        return load_split(begun, store)
    data = recipe.data
    if data.split.endswith((".json", ".yaml")) or os.sep in data.split:
        return load_split(Path(data.split), store)
    return make_split(store, data.split, test=data.test, validation=data.validation, seed=data.split_seed)


def training_rows(recipe: Recipe, store: Store, split: Split) -> np.ndarray:
    """The rows of one epoch, limited and oversampled by the recipe (after the split, never before)."""
    rows = limited(split.train, recipe.data.limit, recipe.seed)
    if len(rows) < 2:
        raise MorphoscopeError(f"{store.path}: {len(rows)} training galaxies; at least two are needed")
    if recipe.data.balance in ("oversample", "square-root"):
        strength = 1.0 if recipe.data.balance == "oversample" else 0.5
        rows = oversample(rows, _class_labels(store)[rows], recipe.seed, strength)
    return rows


def statistics_of(
    recipe: Recipe, store: Store, split: Split
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel (0..1), if the recipe normalises by its galaxies."""
    if recipe.model.normalise != "data":
        return None
    return channel_statistics(store, split.train, crop=recipe.augment.crop)


def check_scheme(recipe: Recipe, store: Store) -> None:
    """Refuse a store with another label scheme than the recipe's.

    Raises:
        UsageError: it has one.
    """
    wanted, found = recipe.data.scheme, store.need_scheme()
    found.with_outputs(recipe.model.votes)
    if wanted is not None and found.name != wanted:
        raise UsageError(
            f"{recipe.name} is for the scheme '{wanted}' and {store.path} has '{found.name}'; give a store "
            f"with {wanted}, or set data.scheme=none to train on other labels"
        )


def check_crop(recipe: Recipe, store: Store) -> None:
    """Refuse a centre crop larger than the stored images.

    Raises:
        UsageError: it is larger.
    """
    side = min(store.meta.image_shape[:2])
    if recipe.augment.crop is not None and recipe.augment.crop > side:
        raise UsageError(
            f"augment.crop is {recipe.augment.crop} pixels and the images of {store.path} have {side}; set "
            "augment.crop=none for the whole image, or ingest larger ones (see 'about' of the recipe)"
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
