from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from morphoscope.progress import Bar
from morphoscope.recipes import Training
from morphoscope.training import callbacks
from morphoscope.training.callbacks import Checkpoints, Epochs, StepBar
from morphoscope.training.fit import _kept_signals


def test_the_bar_counts_the_steps_of_an_epoch_and_goes_away_before_an_error(monkeypatch: pytest.MonkeyPatch):
    closed: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(Bar, "__exit__", lambda bar, *_: closed.append((bar.what, bar.done, bar.total)))
    trainer = cast(Any, SimpleNamespace(current_epoch=2, num_training_batches=5))
    bar = StepBar()
    bar.on_train_batch_end()  # Lightning may end a batch before an epoch that is resumed has begun
    for end in (bar.on_train_epoch_end, lambda *those: bar.on_exception(*those, KeyboardInterrupt())):
        bar.on_train_epoch_start(trainer, cast(Any, None))
        for _ in range(3):
            bar.on_train_batch_end()
        end(trainer, cast(Any, None))
        end(trainer, cast(Any, None))  # there is nothing left to close
    assert closed == [("epoch 3", 3, 5)] * 2


@pytest.mark.parametrize(
    ("monitor", "higher_is_better", "monitored"),
    [("loss", True, 0.5), ("metric", True, -0.8), ("metric", False, 0.8)],
)
def test_the_best_epoch_has_the_lowest_loss_or_the_best_metric(
    monitor: str, higher_is_better: bool, monitored: float
):
    row = {"validation_loss": 0.5, "validation_metric": 0.8}
    epochs = Epochs(cast(Any, None), Training(monitor=cast(Any, monitor)), validated=True)
    assert epochs._monitored(row, higher_is_better=higher_is_better) == monitored


def test_checkpoints_take_a_twentieth_of_the_time_and_the_last_epoch_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Epochs of one second, checkpoints of a quarter of one: 5 s between the end of one and the next."""
    now, kept = 0.0, []

    def written(*_: object) -> None:
        nonlocal now
        kept.append(trainer.current_epoch)
        now += 0.25

    monkeypatch.setattr(callbacks.ModelCheckpoint, "on_train_epoch_end", written)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    strategy = SimpleNamespace(broadcast=lambda decision: decision)
    trainer = cast(Any, SimpleNamespace(max_epochs=13, should_stop=False, strategy=strategy))
    checkpoints = Checkpoints(tmp_path)
    for trainer.current_epoch in range(13):
        now += 1.0
        checkpoints.on_train_epoch_end(trainer, cast(Any, None))
    assert kept == [0, 5, 10, 12]
    trainer.current_epoch, trainer.should_stop = 3, True  # a training that has stopped improving
    checkpoints.on_train_epoch_end(trainer, cast(Any, None))
    assert kept[-1] == 3


def test_a_training_in_a_thread_leaves_the_signals_alone():
    """Python lets only the main thread set them."""
    failed: list[BaseException] = []

    def train() -> None:
        try:
            with _kept_signals():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not failed
