"""Stratified assignment of galaxies to train, validation and test, with groups kept together.

Shape letters: N galaxies, S strata (classes), P parts.

Parts are numbered 0 train, 1 validation, 2 test. The result depends only on the seed; the time grows as
N log N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def quotas(counts_S: np.ndarray, shares_P: tuple[float, ...]) -> np.ndarray:
    """How many galaxies of each stratum each part should get, (S, P) int64.

    Each part's total is its share to the nearest galaxy, distributed over the strata by largest remainder.
    In addition, each part with a share gets at least one galaxy of every stratum that is large enough.
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
        while row.sum() >= max(count, 1) and row.max() > (1 if count else 0):  # keeps one for training
            row[np.argmax(row)] -= 1
    wanted[:, 0] = counts - wanted.sum(axis=1)
    return wanted


def stratified_parts(
    strata_N: np.ndarray, shares_P: tuple[float, ...], seed: int, groups_N: np.ndarray | None = None
) -> np.ndarray:
    """The part of each galaxy, (N,) int8.

    Args:
        strata_N: class of each galaxy, 0 or more.
        shares_P: share of train, validation and test; they add up to 1. A stratum has at least as many
            galaxies as there are parts with a share.
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
