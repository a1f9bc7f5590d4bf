from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from morphoscope import api, interruption
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine import choose, onnx_engine, processor
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.torch_engine import TorchEngine
from morphoscope.packaged import DEFAULT


class Stub(Engine):
    """Answers at once, or after a wait."""

    def __init__(self, description: str = "stub", wait: float = 0.0) -> None:
        self.said, self.wait, self.passes = description, wait, 0
        self.feature_count = 4

    @property
    def precision_description(self) -> str:
        return "fp32 on cpu"

    @property
    def description(self) -> str:
        return self.said

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.passes += 1
        if self.wait:
            import time

            time.sleep(self.wait)
        return np.full((1, len(images_NSSC), 10), 0.1, np.float32), np.zeros(
            (len(images_NSSC), 4), np.float32
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Stub]:
    """A processor without GPU and bf16, on which both engines are stand-ins; an empty cache."""
    engines = {"torch": Stub("torch 2"), "onnx": Stub("ONNX Runtime 1")}
    monkeypatch.delenv(choose.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choose, "may_have_gpu", lambda: False)
    monkeypatch.setattr(choose, "has_bf16", lambda: False)
    there = choose.installed
    monkeypatch.setattr(choose, "installed", lambda name: name != "MNN" and there(name))
    monkeypatch.setattr(choose, "_torch", lambda run, samples=0, precision="auto": engines["torch"])
    monkeypatch.setattr(choose, "_packaged_in_8_bits", lambda run: None)
    monkeypatch.setattr(choose, "graph_engine", lambda run, name: engines["onnx"])
    return engines


def test_a_plain_processor_computes_with_the_graph(machine, monkeypatch):
    run = api.open_run(DEFAULT)
    assert choose.engine_of(run) is machine["onnx"]
    assert choose.engine_of(run, dropout_samples=2) is machine["torch"]
    assert choose.engine_of(run, "torch") is machine["torch"]
    monkeypatch.setenv(choose.VARIABLE, "torch")
    assert choose.engine_of(run) is machine["torch"]
    assert choose.engine_of(run, "onnx") is machine["onnx"]
    monkeypatch.setenv(choose.VARIABLE, "tensorflow")
    with pytest.raises(UsageError, match="MORPHOSCOPE_ENGINE: there is no engine 'tensorflow'"):
        choose.engine_of(run)


def test_a_gpu_or_a_recipe_in_bf16_computes_with_torch(machine, monkeypatch):
    run = api.open_run(DEFAULT)
    bf16 = run.recipe.changed({"training.precision": "bf16"})
    assert choose.engine_of(type(run)(run.path, bf16, run.header)) is machine["torch"]
    monkeypatch.setattr(choose, "_on_gpu", lambda: True)
    assert choose.engine_of(run) is machine["torch"]


def test_without_torch_or_a_way_to_a_graph_the_other_computes(machine, monkeypatch):
    run = api.open_run(DEFAULT)
    monkeypatch.setattr(choose, "installed", lambda name: name not in ("MNN", "torch"))
    assert choose.engine_of(run) is machine["onnx"]
    monkeypatch.setattr(choose, "installed", lambda name: name not in ("MNN", "onnxscript"))
    assert choose.engine_of(run) is machine["onnx"]  # the graph is there
    monkeypatch.setattr(choose, "kept_graph", lambda run: None)
    assert choose.engine_of(run) is machine["torch"]


def test_an_engine_that_fails_gives_way_and_says_why(machine, monkeypatch, capsys):
    def refuse(images_NSSC: np.ndarray) -> None:
        raise MorphoscopeError("ONNX Runtime cannot compute this network (no such instruction)")

    monkeypatch.setattr(Stub, "__call__", lambda self, images: refuse(images))
    assert choose.engine_of(api.open_run(DEFAULT)) is machine["torch"]
    assert "torch computes instead of ONNX Runtime: " in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_a_failure(machine, monkeypatch, capsys):
    nothing = np.full((1, 1, 10), np.nan, np.float32), np.zeros((1, 4), np.float32)
    monkeypatch.setattr(Stub, "__call__", lambda self, images: nothing)
    assert choose.engine_of(api.open_run(DEFAULT)) is machine["torch"]
    assert "not finite" in capsys.readouterr().err


@pytest.mark.parametrize("slow", ["torch", "onnx"])
def test_with_bf16_the_faster_is_measured_and_remembered(machine, monkeypatch, tmp_path: Path, slow: str):
    monkeypatch.setattr(choose, "has_bf16", lambda: True)
    monkeypatch.setattr(choose, "SECONDS", 0.01)
    machine[slow].wait = 0.02
    other = machine["onnx" if slow == "torch" else "torch"]
    run = api.open_run(DEFAULT)
    assert choose.engine_of(run) is other
    kept = json.loads((tmp_path / "morphoscope" / choose.FILE).read_text())
    (row,) = kept.values()
    assert row["engine"] == ("onnx" if slow == "torch" else "torch")
    passes = machine["torch"].passes
    if slow == "torch":
        monkeypatch.setattr(
            choose, "_torch", lambda run, *others, **named: pytest.fail("torch is loaded for nothing")
        )
    assert choose.engine_of(run) is other
    assert machine["torch"].passes == passes  # remembered


def test_a_cache_that_is_damaged_or_takes_no_files_is_no_error(machine, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(choose, "SECONDS", 0.001)
    place = tmp_path / "morphoscope"
    place.write_text("a file where the folder should be")
    assert choose.faster({"one": Stub(), "two": Stub(wait=0.01)}, "key", 8, 3) == "one"
    place.unlink()
    place.mkdir()
    (place / choose.FILE).write_text("[")
    assert choose.remembered("key") is None
    assert choose.faster({"one": Stub(wait=0.01), "two": Stub()}, "key", 8, 3) == "two"
    assert choose.remembered("key") == "two"


@pytest.mark.parametrize(("wait", "most"), [(0.0, 16), (0.3, 2)])
def test_a_large_network_is_measured_with_few_images(machine, monkeypatch, wait: float, most: int):
    sizes: list[int] = []

    class Sized(Stub):
        def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            sizes.append(len(images_NSSC))
            return super().__call__(images_NSSC)

    monkeypatch.setattr(choose, "SECONDS", 0.001)
    monkeypatch.setattr(choose, "threads", lambda: 2)
    assert choose.faster({"one": Sized(wait=wait), "two": Sized(wait=wait / 4)}, "key", 8, 3)
    assert max(sizes) == most


def test_in_fp32_nothing_is_measured_and_a_recipe_in_bf16_does_not_count(machine, monkeypatch):
    monkeypatch.setattr(choose, "has_bf16", lambda: True)
    monkeypatch.setattr(choose, "faster", lambda *of: pytest.fail("torch may compute in bf16"))
    run = api.open_run(DEFAULT)
    bf16 = run.recipe.changed({"training.precision": "bf16"})
    for each in (run, type(run)(run.path, bf16, run.header)):
        assert choose.engine_of(each, precision="fp32") is machine["onnx"]
    engine = TorchEngine(type(run)(run.path, bf16, run.header), device=torch.device("cpu"), precision="fp32")
    assert engine.precision_description.startswith("fp32")


def test_the_packaged_network_has_8_bits_unless_something_else_is_asked_for(monkeypatch, tmp_path: Path):
    monkeypatch.delenv(choose.VARIABLE)
    monkeypatch.setattr(choose, "may_have_gpu", lambda: False)
    monkeypatch.setattr(choose, "has_bf16", lambda: False)
    run = api.open_run(DEFAULT)
    engine = choose.engine_of(run)
    assert engine.precision_description == "int8 (ONNX Runtime) on cpu"
    assert "in the median" in engine.quantisation
    copied = api.open_run(shutil.copytree(run.path, tmp_path / "run"))
    for plain in (
        choose.engine_of(run, precision="fp32"),
        choose.engine_of(run, "onnx"),
        choose.engine_of(copied),
    ):
        assert plain.precision_description == "fp32 on cpu"
        assert plain.quantisation == ""
    monkeypatch.setenv(choose.VARIABLE, "onnx")
    assert choose.engine_of(run).precision_description == "fp32 on cpu"


def test_the_packaged_network_on_a_gpu_is_computed_by_torch(machine, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv(choose.VARIABLE)
    monkeypatch.setattr(choose, "_on_gpu", lambda: True)
    monkeypatch.setattr(choose, "_torch", lambda run, *others, **named: machine["torch"])
    assert choose.engine_of(api.open_run(DEFAULT)) is machine["torch"]


@pytest.mark.parametrize("how", ["refused", "not finite", "damaged"])
def test_the_packaged_network_without_8_bits_has_fp32_and_a_note(
    monkeypatch, tmp_path: Path, capsys, how: str
):
    shutil.copytree(api.open_run(DEFAULT).path, tmp_path / DEFAULT)
    monkeypatch.setattr(choose, "NETWORKS", tmp_path)
    monkeypatch.delenv(choose.VARIABLE)
    monkeypatch.setattr(choose, "may_have_gpu", lambda: False)
    monkeypatch.setattr(choose, "has_bf16", lambda: False)
    run, computed, why = api.open_run(tmp_path / DEFAULT), OnnxEngine.__call__, "no such instruction"

    def failing(self: OnnxEngine, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predictions_MNK, features_ND = computed(self, images_NSSC)
        if "int8" not in self.precision_description:
            return predictions_MNK, features_ND
        if how == "refused":
            raise MorphoscopeError(why)
        return predictions_MNK * np.nan, features_ND

    if how == "damaged":
        why = "its checksum is not that in int8.json"
        place = run.path / "onnx" / "int8.onnx"
        place.write_bytes(place.read_bytes()[:-1])
    else:
        why = why if how == "refused" else "not finite"
        monkeypatch.setattr(OnnxEngine, "__call__", failing)
    assert choose.engine_of(run).precision_description == "fp32 on cpu"
    assert why in capsys.readouterr().err


def test_threads_are_those_that_are_left(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(processor, "available_cores", lambda: 8)
    monkeypatch.setattr(processor, "_CGROUP", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert processor.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert processor.threads() == 8
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert processor.threads() == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert processor.threads() == 8
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", 400000), ("period", 100000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(str(value))
    assert processor.threads() == 4


def test_an_engine_that_is_not_installed_is_said(monkeypatch):
    from morphoscope import extras

    monkeypatch.setattr(extras, "installed", lambda name: False)
    for name, extra in (("openvino", "openvino"), ("torch", "train")):
        with pytest.raises(MorphoscopeError, match=rf"the engine {name} needs .*'morphoscope\[{extra}\]'"):
            choose.engine_of(api.open_run(DEFAULT), name)
    monkeypatch.setattr(onnx_engine, "installed", lambda name: False)
    with pytest.raises(MorphoscopeError, match="pip install --force-reinstall morphoscope"):
        choose.engine_of(api.open_run(DEFAULT), "onnx")


def test_a_file_that_is_no_graph_is_said(tmp_path: Path):
    place = tmp_path / "x.onnx"
    place.write_bytes(b"no graph")
    with pytest.raises(MorphoscopeError, match=r"x\.onnx cannot be read as an ONNX file"):
        OnnxEngine(place)


def test_openvino_predicts_as_onnx_runtime_does():
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    run = api.open_run(DEFAULT)
    one, other = (choose.engine_of(run, name)(images) for name in ("onnx", "openvino"))
    np.testing.assert_allclose(one[0], other[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-3, atol=1e-4)


def test_a_gpu_is_looked_for_by_its_driver_unless_it_is_hidden(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(processor, "_DRIVERS", (str(tmp_path / "nvidia"),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not processor.may_have_gpu()
    (tmp_path / "nvidia").touch()
    assert processor.may_have_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not processor.may_have_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert not processor.may_have_gpu()
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert processor.may_have_gpu()


def test_a_quota_of_an_old_control_group_may_be_none(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(processor, "available_cores", lambda: 8)
    monkeypatch.setattr(processor, "_CGROUP", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", -1), ("period", 100000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(str(value))
    assert processor.threads() == 8


def test_a_graph_that_cannot_be_made_is_no_error_of_the_training(monkeypatch, capsys):
    asked: list[int] = []

    def failing(run: object) -> Path:
        asked.append(1)
        raise MorphoscopeError("this layer has no ONNX form")

    monkeypatch.setattr(choose, "graph_of", failing)
    monkeypatch.setenv(choose.VARIABLE, "torch")
    choose.leave_graph(api.open_run(DEFAULT))
    assert not asked
    monkeypatch.delenv(choose.VARIABLE)
    choose.leave_graph(api.open_run(DEFAULT))
    assert "predictions with this run need torch: this layer has no ONNX form" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_no_other_engine_computes_after_an_interruption(machine, monkeypatch, number: signal.Signals):
    """Ctrl-C while onnxruntime is imported comes out as an ImportError; torch would give other digits."""

    def interrupted(run: object, name: str) -> Engine:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        raise MorphoscopeError("ONNX Runtime cannot be loaded here (initialization failed)")

    monkeypatch.setattr(choose, "graph_engine", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruption.heeded(), pytest.raises(KeyboardInterrupt):
            choose.engine_of(api.open_run(DEFAULT))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_passes_of_any_number_of_images_give_the_same(precision: str) -> None:
    engine = choose.engine_of(api.open_run("default"), "onnx", precision=precision)
    images = np.random.default_rng(3).integers(0, 256, (19, 128, 128, 3), np.uint8)
    predictions, features = engine(images)
    alone = [engine(images[row : row + 1]) for row in (0, 15, 16, 18)]
    for row, (one, own) in zip((0, 15, 16, 18), alone, strict=True):
        np.testing.assert_allclose(predictions[:, row], one[:, 0], atol=1e-5)
        np.testing.assert_allclose(features[row], own[0], rtol=1e-3, atol=1e-4)
    none = engine(images[:0])
    assert none[0].shape == (1, 0, 10)
    assert none[1].shape == (0, features.shape[1])
