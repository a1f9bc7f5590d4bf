"""Catalogues from the processes that torchrun starts, and what they say to each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Pipe
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from morphoscope import api, processes, progress
from morphoscope.api import loaded_run
from morphoscope.catalogue.distributed import torchrun
from morphoscope.catalogue.distributed.partition import Stretch
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models import precision
from morphoscope.processes import Process, fall_silent, of_one_machine, started

SCRIPT = Path(__file__).with_name("together.py")


def _torchrun(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [*command, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def images(tmp_path: Path, save: Callable[..., Path]) -> Path:
    for number in range(13):
        save(tmp_path / "in" / f"{number:02}.png", 19 * number)
    (tmp_path / "in" / "05.png").write_bytes(b"")
    return tmp_path / "in"


def test_two_processes_make_the_catalogues_of_one(predictor, images: Path, tmp_path: Path):
    done = _torchrun(images, tmp_path)
    predict_catalogue(predictor, images, tmp_path / "one.parquet", batch=2)
    assert pq.read_table(tmp_path / "c.parquet").equals(pq.read_table(tmp_path / "one.parquet"))
    assert (tmp_path / "summary.txt").read_text() == "12 1"
    # Parts of two galaxies each in turn; the fifth galaxy is in the first process's third.
    assert [(tmp_path / f"asked-{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]
    assert (tmp_path / "c.unreadable.csv").read_text() == (tmp_path / "one.unreadable.csv").read_text()
    assert done.stderr.count("torchrun: 2 processes, 7 parts of the input") == 3  # and 5 of the resumed one
    assert done.stderr.count("calibration: none") == 4  # as often as there is a beginning, in one voice
    assert (tmp_path / "resumed.txt").read_text() == "12 4"
    predict_catalogue(predictor, images, tmp_path / "one.csv", batch=2)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "one.csv").read_text()

    # The third catalogue: what a helper says of its failure is said once, and ends all.
    assert done.returncode == 1
    assert done.stderr.count("morphoscope: the second process has no room") == 1
    assert done.stderr.count("2 galaxies are done and kept; go on with --resume") == 1
    assert not (tmp_path / "error.parquet").exists()


def test_a_process_that_is_gone_is_noticed():
    here, there = Pipe()
    there.send(Stretch(None, [], "d", []))
    there.close()
    said = torchrun._said(4, iter([Stretch(None, [], "0", []), Stretch(None, [], "2", [])]), [here])
    assert [next(said).digest for _ in range(3)] == ["0", "d", "2"]  # type: ignore[union-attr]
    with pytest.raises(MorphoscopeError, match="process 1 of torchrun ended before its work was done"):
        next(said)
    here.close()


class _Store(dict):
    """Stands in for torchrun's."""

    set = dict.__setitem__

    def get(self, name: str) -> bytes:
        return self[name].encode()

    def wait(self, names: list[str], patience: object) -> None:
        while names[0] not in self:
            threading.Event().wait(0.01)


def test_a_helper_that_cannot_help_tells_the_leader(monkeypatch: pytest.MonkeyPatch):
    store = _Store()
    monkeypatch.setattr(processes, "_store", lambda process: store)
    monkeypatch.setattr(processes, "_place", lambda: "here")
    monkeypatch.setattr(processes, "started", lambda: Process(1, 2, 1))
    told: list[bool] = []
    helper = threading.Thread(target=lambda: told.append(processes.handed_over(UsageError("no such run"))))
    helper.start()
    with pytest.raises(UsageError, match="no such run"), processes.helpers(Process(0, 2, 0)):
        pass
    helper.join()
    assert told == [True]
    monkeypatch.setattr(processes, "started", lambda: Process(0, 2, 0))
    assert not processes.handed_over(UsageError("the leader says it itself"))


@pytest.fixture
def as_second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, text)


def test_torchruns_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started() is None
    with pytest.raises(UsageError, match="torchrun --nproc-per-node"):
        of_one_machine()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert started() is None


@pytest.mark.usefixtures("as_second_of_two")
def test_each_process_takes_its_own_gpu_and_only_the_first_speaks(monkeypatch, capsys):
    assert of_one_machine() == Process(1, 2, 1)
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(precision.torch.cuda, "device_count", lambda: 2)
    assert precision.best_device().index == 1
    monkeypatch.setattr(progress, "silent", False)
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    fall_silent()
    progress.note("a word")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UsageError, match="on one machine"):
        of_one_machine()


@pytest.mark.usefixtures("as_second_of_two")
def test_torchrun_is_the_engine_where_it_has_started_several(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(loaded_run, "_opened", lambda place: place)
    assert api.load(tmp_path / "run").engine == "torchrun"
    assert api.load(tmp_path / "run", engine="torch").engine == "torch"
    with pytest.raises(UsageError, match="without torchrun"):
        api.load(tmp_path / "galaxies.onnx")
