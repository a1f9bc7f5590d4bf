"""The split that a recipe asks for, and whether a store suits a recipe: all that can be wrong about a
training before a network is built. Nothing heavy is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

from morphoscope.data.splits.file import Split, limited, load_split
from morphoscope.data.splits.folds import all_labelled, make_folds
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Scheme
from morphoscope.recipes import Recipe


def training_split(recipe: Recipe, store: Store, out: Path) -> Split:
    """The split of a training, after all checks of the labels and the recipe against each other.

    Args:
        recipe: of the training.
        store: with labels.
        out: the run folder, which has the split of a training that was begun.

    Raises:
        UsageError: the recipe is for other labels or larger images, or contradicts itself.
        MorphoscopeError: there are too few labels, of all or of a class.
    """
    check_scheme(recipe, store)
    check_crop(recipe, store)
    split = split_of(recipe, store, out)
    if recipe.training.patience and not len(split.validation):
        raise UsageError("training.patience needs a validation split; set data.validation above 0")
    check_count(recipe, store, split)
    return split


def split_of(recipe: Recipe, store: Store, out: Path) -> Split:
    """The split of an unfinished run, a split file, or a new split by name, held out as far as is allowed."""
    begun = out / "split.json"
    if begun.is_file():
        return load_split(begun, store)
    data = recipe.data
    if data.folds:
        folds_of(recipe, store)  # its checks
        return all_labelled(store, data.split, seed=data.split_seed)
    if data.split.endswith((".json", ".yaml")) or os.sep in data.split:
        split = load_split(Path(data.split), store)
    else:
        split = make_split(
            store,
            data.split,
            test=data.test,
            validation=data.validation,
            seed=data.split_seed,
            allow_empty_classes=data.empty_classes,
        )
    if data.held_out_limit is None:
        return split
    return split.with_held_out(data.held_out_limit, store.need_scheme().strata(store.targets()))


def folds_of(recipe: Recipe, store: Store) -> list[Split]:
    """The splits of a recipe with ``data.folds``, one for each fold."""
    data = recipe.data
    assert data.folds
    return make_folds(
        store, data.folds, data.split, seed=data.split_seed, allow_empty_classes=data.empty_classes
    )


def check_count(recipe: Recipe, store: Store, split: Split) -> None:
    """Refuse fewer than two training galaxies."""
    rows = limited(split.train, recipe.data.limit, recipe.seed)
    if len(rows) < 2:
        raise MorphoscopeError(f"{store.path}: {len(rows)} training galaxies; at least two are needed")


def check_scheme(recipe: Recipe, store: Store) -> None:
    """Refuse a store with another label scheme than the recipe's.

    Raises:
        UsageError: it has one.
    """
    wanted, found = recipe.data.scheme, store.need_scheme()
    learned_scheme(recipe, store)
    if wanted is not None and found.name != wanted:
        raise UsageError(
            f"{recipe.name} is for the scheme '{wanted}' and {store.path} has '{found.name}'; give a store "
            f"with {wanted}, or set data.scheme=none to train on other labels"
        )


def learned_scheme(recipe: Recipe, store: Store) -> Scheme:
    """The store's labels in the form in which the recipe learns them.

    Raises:
        UsageError: labels of this kind have no such form.
    """
    model = recipe.model
    return store.need_scheme().with_outputs(model.votes, model.likelihood, model.degrees_of_freedom)


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
