"""Split the labelled galaxies of a store into training, validation and test.

Splits by name:

===============  =========================================================================================
``sky-grouped``  the default: stratified; galaxies that are close on the sky or have identical pixels stay
                 together, because a galaxy in both training and test makes the test too easy
``random``       stratified, nothing kept together
``cheng``        0.8 / 0.2 by class, then 20 % of the training galaxies for validation
``tong``         by class: train ⌊0.8 n⌋, test ⌊rest / 2⌋, validation the remainder (their table II)
``ng``           scikit-learn's stratified 90 / 10 with seed 1; the 10 % are validation *and* test
``fu``           0.8 / 0.2 by class, no validation
===============  =========================================================================================

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
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.extras import need
from morphoscope.labels.scheme import Scheme


def quotas(counts_S: np.ndarray, shares_P: tuple[float, ...]) -> np.ndarray:
    """How many galaxies of each stratum each part should get, (S, P) int64.

    Each part's total is its share to the nearest galaxy, distributed over the strata by largest remainder.
    In addition, each part with a share gets at least one galaxy of every stratum that is large enough; of two
    galaxies one is for training and one for the test.
    """
    counts = np.asarray(counts_S, dtype=np.int64)
    wanted = np.zeros((len(counts), len(shares_P)), dtype=np.int64)
    for part, share in enumerate(shares_P):
        if part == 0 or share == 0:
            continue
        exact = share * counts
        whole = np.floor(exact).astype(np.int64)
        rest = round(share * int(counts.sum())) - int(whole.sum())
        whole[np.argsort(whole - exact, kind="stable")[: max(rest, 0)]] += 1
        wanted[:, part] = np.maximum(whole, counts > 0)
    for stratum, count in enumerate(counts):
        row = wanted[stratum]
        while row.sum() >= max(count, 1) and row.max() > 0:  # one is for training; the test comes before
            row[np.argmax(row)] -= 1  # validation, which comes first where both have as many
    wanted[:, 0] = counts - wanted.sum(axis=1)
    return wanted


def stratified_parts(
    strata_N: np.ndarray, shares_P: tuple[float, ...], seed: int, groups_N: np.ndarray | None = None
) -> np.ndarray:
    """The part of each galaxy, (N,) int8.

    Args:
        strata_N: class of each galaxy, 0 or more.
        shares_P: share of train, validation and test; they add up to 1.
        seed: of the draw.
        groups_N: galaxies with the same number stay in one part; None: no groups.

    Returns:
        Part numbers. Groups are assigned first, largest to smallest, to the part where they fit best;
        ungrouped galaxies then fill up the parts, so sizes are exact unless a group is too large for its
        part.
    """
    strata = np.asarray(strata_N, dtype=np.int64)
    random = np.random.default_rng(seed)
    wanted = quotas(np.bincount(strata), shares_P)
    left = wanted.copy()
    parts = np.full(len(strata), -1, dtype=np.int8)
    if groups_N is not None:
        _assign_groups(parts, strata, np.asarray(groups_N), wanted, left, random)
    alone = random.permutation(np.flatnonzero(parts < 0))
    alone = alone[np.argsort(strata[alone], kind="stable")]
    numbers = np.bincount(strata[alone], minlength=len(wanted))
    for stratum, rows in enumerate(np.split(alone, np.cumsum(numbers)[:-1])):
        take = _trimmed(left[stratum], left[stratum] == wanted[stratum], len(rows))
        parts[rows] = np.repeat(np.arange(len(take)), take)
    return parts


def _trimmed(left_P: np.ndarray, lacking_P: np.ndarray, available: int) -> np.ndarray:
    """How many ungrouped galaxies each part takes, if groups have overfilled another part."""
    take = np.maximum(left_P, 0)
    while take.sum() > available:
        # Of two parts that want equally many, the one that already has the stratum gives one up.
        take[np.argmax(take - 0.5 * lacking_P)] -= 1
    return take


@dataclass(frozen=True)
class _Group:
    """Galaxies that stay together, and their number per stratum."""

    rows: np.ndarray
    counts: tuple[tuple[int, int], ...]


def _assign_groups(
    parts: np.ndarray,
    strata: np.ndarray,
    group_numbers: np.ndarray,
    wanted: np.ndarray,
    left: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Assign every group of two or more to a part; ``parts`` and ``left`` are changed in place."""
    groups = _groups(strata, group_numbers)
    groups = [groups[index] for index in random.permutation(len(groups))]
    groups.sort(key=lambda group: -len(group.rows))
    used = np.flatnonzero(wanted.sum(axis=0) > 0).tolist()

    def assign(group: _Group, part: int) -> None:
        parts[group.rows] = part
        for stratum, count in group.counts:
            left[stratum, part] -= count

    in_groups = np.zeros(len(wanted), dtype=np.int64)
    members: dict[int, list[_Group]] = {}
    for group in groups:
        for stratum, count in group.counts:
            in_groups[stratum] += count
            members.setdefault(stratum, []).append(group)
    alone = wanted.sum(axis=1) - in_groups
    scarce = [stratum for stratum in members if alone[stratum] < len(used)]
    for stratum in sorted(scarce, key=lambda stratum: (len(members[stratum]), stratum)):
        lacking = [part for part in used if left[stratum, part] == wanted[stratum, part]]
        lacking.sort(key=lambda part: wanted[stratum, part])
        free = [group for group in reversed(members[stratum]) if parts[group.rows[0]] < 0]
        # Ungrouped galaxies go to the smallest parts, the smallest groups to the next ones.
        for part, group in zip(lacking[alone[stratum] :], free, strict=False):
            assign(group, part)
    for group in groups:
        if parts[group.rows[0]] < 0:
            assign(group, _best_part(group, wanted, left, used))


def _groups(strata: np.ndarray, group_numbers: np.ndarray) -> list[_Group]:
    _, numbers, sizes = np.unique(group_numbers, return_inverse=True, return_counts=True)
    order = np.argsort(numbers, kind="stable")
    order = order[sizes[numbers[order]] > 1]
    pieces = np.split(order, np.cumsum(sizes[sizes > 1])[:-1]) if len(order) else []
    groups = []
    for rows in pieces:
        counts: dict[int, int] = {}
        for stratum in strata[rows].tolist():
            counts[stratum] = counts.get(stratum, 0) + 1
        groups.append(_Group(rows, tuple(counts.items())))
    return groups


def _best_part(group: _Group, wanted: np.ndarray, left: np.ndarray, used: list[int]) -> int:
    """The part that a group overfills least; of those, the one that lacks it most for its size."""

    def badness(part: int) -> tuple[int, float]:
        over = sum(max(0, count - int(left[stratum, part])) for stratum, count in group.counts)
        want = sum(
            count * int(left[stratum, part]) / max(1, int(wanted[stratum, part]))
            for stratum, count in group.counts
        )
        return over, -want

    return min(used, key=badness)


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
    least = min(len(parts_with_share), 2) if name in FLEXIBLE else len(parts_with_share)
    check_class_sizes(store, scheme, every[rows], least, allow_empty=allow_empty_classes)
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


FLEXIBLE = ("sky-grouped", "random")
"""The splits of this program, in which a class of two labels needs no validation galaxy."""


def _parts_with_share(name: str, test: float, validation: float) -> list[str]:
    if name in ("cheng", "tong", "ng"):
        return list(PARTS)
    if name == "fu":
        return ["train", "test"]
    return [part for part, share in zip(PARTS, (1.0, validation, test), strict=True) if share > 0]


def check_class_sizes(
    store: Store, scheme: Scheme, labels: np.ndarray, least: int, *, allow_empty: bool = False
) -> None:
    """Refuse classes with too few labels.

    Args:
        store: of the galaxies, for messages.
        scheme: of its labels.
        labels: strata of the labelled galaxies, 0 or more.
        least: number of labels that every class needs, and all galaxies together.
        allow_empty: ignore classes without any.

    Raises:
        MorphoscopeError: a class has fewer, or none.
    """
    if len(labels) < least:
        raise MorphoscopeError(
            f"{store.path}: {len(labels)} labelled galaxies cannot be split into {least} parts"
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
            "classes that have galaxies (from class folders: remove the empty folder), or set "
            "data.empty_classes=true"
        )
    few = [f"'{name}' ({count})" for name, count in zip(classes, counts, strict=True) if 0 < count < least]
    if few:
        why = "one to learn from and one to test with" if least == 2 else "one for each part of the split"
        raise MorphoscopeError(
            f"{store.path}: too few labelled galaxies of class {', '.join(few)}; at least {least} are needed"
            f", {why}. Add galaxies to the class, or leave it out of the store"
        )


def _check_every_class(
    store: Store, classes: tuple[str, ...], labels: np.ndarray, split: Split, parts: list[str]
) -> None:
    sizes = np.bincount(labels[labels >= 0], minlength=len(classes))
    present = sizes > 0
    for part in parts:
        inside = np.bincount(labels[getattr(split, part)], minlength=len(classes)) > 0
        missing = np.flatnonzero(present & ~inside)
        if part == "validation" and split.name in FLEXIBLE:  # two galaxies are for training and test
            missing = missing[sizes[missing] >= len(parts)]
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
