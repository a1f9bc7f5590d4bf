"""A program that trains and predicts, and asserts that the library changes nothing else in its process.

Arguments: a store, and the run folder to make.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import warnings
from typing import Any

import cv2
import lightning  # noqa: F401
import numpy as np
import tensorboard  # noqa: F401
import torch
import torch.utils.tensorboard
import torchmetrics  # noqa: F401
from lightning.pytorch.loggers import TensorBoardLogger  # noqa: F401

# What the imports above change is not ours.
cv2.setNumThreads(2)


def state() -> dict[str, Any]:
    """What the library might change in the process of its user."""
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
        "printing": np.get_printoptions(),
    }


before, modules = state(), dict(sys.modules)
library, called = ctypes.CDLL, []


class Spy(library):
    """Writes down which functions of C libraries are asked for."""

    def __getattr__(self, name: str) -> Any:
        called.append(name)
        return super().__getattr__(name)


ctypes.CDLL = Spy

import morphoscope as ms  # noqa: E402
from morphoscope.recipes import Augment, Model, Recipe, Training  # noqa: E402

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
