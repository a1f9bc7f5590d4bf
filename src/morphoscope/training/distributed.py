"""Distributed training with torchrun: one gradient, one history, one run folder.

Every process builds the same network and takes its share of each batch (``training.batch`` is the number of
galaxies of all processes together), so a training sees the same galaxies in the same steps whatever the
number of processes. Only rank 0 writes files and messages.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import distributed, nn

from morphoscope import progress
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.processes import Process, started

Result = TypeVar("Result")
_SHARED = "every process of the training raised this error"


@contextlib.contextmanager
def joined() -> Iterator[Process | None]:
    """Connect the processes of torchrun; yields this one, or None if it is the only one.

    Ranks other than 0 print nothing inside the block.

    Raises:
        MorphoscopeError: another process has ended.
    """
    process = started()
    if process is None:
        yield None
        return
    ours = not distributed.is_initialized()
    silent, progress.silent = progress.silent, progress.silent or process.rank > 0
    try:
        if ours:
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        yield process
    except MorphoscopeError as error:
        if process.rank > 0 and _SHARED not in getattr(error, "__notes__", ()):
            print(f"morphoscope: process {process.rank}: {error}", file=sys.stderr)
        raise
    except (RuntimeError, OSError) as error:
        if not _lost(error):
            raise
        raise MorphoscopeError(
            "another process of this training has ended, so this one ends too; the training is saved up to "
            "its last checkpoint. Run the same command with --resume"
        ) from error
    finally:
        progress.silent = silent
        if ours and distributed.is_initialized():
            distributed.destroy_process_group()


def shared(error: MorphoscopeError) -> MorphoscopeError:
    """Mark an error that every process raises: rank 0 reports it for all."""
    error.add_note(_SHARED)
    return error


def _lost(error: Exception) -> bool:
    """Whether the backend reports that another process is gone."""
    if isinstance(error, distributed.DistError):
        return True
    text = str(error).lower()
    return any(backend in text for backend in ("gloo", "nccl", "processgroup", "connection closed by peer"))


def on_rank_0(process: Process | None, work: Callable[[], Result]) -> Result:
    """Do ``work`` on rank 0, and return its result in every process.

    Raises:
        MorphoscopeError: what ``work`` raised, in every process.
    """
    if process is None:
        return work()
    outcome: list[Any] = [None, None]
    if process.rank == 0:
        try:
            outcome[0] = work()
        except MorphoscopeError as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise shared(outcome[1])
    return outcome[0]


def in_every_process(process: Process | None, work: Callable[[], Result]) -> Result:
    """Do ``work`` in every process, and return each its own result once all have one.

    Raises:
        MorphoscopeError: what the first of the processes raised, in every process.
    """
    if process is None:
        return work()
    result, failure = None, None
    try:
        result = work()
    except MorphoscopeError as error:
        failure = error
    failures: list[Any] = [None] * process.count
    distributed.all_gather_object(failures, failure)
    for rank, error in enumerate(failures):
        if error is not None:
            where = f"process {rank}: " if rank else ""
            raise shared(type(error)(f"{where}{error}")) from error
    return result  # type: ignore[return-value]


def check_shares(process: Process | None, *, batch: int, training: int, validation: int) -> None:
    """Refuse more processes than there are galaxies to share.

    Raises:
        UsageError: a process would get fewer than two galaxies per step, or no validation galaxies.
    """
    if process is None:
        return
    if min(batch, training) < 2 * process.count:
        raise UsageError(
            f"{process.count} processes share batches of {min(batch, training)} galaxies; set training.batch "
            f"to {2 * process.count} or more, or start fewer processes"
        )
    if 0 < validation < process.count:
        raise UsageError(
            f"{process.count} processes share {validation} validation galaxies; set data.validation higher, "
            "or start fewer processes"
        )


def part_of(process: Process | None) -> tuple[int, int]:
    """Rank and number of processes; (0, 1) for a single one."""
    return (0, 1) if process is None else (process.rank, process.count)


def own_rows(rows: np.ndarray, process: Process | None) -> np.ndarray:
    """Every n-th row, starting at the process's rank: each row belongs to exactly one process."""
    rank, count = part_of(process)
    return rows[rank::count]


def strategy(process: Process | None) -> Strategy | str:
    """Lightning's strategy: DDP for several processes.

    The statistics of batch normalisation are averaged once an epoch (:func:`average_buffers`) and not copied
    from rank 0 in every step.
    """
    return "auto" if process is None else DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def average_buffers(module: nn.Module) -> None:
    """Replace running statistics by their mean over the processes; integer buffers are the same in all."""
    if not is_shared():
        return
    count = distributed.get_world_size()
    for buffer in module.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer /= count


def is_shared() -> bool:
    """Whether several processes train together here."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def first_not_finite(loss: torch.Tensor, rows: torch.Tensor, shown: int = 5) -> list[int] | None:
    """The first rows of the first process whose loss is not finite; None if all are finite.

    Args:
        loss: a scalar of this process.
        rows: table rows of this process's batch.
        shown: how many rows to return.
    """
    bad = not bool(torch.isfinite(loss))
    own = rows[:shown].tolist()
    if not is_shared():
        return own if bad else None
    message = torch.full((1 + shown,), -1, dtype=torch.int64)
    message[0] = int(bad)
    message[1 : 1 + len(own)] = torch.tensor(own)
    message = message.to(loss.device)
    messages = [torch.empty_like(message) for _ in range(distributed.get_world_size())]
    distributed.all_gather(messages, message)
    return next((each[1:][each[1:] >= 0].tolist() for each in messages if each[0]), None)
