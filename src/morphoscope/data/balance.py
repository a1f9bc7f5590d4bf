"""What can be done about rare classes, in the training split alone.

Balancing comes after splitting: duplicates made before it would lie on both sides of the split.
"""

from __future__ import annotations

import numpy as np


def oversample(rows: np.ndarray, labels: np.ndarray, seed: int, strength: float = 1.0) -> np.ndarray:
    """Rows with those of rare classes repeated until every class is as large as the largest (`fu`).

    Each galaxy of a class is repeated equally often, to within one; who gets the one is drawn. With
    ``strength`` ½ a class of n galaxies grows to √(n · largest) alone (Mahajan et al. 2018, section 2.2):
    rare classes are seen more often and yet stay rare.

    Args:
        rows: (N,) row numbers.
        labels: (N,) class index of each of these rows, all of them 0 or more.
        seed: of the draw.
        strength: 1 makes all classes equally large, 0 changes nothing.

    Returns:
        (M,) int64: ``rows`` as given, then the duplicates in shuffled order.
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
    """Weights of the loss, (K,) float32, inversely proportional to the class sizes.

    The mean weight over the galaxies is 1, so that the loss keeps its size. A class without galaxies
    weighs 0: nothing can be learned of it.

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
