"""From a recipe and a store to a run: the training itself, on top of Lightning."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.splits.training_split import learned_scheme, training_split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import Scheme
from morphoscope.models.hub import HubBackbone
from morphoscope.models.network import Network
from morphoscope.models.precision import best_device, training_type
from morphoscope.processes import Process
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run, open_run
from morphoscope.training import distributed
from morphoscope.training.batches import training_batches, validation_batches
from morphoscope.training.callbacks import Checkpoints, Epochs, KeptSignals, StepBar
from morphoscope.training.folder import RESUME, AtomicCheckpoints, begin, claimed, finish
from morphoscope.training.galaxies import (
    check_augment,
    loss_weights,
    training_rows,
)
from morphoscope.training.head_start import start_head
from morphoscope.training.start import network_of
from morphoscope.training.task import GalaxyTask


def fit(
    recipe: Recipe,
    store: Store,
    out: Path | str,
    *,
    split: Split | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train a network and leave a run folder.

    The folder exists from the first second, so that a training which is stopped at any moment (a kill,
    Ctrl-C, a full disk) can be resumed from its last checkpoint, with the same numbers to the last digit as
    if it had never stopped. In processes started by torchrun, all train the same network together.

    Args:
        recipe: everything about the training.
        store: labelled galaxies.
        out: the run folder.
        split: of the galaxies; None: as the recipe says.
        resume: continue an unfinished training; a finished one is returned as it is.
        progress: show a bar over the steps, in a terminal; a log gets one line an epoch.

    Raises:
        UsageError: the folder exists or is in use, there is nothing to resume, or the recipe contradicts
            itself.
        MorphoscopeError: the loss is not finite, weights cannot be fetched, the disk is full, or another
            process of the training has ended.
    """
    out = Path(out)
    try:
        with (
            distributed.joined() as process,
            files.explained_os_errors(out),
            torch.random.fork_rng(_forked_devices()),
        ):
            return _fit(recipe, store, out, split, process, resume=resume, progress=progress)
    except MorphoscopeError as error:
        if not _disk_is_full(error) or not (out / "run.yaml").is_file():
            raise
        raise MorphoscopeError(
            f"{out}: the disk is full; the training is saved up to its last checkpoint. Free some space, "
            "then run the same command with --resume"
        ) from error


@dataclass(frozen=True)
class _Plan:
    """Everything a training needs, prepared before anything is written."""

    recipe: Recipe
    store: Store
    split: Split
    rows: np.ndarray
    scheme: Scheme
    device: torch.device
    network: Network
    origin: str
    hub: HubBackbone | None
    class_weights: torch.Tensor | None


def _fit(
    recipe: Recipe,
    store: Store,
    out: Path,
    split: Split | None,
    process: Process | None,
    *,
    resume: bool,
    progress: bool,
) -> Run:
    started = time.monotonic()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.ExitStack() as held:
        state = distributed.on_rank_0(
            process, lambda: held.enter_context(claimed(out, recipe, store, resume=resume))
        )
        if state == "finished":
            note(f"{out} is already finished")
            return open_run(out)
        plan = distributed.in_every_process(process, lambda: _plan(recipe, store, out, split, process))
        header = distributed.on_rank_0(
            process,
            lambda: begin(
                recipe,
                store,
                plan.split,
                plan.network,
                out,
                scheme=plan.scheme,
                origin=plan.origin,
                hub=plan.hub,
            ),
        )
        processes = "" if process is None else f", {process.count} processes"
        note(
            f"{recipe.name}: {recipe.model.name}, {header.parameters:,} parameters ({plan.origin}); "
            f"{len(plan.rows)} training and {len(plan.split.validation)} validation galaxies, "
            f"{plan.device}{processes}"
        )
        task = GalaxyTask(plan.network, header.scheme, recipe, plan.class_weights)
        task.batch_total = min(recipe.training.batch, len(plan.rows))
        epochs = Epochs(out, recipe.training, validated=len(plan.split.validation) > 0)
        with _quiet_lightning(), _kept_signals():
            _run_lightning(task, epochs, plan, out, process, progress=progress)
        distributed.on_rank_0(process, lambda: finish(header, task, epochs, recipe, out, started))
        return open_run(out)


def _plan(recipe: Recipe, store: Store, out: Path, split: Split | None, process: Process | None) -> _Plan:
    split = training_split(recipe, store, out) if split is None else split
    rows = training_rows(recipe, store, split)
    scheme = learned_scheme(recipe, store).fitted(store.targets()[rows], str(store.path))
    distributed.check_shares(
        process, batch=recipe.training.batch, training=len(rows), validation=len(split.validation)
    )
    check_augment(recipe, store)
    torch.manual_seed(recipe.seed)
    with _quiet_lightning():
        start = network_of(recipe, store, split, scheme)
    network = start.network
    if recipe.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    device = best_device()
    head = start_head(network, recipe, store, split, scheme, device)
    origin = "; ".join(filter(None, [start.origin, head]))
    weights = loss_weights(recipe, store, split)
    return _Plan(recipe, store, split, rows, scheme, device, network, origin, start.hub, weights)


def _run_lightning(
    task: GalaxyTask, epochs: Epochs, plan: _Plan, out: Path, process: Process | None, *, progress: bool
) -> None:
    recipe, device, validation_rows = plan.recipe, plan.device, plan.split.validation
    part = distributed.part_of(process)
    training = training_batches(recipe, plan.store, plan.rows, device, part=part)
    reduced = training_type(recipe.training.precision, device, task.network, recipe.augment.size)
    devices = 1 if process is None else process.on_this_machine
    trainer = lightning.Trainer(
        accelerator=device.type,
        devices=devices,
        num_nodes=1 if process is None else process.count // devices,
        strategy=distributed.strategy(process),
        use_distributed_sampler=False,  # the loader takes this process's part of each batch itself
        precision="bf16-mixed" if reduced else "32-true",
        max_epochs=recipe.training.epochs - recipe.training.initial_epoch,
        callbacks=[
            KeptSignals(),
            training.callback,
            epochs,
            Checkpoints(out / RESUME),
            *([StepBar()] if progress and sys.stderr.isatty() and part[0] == 0 else []),
        ],
        logger=TensorBoardLogger(str(out), name="tensorboard", version=""),
        default_root_dir=str(out),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[AtomicCheckpoints()],
        log_every_n_steps=1_000_000,
    )
    validation = None
    if len(validation_rows):
        rows = distributed.own_rows(validation_rows, process)
        validation = validation_batches(recipe, plan.store, rows, device)
    last = out / RESUME / "last.ckpt"
    try:
        trainer.fit(task, training.batches, validation, ckpt_path=str(last) if last.is_file() else None)
    except SystemExit:  # Lightning's reaction to Ctrl-C
        raise KeyboardInterrupt from None
    except (RuntimeError, MemoryError) as error:
        if not _memory_is_full(error):
            raise
        raise MorphoscopeError(
            f"{recipe.model.name} with training.batch={recipe.training.batch} at augment.size="
            f"{recipe.augment.size} does not fit in the memory of the {device.type}; lower training.batch "
            f"(and perhaps the learning rate) or augment.size, then train into another folder"
        ) from error


def _forked_devices() -> list[int]:
    """The GPUs whose random state is to be restored after the training."""
    device = best_device()
    return [device.index or 0] if device.type == "cuda" else []


def _memory_is_full(error: BaseException) -> bool:
    """Whether the GPU or the CPU ran out of memory; torch reports the latter as a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "not enough memory"))


def _disk_is_full(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which Lightning replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's banners and its hints about data loaders."""
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
