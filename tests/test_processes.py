"""What the library leaves alone in the process that uses it."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from morphoscope import processes, progress
from morphoscope.augment import cpu
from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes
from morphoscope.processes import available_cores
from morphoscope.training.batches import Batches

PROGRAM = Path(__file__).with_name("library_use.py")

# In a process of its own: that of the tests has imported everything long ago.
FRESH = """
import runpy, sys
import torch
disable, before = torch.compiler.disable, dict(sys.modules)
import morphoscope.models.quick_timm
assert torch.compiler.disable is disable
assert all(sys.modules[name] is module for name, module in before.items())
assert sys.modules["torch._dynamo"].__file__  # the real one

runpy.run_path(sys.argv.pop(1))
from morphoscope import processes
assert not processes.owned
"""

CLAIMED = """
import os, sys
from morphoscope import processes
called = []
processes.c_library_function = lambda name: lambda *values: called.append((name, values)) or 1
if sys.argv[1] == "before":
    import cv2
processes.claim()
import cv2
assert cv2.getNumThreads() == 1, cv2.getNumThreads()
assert {name for name, _ in called} == {"mallopt"}, called
"""


def _run(program: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    meta = StoreMeta(scheme=Classes(name="two", classes=("a", "b")))
    with StoreWriter(tmp_path / "store", meta, image_shape=(32, 32, 3)) as writer:
        draw = np.random.default_rng(0)
        for number in range(30):
            image = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            writer.append(image, {"id": f"g{number}", "label": number % 2, "source": f"{number}.png"})
    return tmp_path / "store"


def test_the_library_leaves_the_process_as_it_was(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), str(store), str(tmp_path / "run")])
    monkeypatch.setattr(ctypes, "CDLL", ctypes.CDLL)  # which the program replaces
    threads = cv2.getNumThreads()
    try:
        runpy.run_path(str(PROGRAM))
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.slow
def test_importing_the_library_leaves_the_process_as_it_was(store: Path, tmp_path: Path):
    _run(FRESH, str(PROGRAM), str(store), str(tmp_path / "run"))


@pytest.mark.parametrize("imported", ["before", "after"])
def test_the_command_line_tunes_its_own_process(imported: str):
    _run(CLAIMED, imported)


PANDAS = """
import sys
from morphoscope import processes
processes.leave_pandas_out()
import pyarrow as pa
assert pa.array(["spiral", None]).null_count == 1
assert pa.table({"id": [1], "size": [2.0]}).num_rows == 1
assert "pandas" not in sys.modules
assert not any("_ArrowFinder" in type(finder).__name__ for finder in sys.meta_path)
processes.let_pandas_in()
import pandas as pd
assert pa.array(pd.Series([1.0, float("nan")])).null_count == 1  # known as pandas' own
assert len(pa.table({"id": [1]}).to_pandas()) == 1
"""


@pytest.mark.parametrize("before", ["", "import pyarrow\n"])
def test_arrays_are_made_without_pandas_until_somebody_asks_for_it(before: str):
    done = subprocess.run([sys.executable, "-c", before + PANDAS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_more_threads_are_started_than_cores_may_be_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert available_cores() == 1
    parts: list[range] = []
    cpu._shared_out(parts.append, 100, threads=64)
    assert parts == [range(100)]
    images = np.zeros((4, 8, 8, 3), np.uint8)
    options: dict[str, Any] = {"batch": 2, "shuffle": False, "seed": 0}
    assert Batches(images, np.arange(4), None, lambda *_: images, **options).workers == 1
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert available_cores() == 64


def test_other_systems_keep_their_own_way_with_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert processes.c_library_function("mallopt") is None
    assert not processes.keep_freed_memory()


def test_the_other_processes_of_torchrun_are_silent_and_end_at_once(monkeypatch: pytest.MonkeyPatch):
    taken: dict[int, Any] = {}
    monkeypatch.setattr(processes.signal, "signal", taken.__setitem__)
    monkeypatch.setattr(progress, "silent", False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    processes.leave_messages_to_rank_0()
    assert (progress.silent, taken) == (False, {})
    monkeypatch.setenv("RANK", "1")
    thread = threading.Thread(target=processes.leave_messages_to_rank_0)  # which may set no handlers
    thread.start()
    thread.join()
    assert (progress.silent, taken) == (True, {})
    processes.leave_messages_to_rank_0()
    assert taken == dict.fromkeys((signal.SIGTERM, signal.SIGINT), signal.SIG_DFL)
