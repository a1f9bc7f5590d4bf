from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphoscope.labels.galaxy10 import COUNTS
from morphoscope.training.galaxies import class_weights, oversample


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_every_class_reaches_the_majority_and_no_galaxy_is_favoured(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = 1000 + random.permutation(len(labels))
    balanced = oversample(rows, labels, seed)
    label_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    assert balanced[: len(rows)].tolist() == rows.tolist()
    for label, size in enumerate(sizes):
        members = (
            balanced[[label_of[row] == label for row in balanced.tolist()]] if len(balanced) else balanced
        )
        assert len(members) == (max(sizes) if size else 0)
        times = np.unique(members, return_counts=True)[1]
        assert len(times) == size
        assert not size or times.max() - times.min() <= 1


def test_the_published_total_of_fu() -> None:
    """SPECIFICATION 5.1: 2645 a class, 26,450 together, if everything is balanced."""
    labels = np.repeat(np.arange(10), COUNTS)
    assert len(oversample(np.arange(17736), labels, 0)) == 26450


def test_duplicates_are_shuffled_and_depend_on_the_seed_alone() -> None:
    labels = np.repeat([0, 1, 2], [40, 7, 13])
    rows = np.arange(60)
    first = oversample(rows, labels, 3)
    assert first.tolist() == oversample(rows, labels, 3).tolist()
    assert first.tolist() != oversample(rows, labels, 4).tolist()
    duplicates = labels[first[60:]]
    assert np.count_nonzero(np.diff(duplicates)) > 5  # not one class after the other


def test_rows_and_labels_must_fit() -> None:
    for labels in (np.array([0, -1]), np.array([0])):
        with pytest.raises(ValueError, match="one label"):
            oversample(np.array([4, 5]), labels, 0)


def test_weights_are_inverse_to_the_class_sizes_with_mean_one() -> None:
    labels = np.repeat([0, 2, 3], [10, 30, 60])
    weights = class_weights(labels, 4)
    assert weights.dtype == np.float32
    assert weights[1] == 0
    np.testing.assert_allclose(weights[[0, 2, 3]] * [10, 30, 60], 100 / 3, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1.0, rel=1e-6)


def test_a_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="label 2 with 2 classes"):
        class_weights(np.array([0, 2]), 2)


def test_half_way_a_class_grows_to_the_root_of_its_size_times_the_largest():
    labels = np.repeat([0, 1, 2], [400, 100, 4])
    repeated = oversample(np.arange(504), labels, 0, strength=0.5)
    assert np.bincount(labels[repeated]).tolist() == [400, 200, 40]
    assert np.array_equal(oversample(np.arange(504), labels, 0, strength=0), np.arange(504))
