"""New galaxies on a map on which others have been laid out, each among those nearest to it by their features.

A new galaxy starts where UMAP starts it as well: at the mean of its neighbours' places, weighted as UMAP
weighs neighbours. The mean of two groups lies between them, where no galaxy belongs; UMAP's attraction to the
neighbours is therefore minimised from there, by means whose weights fall with the distance on the map.
umap-learn's ``UMAP.transform`` moves them by random steps instead, away from other galaxies too, which takes
a hundred times as long; of real galaxies both kept the same share of neighbours (EXPERIMENTS.md, 2026-11-30).

Source: L. McInnes, J. Healy, J. Melville 2018, arXiv:1802.03426: algorithm 3 (SmoothKNNDist; as in
``transform`` without local connectivity, ρ = 0) and the attractive part of the cross entropy.

Shape letters: N new galaxies, M laid-out ones, E features of each, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

PIECE = 256  # galaxies whose distances to all laid-out ones are in memory at once, in each thread
_TOGETHER = 16  # laid-out galaxies of which only the nearest is looked at first
_SAME = 1e-5  # distance below which features are the same: rounding of unit vectors in single precision
_HALVINGS = 40
_STEPS = 10
# The similarity on the map is 1 / (1 + a d^2b); umap-learn's a and b of its min_dist 0.1.
_A, _B = 1.5769434603, 0.8950608779
_CLOSEST = 1e-3  # distance on the map, below which attraction no longer grows

Each = Callable[[Callable[[np.ndarray], np.ndarray], Iterable[np.ndarray]], Iterable[np.ndarray]]


class Placing:
    """Places galaxies among those that have been laid out.

    Args:
        features_ME: of the laid-out galaxies, float32, finite; distances between them are of order one.
        places_M2: where they are on the map.
        neighbours: K, of each new galaxy; at least 2 and at most M.
    """

    def __init__(self, features_ME: np.ndarray, places_M2: np.ndarray, neighbours: int) -> None:
        self.features_ME = np.asarray(features_ME, np.float32)
        self.places_M2, self.neighbours = places_M2, neighbours
        count, width = self.features_ME.shape
        self._groups = -(-count // _TOGETHER)
        # With one more feature, which is 1 in new galaxies, a product ranks by distance: x·y − |y|² / 2.
        ranking_ME = np.zeros((self._groups * _TOGETHER, width + 1), np.float32)
        ranking_ME[:count, :width] = self.features_ME
        ranking_ME[:count, width] = -0.5 * np.square(self.features_ME).sum(axis=1)
        ranking_ME[count:, width] = np.finfo(np.float32).min  # filled up with what is near to nothing
        self._ranking_EM = np.ascontiguousarray(ranking_ME.T)

    def places(self, features_NE: np.ndarray, *, each: Each = map) -> np.ndarray:
        """Where new galaxies are, (N, 2) float32.

        A galaxy with the features of a laid-out one is where that is.

        Args:
            features_NE: of the new galaxies, finite.
            each: a pool's ``map``, which works out several pieces at once.
        """
        pieces = [features_NE[at : at + PIECE] for at in range(0, len(features_NE), PIECE)]
        return np.concatenate([np.empty((0, 2), np.float32), *each(self._places, pieces)])

    def _places(self, features_NE: np.ndarray) -> np.ndarray:
        rows_NK, distances_NK = self.nearest(features_NE)
        weights_NK = weights_of(distances_NK)
        same_N = distances_NK[:, 0] < _SAME
        weights_NK[same_N] = np.eye(1, self.neighbours)
        return attracted(weights_NK, self.places_M2[rows_NK]).astype(np.float32)

    def nearest(self, features_NE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and Euclidean distances of the K nearest laid-out galaxies, each (N, K), nearest first."""
        features_NE = np.asarray(features_NE, np.float32)
        with_one_NE = np.concatenate([features_NE, np.ones((len(features_NE), 1), np.float32)], axis=1)
        near_NM = with_one_NE @ self._ranking_EM
        rows_NK = self._highest(near_NM)
        differences_NKE = self.features_ME[rows_NK] - features_NE[:, None]
        distances_NK = np.sqrt(np.square(differences_NKE).sum(axis=2))
        order_NK = np.argsort(distances_NK, axis=1, kind="stable")
        return np.take_along_axis(rows_NK, order_NK, 1), np.take_along_axis(distances_NK, order_NK, 1)

    def _highest(self, near_NM: np.ndarray) -> np.ndarray:
        """Columns of the K highest numbers of each row, (N, K), in no order.

        The highest K are in the K groups whose highest are highest: sorting out groups of 16 first takes a
        tenth of the time of looking through all.
        """
        if self._groups <= self.neighbours:
            return _last(near_NM, self.neighbours)
        grouped_NTG = near_NM.reshape(len(near_NM), _TOGETHER, self._groups)
        groups_NK = _last(grouped_NTG.max(axis=1), self.neighbours)
        members_T = self._groups * np.arange(_TOGETHER)
        columns_NC = (groups_NK[:, :, None] + members_T).reshape(len(near_NM), -1)
        found_NK = _last(np.take_along_axis(near_NM, columns_NC, axis=1), self.neighbours)
        return np.take_along_axis(columns_NC, found_NK, axis=1)


def _last(numbers_NC: np.ndarray, count: int) -> np.ndarray:
    return np.argpartition(numbers_NC, numbers_NC.shape[1] - count, axis=1)[:, -count:]


def weights_of(distances_NK: np.ndarray) -> np.ndarray:
    """Weights of K neighbours, (N, K), with a sum of 1: exp(−d / σ) divided by their sum.

    σ is such that exp(−d / σ) of all but the nearest comes to log2 K (SmoothKNNDist). Where so many are at no
    distance that no σ gives as little, only they count.

    Args:
        distances_NK: nearest first.
    """
    count = distances_NK.shape[1]
    wanted = np.log2(count)
    farther_NK = distances_NK[:, 1:].astype(np.float64)
    low_N1 = np.zeros((len(distances_NK), 1))
    high_N1 = 4 * np.maximum(
        farther_NK[:, -1:], np.finfo(np.float32).tiny
    )  # weighs more, for any K up to 10⁶
    for _ in range(_HALVINGS):
        middle_N1 = (low_N1 + high_N1) / 2
        too_much_N1 = np.exp(-farther_NK / middle_N1).sum(axis=1, keepdims=True) > wanted
        high_N1 = np.where(too_much_N1, middle_N1, high_N1)
        low_N1 = np.where(too_much_N1, low_N1, middle_N1)
    weights_NK = np.exp(-distances_NK / high_N1)
    return weights_NK / weights_NK.sum(axis=1, keepdims=True)


def attracted(weights_NK: np.ndarray, places_NK2: np.ndarray) -> np.ndarray:
    """Where the weighted attraction by K neighbours is balanced, (N, 2).

    Σ w log(1 + a d^2b) becomes smaller by each mean with the weights w d^(2b − 2) / (1 + a d^2b), since the
    logarithm is concave in d²; ten of them from the weighted mean.
    """
    places_N2 = _means(weights_NK, places_NK2)
    for _ in range(_STEPS):
        squares_NK = np.square(places_NK2 - places_N2[:, None]).sum(axis=2)
        power_NK = np.maximum(squares_NK, _CLOSEST**2) ** (_B - 1)
        places_N2 = _means(weights_NK * power_NK / (1 + _A * power_NK * squares_NK), places_NK2)
    return places_N2


def _means(weights_NK: np.ndarray, places_NK2: np.ndarray) -> np.ndarray:
    sums_N2 = np.einsum("nk,nkc->nc", weights_NK, places_NK2)
    return sums_N2 / weights_NK.sum(axis=1, keepdims=True)
