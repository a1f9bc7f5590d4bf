"""Galaxies placed on a map of others: their neighbours, and the weights of these."""

from __future__ import annotations

import numpy as np
import pytest

from morphoscope.explorer import placing
from morphoscope.explorer.placing import Placing, attracted, weights_of


@pytest.mark.parametrize("laid_out", [15, 40, 333, 1000])
def test_the_nearest_are_those_of_all_distances(laid_out: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placing, "PIECE", 16)
    rng = np.random.default_rng(laid_out)
    features_ME, new_NE = rng.normal(size=(laid_out, 7)), rng.normal(size=(50, 7))
    rows_NK, distances_NK = Placing(features_ME, rng.normal(size=(laid_out, 2)), 15).nearest(new_NE)
    all_NM = np.linalg.norm(new_NE[:, None] - features_ME, axis=2)
    np.testing.assert_allclose(distances_NK, np.sort(all_NM, axis=1)[:, :15], rtol=1e-5)
    np.testing.assert_array_equal(rows_NK, np.argsort(all_NM, axis=1)[:, :15])


def test_weights_are_those_of_the_smooth_kernel():
    distances_NK = np.sort(np.random.default_rng(0).gamma(3, 0.1, (200, 15)), axis=1)
    weights_NK = weights_of(distances_NK)
    np.testing.assert_allclose(weights_NK.sum(axis=1), 1)
    assert (np.diff(weights_NK, axis=1) <= 0).all()
    # Algorithm 3: each is exp(-d / sigma), and the farther 14 come to log2(15).
    sigma_N = (distances_NK[:, -1] - distances_NK[:, 0]) / np.log(weights_NK[:, 0] / weights_NK[:, -1])
    kernel_NK = np.exp(-distances_NK / sigma_N[:, None])
    np.testing.assert_allclose(kernel_NK[:, 1:].sum(axis=1), np.log2(15), rtol=1e-6)
    np.testing.assert_allclose(weights_NK, kernel_NK / kernel_NK.sum(axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(weights_of(1000 * distances_NK), weights_NK, rtol=1e-6)  # in any unit


@pytest.mark.slow  # its loops are compiled first
def test_weights_are_those_of_umap_learn():
    umap = pytest.importorskip("umap.umap_")
    distances_NK = np.sort(np.random.default_rng(1).gamma(3, 0.1, (50, 15)), axis=1).astype(np.float32)
    sigma_N, rho_N = umap.smooth_knn_dist(distances_NK, 15.0, local_connectivity=0.0)
    assert (rho_N == 0).all()
    kernel_NK = np.exp(-distances_NK / sigma_N[:, None])
    np.testing.assert_allclose(
        weights_of(distances_NK), kernel_NK / kernel_NK.sum(axis=1, keepdims=True), atol=1e-5
    )


@pytest.mark.parametrize("distances", [np.zeros(15), np.ones(15), [0, *[1e-30] * 14], [*[0] * 9, *[1] * 6]])
def test_weights_of_neighbours_at_the_same_distance(distances):
    weights_K = weights_of(np.array([distances], np.float32))[0]
    assert weights_K.sum() == pytest.approx(1)
    assert (np.diff(weights_K) <= 0).all()
    assert np.ptp(weights_K[np.equal(distances, distances[-1])]) < 1e-12


def test_a_galaxy_between_two_groups_is_placed_with_the_nearer():
    places_K2 = np.array([*[[0.0, 0.0]] * 9, *[[20.0, 0.0]] * 6])
    found_2 = attracted(np.full((1, 15), 1 / 15), places_K2[None])[0]
    assert found_2[0] < 0.5  # the mean would be at 8, where there is nobody
    assert found_2[1] == 0


def test_attraction_is_the_least_there_is_nearby():
    rng = np.random.default_rng(5)
    places_NK2 = rng.normal(size=(40, 15, 2)) / 3
    weights_NK = weights_of(np.sort(rng.gamma(3, 0.1, (40, 15)), axis=1))

    def attraction(
        at_N2: np.ndarray,
    ) -> np.ndarray:  # the part of the cross entropy: -sum of w log(similarity)
        distances_NK = np.linalg.norm(places_NK2 - at_N2[:, None], axis=2)
        return (weights_NK * np.log(1 + 1.577 * distances_NK ** (2 * 0.895))).sum(axis=1)

    found_N2 = attracted(weights_NK, places_NK2)
    mean_N2 = (weights_NK[:, :, None] * places_NK2).sum(axis=1)
    assert (attraction(found_N2) <= attraction(mean_N2)).all()
    for step_2 in np.array([[0.2, 0], [-0.2, 0], [0, 0.2], [0, -0.2]]):
        assert (attraction(found_N2) < attraction(found_N2 + step_2)).mean() > 0.95


def test_places_are_where_the_neighbours_attract_to(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(3)
    features_ME, places_M2, new_NE = (
        rng.normal(size=(60, 4)),
        rng.normal(size=(60, 2)),
        rng.normal(size=(9, 4)),
    )
    made = Placing(features_ME, places_M2, 10)
    rows_NK, distances_NK = made.nearest(new_NE)
    expected_N2 = attracted(weights_of(distances_NK), places_M2[rows_NK])
    np.testing.assert_allclose(made.places(new_NE), expected_N2, rtol=1e-5)
    monkeypatch.setattr(placing, "PIECE", 4)  # however many at a time
    np.testing.assert_allclose(made.places(new_NE), expected_N2, rtol=1e-5)
    assert made.places(new_NE[:0]).shape == (0, 2)
    np.testing.assert_allclose(made.places(features_ME), places_M2, rtol=1e-6)


@pytest.mark.slow  # its loops are compiled first
def test_galaxies_are_placed_as_well_as_by_umap_learn():
    umap = pytest.importorskip("umap")
    rng = np.random.default_rng(7)
    plane = rng.uniform(-1, 1, (600, 2))  # a bent surface in six dimensions
    features_NE = np.stack(
        [*plane.T, plane[:, 0] ** 2, np.sin(3 * plane[:, 1]), plane.prod(axis=1), plane[:, 1] ** 3]
    )
    features_NE = features_NE.T.astype(np.float32)
    laid_out_ME, new_NE = features_NE[:300], features_NE[300:]
    reducer = umap.UMAP(n_neighbors=15, random_state=0, n_jobs=1)
    places_M2 = reducer.fit_transform(laid_out_ME)
    made = Placing(laid_out_ME, places_M2, 15)
    rows_NK, _ = made.nearest(new_NE)

    def kept(places_N2: np.ndarray) -> float:  # the share of the nearest 15 that are nearest on the map
        found_NK, _ = Placing(places_M2, places_M2, 15).nearest(places_N2)
        return float(np.mean([len({*a} & {*b}) / 15 for a, b in zip(found_NK, rows_NK, strict=True)]))

    assert kept(made.places(new_NE)) > kept(reducer.transform(new_NE)) - 0.03
    assert kept(made.places(new_NE)) > 0.6
    np.testing.assert_allclose(umap.umap_.find_ab_params(1.0, 0.1), (placing._A, placing._B), rtol=1e-6)
