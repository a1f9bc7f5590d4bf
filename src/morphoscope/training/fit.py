"""From a recipe and a store to a run: the training itself, on top of Lightning."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models.build import build
from morphoscope.models.hub import hub_backbone, is_on_hub
from morphoscope.models.memory import keep_freed_memory
from morphoscope.models.precision import best_device, training_type
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run, open_run
from morphoscope.training.batches import training_batches, validation_batches
from morphoscope.training.callbacks import Epochs, StepBar
from morphoscope.training.checkpoints import AtomicCheckpoints
from morphoscope.training.folder import begin, check_resumable, finish
from morphoscope.training.galaxies import (
    check_crop,
    check_scheme,
    loss_weights,
    split_of,
    statistics_of,
    training_rows,
)
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
        check_resumable(out, recipe)
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
    check_scheme(recipe, store)
    split = split_of(recipe, store, out)
    if recipe.training.patience and not len(split.validation):
        raise UsageError("training.patience needs a validation split; set data.validation above 0")
    check_crop(recipe, store)
    rows = training_rows(recipe, store, split)
    device = best_device()
    torch.manual_seed(recipe.seed)
    with _calm():
        hub = hub_backbone(recipe.model.name) if is_on_hub(recipe.model.name) else None
        network, origin = build(
            recipe.model,
            scheme.outputs,
            image_size=recipe.augment.size,
            statistics=statistics_of(recipe, store, split),
            hub=hub,
            other_sizes=recipe.augment.train_size,
        )
    if recipe.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    header = begin(recipe, store, split, network, out, origin=origin, hub=hub)
    note(
        f"{recipe.name}: {recipe.model.name}, {header.parameters:,} weights ({origin}); "
        f"{len(rows)} training and {len(split.validation)} validation galaxies, {device}"
    )
    task = GalaxyTask(network, scheme, recipe, loss_weights(recipe, store, split))
    epochs = Epochs(out, recipe.training, validated=len(split.validation) > 0)
    with _calm():
        _run_lightning(task, epochs, recipe, store, rows, split, out, device, progress=progress)
    return finish(header, task, epochs, recipe, out, started)


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
    number_type = training_type(recipe.training.precision, device, task.network, recipe.augment.size)
    trainer = lightning.Trainer(
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if number_type else "32-true",
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


def _memory_is_full(error: BaseException) -> bool:
    """Whether the GPU or the processor ran out of memory; the latter is a plain RuntimeError of torch's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "not enough memory"))


def _disk_is_full(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


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
