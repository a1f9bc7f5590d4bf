from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope import api, packaged
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine import export, graph
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")


def same_rows(first: pa.Table, second: pa.Table, tolerance: float) -> None:
    assert first.schema.names == second.schema.names
    assert first.num_rows == second.num_rows > 0
    for name in first.schema.names:
        if pa.types.is_floating(first.schema.field(name).type):
            one, other = (np.asarray(table[name].fill_null(-1)) for table in (first, second))
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
        else:
            assert first[name].to_pylist() == second[name].to_pylist()


@pytest.fixture
def own_run(run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.path, tmp_path / "own-run"))


@pytest.fixture
def ready(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export takes seconds: here the graph of the run's weights is there to be copied."""

    def copied(run: Run, onnx: Path, overwrite: bool) -> Path:
        onnx.parent.mkdir(parents=True, exist_ok=True)
        for ending in (".onnx", ".json"):
            shutil.copy(exported.with_suffix(ending), onnx.with_suffix(ending))
        return onnx

    monkeypatch.setattr(export, "export_onnx", copied)


def test_a_run_through_onnx_gives_the_same_catalogue(
    own_run: Path, pictures: Path, tmp_path: Path, monkeypatch
):
    wanted = {"coverage": 0.9, "embeddings": True}
    plain = api.load(own_run, engine="torch").catalogue(pictures, tmp_path / "plain.parquet", **wanted)
    through = api.load(own_run, engine="onnx").catalogue(pictures, tmp_path / "onnx.parquet", **wanted)
    assert (through.predicted, through.unreadable) == (plain.predicted, plain.unreadable) == (12, 1)
    tables = [pq.read_table(each.out) for each in (plain, through)]
    features = [np.stack(table["embedding"].to_numpy()).astype(np.float32) for table in tables]
    np.testing.assert_allclose(*features, rtol=2e-3, atol=1e-3)  # kept in half precision
    assert np.abs(features[0]).max() > 0.1
    assert {"out_of_distribution", "typicality"} <= set(tables[1].schema.names)
    plain_rows, rows = (table.drop_columns(["embedding"]) for table in tables)
    same_rows(plain_rows, rows, 1e-4)

    def again(*_: object, **__: object) -> None:
        raise AssertionError("exported a second time")

    monkeypatch.setattr(export, "export_onnx", again)
    loaded = api.load(own_run, engine="onnx")
    assert isinstance(loaded.predictor.engine, OnnxEngine)


def test_a_graph_of_other_weights_is_made_anew(
    own_run: Path, exported: Path, tmp_path: Path, monkeypatch, capsys
):
    made: list[Path] = []
    monkeypatch.setattr(export, "export_onnx", lambda run, onnx, overwrite: made.append(onnx) or onnx)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.rmtree(own_run / "onnx", ignore_errors=True)
    onnx = own_run / "onnx" / "network.onnx"
    run = api.open_run(own_run)
    assert graph.graph_of(run) == onnx
    onnx.parent.mkdir(exist_ok=True)
    onnx.write_bytes(b"damaged")
    assert graph.graph_of(run) == onnx
    for ending in (".onnx", ".json"):
        shutil.copy(exported.with_suffix(ending), onnx.with_suffix(ending))
    assert graph.kept_graph(run) == onnx
    other = replace(run, header=run.header.model_copy(update={"weights_sha256": "0" * 64}))
    assert graph.kept_graph(other) is None
    assert "a graph of other weights" in capsys.readouterr().err
    assert graph.graph_of(other) == onnx
    assert made == [onnx] * 3


@pytest.mark.usefixtures("ready")
def test_a_run_that_takes_no_files_keeps_its_graph_in_the_cache(own_run: Path, tmp_path: Path, monkeypatch):
    shutil.rmtree(own_run / "onnx", ignore_errors=True)
    run = api.open_run(own_run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused = {own_run}
    takes_files = graph._takes_files
    monkeypatch.setattr(graph, "_takes_files", lambda folder: folder not in refused and takes_files(folder))
    made = graph.graph_of(run)
    assert made == tmp_path / "cache" / "morphoscope" / "graphs" / f"{run.header.weights_sha256}.onnx"
    assert graph.kept_graph(run) == made
    shutil.rmtree(tmp_path / "cache")
    refused.add(made.parent)
    monkeypatch.setattr(export, "export_onnx", lambda run, onnx, overwrite: onnx)
    elsewhere = graph.graph_of(run)
    assert elsewhere.parent.is_dir()
    assert not elsewhere.is_relative_to(tmp_path / "cache")


def test_a_graph_that_is_missing_is_said_where_torch_is_not_installed(
    own_run: Path, tmp_path: Path, monkeypatch
):
    shutil.rmtree(own_run / "onnx", ignore_errors=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(graph, "installed", lambda name: False)
    with pytest.raises(MorphoscopeError, match=r"onnx is missing .*install 'morphoscope\[train\]'"):
        graph.graph_of(api.open_run(own_run))


def test_an_exported_file_predicts_without_its_run(
    run: Run, exported: Path, pictures: Path, images: np.ndarray, tmp_path: Path, capsys
):
    alone = tmp_path / "elsewhere" / "colours.onnx"
    alone.parent.mkdir()
    for ending in (".onnx", ".json"):
        shutil.copy(exported.with_suffix(ending), alone.with_suffix(ending))
    loaded, original = api.load(alone), api.load(run.path)
    assert loaded.classes == original.classes
    np.testing.assert_allclose(loaded.predict(images), original.predict(images), rtol=0, atol=1e-5)
    own = api.load(alone, views=1, calibrated=False).predict(images)
    np.testing.assert_allclose(own, api.load(run.path, views=1, calibrated=False).predict(images), atol=1e-5)
    assert loaded.predict_sets(images, 0.9) == original.predict_sets(images, 0.9)
    assert np.abs(own - loaded.predict(images)).max() > 1e-4  # so the calibration and the views came along

    catalogues = [
        each.catalogue(pictures, tmp_path / f"{k}.parquet").out for k, each in enumerate((loaded, original))
    ]
    assert "out_of_distribution" not in capsys.readouterr().err
    tables = [pq.read_table(out) for out in catalogues]
    assert "out_of_distribution" in tables[0].column_names
    same_rows(tables[0], tables[1], 1e-4)
    said, expected = (read_provenance(out) for out in catalogues)
    assert said.pop("run") == "colours"
    for name in ("weights_sha256", "calibration", "views", "scheme", "stretch", "crop", "size", "recipe"):
        assert said[name] == expected[name]


@pytest.mark.slow
def test_an_ensemble_answers_through_onnx(
    recipe: Recipe, colours: Store, run: Run, exported: Path, images: np.ndarray, tmp_path: Path
):
    other = recipe.changed({"seed": 1, "training.epochs": 1})
    second = api.train(other, colours, tmp_path / "second", report=False, progress=False).run
    expected = api.load([run.path, second.path]).predictor_or_ensemble.predict(images)
    for paths in ([run.path, second.path], [exported, second.path]):
        loaded = api.load(paths, engine="onnx" if paths[0] == run.path else None)
        prediction = loaded.predictor_or_ensemble.predict(images)
        np.testing.assert_allclose(prediction.members_MNK, expected.members_MNK, rtol=0, atol=1e-5)
        np.testing.assert_allclose(prediction.predictions_NK, expected.predictions_NK, rtol=0, atol=1e-5)
        engines = [member.engine for member in loaded.predictor_or_ensemble.members]  # type: ignore[union-attr]
        assert isinstance(engines[0], OnnxEngine)
    with pytest.raises(UsageError, match="runs are published one at a time; 2 were passed"):
        api.load([run.path, second.path]).publish(tmp_path / "both")


@pytest.mark.usefixtures("ready")
def test_a_packaged_network_is_not_exported_into_the_package(
    own_run: Path, images: np.ndarray, tmp_path: Path, monkeypatch
):
    shutil.rmtree(own_run / "onnx", ignore_errors=True)  # of a test before
    monkeypatch.setattr(packaged, "NETWORKS", own_run.parent)
    monkeypatch.setattr(graph, "NETWORKS", own_run.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    loaded = api.load(own_run.name, engine="onnx")
    expected = api.load(own_run).predict(images)
    np.testing.assert_allclose(loaded.predict(images), expected, rtol=0, atol=1e-5)
    assert not (own_run / "onnx").exists()


def test_what_an_exported_file_cannot_do_is_said(exported: Path, images: np.ndarray, tmp_path: Path):
    with pytest.raises(UsageError, match="maps need gradients"):
        api.load(exported).explain(images)
    with pytest.raises(UsageError, match="--dropout-samples: an ONNX file is the whole network"):
        api.load(exported, dropout_samples=4)
    with pytest.raises(
        UsageError, match="is an exported file; give the run's folder, which can be calibrated"
    ):
        api.load(exported).calibrate()
    with pytest.raises(UsageError, match="does not record its training galaxies"):
        api.load(exported).evaluate()
    with pytest.raises(UsageError, match="the engine torch does not read"):
        api.load(exported, engine="torch")
    with pytest.raises(UsageError, match=r"no engine 'onx'.*did you mean 'onnx'"):
        api.load(exported, engine="onx")
    with pytest.raises(UsageError, match="does not exist; make one with"):
        api.load(tmp_path / "none.onnx")


def test_an_edited_onnx_file_is_refused(
    exported: Path, tmp_path: Path, unreadable_onnx: Callable[[Path], None]
):
    for ending in (".onnx", ".json"):
        shutil.copy(exported.with_suffix(ending), tmp_path / f"c{ending}")
    unreadable_onnx(tmp_path / "c.onnx")
    with pytest.raises(MorphoscopeError, match="its checksum differs"):
        api.load(tmp_path / "c.onnx")


@pytest.fixture
def unreadable_onnx() -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        content = bytearray(place.read_bytes())
        content[len(content) // 2] ^= 1
        place.write_bytes(bytes(content))

    return edit
