"""Checkpoints of an unfinished training: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from morphoscope import files


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames, so that a kill or a full disk leaves the last whole one.

    Lightning's own way writes into the system's temporary folder and moves the file from there, which
    between two disks is a copy that can break off.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save the state of a training.

        Raises:
            OSError: the disk is full.
        """
        with files.atomic_file(Path(path)) as partial:
            try:
                torch.save(checkpoint, partial)
            except RuntimeError as error:  # torch does not say why a write failed
                if shutil.disk_usage(partial.parent).free < 64 * 2**20:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
