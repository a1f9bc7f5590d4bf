"""The run folder during training: locked by one process, started, resumed from atomic checkpoints,
finished.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.splits.training_split import learned_scheme
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.files import write_json
from morphoscope.labels.scheme import Scheme
from morphoscope.models.hub import HubBackbone
from morphoscope.models.network import Network, parameter_count
from morphoscope.models.pretrained import save_weights
from morphoscope.recipes import Recipe, differences
from morphoscope.runs.environment import environment, peak_gpu_memory_gib, peak_memory_gib
from morphoscope.runs.run import (
    Header,
    Run,
    galaxies_digest,
    galaxy_size,
    open_run,
    store_facts,
    write_header,
)
from morphoscope.training.callbacks import Epochs
from morphoscope.training.task import GalaxyTask

RESUME = "resume"
LOCK, GALAXIES = "lock", "galaxies.json"  # in there
BEGUN = ("recipe.yaml", "split.json")  # what is written before the header

State = Literal["new", "begun", "finished"]


@contextlib.contextmanager
def claimed(out: Path, recipe: Recipe, store: Store, *, resume: bool) -> Iterator[State]:
    """Lock a run folder for this process, and yield its state.

    A folder in which nothing was trained counts as new: a training that was killed before its header was
    written can be started again, with or without ``resume``. A process that fails that early leaves nothing
    behind.

    Args:
        out: the run folder.
        recipe: of this training.
        store: of this training.
        resume: continue what is there.

    Raises:
        UsageError: the folder contains something else, another process is training in it, there is nothing to
            resume, or the recipe or the store differ from those of the interrupted training.
    """
    _check(out, resume=resume)
    existed = out.is_dir()
    with files.explained_os_errors(out), _locked(out):
        state = _state(out, resume=resume)
        if state == "begun":
            check_resumable(out, recipe, store)
        if state == "finished":
            check_same_galaxies(open_run(out), store)
        if state == "new":
            _forget(out)
        try:
            yield state
        finally:
            if not (out / "run.yaml").is_file():
                _forget(out)
                shutil.rmtree(out / RESUME, ignore_errors=True)
                if not existed:
                    with contextlib.suppress(OSError):
                        out.rmdir()


def _check(out: Path, *, resume: bool) -> None:
    """Refuse folders that are not of a training, before anything is written."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(
            f"{out} is a {'link' if out.is_symlink() else 'file'}; a folder to create was expected"
        )
    for name in (RESUME, "tensorboard"):
        if (out / name).is_symlink():
            raise UsageError(f"{out / name} is a link; a run keeps its files in its own folder")
    if (out / "run.yaml").is_file():
        if not resume:
            raise UsageError(
                f"{out} already contains a training; continue it with --resume, or choose another folder"
            )
    elif not _nothing_trained(out):
        raise UsageError(f"{out} exists already and is not a training; choose another folder")
    elif resume and not (out / RESUME).is_dir():
        raise UsageError(f"{out} has no training to resume; start one without --resume")


def _nothing_trained(out: Path) -> bool:
    """Whether a folder is absent, empty, or has only files from before the header (the lock comes first)."""
    with files.explained_os_errors(out):
        names = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if not names:
        return True
    partial = {
        name for name in names if name.startswith(tuple(f".{begun}." for begun in (*BEGUN, "run.yaml")))
    }
    inside = {entry.name for entry in (out / RESUME).iterdir()} if (out / RESUME).is_dir() else {""}
    inside -= {name for name in inside if name.startswith(f".{GALAXIES}.partial-")}
    return inside <= {LOCK, GALAXIES} and names - partial <= {RESUME, *BEGUN}


def _forget(out: Path) -> None:
    """Remove the files of a training that did not get as far as its header."""
    for name in BEGUN:
        (out / name).unlink(missing_ok=True)
    (out / RESUME / GALAXIES).unlink(missing_ok=True)
    for name in (*BEGUN, "run.yaml", f"{RESUME}/{GALAXIES}"):
        files.remove_stale_partials(out / name)


def _state(out: Path, *, resume: bool) -> State:
    if not (out / "run.yaml").is_file():
        return "new"
    if not resume:  # another process started while this one waited for the lock
        raise UsageError(
            f"{out} already contains a training; continue it with --resume, or choose another folder"
        )
    return "finished" if open_run(out, unfinished=True).header.state == "finished" else "begun"


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of a run folder until the block or the process ends, however it ends."""
    finished = (out / "run.yaml").is_file() and not (out / RESUME).is_dir()
    if finished and open_run(out, unfinished=True).header.state == "finished":
        yield
        return
    (out / RESUME).mkdir(parents=True, exist_ok=True)
    lock = _lock(out)
    try:
        yield
    finally:
        if lock is not None:
            lock.close()


def _lock(out: Path) -> IO[str] | None:
    """The open lock file; None if the system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    path = out / RESUME / LOCK
    lock = open(path, "a")  # noqa: SIM115 - held open on purpose
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UsageError(
            f"{out}: another process is training in this folder; wait for it, or choose another folder"
        ) from error
    except OSError:  # a file system without locks
        lock.close()
        return None
    return lock


def check_resumable(out: Path, recipe: Recipe, store: Store) -> None:
    """Refuse to resume a training with a different recipe or different galaxies.

    Raises:
        UsageError: they differ; the fields are named.
    """
    changed = differences(Recipe.from_yaml(out / "recipe.yaml"), recipe)
    if changed:
        raise UsageError(
            f"{out} was started with another recipe ({'; '.join(changed)}); resume with the same settings, "
            "or choose another folder"
        )
    header = open_run(out, unfinished=True).header
    now = store_facts(store)
    for name in ("count", "image_shape", "dtype", "bands", "crop", "size", "stretch", "pixel_scale"):
        before, after = getattr(header.store, name), getattr(now, name)
        if before != after:
            raise UsageError(
                f"{out} was started with another store ({name} was {before} and is {after} in {store.path}); "
                "resume with the same store, or choose another folder"
            )
    if header.scheme.unfitted != learned_scheme(recipe, store):
        raise UsageError(
            f"{out} was started with the labels '{header.scheme.name}' and {store.path} has others "
            f"('{store.need_scheme().name}'); resume with the same store, or choose another folder"
        )
    _check_galaxies(out, store)


def _galaxies(store: Store) -> dict[str, Any]:
    """A fingerprint of a store's names, labels and pixel hashes, and which file has the pixels."""
    facts = (store.path / "images.npy").stat()
    return {"sha256": galaxies_digest(store), "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _check_galaxies(out: Path, store: Store) -> None:
    """Refuse galaxies whose labels or pixels are not those that the training began with.

    Raises:
        UsageError: they differ.
        MorphoscopeError: the file with the pixels was written since, and they are not what the store says.
    """
    try:
        before = json.loads((out / RESUME / GALAXIES).read_text(encoding="utf-8"))
        known = {name: before[name] for name in ("sha256", "size", "mtime_ns")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # an older program's, or damaged
        return
    now = _galaxies(store)
    if known["sha256"] != now["sha256"]:
        raise UsageError(
            f"{out}: the labels or pixels of {store.path} have changed since this training was interrupted; "
            "restore them, or train into another folder"
        )
    if known != now:
        open_store(store.path, verify=True)


def check_same_galaxies(run: Run, store: Store) -> None:
    """Refuse a store whose galaxies are no longer those that a finished run was trained on.

    What the run has measured on them would not be of one kind. Before anything is measured, all pixels are
    compared with their hashes.

    Raises:
        UsageError: labels or pixels differ.
        MorphoscopeError: the pixels are not what the store says.
    """
    known = run.header.store.galaxies
    if not known:  # of an earlier build
        return
    if known != galaxies_digest(store):
        raise UsageError(
            f"{run.path} is trained, and the labels or pixels of {store.path} have changed since; restore "
            "them, or train into another folder"
        )
    if not run.metrics():
        open_store(store.path, verify=True)


def begin(
    recipe: Recipe,
    store: Store,
    split: Split,
    network: Network,
    out: Path,
    *,
    scheme: Scheme,
    origin: str,
    hub: HubBackbone | None,
) -> Header:
    """Write split, recipe and, last, the header: from then on a stopped training can be resumed."""
    from morphoscope.version import __version__

    header = Header(
        scheme=scheme,
        store=store_facts(store).model_copy(
            update={"galaxy_size": galaxy_size(store), "galaxies": galaxies_digest(store)}
        ),
        parameters=parameter_count(network),
        start=origin,
        backbone=hub,
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if not (out / "split.json").is_file():
        split.save(out / "split.json")
    (out / RESUME).mkdir(exist_ok=True)
    write_json(out / RESUME / GALAXIES, _galaxies(store))
    with files.atomic_file(out / "recipe.yaml") as partial:
        partial.write_text(recipe.to_yaml(), encoding="utf-8")
    write_header(out, header)
    return header


def finish(
    header: Header, task: GalaxyTask, epochs: Epochs, recipe: Recipe, out: Path, started: float
) -> None:
    """Write the final weights and their provenance; the run is then finished and can be opened."""
    weights: dict[str, torch.Tensor] = task.deployed.state_dict()
    best_epoch = int(epochs.rows[-1]["epoch"])
    if recipe.training.restore_best and epochs.best_weights:
        weights, best_epoch = epochs.best_weights, epochs.best_epoch
    with files.atomic_file(out / "weights.safetensors") as partial:
        save_weights({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, partial)
    header = header.model_copy(
        update={
            "state": "finished",
            "best_epoch": best_epoch,
            "weights_sha256": files.sha256_of(out / "weights.safetensors"),
        }
    )
    write_json(out / "environment.json", _provenance(recipe, epochs, started))
    write_header(out, header)
    shutil.rmtree(out / RESUME, ignore_errors=True)


def _provenance(recipe: Recipe, epochs: Epochs, started: float) -> dict[str, Any]:
    return environment() | {
        "seed": recipe.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "training_seconds": round(sum(row["seconds"] for row in epochs.rows), 1),
        "epochs": len(epochs.rows),
        "peak_memory_gib": peak_memory_gib(),
        "peak_gpu_memory_gib": peak_gpu_memory_gib(),
    }


NEEDED = {"callbacks", "epoch", "global_step", "loops", "lr_schedulers", "optimizer_states", "state_dict"}


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes to a temporary file beside the checkpoint and renames it, so that a kill or a full disk leaves
    the last complete one.

    Lightning writes to the system's temporary folder and moves the file, which across disks is a copy that
    can be interrupted.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save the state of a training.

        Raises:
            MorphoscopeError: the disk is full.
        """
        with files.atomic_file(Path(path)) as partial:
            try:
                torch.save(checkpoint, partial)
            except RuntimeError as error:  # torch does not say why a write failed
                if shutil.disk_usage(partial.parent).free < 64 * 2**20:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the state of a training; no pickled code is run.

        Raises:
            MorphoscopeError: the file is damaged.
        """
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not compare its checksums
                changed = archive.testzip()
            if changed is not None:
                raise _damaged(path, f"the checksum of {changed} differs")
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except MorphoscopeError:
            raise
        except Exception as error:  # torch raises whatever zip, pickle and its own reader raise
            raise _damaged(path, reason_of(error)) from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= NEEDED:
            raise _damaged(path, "it is not the checkpoint of a training")
        return checkpoint


def _damaged(path: str | os.PathLike[str], reason: str) -> MorphoscopeError:
    return MorphoscopeError(
        f"{path} is damaged ({reason}); delete it and run the same command with --resume, which then starts "
        "from the first epoch"
    )
