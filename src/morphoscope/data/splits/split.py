"""Split the labelled galaxies of a store into training, validation and test.

Splits by name:

==============  ==========================================================================================
``sky-grouped``  the default: stratified; galaxies that are close on the sky or have identical pixels stay
                 together, because a galaxy in both training and test makes the test too easy
``random``       stratified, nothing kept together
``cheng``        0.8 / 0.2 by class, then 20 % of the training galaxies for validation
``tong``         by class: train ⌊0.8 n⌋, test ⌊rest / 2⌋, validation the remainder (their table II)
``ng``           scikit-learn's stratified 90 / 10 with seed 1; the 10 % are validation *and* test
``fu``           0.8 / 0.2 by class, no validation
==============  ==========================================================================================

The papers' splits use their published shares and keep nothing together; ``morphoscope data audit`` counts
the pairs that cross them. Vote fractions are stratified by the plurality answer to the first question.
Galaxies without labels are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from morphoscope.data.sky import groups_from_pairs
from morphoscope.data.splits.file import Split, fingerprint, load_split
from morphoscope.data.splits.stratify import stratified_parts
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.extras import need
from morphoscope.labels.scheme import Scheme

__all__ = ["SPLITS", "Split", "keep_together", "load_split", "make_split", "split_of_store"]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Request:
    """Input of a splitting rule; arrays are (N,), of the labelled galaxies only."""

    strata: np.ndarray
    groups: np.ndarray
    test: float
    validation: float
    seed: int


def make_split(
    store: Store,
    name: str = "sky-grouped",
    *,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    allow_empty_classes: bool = False,
) -> Split:
    """Split the labelled galaxies of a store.

    Args:
        store: with labels.
        name: one of :data:`SPLITS`.
        test: share of all galaxies in the test part; 0: none. The papers' splits have their own.
        validation: share of all galaxies in the validation part; 0: none.
        seed: the same seed gives the same split. For ``ng``, seed 0 is the published one.
        allow_empty_classes: ignore classes of the scheme that have no galaxies.

    Raises:
        UsageError: unknown name, shares that leave nothing to train on, a store without labels.
        MorphoscopeError: a class has no galaxies, or too few for every part.
    """
    if name not in SPLITS:
        raise UsageError(f"no split '{name}'{did_you_mean(name, SPLITS, 'splits')}")
    if not (0 <= test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise UsageError(
            f"test share {test:g} and validation share {validation:g}: expected two shares of 0 or more "
            "whose sum is under 1"
        )
    scheme = store.need_scheme()
    every = scheme.strata(store.targets())
    rows = np.flatnonzero(every >= 0)
    parts_with_share = _parts_with_share(name, test, validation)
    _check_class_sizes(store, scheme, every[rows], len(parts_with_share), allow_empty_classes)
    own = every[rows] if scheme.class_names is not None else _merged(every[rows], len(parts_with_share))
    request = _Request(own, keep_together(store)[rows], test, validation, seed)
    train, validated, tested = (rows[np.sort(positions)] for positions in SPLITS[name](request))
    split = Split(name, seed, len(store), train, validated, tested, fingerprint(store))
    if scheme.class_names is not None:
        _check_every_class(store, scheme.class_names, every, split, parts_with_share)
    return split


def split_of_store(store: Store, name_or_path: str) -> Split:
    """A split by the name of its rule, or from a split file or the run folder that holds one.

    Raises:
        UsageError: neither, or the file is of another store.
        MorphoscopeError: the file is damaged.
    """
    if name_or_path in SPLITS:
        return make_split(store, name_or_path)
    path = Path(name_or_path)
    return load_split(path / "split.json" if path.is_dir() else path, store)


def keep_together(store: Store) -> np.ndarray:
    """Group numbers, (N,) int64; galaxies linked by sky group or identical pixels share one."""
    rows = np.arange(len(store), dtype=np.int64)
    links = []
    for name in ("sky_group", "pixel_hash"):
        codes = store.table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        _, first = np.unique(codes, return_index=True)  # codes run from 0 without a gap
        links.append(np.stack([first[codes], rows], axis=1))
    return groups_from_pairs(np.concatenate(links), len(rows))


def _merged(strata_N: np.ndarray, least: int) -> np.ndarray:
    """Merge strata of votes that have fewer galaxies than there are parts into the largest."""
    counts = np.bincount(strata_N, minlength=1)
    rare = counts < least
    return np.unique(np.where(rare[strata_N], np.argmax(counts), strata_N), return_inverse=True)[1]


def _by_share(
    request: _Request, test: float, validation: float, groups: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    shares = (1 - test - validation, validation, test)
    parts = stratified_parts(request.strata, shares, request.seed, groups)
    return tuple(np.flatnonzero(parts == number) for number in range(3))


def _sky_grouped(request: _Request) -> tuple[np.ndarray, ...]:
    return _by_share(request, request.test, request.validation, request.groups)


def _random(request: _Request) -> tuple[np.ndarray, ...]:
    return _by_share(request, request.test, request.validation, None)


def _cheng(request: _Request) -> tuple[np.ndarray, ...]:
    return _by_share(request, test=0.2, validation=0.2 * 0.8, groups=None)


def _fu(request: _Request) -> tuple[np.ndarray, ...]:
    return _by_share(request, test=0.2, validation=0.0, groups=None)


def _tong(request: _Request) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(request.seed)
    drawn = random.permutation(len(request.strata))
    drawn = drawn[np.argsort(request.strata[drawn], kind="stable")]
    counts = np.bincount(request.strata)
    train, validation, test = [], [], []
    for members in np.split(drawn, np.cumsum(counts)[:-1]):
        trained = 4 * len(members) // 5
        tested = trained + (len(members) - trained) // 2
        train.append(members[:trained])
        test.append(members[trained:tested])
        validation.append(members[tested:])
    return np.concatenate(train), np.concatenate(validation), np.concatenate(test)


def _ng(request: _Request) -> tuple[np.ndarray, ...]:
    """The published RMSE is Kaggle's, of 79,975 galaxies without public votes; here the 10 % stand in."""
    need(("sklearn",), "train", "the split of study ng")
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(request.strata))
    train, held = map(
        np.asarray,
        train_test_split(rows, test_size=0.1, random_state=1 + request.seed, stratify=request.strata),
    )
    return train, held, held


SPLITS: dict[str, Callable[[_Request], tuple[np.ndarray, ...]]] = {
    "sky-grouped": _sky_grouped,
    "random": _random,
    "cheng": _cheng,
    "tong": _tong,
    "ng": _ng,
    "fu": _fu,
}


def _parts_with_share(name: str, test: float, validation: float) -> list[str]:
    if name in ("cheng", "tong", "ng"):
        return list(PARTS)
    if name == "fu":
        return ["train", "test"]
    return [part for part, share in zip(PARTS, (1.0, validation, test), strict=True) if share > 0]


def _check_class_sizes(
    store: Store, scheme: Scheme, labels: np.ndarray, parts: int, allow_empty: bool
) -> None:
    if len(labels) < parts:
        raise MorphoscopeError(
            f"{store.path}: {len(labels)} labelled galaxies cannot be split into {parts} parts"
        )
    classes = scheme.class_names
    if classes is None:
        return
    if labels.max() >= scheme.outputs:
        raise MorphoscopeError(
            f"{store.path}: a galaxy has label {labels.max()}; scheme '{scheme.name}' has labels 0 to "
            f"{scheme.outputs - 1}"
        )
    counts = np.bincount(labels, minlength=scheme.outputs)
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty and not allow_empty:
        raise MorphoscopeError(
            f"{store.path}: class {_listed(empty)} has no galaxies; make the store again with only the "
            "classes that have galaxies (from class folders: remove the empty folder)"
        )
    few = [f"'{name}' has {count}" for name, count in zip(classes, counts, strict=True) if 0 < count < parts]
    if few:
        raise MorphoscopeError(
            f"{store.path}: class {', '.join(few)} labelled galaxies; at least {parts} are needed, one for "
            "each part of the split. Add galaxies to the class, or leave it out of the store"
        )


def _check_every_class(
    store: Store, classes: tuple[str, ...], labels: np.ndarray, split: Split, parts: list[str]
) -> None:
    present = np.bincount(labels[labels >= 0], minlength=len(classes)) > 0
    for part in parts:
        inside = np.bincount(labels[getattr(split, part)], minlength=len(classes)) > 0
        missing = np.flatnonzero(present & ~inside)
        if not len(missing):
            continue
        index = int(missing[0])
        count = int(np.count_nonzero(labels == index))
        why = "too few for the split's own shares"
        if split.name == "sky-grouped":
            groups = len(np.unique(keep_together(store)[labels == index]))
            radius = store.meta.sky_group_radius
            near = f" (within {radius:g} arcsec)" if radius else ""
            why = (
                f"which lie in {groups} groups that share sky{near} or pixels; split 'random' does not keep "
                "groups together"
            )
        raise MorphoscopeError(
            f"{store.path}: split '{split.name}' leaves no galaxy of class '{classes[index]}' for "
            f"{part}: it has {count} galaxies, {why}"
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
