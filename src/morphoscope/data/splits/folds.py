"""Folds of the labelled galaxies for cross-validation: each galaxy is held out once.

Shape letters: N galaxies, F folds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from morphoscope.data.splits.file import Split, fingerprint
from morphoscope.data.splits.split import FLEXIBLE, check_class_sizes, keep_together
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError


def all_labelled(store: Store, name: str = "sky-grouped", *, seed: int = 0) -> Split:
    """The split of a network that learns from every labelled galaxy: all for training."""
    rows = np.flatnonzero(store.need_scheme().strata(store.targets()) >= 0)
    none = np.empty(0, np.int64)
    return Split(name, seed, len(store), rows, none, none, fingerprint(store))


def make_folds(
    store: Store,
    count: int,
    name: str = "sky-grouped",
    *,
    seed: int = 0,
    allow_empty_classes: bool = False,
) -> list[Split]:
    """Stratified folds: F splits of the labelled galaxies, whose tests together are all of them.

    Args:
        store: with labels.
        count: F.
        name: "sky-grouped": galaxies that are close on the sky or have identical pixels are in the same fold;
            "random": nothing is kept together.
        seed: of the draw.
        allow_empty_classes: ignore classes of the scheme that have no galaxies.

    Returns:
        One split for each fold, without validation galaxies.

    Raises:
        UsageError: another split, or fewer labelled galaxies than folds.
        MorphoscopeError: a class has fewer than two labels, or all of its labels are on one patch of sky, so
            that one fold could not be learned.
    """
    if name not in FLEXIBLE:
        raise UsageError(
            f"data.folds makes its own splits, which data.split={name} does not go with; set data.split to "
            f"{' or '.join(FLEXIBLE)}"
        )
    scheme = store.need_scheme()
    every = scheme.strata(store.targets())
    rows = np.flatnonzero(every >= 0)
    if len(rows) < count:
        fewer = f"; set data.folds to {len(rows)} or less" if len(rows) > 1 else ""
        raise UsageError(
            f"{store.path}: {len(rows)} labelled galaxies cannot be put into {count} folds{fewer}"
        )
    check_class_sizes(store, scheme, every[rows], 2, allow_empty=allow_empty_classes)
    groups = keep_together(store)[rows] if name == "sky-grouped" else np.arange(len(rows))
    fold_N = fold_numbers(every[rows], groups, count, seed)
    if scheme.class_names is not None:
        _check_learnable(store, scheme.class_names, every[rows], fold_N)
    whole = all_labelled(store, name, seed=seed)
    return [
        replace(whole, train=rows[fold_N != fold], test=rows[fold_N == fold])
        for fold in range(count)
        if (fold_N == fold).any()
    ]


def fold_numbers(strata_N: np.ndarray, groups_N: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each galaxy, (N,) int64 from 0.

    Groups are assigned from the largest to single galaxies, each to the fold that has fewest galaxies of its
    strata, of equal ones to the smallest fold.

    Args:
        strata_N: class of each galaxy, 0 or more.
        groups_N: galaxies with the same number are in one fold.
        count: F.
        seed: of the order within equally large groups.
    """
    random = np.random.default_rng(seed)
    strata = np.asarray(strata_N, np.int64)
    _, numbers_N, sizes = np.unique(groups_N, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(numbers_N, kind="stable"), np.cumsum(sizes)[:-1])
    order = random.permutation(len(members))
    # Strata in turn, so that rare classes spread as evenly as common ones.
    first = np.array([strata[members[group][0]] for group in order])
    order = order[np.lexsort((first, -sizes[order]))]
    held_SF = np.zeros((int(strata.max()) + 1, count), np.int64)
    fold_N = np.empty(len(strata), np.int64)
    for group in order.tolist():
        kinds, numbers = np.unique(strata[members[group]], return_counts=True)
        badness = list(zip((numbers @ held_SF[kinds]).tolist(), held_SF.sum(axis=0).tolist(), strict=True))
        fold = min(range(count), key=badness.__getitem__)
        fold_N[members[group]] = fold
        held_SF[kinds, fold] += numbers
    return fold_N


def _check_learnable(
    store: Store, classes: tuple[str, ...], labels_N: np.ndarray, fold_N: np.ndarray
) -> None:
    for index, name in enumerate(classes):
        if (labels_N == index).any() and len(np.unique(fold_N[labels_N == index])) < 2:
            raise MorphoscopeError(
                f"{store.path}: all {int((labels_N == index).sum())} galaxies of class '{name}' share sky or "
                "pixels, so they are in one fold and the others cannot test it; add galaxies from elsewhere, "
                "or set data.split=random, which keeps nothing together"
            )
