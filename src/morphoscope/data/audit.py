"""Audit a data set before training: galaxies that appear more than once on the sky or in pixels, labels that
contradict each other, and leaks across a split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.data.sky import separations, sky_pairs
from morphoscope.data.splits.file import LEFT_OUT, Split
from morphoscope.data.splits.split import split_of_store
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError, listed
from morphoscope.images.known_columns import found_column
from morphoscope.images.sky_columns import SkyReader, found_sky
from morphoscope.images.tables import columns_of, is_table_name, read_table, split_part, texts
from morphoscope.labels.scheme import UNLABELLED
from morphoscope.progress import note

# arcsec: the same catalogue entry, the same galaxy, half a cutout of Galaxy10
RADII = (0.1, 5.0, 67.0)
EXAMPLES = 5  # named per finding
MANY = 200_000  # galaxies; from here on the search takes seconds
_PART_NAMES = ("left out", "train", "validation", "test", "validation and test")


def audit(store: Store, radii: Sequence[float] = RADII, split: Split | None = None) -> dict[str, Any]:
    """Look for repeated galaxies, contradicting labels and leaks across a split.

    Args:
        store: with or without labels.
        radii: arcsec; for each, pairs of galaxies up to this far apart are counted.
        split: of this store; None: do not look for leaks.

    Returns:
        A JSON-able dict::

            n                 galaxies
            with_coordinates  of them with coordinates
            radii             [{radius_arcsec, pairs, conflicting,
                              examples: [{ids, separation_arcsec, labels}]}]
            identical_pixels  {groups, galaxies, pairs, conflicting, examples: [{ids, labels}]}
            split             None, or {name, train, validation, test, crossing, radii: [{radius_arcsec,
                              crossing}], identical_pixels, examples}

        ``conflicting`` counts pairs whose labels differ (for votes, the plurality answers to the first
        question); pairs with a missing label do not count. ``crossing`` counts pairs, close on the sky or
        with identical pixels, that lie in different parts of the split; each pair once, whatever the radius.

    Raises:
        UsageError: a radius is not positive, or the split is of another store.
    """
    if split is not None and split.count != len(store):
        raise UsageError(f"{store.path}: the split has {split.count} galaxies, the store has {len(store)}")
    ids = store.table["id"].to_pylist()
    ra, dec = store.column("ra"), store.column("dec")
    labels, name_of = _labels(store)
    near, distances = _pairs(ra, dec, radii)
    return {
        "n": len(store),
        "with_coordinates": int(np.count_nonzero(np.isfinite(ra) & np.isfinite(dec))),
        "radii": _by_radius(near, distances, labels, radii, ids, name_of),
        "identical_pixels": _identical(_identical_pairs(store), labels, ids, name_of),
        "split": None if split is None else _crossing(store, split, near, distances, radii, ids),
    }


def audit_coordinates(
    ra: np.ndarray, dec: np.ndarray, labels: np.ndarray | None = None, radii: Sequence[float] = RADII
) -> list[dict[str, Any]]:
    """The ``radii`` part of :func:`audit` for arrays.

    Args:
        ra: right ascension in degrees, (N,); NaN: no coordinates.
        dec: declination in degrees, (N,).
        labels: (N,) class indices, −1 unknown; None: no labels.
        radii: arcsec.
    """
    known = np.full(len(ra), UNLABELLED) if labels is None else np.asarray(labels)
    near, distances = _pairs(ra, dec, radii)
    return _by_radius(near, distances, known, radii, range(len(ra)), lambda row: int(known[row]))


def _labels(store: Store) -> tuple[np.ndarray, Callable[[int], str | None]]:
    """The labels to compare, (N,) int64, and a function from row to label name."""
    scheme = store.scheme
    if scheme is None:
        return np.full(len(store), UNLABELLED), lambda row: None
    labels = scheme.strata(store.targets())
    names = scheme.strata_names
    return labels, lambda row: names[labels[row]] if 0 <= labels[row] < len(names) else None


def _pairs(ra: np.ndarray, dec: np.ndarray, radii: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs within the largest radius, closest first, and their separations in arcsec."""
    if not len(radii) or not all(0 < radius <= 3600 for radius in radii):
        raise UsageError(f"radii {', '.join(f'{radius:g}' for radius in radii)}: expected 0 to 3600 arcsec")
    if len(ra) > MANY:
        note(f"looking for pairs among {len(ra)} galaxies")
    pairs = sky_pairs(ra, dec, max(radii))
    distances = separations(ra, dec, pairs)
    order = np.argsort(distances, kind="stable")
    return pairs[order], distances[order]


def _by_radius(
    pairs: np.ndarray,
    distances: np.ndarray,
    labels: np.ndarray,
    radii: Sequence[float],
    ids: Sequence[Any],
    name_of: Callable[[int], Any],
) -> list[dict[str, Any]]:
    differ = _differ(pairs, labels)
    found = []
    for radius in sorted(radii):
        inside = distances <= radius
        # Contradictions first, then the closest.
        shown = np.concatenate([np.flatnonzero(inside & differ), np.flatnonzero(inside & ~differ)])[:EXAMPLES]
        found.append(
            {
                "radius_arcsec": float(radius),
                "pairs": int(np.count_nonzero(inside)),
                "conflicting": int(np.count_nonzero(inside & differ)),
                "examples": [
                    {
                        "ids": [ids[row] for row in pairs[pair]],
                        "separation_arcsec": round(float(distances[pair]), 4),
                        "labels": [name_of(row) for row in pairs[pair]],
                    }
                    for pair in shown
                ],
            }
        )
    return found


def _differ(pairs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    first, second = labels[pairs[:, 0]], labels[pairs[:, 1]]
    return (first != second) & (first >= 0) & (second >= 0)


def _identical_pairs(store: Store, among: np.ndarray | None = None) -> np.ndarray:
    """Pairs of the first image with given pixels and each later copy of it, (P, 2) int64.

    A group of g identical images gives g − 1 pairs, not g (g − 1) / 2: a thousand black frames are not half
    a million pairs. ``among``: the rows to compare, ascending; None: all.
    """
    codes = store.table["pixel_hash"].combine_chunks().dictionary_encode().indices.to_numpy()
    rows = np.arange(len(codes)) if among is None else among
    _, first, number = np.unique(codes[rows], return_index=True, return_inverse=True)
    earliest = rows[first[number]]
    return np.stack([earliest, rows], axis=1)[earliest != rows]


def _identical(
    pairs: np.ndarray, labels: np.ndarray, ids: Sequence[Any], name_of: Callable[[int], Any]
) -> dict[str, Any]:
    differ = _differ(pairs, labels)
    groups = len(np.unique(pairs[:, 0]))
    shown = np.concatenate([np.flatnonzero(differ), np.flatnonzero(~differ)])[:EXAMPLES]
    return {
        "groups": groups,
        "galaxies": groups + len(pairs),
        "pairs": len(pairs),
        "conflicting": int(np.count_nonzero(differ)),
        "examples": [
            {
                "ids": [ids[row] for row in pairs[pair]],
                "labels": [name_of(row) for row in pairs[pair]],
            }
            for pair in shown
        ],
    }


def _crossing(
    store: Store,
    split: Split,
    near: np.ndarray,
    distances: np.ndarray,
    radii: Sequence[float],
    ids: Sequence[Any],
) -> dict[str, Any]:
    parts = split.parts()
    same = _identical_pairs(store, np.flatnonzero(parts != LEFT_OUT))
    crossing_near, crossing_same = near[_cross(near, parts)], same[_cross(same, parts)]
    crossing_distances = distances[_cross(near, parts)]
    crossing = np.unique(np.concatenate([crossing_near, crossing_same]), axis=0)
    shown = np.concatenate([crossing_near, crossing_same])[:EXAMPLES]
    return {
        "name": split.name,
        **{part: len(getattr(split, part)) for part in ("train", "validation", "test")},
        "crossing": len(crossing),
        "radii": [
            {"radius_arcsec": float(radius), "crossing": int(np.count_nonzero(crossing_distances <= radius))}
            for radius in sorted(radii)
        ],
        "identical_pixels": len(crossing_same),
        "examples": [
            {"ids": [ids[row] for row in pair], "parts": [_PART_NAMES[parts[row]] for row in pair]}
            for pair in shown
        ],
    }


def _cross(pairs: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Which pairs lie in two parts of a split; `ng`'s validation and test are one part."""
    first, second = parts[pairs[:, 0]], parts[pairs[:, 1]]
    return (first != second) & (first != LEFT_OUT) & (second != LEFT_OUT)


def audit_path(
    path: Path | str, radii: Sequence[float] = RADII, split: str | Path | None = None
) -> dict[str, Any]:
    """Audit a store, or a table with the columns ra, dec and, if known, label (in any case).

    Args:
        path: a store, or a CSV, Parquet, FITS table or VOTable.
        radii: arcsec.
        split: a split file, a run folder, or the name of a rule; None: do not look for leaks.

    Raises:
        UsageError: no such path, a missing column, or a split for a table.
    """
    path, split = Path(path), None if split is None else str(split)
    file, _ = split_part(path)
    if file.is_file() and is_table_name(file.name):
        if split is not None:
            raise UsageError(f"{path} is a table; --split needs a store. Make one with 'data ingest'")
        return _audit_table(path, radii)
    store = open_store(path)
    return audit(store, radii, None if split is None else split_of_store(store, split))


def audit_lines(result: dict[str, Any]) -> list[str]:
    """The audit as text for a terminal."""
    lines = [f"{result['n']} galaxies, {result['with_coordinates']} with coordinates"]
    for row in result["radii"]:
        lines.append(
            f"within {row['radius_arcsec']:g}″: {row['pairs']} pairs, {row['conflicting']} with "
            "contradicting labels"
        )
        for example in row["examples"][:3]:
            names = " and ".join(str(name) for name in example["ids"])
            known = [str(label) for label in example["labels"] if label not in (None, UNLABELLED)]
            labels = f": {' | '.join(known)}" if known else ""
            lines.append(f"    {names}, {example['separation_arcsec']:.2f}″ apart{labels}")
    same = result.get("identical_pixels")
    if same is not None:
        lines.append(
            f"identical pixels: {same['galaxies']} images in {same['groups']} groups, "
            f"{same['conflicting']} pairs with contradicting labels"
        )
    split = result.get("split")
    if split is not None:
        lines.append(
            f"split '{split['name']}' ({split['train']} train, {split['validation']} validation, "
            f"{split['test']} test): {split['crossing']} pairs cross it"
        )
    return lines


def _audit_table(path: Path, radii: Sequence[float]) -> dict[str, Any]:
    there = columns_of(path)
    sky = found_sky(there, str(path))
    if sky is None:
        names = listed(there.names)
        raise UsageError(f"{path}: columns such as ra and dec were expected (columns: {names})")
    label = found_column(there.names, ("label",))
    table = read_table(path, [*sky.names, *([label] if label else [])])
    ra, dec = SkyReader(str(path), sky)(table, 0)
    labels = None
    if label is not None:
        names = texts(table, label)
        known = {name: number for number, name in enumerate(dict.fromkeys(filter(None, names)))}
        labels = np.array([UNLABELLED if name is None else known[name] for name in names])
    return {
        "n": len(ra),
        "with_coordinates": int(np.count_nonzero(np.isfinite(ra) & np.isfinite(dec))),
        "radii": audit_coordinates(ra, dec, labels, radii),
        "identical_pixels": None,
        "split": None,
    }
