"""Lightning callbacks: history, best weights, early stopping, checkpoints, progress, signals."""

from __future__ import annotations

import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from morphoscope.progress import Bar, note
from morphoscope.recipes import Training
from morphoscope.runs.run import write_history
from morphoscope.training.task import GalaxyTask


class Epochs(Callback):
    """Keeps the history and the best weights, and stops a training that no longer improves.

    One callback does all three because all depend on whether this epoch was the best so far. Its state is
    part of the checkpoint, so a resumed training decides as an uninterrupted one would.

    Args:
        run: the run folder; rank 0 writes ``history.csv`` there after every epoch.
        training: the recipe's part (patience, monitor).
        validated: whether there is a validation split; without one the last epoch is the best.
    """

    def __init__(self, run: Path, training: Training, *, validated: bool) -> None:
        self.run = run
        self.training = training
        self.validated = validated
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_value = math.inf
        self.best_weights: dict[str, torch.Tensor] = {}
        self.started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the history, keep the best weights, stop if patience has run out."""
        assert isinstance(pl_module, GalaxyTask)
        row = self._row(trainer, pl_module)
        self.rows.append(row)
        if trainer.is_global_zero:
            write_history(self.run / "history.csv", self.rows)
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {name: value for name, value in row.items() if math.isfinite(value)}, step=int(row["epoch"])
            )
        value = self._monitored(row, higher_is_better=pl_module.scheme.higher_is_better)
        if value < self.best_value or not self.validated:
            self.best_value, self.best_epoch = value, int(row["epoch"])
            state = pl_module.deployed.state_dict()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        waited = row["epoch"] - self.best_epoch
        if self.validated and self.training.patience and waited >= self.training.patience:
            trainer.should_stop = True
        self._report(row, pl_module, stopped=trainer.should_stop)

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed training needs."""
        return {
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.rows = state_dict["rows"]
        self.best_epoch = state_dict["best_epoch"]
        self.best_value = state_dict["best_value"]
        self.best_weights = state_dict["best_weights"]

    def _row(self, trainer: Trainer, task: GalaxyTask) -> dict[str, float]:
        train_loss, train_metric = task.epoch_metrics("training").measured()
        row = {
            "epoch": trainer.current_epoch + 1 + self.training.initial_epoch,
            "seconds": time.monotonic() - self.started,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": train_loss,
            "train_metric": train_metric,
        }
        if self.validated:
            row["validation_loss"], row["validation_metric"] = task.epoch_metrics("validation").measured()
        return row

    def _monitored(self, row: dict[str, float], *, higher_is_better: bool) -> float:
        if not self.validated:
            return 0.0
        if self.training.monitor == "loss":
            return row["validation_loss"]
        return -row["validation_metric"] if higher_is_better else row["validation_metric"]

    def _report(self, row: dict[str, float], task: GalaxyTask, *, stopped: bool) -> None:
        last = self.training.epochs
        metric = task.scheme.metric
        parts = [
            f"epoch {row['epoch']:.0f}/{last}",
            f"loss {row['train_loss']:.4f}",
            f"{metric} {row['train_metric']:.4f}",
        ]
        if self.validated:
            parts.append(f"validation loss {row['validation_loss']:.4f}")
            parts.append(f"{metric} {row['validation_metric']:.4f}")
        parts.append(f"{row['seconds']:.1f} s")
        if stopped:
            parts.append(f"stopping: no better epoch since {self.best_epoch}")
        note("  ".join(parts))


class Checkpoints(ModelCheckpoint):
    """Keeps the state of the training after its last epoch, or after one shortly before.

    Writing a state takes longer than a short epoch on a few galaxies. So the state is written after the first
    epoch and the last, and in between as soon as writing takes no more than ``SHARE`` of the time: what a
    killed training loses is the epoch it was in, and at most 1 / ``SHARE`` times the seconds of one writing.

    Args:
        folder: where ``last.ckpt`` is kept.
    """

    SHARE = 0.05

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        self.due = -math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state if it is time to; all processes of a training decide as the first does."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.strategy.broadcast(last or time.monotonic() >= self.due):
            return
        begun = time.monotonic()
        super().on_train_epoch_end(trainer, pl_module)
        ended = time.monotonic()
        self.due = ended + (ended - begun) / self.SHARE


class KeptSignals(Callback):
    """Restores the handlers of SIGTERM and SIGUSR1 that Lightning replaces.

    Lightning's handler for SIGTERM waits for the other processes of a training, which may be gone.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember the handlers; Lightning installs its own after this."""
        self.handlers = {number: signal.getsignal(number) for number in _TAKEN}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put them back."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.handlers.items():
                if handler is not None:
                    signal.signal(number, handler)


_TAKEN = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class StepBar(Callback):
    """A progress bar over the steps of each epoch."""

    bar: Bar | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the epoch's bar."""
        self.bar = Bar(f"epoch {trainer.current_epoch + 1}", int(trainer.num_training_batches), "steps")
        self.bar.__enter__()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Advance."""
        if self.bar is not None:
            self.bar.advance()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar before the error message."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None
