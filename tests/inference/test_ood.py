from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.inference import ood as module
from morphoscope.inference.ood import (
    FILE,
    KIND,
    FeatureDistribution,
    fit_distribution,
    kept_distances,
    read_distribution,
    why_no_ood_score,
    write_distribution,
)
from morphoscope.metrics.bootstrap import auroc


def _drawn(count: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal features with a known covariance, and that covariance."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width)) / width**0.5
    covariance = mixing @ mixing.T + 0.05 * np.eye(width)
    return rng.multivariate_normal(np.arange(width), covariance, count).astype(np.float32), covariance


def _run(path: Path) -> Any:
    return cast(Any, SimpleNamespace(path=path, header=SimpleNamespace(weights_sha256="a" * 64)))


def test_distances_are_mahalanobis_distances_of_the_shrunk_covariance():
    features, _ = _drawn(400, 6)
    found = fit_distribution(features)
    assert found is not None
    centred = features - features.mean(axis=0)
    sample = centred.T @ centred / len(features)
    shrunk = 0.9 * sample + 0.1 * np.trace(sample) / 6 * np.eye(6)
    expected = np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(shrunk), centred) / 6)
    assert found.distances(features) == pytest.approx(expected, rel=1e-3)


def test_few_eigenvectors_are_a_sphere_in_the_other_directions():
    features, _ = _drawn(2000, 8)
    found = fit_distribution(features, largest=3 * 8 * 4)
    assert found is not None
    assert found.vectors_ED.shape == (3, 8)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    sample = centred.T @ centred / len(features)
    values, vectors = np.linalg.eigh(sample)
    values[:5] = values[:5].mean()
    shrunk = 0.9 * values + 0.1 * values.mean()
    expected = np.sqrt((np.square(centred @ vectors) / shrunk).sum(axis=1) / 8)
    assert found.distances(features) == pytest.approx(expected, rel=1e-3)


def test_fewer_galaxies_than_features_give_the_same_as_the_whole_covariance():
    features, _ = _drawn(30, 40)
    found = fit_distribution(features)
    assert found is not None
    assert found.vectors_ED.shape == (29, 40)
    mean = features.mean(axis=0, dtype=np.float64)
    sample = (features - mean).T @ (features - mean) / 30
    shrunk = 0.9 * sample + 0.1 * np.trace(sample) / 40 * np.eye(40)
    fresh = _drawn(20, 40, seed=1)[0]
    expected = np.sqrt(np.einsum("nd,de,ne->n", fresh - mean, np.linalg.inv(shrunk), fresh - mean) / 40)
    assert found.distances(fresh) == pytest.approx(expected, rel=1e-3)


def test_a_few_eigenvectors_of_many_are_found_without_the_others():
    features, _ = _drawn(300, 40)
    centred = features - features.mean(axis=0, dtype=np.float64)
    few, vectors = module._largest_eigenvectors(centred, 4)
    every, _ = module._largest_eigenvectors(centred, 40)
    assert few == pytest.approx(every[-4:])
    assert np.linalg.norm(centred @ vectors, axis=0) ** 2 / 300 == pytest.approx(few)


def test_wide_features_make_a_small_file(tmp_path: Path):
    features = np.random.default_rng(0).normal(size=(300, 2048)).astype(np.float32)
    found = fit_distribution(features)
    assert found is not None
    held_out = {1: kept_distances(found.distances(features)), 16: np.ones(5000, np.float32)}
    write_distribution(
        _run(tmp_path), FeatureDistribution(found.mean_D, found.vectors_ED, found.floor, 300, held_out)
    )
    assert (tmp_path / FILE).stat().st_size < 2_000_000
    again = read_distribution(_run(tmp_path))
    assert again is not None
    assert (again.distances(features) == found.distances(features)).all()
    assert again.galaxies == 300
    assert sorted(again.held_out) == [1, 16]


def test_features_without_a_spread_give_no_reference():
    assert fit_distribution(np.ones((50, 4), np.float32)) is None
    assert fit_distribution(_drawn(19, 4)[0]) is None
    broken = _drawn(50, 4)[0]
    broken[3, 2] = np.nan
    assert fit_distribution(broken) is None


def test_what_is_not_finite_is_infinitely_strange():
    found = fit_distribution(_drawn(50, 4)[0])
    assert found is not None
    with np.errstate(invalid="ignore"):
        assert (
            found.distances(np.array([[np.inf, 0, 0, 0], [np.nan] * 4], np.float32)).tolist() == [np.inf] * 2
        )
    assert found.distances(np.full((1, 4), 3e38, np.float32)).tolist() == [np.inf]  # and no warning


def test_typicality_is_a_share_of_held_out_galaxies():
    held_out = np.linspace(1, 2, 199).astype(np.float32)
    found = FeatureDistribution(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), 1.0, 50, {1: held_out})
    assert found.p_values(np.array([0.0, 1.5, 2.0, 9.0]), 1) == pytest.approx(
        [1, 101 / 200, 2 / 200, 1 / 200]
    )
    assert found.rare_distance(1) == held_out[189]  # 190 of 200 are 95 %
    few = FeatureDistribution(found.mean_D, found.vectors_ED, 1.0, 50, {1: held_out[:15]})
    assert few.rare_distance(1) == held_out[14]


def test_typicality_is_below_p_for_a_share_p_of_galaxies_of_the_same_kind():
    shares = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        held_out = {1: np.sort(rng.gamma(3, size=60))}
        found = FeatureDistribution(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), 1.0, 50, held_out)
        shares.append(np.mean(found.p_values(rng.gamma(3, size=60), 1) <= 0.1))
    assert np.mean(shares) == pytest.approx(6 / 61, abs=0.01)  # ⌊0.1 · 61⌋ / 61


def test_very_many_distances_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_HELD_OUT", 101)
    kept = kept_distances(np.random.default_rng(0).permutation(10_001))
    assert kept.tolist() == list(range(0, 10_001, 100))


def test_a_damaged_or_foreign_reference_is_refused(tmp_path: Path):
    run = _run(tmp_path)
    assert read_distribution(run) is None
    assert "calibrate" in why_no_ood_score(run, 1)
    found = fit_distribution(_drawn(50, 4)[0])
    assert found is not None
    write_distribution(run, found)
    assert "no views, not for 8" in why_no_ood_score(run, 8)
    run.header.weights_sha256 = "b" * 64
    with pytest.raises(MorphoscopeError, match="other weights"):
        read_distribution(run)
    run.header.weights_sha256 = "a" * 64
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MorphoscopeError, match="damaged"):
        read_distribution(run)
    (tmp_path / FILE).write_bytes(whole.replace(b'format_version\\": 1', b'format_version\\": 9'))
    with pytest.raises(MorphoscopeError, match="newer morphoscope"):
        read_distribution(run)


@pytest.mark.parametrize(
    ("note", "tensors"),
    [
        ("[]", {}),
        ('"text"', {}),
        ("{}", {}),
        ("[" * 100_000, {}),
        ('{"format_version": null, "galaxies": 1}', {}),
        ('{"format_version": Infinity, "galaxies": 1}', {}),
        ('{"format_version": 1, "galaxies": "many"}', {}),
        (None, {"mean": np.zeros((2, 2), np.float32)}),
        (None, {"mean": np.zeros(5, np.float32)}),
        (None, {"mean": np.zeros(4, np.int32)}),
        (None, {"vectors": np.full((2, 4), np.nan, np.float32)}),
        (None, {"floor": np.array([0.0])}),
        (None, {"floor": np.array([1.0, 2.0])}),
        (None, {"floor": np.array([np.inf])}),
        (None, {"held_out.1": np.array([2.0, 1.0], np.float32)}),
        (None, {"held_out.1": np.zeros(0, np.float32)}),
        (None, {"held_out.one": np.ones(30, np.float32)}),
    ],
    ids=range(17),
)
def test_a_feature_distribution_that_cannot_be_is_refused(
    tmp_path: Path, note: str | None, tensors: dict[str, np.ndarray]
):
    from safetensors.numpy import save_file

    whole = {
        "mean": np.zeros(4, np.float32),
        "vectors": np.zeros((2, 4), np.float32),
        "floor": np.array([1.0]),
        "held_out.1": np.ones(30, np.float32),
    }
    said = '{"format_version": 1, "galaxies": 30, "weights_sha256": "%s"}' % ("a" * 64)
    save_file(whole, tmp_path / FILE, {KIND: said})
    assert read_distribution(_run(tmp_path)) is not None
    save_file(whole | tensors, tmp_path / FILE, {KIND: said if note is None else note})
    with pytest.raises(MorphoscopeError, match="is damaged: it is not the feature distribution"):
        read_distribution(_run(tmp_path))


def test_a_feature_distribution_is_read_only_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = fit_distribution(_drawn(50, 4)[0])
    assert found is not None
    write_distribution(_run(tmp_path), found)
    monkeypatch.setattr(module, "LARGEST_FILE", (tmp_path / FILE).stat().st_size - 1)
    with pytest.raises(MorphoscopeError, match="larger than"):
        read_distribution(_run(tmp_path))


def test_auroc_is_scikit_learns_with_an_interval_that_has_a_width():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    usual, strange = rng.normal(0, 1, 300).round(1), rng.normal(1, 1, 40).round(1)  # with ties
    found = auroc(usual, strange)
    truth = np.r_[np.zeros(300), np.ones(40)]
    assert found["value"] == pytest.approx(roc_auc_score(truth, np.r_[usual, strange]))
    assert found["low"] < found["value"] < found["high"]
    apart = auroc(np.zeros(50), np.ones(20))
    assert (apart["value"], apart["high"]) == (1.0, 1.0)
    assert 0.85 < apart["low"] < 0.99
    assert auroc(usual, np.empty(0)) == {"value": None, "low": None, "high": None}


def test_the_interval_of_auroc_holds_the_truth():
    rng = np.random.default_rng(0)
    truth = 0.9213503964748575  # Φ(2 / √2)
    held = 0
    for _ in range(200):
        found = auroc(rng.normal(0, 1, 100), rng.normal(2, 1, 25))
        held += found["low"] <= truth <= found["high"]
    assert held >= 182
