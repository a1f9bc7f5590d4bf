"""The engine mnn: answers of MNN, its conversions, and the processes that it computes in."""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import forked, needs_fork

from morphoscope import api
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine import choose, mnn_engine, mnn_graph, mnn_processes
from morphoscope.inference.engine.graph import graph_of, open_exported
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.mnn_engine import MnnEngine
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.runs.run import Run

pytest.importorskip("MNN", reason="the extra 'mnn' is not installed")

OLD = Path(__file__).parents[2] / "compatibility" / "v0_1" / "run-galaxy10"
SIDE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network, with its graph."""
    found = api.open_run(shutil.copytree(OLD, tmp_path_factory.mktemp("small") / "run"))
    graph_of(found)
    return found


@pytest.fixture(scope="module")
def graph(run: Run) -> Path:
    return run.path / "onnx" / "network.onnx"


@pytest.fixture(scope="module")
def cache(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache in which it has been converted."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        mnn_graph.converted_graph_of(run)
    return place


@pytest.fixture(autouse=True)
def _cached(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnn_engine, "threads", lambda: 2)


@pytest.fixture
def engine(run: Run) -> MnnEngine:
    return MnnEngine(run)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def _kept() -> list[str]:
    folder = Path(os.environ["XDG_CACHE_HOME"], "morphoscope", "graphs")
    return sorted(path.suffix for path in folder.iterdir()) if folder.is_dir() else []


def _children() -> set[int]:
    """Processes of MNN that descend from this one, as Linux lists them."""
    parents, of_mnn = {}, set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (place / "stat").read_text(), (place / "cmdline").read_bytes().decode()
        except OSError:
            continue  # it has ended
        parents[int(place.name)] = int(stat.rsplit(")", 1)[1].split()[1])
        if mnn_processes.__name__ in command:
            of_mnn.add(int(place.name))
    family, before = {os.getpid()}, 0
    while len(family) > before:
        before = len(family)
        family |= {process for process, parent in parents.items() if parent in family}
    return of_mnn & family


def _gone(processes: set[int], patience: float = 20.0) -> bool:
    late = time.monotonic() + patience
    while time.monotonic() < late:
        if not any(_runs(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up as Linux lists them")


@pytest.mark.parametrize("forks", [mnn_processes._FORKS, False])
@pytest.mark.parametrize("count", [1, 3, 19, 40])
def test_it_answers_as_onnx_runtime_does_for_any_number_of_images(
    forks: bool, count: int, monkeypatch: pytest.MonkeyPatch, run: Run, graph: Path
):
    monkeypatch.setattr(mnn_processes, "_FORKS", forks)
    engine = MnnEngine(run)
    found, expected = engine(_images(count)), OnnxEngine(graph)(_images(count))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-3, atol=1e-4)
    assert found[0].dtype == found[1].dtype == np.float32


def test_no_images_have_no_answers(engine: MnnEngine, graph: Path):
    predictions_MNK, features_ND = engine(_images(0))
    assert predictions_MNK.shape == (1, 0, 10)
    assert features_ND.shape == (0, OnnxEngine(graph).feature_count)


def test_it_says_what_computed(engine: MnnEngine):
    assert engine.description == f"MNN {mnn_graph.mnn_version()}"
    assert engine.precision_description == "fp32 on cpu"
    assert engine.quantisation == ""


def test_what_mnn_prints_goes_nowhere(capfd: pytest.CaptureFixture[str], run: Run):
    MnnEngine(run)(_images(2))
    assert capfd.readouterr() == ("", "")


def test_a_graph_is_converted_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
):
    monkeypatch.setattr(mnn_graph, "convert", lambda *of: pytest.fail("it is converted again"))
    MnnEngine(run)
    assert capsys.readouterr().err == ""
    assert _kept() == [".json", ".mnn"]


@pytest.mark.parametrize("what", ["damaged", "no record", "nonsense", "another version", "another graph"])
def test_a_conversion_that_does_not_belong_is_made_again(
    what: str, capsys: pytest.CaptureFixture[str], run: Run, graph: Path
):
    folder = Path(os.environ["XDG_CACHE_HOME"], "morphoscope", "graphs")
    (model,), (record,) = folder.glob("*.mnn"), folder.glob("*.json")
    before = json.loads(record.read_text())
    if what == "damaged":
        model.write_bytes(model.read_bytes()[:-1])
    elif what == "no record":
        record.unlink()
    elif what == "nonsense":
        record.write_text("[")
    else:
        changed = {"mnn_version": "3.0.0"} if what == "another version" else {"onnx_sha256": "0" * 64}
        record.write_text(json.dumps(before | changed))
    engine = MnnEngine(run)
    assert "converting the network for MNN" in capsys.readouterr().err
    assert json.loads(record.read_text())["mnn_version"] == before["mnn_version"]
    np.testing.assert_allclose(engine(_images(2))[0], OnnxEngine(graph)(_images(2))[0], atol=1e-5)


def test_another_processor_converts_and_compares_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
):
    """A home folder may belong to several machines."""
    monkeypatch.setattr(mnn_graph, "processor_name", lambda: "another")
    MnnEngine(run)
    assert "converting the network for MNN" in capsys.readouterr().err


@pytest.mark.parametrize("why", ["not a folder", "full"])
def test_without_room_in_the_cache_it_is_converted_for_this_process(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run
):
    place = tmp_path / "other"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    if why == "not a folder":
        place.touch()
    else:

        def full(source: Path, target: Path) -> None:
            target.write_bytes(source.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(mnn_graph.shutil, "copyfile", full)
    assert MnnEngine(run)(_images(2))[0].shape == (1, 2, 10)
    assert not list(place.rglob("*.mnn")) if place.is_dir() else True


def test_answers_that_are_off_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    computed = mnn_graph.Processes.__call__

    def off(self: mnn_graph.Processes, shares: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(each_NK + 1e-4, features_ND) for each_NK, features_ND in computed(self, shares)]

    monkeypatch.setattr(mnn_graph.Processes, "__call__", off)
    with pytest.raises(MorphoscopeError, match=r"differs from ONNX Runtime's by 1\.0e-04"):
        MnnEngine(run)
    assert _kept() == []


def test_features_that_are_off_are_refused_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    computed = mnn_graph.Processes.__call__

    def off(self: mnn_graph.Processes, shares: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(each_NK, features_ND + 0.1) for each_NK, features_ND in computed(self, shares)]

    monkeypatch.setattr(mnn_graph.Processes, "__call__", off)
    with pytest.raises(MorphoscopeError, match="use --engine onnx"):
        MnnEngine(run)


def test_a_file_that_mnn_cannot_convert_is_said(tmp_path: Path, graph: Path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    assert mnn_processes.convert(tmp_path / "x.onnx", tmp_path / "x.mnn", 0) != ""


@on_linux
def test_a_conversion_that_asks_for_too_much_memory_ends_alone(tmp_path: Path, graph: Path):
    assert "exit status" in mnn_processes.convert(graph, tmp_path / "x.mnn", 1 << 20)


def test_a_conversion_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graph: Path):
    monkeypatch.setattr(mnn_processes, "_PATIENCE", 0.01)
    assert mnn_processes.convert(graph, tmp_path / "x.mnn", 0) == "it takes more than 0.01 seconds"


def test_a_converted_graph_that_cannot_be_loaded_is_one_sentence(tmp_path: Path):
    (tmp_path / "x.mnn").write_bytes(b"")
    processes = mnn_processes.Processes(tmp_path / "x.mnn", SIDE, 3, 2, 0)
    try:
        with pytest.raises(MorphoscopeError, match="--engine onnx"):
            processes([_images(1), _images(1), _images(1)])
    finally:
        processes.close()


@on_linux
@pytest.mark.parametrize("which", ["first", "forked"])
def test_a_process_that_is_killed_is_an_error_and_others_take_its_place(engine: MnnEngine, which: str):
    expected_NK = engine(_images(20))[0]
    before = first, forked = sorted(_children())
    os.kill(first if which == "first" else forked, signal.SIGKILL)
    with pytest.raises(MorphoscopeError, match="a process of MNN ended before it answered"):
        engine(_images(20))
    np.testing.assert_array_equal(engine(_images(20))[0], expected_NK)
    assert _gone(set(before))


def test_an_answer_that_was_not_read_is_not_taken_for_the_next(
    engine: MnnEngine, monkeypatch: pytest.MonkeyPatch
):
    expected_NK, read = engine(_images(2))[0], pickle.load

    def failing(file: object) -> object:
        monkeypatch.setattr(mnn_processes.pickle, "load", read)
        raise MemoryError

    monkeypatch.setattr(mnn_processes.pickle, "load", failing)
    with pytest.raises(MemoryError):
        engine(_images(2)[::-1])
    np.testing.assert_array_equal(engine(_images(2))[0], expected_NK)


@on_linux
@pytest.mark.parametrize("shadowed", ["queue.py", "random.py", "numpy.py"])
def test_the_folder_that_it_is_started_in_is_not_imported_from(
    shadowed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run
):
    (tmp_path / shadowed).write_text("open('imported', 'w').close(); raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert MnnEngine(run)(_images(2))[0].shape == (1, 2, 10)
    assert not (tmp_path / "imported").exists()


PROGRAM = """
import sys, time, numpy
from morphoscope import api
from morphoscope.inference.engine import mnn_engine
mnn_engine.threads = lambda: 3
engine = mnn_engine.MnnEngine(api.open_run(sys.argv[1]))
"""


def _run(program: str, run: Run, **options: object) -> str:
    command = [sys.executable, "-c", PROGRAM + program, str(run.path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout  # type: ignore[call-overload]


@on_linux
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_it_computes_where_the_standard_streams_are_closed(closed: tuple[int, ...], tmp_path: Path, run: Run):
    _run(
        "found = engine(numpy.zeros((30, 32, 32, 3), numpy.uint8))[0]\n"
        f"open({str(tmp_path / 'shape')!r}, 'w').write(str(found.shape))\n",
        run,
        preexec_fn=lambda: [os.close(each) for each in closed],
    )
    assert (tmp_path / "shape").read_text() == "(1, 30, 10)"


@on_linux
def test_ctrl_c_while_they_start_leaves_them_alone(run: Run):
    said = _run(
        "import os, signal\n"
        "try:\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    print(engine(numpy.zeros((30, 32, 32, 3), numpy.uint8))[0].shape)\n",
        run,
        process_group=0,
    )
    assert said == "(1, 30, 10)\n"


def _open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()


def test_without_open_files_for_them_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch, run: Run):
    gc.collect()
    before = _open_files()
    made, opened = [], os.pipe

    def pipe() -> tuple[int, int]:
        made.append(1)
        if len(made) > 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened()

    monkeypatch.setattr(mnn_processes, "_FORKS", True)
    monkeypatch.setattr(mnn_engine, "threads", lambda: 4)
    monkeypatch.setattr(mnn_processes.os, "pipe", pipe)
    with pytest.raises(MorphoscopeError, match=r"no process can be started for MNN \(Too many open files\)"):
        MnnEngine(run)
    gc.collect()
    assert _open_files() <= before


@on_linux
def test_a_forked_program_does_not_keep_them(engine: MnnEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mnn_processes, "_FAREWELL", 0.2)
    engine(_images(20))
    processes = _children()
    child = os.fork()
    if not child:  # which holds the other ends of their pipes
        time.sleep(60)
        os._exit(0)
    try:
        engine._processes.close()
        assert _gone(processes)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@on_linux
def test_processes_end_with_their_engine(run: Run):
    engine = MnnEngine(run)
    engine(_images(20))
    processes = _children()
    assert len(processes) == 2
    del engine
    gc.collect()
    assert _gone(processes)


@on_linux
def test_processes_end_with_a_program_that_is_killed(tmp_path: Path, run: Run):
    program = PROGRAM + (
        "engine(numpy.zeros((20, 32, 32, 3), numpy.uint8))\nprint('ready', flush=True)\ntime.sleep(100)\n"
    )
    before = _children()
    command = [sys.executable, "-c", program, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        processes = _children() - before
        assert len(processes) >= 2
        process.kill()
    assert _gone(processes)


@needs_fork
def test_a_forked_process_computes_in_processes_of_its_own(engine: MnnEngine):
    expected_NK = engine(_images(4))[0][0]
    np.testing.assert_array_equal(forked(lambda: engine(_images(4))[0][0]), expected_NK)
    np.testing.assert_array_equal(engine(_images(4))[0][0], expected_NK)


def test_threads_may_ask_at_the_same_time(engine: MnnEngine):
    from concurrent.futures import ThreadPoolExecutor

    alone = [engine(_images(count))[0] for count in (3, 9, 17)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda count: engine(_images(count))[0], (3, 9, 17)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_exported_file_is_read_as_well(tmp_path: Path, graph: Path):
    for suffix in (".onnx", ".json"):
        shutil.copy(graph.with_suffix(suffix), tmp_path / f"mine{suffix}")
    loaded = api.load(tmp_path / "mine.onnx", engine="mnn")
    expected = api.load(tmp_path / "mine.onnx", engine="onnx")
    images = list(_images(3))
    np.testing.assert_allclose(loaded.predict(images), expected.predict(images), atol=1e-5)


def test_8_bits_and_what_needs_the_network_are_refused(run: Run):
    with pytest.raises(UsageError, match="--precision int8 is not for --engine mnn"):
        choose.engine_of(run, "mnn", precision="int8")
    with pytest.raises(UsageError, match="use --engine torch"):
        choose.engine_of(run, "mnn", dropout_samples=2)


class TestTheFastest:
    """What ``--engine auto`` does where MNN is installed."""

    @pytest.fixture(autouse=True)
    def _processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(choose.VARIABLE)
        monkeypatch.setattr(choose, "may_have_gpu", lambda: False)
        monkeypatch.setattr(choose, "has_bf16", lambda: False)

    def _slow(self, which: type[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
        computed = which.__call__

        def slowly(self: Engine, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            time.sleep(0.3)
            return computed(self, images_NSSC)

        monkeypatch.setattr(which, "__call__", slowly)

    @pytest.mark.parametrize("slow", [OnnxEngine, MnnEngine])
    def test_it_is_measured_once(self, slow: type[Engine], monkeypatch: pytest.MonkeyPatch, run: Run):
        self._slow(slow, monkeypatch)
        fast = MnnEngine if slow is OnnxEngine else OnnxEngine
        assert isinstance(choose.engine_of(run, precision="fp32"), fast)
        monkeypatch.setattr(choose, "faster", lambda *of: pytest.fail("it is measured again"))
        monkeypatch.setattr(slow, "__init__", lambda *of: pytest.fail("it is loaded for nothing"))
        assert isinstance(choose.engine_of(run, precision="fp32"), fast)

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("when", ["loading", "first pass"])
    def test_one_that_fails_is_left_out_with_a_note(
        self,
        known: bool,
        when: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        run: Run,
    ):
        if known:
            self._slow(OnnxEngine, monkeypatch)
            choose.engine_of(run, precision="fp32")

        def failing(*of: object) -> None:
            raise MorphoscopeError("no such operator; use --engine onnx")

        monkeypatch.setattr(MnnEngine, "__init__" if when == "loading" else "__call__", failing)
        assert isinstance(choose.engine_of(run, precision="fp32"), OnnxEngine)
        assert capsys.readouterr().err.splitlines()[-1] == "MNN is left out: no such operator"

    def test_the_packaged_network_keeps_its_8_bits(self):
        assert choose.engine_of(api.open_run("default")).precision_description == "int8 (ONNX Runtime) on cpu"

    def test_exported_files_are_not_converted_unless_asked(self, tmp_path: Path, graph: Path):
        for suffix in (".onnx", ".json"):
            shutil.copy(graph.with_suffix(suffix), tmp_path / f"mine{suffix}")
        assert isinstance(choose.engine_of(open_exported(tmp_path / "mine.onnx")), OnnxEngine)
