"""A training in the processes of torchrun, which writes down the rows that each process has seen.

Arguments: store, recipe, run folder, and the file to write them to, ``NAME.RANK``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from morphoscope.data.store import open_store
from morphoscope.recipes import Recipe
from morphoscope.training.batches import Batch
from morphoscope.training.fit import fit
from morphoscope.training.task import GalaxyTask

store, recipe, out, log = sys.argv[1:]
seen: dict[str, list[list[int]]] = {"training": [], "validation": []}
train, validate = GalaxyTask.training_step, GalaxyTask.validation_step


def training_step(self: GalaxyTask, batch: Batch, step: int) -> torch.Tensor:
    seen["training"].append(batch.rows.tolist())
    return train(self, batch, step)


def validation_step(self: GalaxyTask, batch: Batch, step: int) -> None:
    seen["validation"].append(batch.rows.tolist())
    validate(self, batch, step)


GalaxyTask.training_step, GalaxyTask.validation_step = training_step, validation_step
fit(Recipe.from_yaml(recipe), open_store(store), out, progress=False)
Path(f"{log}.{os.environ.get('RANK', '0')}").write_text(json.dumps(seen))
