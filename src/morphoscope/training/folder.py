"""The run folder of a training: begun, gone on with, finished."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.store import Store
from morphoscope.errors import UsageError
from morphoscope.files import write_json
from morphoscope.models.hub import HubBackbone
from morphoscope.models.network import Network, parameter_count
from morphoscope.recipes import Recipe
from morphoscope.runs.environment import environment, peak_memory_gib
from morphoscope.runs.run import Header, Run, open_run, store_facts, write_header
from morphoscope.training.callbacks import Epochs
from morphoscope.training.task import GalaxyTask


def check_resumable(out: Path, recipe: Recipe) -> None:
    """Refuse to go on with a training that was not begun, or was begun with another recipe.

    Raises:
        UsageError: so it is.
    """
    if not (out / "run.yaml").is_file():
        raise UsageError(f"{out} holds no training to resume; leave --resume out to start one")
    begun = Recipe.from_yaml(out / "recipe.yaml")
    if begun != recipe:
        names = [name for name in Recipe.model_fields if getattr(begun, name) != getattr(recipe, name)]
        raise UsageError(
            f"{out} was begun with another recipe (they differ in: {', '.join(names)}); resume with the same "
            "settings, or train into another folder"
        )


def begin(
    recipe: Recipe,
    store: Store,
    split: Split,
    network: Network,
    out: Path,
    *,
    origin: str,
    hub: HubBackbone | None,
) -> Header:
    """Make the run folder with recipe, split and header, so that a training that is stopped can go on."""
    from morphoscope.version import __version__

    out.mkdir(parents=True, exist_ok=True)
    header = Header(
        scheme=store.need_scheme(),
        store=store_facts(store),
        parameters=parameter_count(network),
        start=origin,
        backbone=hub,
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if not (out / "split.json").is_file():
        split.save(out / "split.json")
    with files.atomic_file(out / "recipe.yaml") as place:
        place.write_text(recipe.to_yaml(), encoding="utf-8")
    write_header(out, header)
    return header


def finish(
    header: Header, task: GalaxyTask, epochs: Epochs, recipe: Recipe, out: Path, started: float
) -> Run:
    """Write the weights that are kept and the circumstances; the run is finished and can be opened."""
    weights: dict[str, torch.Tensor] = task.deployed.state_dict()
    best_epoch = int(epochs.rows[-1]["epoch"])
    if recipe.training.restore_best and epochs.best_weights:
        weights, best_epoch = epochs.best_weights, epochs.best_epoch
    with files.atomic_file(out / "weights.safetensors") as place:
        save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, place)
        place.chmod(0o644)  # safetensors leaves its files to their owner alone; a run is there to be shared
    header = header.model_copy(
        update={
            "state": "finished",
            "best_epoch": best_epoch,
            "weights_sha256": files.sha256_of(out / "weights.safetensors"),
        }
    )
    write_json(out / "environment.json", _traced(recipe, epochs, started))
    write_header(out, header)
    shutil.rmtree(out / "resume", ignore_errors=True)
    return open_run(out)


def _traced(recipe: Recipe, epochs: Epochs, started: float) -> dict[str, Any]:
    return environment() | {
        "seed": recipe.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "training_seconds": round(sum(row["seconds"] for row in epochs.rows), 1),
        "epochs": len(epochs.rows),
        "peak_memory_gib": peak_memory_gib(),
    }
