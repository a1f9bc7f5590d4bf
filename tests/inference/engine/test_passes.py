"""Passes of ONNX Runtime that share the processor's threads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from forked import forked, needs_fork

from morphoscope.inference.engine import onnx_engine
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.packaged import NETWORKS

GRAPH = NETWORKS / "default" / "onnx" / "int8.onnx"


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 128, 128, 3), np.uint8)


@pytest.mark.parametrize(
    ("threads", "passes"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (8, 4), (12, 4), (64, 4)]
)
def test_all_threads_have_work(threads: int, passes: int):
    assert onnx_engine._passes_at_once(threads) == passes


@pytest.mark.parametrize("threads", [1, 2, 4, 6])
def test_answers_do_not_depend_on_the_threads(threads: int, monkeypatch: pytest.MonkeyPatch):
    images = _images(19)
    monkeypatch.setattr(onnx_engine, "threads", lambda: 1)
    expected_NK, expected_ND = OnnxEngine(GRAPH, "int8")(images)
    monkeypatch.setattr(onnx_engine, "threads", lambda: threads)
    engine = OnnxEngine(GRAPH, "int8")
    for count in (1, 2, 7, 19):
        predictions_MNK, features_ND = engine(images[:count])
        assert predictions_MNK.shape == (1, count, 10)
        np.testing.assert_array_equal(predictions_MNK, expected_NK[:, :count])
        np.testing.assert_array_equal(features_ND, expected_ND[:count])


def test_passes_are_small_and_overlap(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_engine, "threads", lambda: 2)
    engine, sizes, both = OnnxEngine(GRAPH, "int8"), [], threading.Barrier(2, timeout=60)

    def passed(images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(images_NSSC))
        both.wait()  # breaks if two are not under way at once
        return np.zeros((len(images_NSSC), 10), np.float32), np.zeros((len(images_NSSC), 4), np.float32)

    monkeypatch.setattr(engine, "_pass", passed)
    engine(_images(19))
    assert sorted(sizes) == [4, 5, 5, 5]


@needs_fork
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_engine, "threads", lambda: 2)
    engine = OnnxEngine(GRAPH, "int8")
    expected_NK = engine(_images(4))[0][0]
    np.testing.assert_array_equal(forked(lambda: engine(_images(4))[0][0]), expected_NK)


def test_a_fault_in_one_pass_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_engine, "threads", lambda: 2)
    engine = OnnxEngine(GRAPH, "int8")
    with pytest.raises(onnx_engine.MorphoscopeError, match=r"int8\.onnx cannot be run"):
        engine(np.zeros((20, 64, 128, 4), np.uint8))
