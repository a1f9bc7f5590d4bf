from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from morphoscope.data.splits.folds import all_labelled, fold_numbers, make_folds
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError

Make = Callable[..., Store]


def test_every_labelled_galaxy_is_held_out_once(table_store: Make) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [50, 23, 7, 10]))
    store = table_store(labels, None)
    splits = make_folds(store, 5, seed=3)
    held = np.concatenate([split.test for split in splits])
    labelled = np.flatnonzero(labels >= 0)
    assert sorted(held.tolist()) == labelled.tolist()
    for split in splits:
        assert sorted([*split.train, *split.test]) == labelled.tolist()
        assert not len(split.validation)
        assert len(split.test) == 16
        counts = np.bincount(labels[split.test], minlength=3)
        assert counts[0] == 10
        assert counts[1] in (4, 5)
        assert counts[2] in (1, 2)
    assert all_labelled(store).train.tolist() == labelled.tolist()
    assert make_folds(store, 5, seed=4)[0].test.tolist() != splits[0].test.tolist()


def test_galaxies_of_one_sky_group_are_in_one_fold(table_store: Make) -> None:
    ra = np.repeat(np.arange(30.0), 2) + np.tile([0, 1e-4], 30)
    store = table_store(np.arange(60) // 2 % 2, ra=ra)
    for split in make_folds(store, 3):
        assert set((split.test // 2).tolist()).isdisjoint((split.train // 2).tolist())
        assert len(split.test) == 20
    apart = make_folds(store, 3, "random")
    assert any(set((split.test // 2).tolist()) & set((split.train // 2).tolist()) for split in apart)


def test_two_labels_of_a_class_lie_in_two_folds(table_store: Make) -> None:
    labels = np.repeat([0, 1], [40, 2])
    store = table_store(labels)
    assert all((labels[split.train] == 1).any() for split in make_folds(store, 5))


def test_folds_are_as_equal_as_can_be() -> None:
    strata = np.repeat(np.arange(10), 3)  # every class is smaller than the number of folds
    sizes = np.bincount(fold_numbers(strata, np.arange(30), 5, seed=1))
    assert sizes.tolist() == [6] * 5


@pytest.mark.parametrize(
    ("sizes", "options", "error", "said"),
    [
        (
            [9, 1],
            {},
            MorphoscopeError,
            r"too few labelled galaxies of class 'class 1' \(1\); at least 2 are needed, one to",
        ),
        ([3, 0, 3], {}, MorphoscopeError, "class 'class 1' has no galaxies"),
        (
            [2, 2],
            {},
            UsageError,
            "cannot be put into 5 folds; set data.folds to 4 or less",
        ),
        (
            [9, 9],
            {"name": "tong"},
            UsageError,
            "data.split=tong does not go with; set data.split to sky-grouped",
        ),
    ],
)
def test_what_cannot_be_put_into_folds_is_one_sentence(
    table_store: Make, sizes: list[int], options: dict, error: type[MorphoscopeError], said: str
) -> None:
    store = table_store(np.repeat(np.arange(len(sizes)), sizes))
    with pytest.raises(error, match=said):
        make_folds(store, 5, **options)


def test_a_class_on_one_patch_of_sky_cannot_test_itself(table_store: Make) -> None:
    ra = np.concatenate([np.arange(20.0), np.full(4, 100.0)])
    store = table_store(np.repeat([0, 1], [20, 4]), ra=ra)
    with pytest.raises(MorphoscopeError, match="all 4 galaxies of class 'class 1' share sky or pixels"):
        make_folds(store, 5)
    assert len(make_folds(store, 5, "random")) == 5
