"""From a recipe and a store to a run: the training itself, on top of Lightning."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_file

from morphoscope import files
from morphoscope.data.balance import class_weights, oversample
from morphoscope.data.split import make_split
from morphoscope.data.split_file import Split, load_split
from morphoscope.data.statistics import channel_statistics
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models.build import build
from morphoscope.models.hub import HubBackbone, hub_backbone, is_on_hub
from morphoscope.models.memory import keep_freed_memory
from morphoscope.models.network import Network, parameter_count
from morphoscope.models.precision import autocast_type, best_device
from morphoscope.progress import note
from morphoscope.recipe import Recipe
from morphoscope.training.batches import training_batches, validation_batches
from morphoscope.training.callbacks import Epochs, StepBar
from morphoscope.training.checkpoints import AtomicCheckpoints
from morphoscope.training.environment import environment, peak_memory_gib
from morphoscope.training.run import Header, Run, open_run, store_facts, write_header, write_json
from morphoscope.training.task import GalaxyTask


def fit(recipe: Recipe, store: Store, out: Path | str, *, resume: bool = False, progress: bool = True) -> Run:
    """Train a network and leave a run folder.

    The folder exists from the first second, so that a training which is stopped at any moment (a kill,
    Ctrl-C, a full disk) goes on with ``resume`` from its last whole epoch, with the same numbers to the
    last digit as if it had never stopped.

    Args:
        recipe: everything about the training.
        store: labelled galaxies.
        out: the run folder.
        resume: continue an unfinished training; a finished one is returned as it is.
        progress: show a bar over the steps, in a terminal; a log gets one line an epoch.

    Raises:
        UsageError: the folder exists, or nothing is there to resume, or the recipe contradicts itself.
        MorphoscopeError: the loss is not finite, weights are not to be had, the disk is full.
    """
    out = Path(out)
    if resume:
        _check_resumable(out, recipe)
        run = open_run(out, unfinished=True)
        if run.header.state == "finished":
            note(f"{out} is finished already")
            return run
    elif (out / "run.yaml").is_file():
        raise UsageError(f"{out} holds a training already; continue it with --resume, or train elsewhere")
    else:
        files.refuse_existing(out, overwrite=False)
    try:
        with files.explained_os_errors(out):
            return _train(recipe, store, out, progress=progress)
    except MorphoscopeError as error:
        if not _disk_is_full(error):
            raise
        raise MorphoscopeError(
            f"{out}: the disk is full; the training is kept up to its last whole epoch. Free some room, then "
            "run the same command with --resume"
        ) from error


def _train(recipe: Recipe, store: Store, out: Path, *, progress: bool) -> Run:
    started = time.monotonic()
    keep_freed_memory()
    scheme = store.need_scheme()
    _check_scheme(recipe, store)
    split = _split(recipe, store, out)
    if recipe.training.patience and not len(split.validation):
        raise UsageError("training.patience needs a validation split; set data.validation above 0")
    _check_crop(recipe, store)
    rows = _training_rows(recipe, store, split)
    device = best_device()
    torch.manual_seed(recipe.seed)
    with _calm():
        hub = hub_backbone(recipe.model.name) if is_on_hub(recipe.model.name) else None
        network, origin = build(
            recipe.model,
            scheme.outputs,
            image_size=recipe.augment.size,
            statistics=_statistics(recipe, store, split),
            hub=hub,
            other_sizes=recipe.augment.train_size,
        )
    if recipe.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    header = _begin(recipe, store, split, network, out, origin=origin, hub=hub)
    note(
        f"{recipe.name}: {recipe.model.name}, {header.parameters:,} weights ({origin}); "
        f"{len(rows)} training and {len(split.validation)} validation galaxies, {device}"
    )
    task = GalaxyTask(network, scheme, recipe, _loss_weights(recipe, store, split))
    epochs = Epochs(out, recipe.training, validated=len(split.validation) > 0)
    with _calm():
        _run_lightning(task, epochs, recipe, store, rows, split, out, device, progress=progress)
    return _finish(header, task, epochs, recipe, out, started)


def _run_lightning(
    task: GalaxyTask,
    epochs: Epochs,
    recipe: Recipe,
    store: Store,
    rows: np.ndarray,
    split: Split,
    out: Path,
    device: torch.device,
    *,
    progress: bool,
) -> None:
    keeper = ModelCheckpoint(
        dirpath=out / "resume", filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    training = training_batches(recipe, store, rows, device)
    trainer = lightning.Trainer(
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if autocast_type(recipe.training.precision, device) else "32-true",
        max_epochs=recipe.training.epochs - recipe.training.initial_epoch,
        callbacks=[
            training.callback,
            epochs,
            keeper,
            *([StepBar()] if progress and sys.stderr.isatty() else []),
        ],
        logger=TensorBoardLogger(str(out), name="tensorboard", version=""),
        default_root_dir=str(out),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[AtomicCheckpoints()],
        log_every_n_steps=1_000_000,
    )
    validation = (
        validation_batches(recipe, store, split.validation, device) if len(split.validation) else None
    )
    last = out / "resume" / "last.ckpt"
    try:
        trainer.fit(task, training.batches, validation, ckpt_path=str(last) if last.is_file() else None)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    except (RuntimeError, MemoryError) as error:
        if not _memory_is_full(error):
            raise
        raise MorphoscopeError(
            f"{recipe.model.name} with training.batch={recipe.training.batch} at augment.size="
            f"{recipe.augment.size} does not fit the memory of the {device.type}; set training.batch lower "
            f"(the learning rate may want to follow it), or augment.size, then train again with --resume"
        ) from error


def _split(recipe: Recipe, store: Store, out: Path) -> Split:
    """The split of an unfinished run, a split file, or a new split by name."""
    begun = out / "split.json"
    if begun.is_file():
        return load_split(begun, store)
    data = recipe.data
    if data.split.endswith((".json", ".yaml")) or os.sep in data.split:
        return load_split(Path(data.split), store)
    return make_split(store, data.split, test=data.test, validation=data.validation, seed=data.split_seed)


def _training_rows(recipe: Recipe, store: Store, split: Split) -> np.ndarray:
    """The rows of one epoch: limited and oversampled as the recipe asks (after the split, never before)."""
    rows = split.train
    if recipe.data.limit is not None and recipe.data.limit < len(rows):
        chosen = np.random.default_rng(recipe.seed).permutation(len(rows))[: recipe.data.limit]
        rows = rows[np.sort(chosen)]
    if len(rows) < 2:
        raise MorphoscopeError(f"{store.path}: {len(rows)} galaxies to train on; at least two are needed")
    if recipe.data.balance in ("oversample", "square-root"):
        strength = 1.0 if recipe.data.balance == "oversample" else 0.5
        rows = oversample(rows, _class_labels(store)[rows], recipe.seed, strength)
    return rows


def _statistics(
    recipe: Recipe, store: Store, split: Split
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if recipe.model.normalise != "data":
        return None
    return channel_statistics(store, split.train, crop=recipe.augment.crop)


def _check_scheme(recipe: Recipe, store: Store) -> None:
    wanted, found = recipe.data.scheme, store.need_scheme()
    if wanted is not None and found.name != wanted:
        raise UsageError(
            f"{recipe.name} learns the scheme '{wanted}' and {store.path} holds '{found.name}'; give a store "
            f"with {wanted}, or set data.scheme=none to train on other labels"
        )


def _check_crop(recipe: Recipe, store: Store) -> None:
    side = min(store.meta.image_shape[:2])
    if recipe.augment.crop is not None and recipe.augment.crop > side:
        raise UsageError(
            f"augment.crop is {recipe.augment.crop} pixels and the images of {store.path} have {side}; set "
            "augment.crop=none for the whole image, or ingest larger ones (see 'about' of the recipe)"
        )


def _loss_weights(recipe: Recipe, store: Store, split: Split) -> torch.Tensor | None:
    if recipe.data.balance != "class-weights":
        return None
    labels = _class_labels(store)[split.train]
    return torch.from_numpy(class_weights(labels, store.need_scheme().outputs))


def _class_labels(store: Store) -> np.ndarray:
    if store.need_scheme().kind != "classes":
        raise UsageError("data.balance needs a store with classes; this one holds vote fractions")
    return store.targets()


def _begin(
    recipe: Recipe,
    store: Store,
    split: Split,
    network: Network,
    out: Path,
    *,
    origin: str,
    hub: HubBackbone | None,
) -> Header:
    from morphoscope import __version__

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


def _finish(
    header: Header, task: GalaxyTask, epochs: Epochs, recipe: Recipe, out: Path, started: float
) -> Run:
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


def _memory_is_full(error: BaseException) -> bool:
    """Whether the GPU or the processor ran out of memory; the latter is a plain RuntimeError of torch's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "not enough memory"))


def _disk_is_full(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _check_resumable(out: Path, recipe: Recipe) -> None:
    if not (out / "run.yaml").is_file():
        raise UsageError(f"{out} holds no training to resume; leave --resume out to start one")
    begun = Recipe.from_yaml(out / "recipe.yaml")
    if begun != recipe:
        names = [name for name in Recipe.model_fields if getattr(begun, name) != getattr(recipe, name)]
        raise UsageError(
            f"{out} was begun with another recipe (they differ in: {', '.join(names)}); resume with the same "
            "settings, or train into another folder"
        )


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Keep Lightning's banners and hints about its own data loaders away from the user."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
