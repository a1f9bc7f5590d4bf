from __future__ import annotations

import numpy as np
import pytest

from morphoscope.labels.five_class import FIVE_CLASS, GALAXY10_TO_FIVE, translated, translation
from morphoscope.labels.galaxy10 import GALAXY10


def test_each_class_has_one_counterpart_or_none():
    matrix_KL = translation(GALAXY10, FIVE_CLASS)
    assert matrix_KL is not None
    without = [name for name, row in zip(GALAXY10.classes, matrix_KL, strict=True) if not row.any()]
    assert without == ["Disturbed", "Merging"]
    assert set(GALAXY10_TO_FIVE) == set(GALAXY10.classes) - set(without)
    assert matrix_KL.sum(axis=0).tolist() == [1, 1, 1, 2, 3]
    assert translation(FIVE_CLASS, GALAXY10) is None


def test_probabilities_are_shared_among_the_classes_there_are():
    matrix_KL = translation(GALAXY10, FIVE_CLASS)
    assert matrix_KL is not None
    answers = np.zeros((3, 10), np.float32)
    answers[0, [1, 5, 6, 8]] = 0.5, 0.2, 0.2, 0.1  # merging, barred, tight, edge-on
    answers[1, 2] = 1.0
    answers[2, 0] = 1.0  # disturbed, and nothing else
    five = translated(answers, matrix_KL)
    np.testing.assert_allclose(five[0], [0, 0, 0, 0.2, 0.8], atol=1e-6)
    np.testing.assert_allclose(five[1], [1, 0, 0, 0, 0], atol=1e-6)
    assert five[2] == pytest.approx(0.2)


def test_the_class_that_is_stated_stays_the_answer():
    matrix_KL = translation(GALAXY10, FIVE_CLASS)
    assert matrix_KL is not None
    answers = np.zeros((2, 10), np.float32)
    answers[0, [3, 5, 6, 7]] = 0.4, 0.2, 0.2, 0.2  # in-between, and three kinds of spirals
    answers[1, [0, 3, 5, 6]] = 0.5, 0.3, 0.1, 0.1  # disturbed first: in-between is the first that counts
    five = translated(answers, matrix_KL)
    np.testing.assert_allclose(five[0], [0, 0.6, 0, 0, 0.4], atol=1e-6)
    np.testing.assert_allclose(five[1], [0, 0.6, 0, 0, 0.4], atol=1e-6)
    rng = np.random.default_rng(0)
    many = rng.dirichlet(np.full(10, 0.5), 500).astype(np.float32)
    many[:, :2] = 0
    sharper = many**2 / (many**2).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(*(translated(each, matrix_KL).argmax(axis=1) for each in (many, sharper)))
