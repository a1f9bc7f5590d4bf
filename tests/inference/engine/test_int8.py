from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from morphoscope import api
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine import choose, int8, quantise
from morphoscope.inference.engine.graph import graph_of
from morphoscope.inference.engine.int8 import Agreement, agreement_of, int8_graph_of, kept_int8
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.preparation import sidecar
from morphoscope.labels.scheme import Classes
from morphoscope.packaged import DEFAULT
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run
from morphoscope.training.fit import fit

GOOD = Agreement(
    galaxies=1000, median=0.001, percentile_99=0.05, same_class=0.99, score="accuracy", fp32=0.9, int8=0.899
)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Bright and faint discs, which a network tells apart at once."""
    place = tmp_path_factory.mktemp("int8") / "discs"
    draw = np.random.default_rng(1)
    y, x = np.mgrid[:32, :32] - 15.5
    meta = StoreMeta(scheme=Classes(name="two", classes=("faint", "bright")))
    with StoreWriter(place, meta, image_shape=(32, 32, 3)) as writer:
        for number in range(80):
            disc = np.exp(-np.hypot(x, y) / 6) * (80, 220)[number % 2]
            image = np.clip(disc[:, :, None] + draw.normal(15, 5, (32, 32, 3)), 0, 255).astype(np.uint8)
            writer.append(image, {"id": str(number), "label": number % 2, "source": f"{number}.png"})
    return open_store(place)


@pytest.fixture(scope="module")
def trained(discs: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes = {
        "model.name": "test_resnet",
        "model.pretrained": False,
        "augment.size": 32,
        "training.epochs": 2,
        "training.batch": 16,
        "training.precision": "fp32",
        "data.validation": 0.3,
    }
    run = fit(Recipe().changed(changes), discs, tmp_path_factory.mktemp("int8") / "run", progress=False)
    graph_of(run)  # in fp32, once for all tests
    return run


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    shutil.copytree(trained.path, tmp_path / "run")
    return api.open_run(tmp_path / "run")


def test_it_is_made_once_and_answers_nearly_as_fp32(run: Run, discs: Store, capsys):
    loaded = api.load(run.path, engine="onnx", precision="int8")
    images = [discs.images[row] for row in range(12)]
    found = loaded.predict(images)
    expected = api.load(run.path, engine="onnx").predict(images)
    assert 0 < np.abs(found - expected).max() < 0.1
    assert loaded.predictor.precision_description == "int8 (ONNX Runtime) on cpu"
    kept = kept_int8(run)
    assert kept is not None
    place, record = kept
    assert place == run.path / "onnx" / "int8.onnx"
    assert loaded.predictor.quantisation_description == record.agreement.description
    assert record.agreement.description in capsys.readouterr().err
    before = place.stat().st_mtime_ns
    api.load(run.path, engine="onnx", precision="int8").predict(images)
    assert place.stat().st_mtime_ns == before


def test_the_catalogue_says_what_8_bits_change(run: Run, discs: Store, tmp_path: Path):
    import pyarrow.parquet as pq

    out = tmp_path / "catalogue.parquet"
    api.load(run.path, engine="onnx", precision="int8").catalogue(str(discs.path), out)
    metadata = {key.decode(): value.decode() for key, value in pq.read_schema(out).metadata.items()}
    (said,) = (value for key, value in metadata.items() if key.endswith("quantisation"))
    assert "in the median" in said
    assert "validation galaxies" in said


def test_one_that_loses_too_much_is_refused_with_numbers(run: Run, monkeypatch):
    monkeypatch.setattr(int8, "LARGEST_MEDIAN", -1.0)
    with pytest.raises(
        MorphoscopeError, match=r"loses too much in 8 bits: probabilities change by 0\.\d+ in"
    ):
        int8_graph_of(run)
    assert [each.name for each in (run.path / "onnx").iterdir() if "int8" in each.name] == []


def test_convolutions_that_hurt_return_to_fp32(run: Run, monkeypatch):
    refused: list[Agreement] = []

    def all_but_the_first(self: Agreement) -> bool:
        refused.append(self)
        return self != refused[0]

    monkeypatch.setattr(int8, "SHARES", (0.0, 0.5))
    monkeypatch.setattr(Agreement, "passes", property(all_but_the_first))
    _, record = int8_graph_of(run)
    assert record.fp32_convolutions == round(record.convolutions / 2)
    assert record.agreement.median < refused[0].median


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"int8": 0.8965}, False),
        ({"median": 0.02}, False),
        ({"percentile_99": 0.3}, False),
        ({"same_class": 0.96}, False),
        ({"galaxies": 100, "int8": 0.89}, True),  # one galaxy
        ({"galaxies": 100, "int8": 0.88}, False),
        ({"same_class": None, "score": "rmse", "fp32": 0.1, "int8": 0.1002}, True),
        ({"same_class": None, "score": "rmse", "fp32": 0.1, "int8": 0.102}, False),
    ],
)
def test_what_passes(change: dict, passes: bool):
    assert GOOD.model_copy(update=change).passes is passes


def test_numbers_that_are_not_finite_do_not_pass():
    scheme = Classes(name="two", classes=("a", "b"))
    some = np.array([[0.5, 0.5]], np.float32)
    with pytest.raises(MorphoscopeError, match="not finite in 8 bits"):
        agreement_of(scheme, np.array([0]), some, some * np.nan)


def test_a_graph_of_other_weights_or_a_damaged_one_is_made_again(run: Run, capsys):
    place, record = int8_graph_of(run)
    other = record.model_copy(update={"weights_sha256": "0" * 64})
    sidecar(place).write_text(other.model_dump_json())
    assert kept_int8(run) is None
    assert "graph of other weights" in capsys.readouterr().err
    sidecar(place).write_text(record.model_dump_json())
    place.write_bytes(place.read_bytes()[:-1])
    assert kept_int8(run) is None
    assert "checksum" in capsys.readouterr().err
    sidecar(place).write_text("[]")
    assert kept_int8(run) is None
    assert int8_graph_of(run)[1].onnx_sha256 == record.onnx_sha256


def test_what_needs_torch_is_refused():
    unfit: tuple[dict[str, Any], ...] = ({"engine": "torch"}, {"dropout_samples": 4})
    for options in unfit:
        with pytest.raises(UsageError, match="--precision int8 is for graphs, and --"):
            api.load(DEFAULT, precision="int8", **options)
    with pytest.raises(UsageError, match="and --adapt needs torch"):
        api.load(DEFAULT, precision="int8").adapt([np.zeros((128, 128, 3), np.uint8)] * 40)
    with pytest.raises(UsageError, match="there is no precision 'int4'"):
        api.load(DEFAULT, precision="int4")


def test_a_run_without_its_galaxies_is_refused_in_one_sentence(run: Run):
    header = run.header.model_copy(update={"store": run.header.store.model_copy(update={"path": ""})})
    with pytest.raises(UsageError, match="does not record where its validation galaxies are"):
        int8_graph_of(Run(run.path, run.recipe, header))


def test_an_engine_that_fails_in_8_bits_gives_way_to_fp32(run: Run, monkeypatch, capsys):
    def fails(engine: Engine, run: Run) -> Engine:
        if "int8" in engine.precision_description:
            raise MorphoscopeError("no such instruction")
        return engine

    monkeypatch.delenv(choose.VARIABLE, raising=False)
    monkeypatch.setattr(choose, "_tried", fails)
    monkeypatch.setattr(choose, "has_bf16", lambda: False)
    monkeypatch.setattr(choose, "may_have_gpu", lambda: False)
    assert choose.engine_of(run, precision="int8").precision_description == "fp32 on cpu"
    assert "computed in fp32 instead of 8 bits: no such instruction" in capsys.readouterr().err


def test_the_packaged_network_has_8_bits_with_it():
    kept = kept_int8(api.open_run(DEFAULT))
    assert kept is not None
    assert kept[1].agreement.passes
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(kept[0])).graph
    whole = [onnx.numpy_helper.to_array(each) for each in graph.initializer if each.data_type == 3]
    weights = [each for each in whole if each.ndim == 4]
    assert len(weights) == 71
    # 8-bit weights would overflow in 16 bits on processors without VNNI.
    assert max(int(np.abs(each.astype(int)).max()) for each in weights) == 63
    assert (
        json.loads(sidecar(kept[0]).read_text())["weights_sha256"]
        == api.open_run(DEFAULT).header.weights_sha256
    )


def test_wider_groups_and_a_fourth_channel_change_no_bit(monkeypatch, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), np.uint8)
    quantiser = quantise.Quantiser(graph_of(api.open_run(DEFAULT)), images)
    answers = []
    for number, (inputs, channels) in enumerate([(32, 4), (16, 1)]):
        monkeypatch.setattr(quantise, "_GROUP_INPUTS", inputs)
        monkeypatch.setattr(quantise, "_CHANNELS", channels)
        (tmp_path / f"{number}.onnx").write_bytes(quantiser.quantised())
        answers.append(OnnxEngine(tmp_path / f"{number}.onnx", precision="int8")(images))
    for joined, plain in zip(*answers, strict=True):
        np.testing.assert_array_equal(joined, plain)
    assert (tmp_path / "0.onnx").stat().st_size > (tmp_path / "1.onnx").stat().st_size


@pytest.mark.parametrize(
    ("inputs", "groups", "left"), [(16, 24, 12), (16, 5, 5), (12, 6, 3), (1, 8, 8), (4, 8, 8), (64, 1, 1)]
)
def test_groups_are_joined_up_to_a_width(inputs: int, groups: int, left: int):
    weights = np.random.default_rng(0).normal(size=(2 * groups, inputs, 1, 1))
    wider, number = quantise._with_wider_groups(weights, groups)
    assert number == left

    def dense(weights: np.ndarray, groups: int) -> np.ndarray:
        found = np.zeros((len(weights), inputs * groups_before))
        width = weights.shape[1]
        for output, row in enumerate(weights[:, :, 0, 0]):
            start = output // (len(weights) // groups) * width
            found[output, start : start + width] = row
        return found

    groups_before = groups
    np.testing.assert_array_equal(dense(wider, number), dense(weights, groups))


def test_openvino_computes_8_bits_too():
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    images = np.random.default_rng(0).integers(0, 40, (3, 128, 128, 3), np.uint8)
    run = api.open_run(DEFAULT)
    expected = choose.engine_of(run, "onnx")(images)[0]
    engine = choose.engine_of(run, "openvino", precision="int8")
    assert engine.precision_description == "int8 (OpenVINO) on cpu"
    assert np.abs(engine(images)[0] - expected).max() < 0.2
