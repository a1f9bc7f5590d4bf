"""A catalogue from a Ray cluster of one machine, and what its worker does without one."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope import api
from morphoscope.catalogue import distributed, rows
from morphoscope.catalogue.columns import PlainColumns
from morphoscope.catalogue.distributed import ray as ray_rows
from morphoscope.catalogue.distributed.partition import (
    MOST_TASKS,
    RangeResult,
    RowRange,
    Work,
    Worker,
    partition,
    rows_of_results,
)
from morphoscope.catalogue.distributed.ray import TaskWorker, _shares
from morphoscope.catalogue.inputs.open import Images
from morphoscope.catalogue.pipeline import Digest
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.catalogue.rows import Remaining
from morphoscope.data.store import StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes, Column
from morphoscope.recipes import Augment, Data, Model, Recipe, Training
from morphoscope.runs.run import StoreFacts

FACTS = StoreFacts(name="s", path="", image_shape=(4, 4, 3))


def _items(count: int, broken: tuple[int, ...] = ()) -> list[Item]:
    def load(level: int) -> np.ndarray:
        if level in broken:
            raise MorphoscopeError(f"{level}.png: the file is empty")
        return np.full((4, 4, 3), level, np.uint8)

    return [Item(f"{level}.png", partial(load, level), {"id": str(level)}) for level in range(count)]


class _Levels:
    """Stands in for what fills the columns: the grey level of each image."""

    predictor = SimpleNamespace(
        scheme=Classes(name="two", classes=("dark", "bright")),
        run=SimpleNamespace(name="run", header=SimpleNamespace(store=FACTS)),
    )
    provenance: Mapping[str, str] = {}
    extras = (Column("level", pa.int64(), "grey level"),)

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        levels = np.array([int(image[0, 0, 0]) for image in images])
        return np.full((len(images), 2), 0.5, np.float32), {"level": levels}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a worker for some items, and counts how often it opens them."""

    def make(items: list[Item], opened: list[int], folder: Path = tmp_path) -> TaskWorker:
        def open_request(request: CatalogueRequest, facts: StoreFacts, *, stretch: str) -> Images:
            opened.append(1)
            return Images("here", items)

        monkeypatch.setattr(rows, "open_request", open_request)
        return TaskWorker(Work(CatalogueRequest("in", "c.parquet", batch=3), _Levels, str(folder)))

    return make


@pytest.fixture
def _here():
    before = os.getcwd()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("_here")
def test_a_worker_takes_its_rows_and_opens_the_input_once_unless_sent_back(worker):
    opened: list[int] = []
    worker = worker(_items(20, broken=(6,)), opened)

    def said(start: int, stop: int) -> RangeResult:
        row = pa.table({"number": [0], "start": [start], "stop": [stop]})
        return pickle.loads(worker(row)["result"][0].as_py())

    assert said(0, 5).table["level"].to_pylist() == [0, 1, 2, 3, 4]
    later = said(5, 12)
    assert later.table["level"].to_pylist() == [5, 7, 8, 9, 10, 11]
    assert later.failures == [("6", "6.png", "the file is empty")]
    assert [seen.image for seen in later.examples] == [None]
    assert said(15, 20).table["level"].to_pylist() == [15, 16, 17, 18, 19]
    assert len(opened) == 1
    assert said(2, 4).table["level"].to_pylist() == [2, 3]
    assert said(6, 7).table is None
    assert len(opened) == 2
    own = Digest()
    for item in _items(20)[2:4]:
        own.add(item)
    assert said(2, 4).digest == own.hex


@pytest.mark.usefixtures("_here")
def test_a_workers_error_comes_back_as_a_sentence(worker, tmp_path: Path):
    worker = worker(_items(3), [], tmp_path / "gone")
    row = pa.table({"number": [0], "start": [0], "stop": [3]})
    error = pickle.loads(worker(row)["result"][0].as_py())
    assert isinstance(error, MorphoscopeError)
    assert "a file system that all of them share" in str(error)


@pytest.mark.parametrize("count", [None, 3, 1000])
def test_the_input_is_partitioned_without_a_gap(count: int | None):
    digest = Digest()
    ranges = partition(Remaining(_items(10), digest, 100, count), 3)
    assert [(each.start, each.stop) for each in ranges] == [(100, 103), (103, 106), (106, 109), (109, 110)]
    assert ranges[-1].so_far == digest.hex
    assert digest.count == 10
    assert partition(Remaining([], Digest(), 0, 0), 3) == []
    (few,) = partition(Remaining(_items(10), Digest(), 0, 12 * MOST_TASKS), 3)
    assert (few.start, few.stop) == (0, 10)  # four batches a task, or there would be too many tasks


def test_one_worker_a_gpu_or_a_machine():
    def node(alive: bool = True, **resources: float) -> dict[str, object]:
        return {"Alive": alive, "Resources": resources}

    assert _shares([node(CPU=8), node(CPU=2), node(CPU=4, alive=False)], 9) == (2, {"num_cpus": 1})
    assert _shares([node(CPU=8, GPU=4), node(CPU=8)], 3) == (3, {"num_gpus": 1})
    with pytest.raises(MorphoscopeError, match="neither a GPU nor a core"):
        _shares([node(memory=1)], 1)


@pytest.mark.skipif(
    "MORPHOSCOPE_RAY" not in os.environ,
    reason="minutes, and Ray gives up on busy machines: MORPHOSCOPE_RAY=1 runs it",
)
@pytest.mark.filterwarnings("ignore")  # Ray uses what it has itself deprecated
def test_ray_and_plain_give_the_same_catalogue_of_500_galaxies(tmp_path: Path, monkeypatch):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(3)
    scheme = Classes(name="two", classes=("dark", "bright"))
    with StoreWriter(Path("galaxies"), StoreMeta(scheme=scheme), image_shape=(16, 16, 3)) as writer:
        for row in range(500):
            image = draw.integers(0, 100 + 100 * (row % 2), (16, 16, 3)).astype(np.uint8)
            writer.append(image, {"id": f"g{row}", "label": row % 2, "source": f"g{row}.png"})
    recipe = Recipe(
        data=Data(validation=0.2),
        augment=Augment(size=32),
        model=Model(name="test_resnet", pretrained=False),
        training=Training(epochs=1, batch=32, precision="fp32"),
    )
    api.train(recipe, open_store("galaxies"), "run", report=False, progress=False)
    wanted = {"batch": 64, "coverage": 0.9}
    plain = api.load("run").catalogue("galaxies", "plain.parquet", **wanted)
    ray = api.load("run", engine="ray").catalogue("galaxies", "ray.parquet", **wanted)
    assert ray.predicted == plain.predicted == 500
    one, other = pq.read_table("plain.parquet"), pq.read_table("ray.parquet")
    assert one.schema.names == other.schema.names
    assert other["id"].to_pylist() == [f"g{row}" for row in range(500)]
    for name in one.schema.names:
        if pa.types.is_floating(one.schema.field(name).type) and one[name].null_count == 0:
            # Other numbers of threads round otherwise. Distances between features make more of it, and a
            # galaxy that the reference holds may come to lie before or behind itself, one rank of 100.
            atol = {"out_of_distribution": 1e-4, "typicality": 0.0101}.get(name, 1e-6)
            np.testing.assert_allclose(other[name].to_numpy(), one[name].to_numpy(), rtol=0, atol=atol)
        else:
            assert other[name].to_pylist() == one[name].to_pylist()


def test_without_ray_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch):
    from morphoscope import extras

    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    loaded = api.LoadedRun([object()], engine="ray")  # type: ignore[arg-type]
    with pytest.raises(MorphoscopeError, match=r"the engine ray needs ray.*pip install 'morphoscope\[ray\]'"):
        loaded.catalogue(tmp_path, tmp_path / "c.parquet")


@pytest.mark.usefixtures("_here")
def test_a_worker_in_a_process_with_others_leaves_its_threads_alone(worker):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        worker(_items(2), [])(pa.table({"number": [0], "start": [0], "stop": [2]}))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("_here")
def test_a_worker_in_a_process_of_its_own_uses_all_cores(worker, monkeypatch: pytest.MonkeyPatch):
    import torch

    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(distributed.partition, "available_cores", lambda: 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray sets it
    worker(_items(2), [])
    work = Work(CatalogueRequest("in", "c.parquet"), _Levels)
    next(Worker(work, alone=True).predict([(0, 2)]))
    assert (threads, os.environ["OMP_NUM_THREADS"]) == ([7], "7")
    claimed: list[int] = []
    monkeypatch.setattr(ray_rows, "claim", lambda: claimed.append(1))
    TaskWorker(work)
    assert not claimed
    TaskWorker(work, alone=True)
    assert claimed == [1]


@pytest.mark.usefixtures("_here")
def test_workers_must_see_the_same_files(worker):
    work = worker(_items(3), [])
    row = pa.table({"number": [0], "start": [0], "stop": [5]})
    error = pickle.loads(work(row)["result"][0].as_py())
    assert "the input ends before its galaxy 4 for a worker" in str(error)
    result = pickle.loads(work(row.set_column(2, "stop", [[3]]))["result"][0].as_py())
    ranges = [RowRange(0, 3, result.digest, "all")]
    shown: list[str] = []
    ((batch, table),) = rows_of_results(ranges, [result], lambda image: shown.append(image.item.source))
    assert (batch.stop, batch.digest, table.num_rows, shown) == (3, "all", 3, ["0.png"])
    changed = [RowRange(0, 3, "another digest", "all")]
    with pytest.raises(MorphoscopeError, match="galaxies 0 to 2 of the input are different for a worker"):
        list(rows_of_results(changed, [result], lambda image: None))
    with pytest.raises(MorphoscopeError, match="no network"):
        list(rows_of_results(ranges, [MorphoscopeError("no network")], lambda image: None))


def test_results_are_put_in_order_and_none_may_be_missing(worker, monkeypatch: pytest.MonkeyPatch):
    items = _items(9)
    work = worker(items, [])
    maker: Any = SimpleNamespace(request=None, batch=3)
    answers = [
        {
            "number": number,
            **work(pa.table({"number": [number], "start": [start], "stop": [start + 3]}))
            .select(["result"])
            .to_pylist()[0],
        }
        for number, start in ((1, 3), (0, 0), (2, 6))
    ]
    monkeypatch.setattr(ray_rows, "_cluster", contextlib.nullcontext)
    monkeypatch.setattr(ray_rows, "_results", lambda ray, work, ranges: iter(answers))

    def levels() -> list[int]:
        remaining = Remaining(items, Digest(), 0, 9)
        found = ray_rows.rows_from_cluster(_Levels, maker, remaining, lambda image: None)
        return [level for _, table in found for level in table["level"].to_pylist()]

    assert levels() == list(range(9))
    answers.pop()
    with pytest.raises(MorphoscopeError, match="the cluster returned 2 of 3 row ranges"):
        levels()
    items.clear()
    assert levels() == []


@pytest.mark.parametrize("running", [False, True])
def test_a_cluster_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch, running: bool):
    called: list[str] = []
    ray = SimpleNamespace(
        is_initialized=lambda: running,
        init=lambda **_: called.append("init"),
        shutdown=lambda: called.append("shutdown"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", SimpleNamespace())
    with ray_rows._cluster() as found:
        assert found is ray
    assert called == ([] if running else ["init", "shutdown"])


def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch):
    def init(**_: object) -> None:
        raise ConnectionError("timed out\nand a page of details")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", SimpleNamespace())
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    sentence = r"no Ray cluster \(head:6379\): timed out; set RAY_ADDRESS"
    with pytest.raises(MorphoscopeError, match=sentence), ray_rows._cluster():
        pass


def _plain_columns(make: type) -> PlainColumns:
    return PlainColumns(make())


@pytest.mark.usefixtures("_here")
def test_workers_make_the_catalogue_of_one_process_and_resume_it(
    folder: Path, tmp_path: Path, make_predictor: type, monkeypatch: pytest.MonkeyPatch
):
    """All but Ray itself: work and results are pickled, and two workers take the ranges in turn."""
    (folder / "b" / "cut.png").write_bytes(b"")

    def results(ray: object, work: Work, ranges: list[RowRange]) -> Iterator[dict[str, Any]]:
        workers = [TaskWorker(pickle.loads(pickle.dumps(work))) for _ in range(2)]
        for number, each in reversed(list(enumerate(ranges))):
            task = pa.table({"number": [number], "start": [each.start], "stop": [each.stop]})
            yield from workers[number % 2](task).to_pylist()

    monkeypatch.setattr(ray_rows, "_cluster", contextlib.nullcontext)
    monkeypatch.setattr(ray_rows, "_results", results)
    rows_of = partial(ray_rows.rows_from_cluster, partial(_plain_columns, make_predictor))
    predictor = make_predictor()
    plain, shared = (
        CatalogueRequest(folder, tmp_path / name, batch=2) for name in ("a.parquet", "b.parquet")
    )
    predict_catalogue(predictor, plain)
    summary = predict_catalogue(predictor, shared, rows=rows_of)
    assert (summary.predicted, summary.unreadable) == (7, 1)
    assert pq.read_table(tmp_path / "b.parquet").equals(pq.read_table(tmp_path / "a.parquet"))
    assert (tmp_path / "b.unreadable.csv").read_text() == (tmp_path / "a.unreadable.csv").read_text()

    def broken_off(*arguments: Any) -> Iterator[tuple[Any, Any]]:
        yield from islice(rows_of(*arguments), 2)
        raise KeyboardInterrupt

    again = CatalogueRequest(folder, tmp_path / "c.parquet", batch=2, resume=True)
    with pytest.raises(KeyboardInterrupt):
        predict_catalogue(predictor, again, rows=broken_off)
    assert predict_catalogue(predictor, again, rows=rows_of).resumed == 4
    assert pq.read_table(tmp_path / "c.parquet").equals(pq.read_table(tmp_path / "a.parquet"))
