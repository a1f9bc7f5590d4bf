"""Atomic checkpoints of an unfinished training."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from morphoscope import files
from morphoscope.errors import MorphoscopeError, reason_of

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
