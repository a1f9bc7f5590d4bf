"""What the library leaves alone in the process that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes

USE = """
import logging, os, signal, sys, warnings
import torch
disable, before = torch.compiler.disable, dict(sys.modules)
import morphoscope.models.quick_timm
assert torch.compiler.disable is disable
assert all(sys.modules[name] is module for name, module in before.items())
assert sys.modules["torch._dynamo"].__file__  # the real one

import cv2, lightning, numpy, torchmetrics, tensorboard  # what these change by themselves is not ours
import torch.utils.tensorboard
from lightning.pytorch.loggers import TensorBoardLogger
cv2.setNumThreads(2)

def state():
    return {
        "OpenCV threads": cv2.getNumThreads(),
        "torch threads": torch.get_num_threads(),
        "random numbers": hash(tuple(torch.get_rng_state().tolist())),
        "compiler": id(torch.compiler.disable),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "logging": [logging.getLogger(name).level for name in ("", "lightning.pytorch", "lightning.fabric")],
        "folder": os.getcwd(),
        "printing": numpy.get_printoptions(),
    }

before, modules = state(), dict(sys.modules)
import ctypes
library, called = ctypes.CDLL, []
class Spy(library):
    def __getattr__(self, name):
        called.append(name)
        return super().__getattr__(name)
ctypes.CDLL = Spy

import morphoscope as ms
from morphoscope.recipes import Augment, Model, Recipe, Training
recipe = Recipe(
    augment=Augment(size=32),
    model=Model(name="test_efficientnet", pretrained=False),
    training=Training(epochs=1, batch=8, precision="fp32"),
)
store = ms.open_store(sys.argv[1])
run = ms.train(recipe, store, sys.argv[2], report=False, progress=False)
ms.load(sys.argv[2]).predict(store.images[:3])

ctypes.CDLL = library
assert "mallopt" not in called, called
after = state()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
assert all(sys.modules[name] is module for name, module in modules.items())
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


def test_the_library_leaves_the_process_as_it_was(tmp_path: Path):
    meta = StoreMeta(scheme=Classes(name="two", classes=("a", "b")))
    with StoreWriter(tmp_path / "store", meta, image_shape=(32, 32, 3)) as writer:
        draw = np.random.default_rng(0)
        for number in range(30):
            image = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            writer.append(image, {"id": f"g{number}", "label": number % 2, "source": f"{number}.png"})
    _run(USE, str(tmp_path / "store"), str(tmp_path / "run"))


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
