"""Trainings in two processes, on processors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from morphoscope import progress
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.processes import Process
from morphoscope.recipes import Recipe
from morphoscope.runs.run import open_run
from morphoscope.training import distributed
from morphoscope.training.fit import fit

SCRIPT = Path(__file__).with_name("two_processes.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO = Process(0, 2, 0, 2)


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """torchrun with two processes, whose messages go to a file."""
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        return subprocess.Popen(
            [*TORCHRUN, *arguments],
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def ours(tmp_path: Path) -> list[str]:
    """The lines of this program, without those of torchrun."""
    text = (tmp_path / "log").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("morphoscope: ")]


@pytest.fixture
def even(tiny: Recipe) -> Recipe:
    """A network without batch normalisation: its numbers do not depend on who sees which galaxy."""
    return tiny.changed(
        model={"name": "test_convnext", "dropout": 0.0},
        training={"epochs": 2, "batch": 15, "mixup": 0.0, "cutmix": 0.0},
    )


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(colours: Store, even: Recipe, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(even.to_yaml(), encoding="utf-8")
    arguments = [str(colours.path), str(recipe), str(tmp_path / "two"), str(tmp_path / "seen")]
    process = started(tmp_path, str(SCRIPT), *arguments)
    assert process.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    one = fit(even, colours, tmp_path / "one", progress=False)
    two = open_run(tmp_path / "two")

    split = one.split(colours)
    seen = [json.loads((tmp_path / f"seen.{rank}").read_text()) for rank in (0, 1)]
    steps = len(split.train) // 15
    for epoch in range(2):
        of_epoch = slice(epoch * steps, (epoch + 1) * steps)
        rows = [row for each in seen for batch in each["training"][of_epoch] for row in batch]
        assert len(rows) == len(set(rows)) == 15 * steps
        assert set(rows) <= set(split.train.tolist())
    assert [len(batch) for batch in seen[0]["training"]] == [8] * 2 * steps  # of fifteen
    rows = [row for each in seen for batch in each["validation"] for row in batch]
    assert sorted(rows) == sorted(split.validation.tolist() * 2)

    for name, values in one.history().items():
        if name != "seconds":
            np.testing.assert_allclose(two.history()[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    first, second = (load_file(run.path / "weights.safetensors") for run in (one, two))
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)
    assert not (two.path / "resume").exists()
    assert len(list((two.path / "tensorboard").glob("events*"))) == 1
    assert not list(two.path.rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["a dead worker", "Ctrl-C"])
def test_a_training_in_two_processes_ends_in_one_sentence(
    colours: Store, tiny: Recipe, tmp_path: Path, end: str
):
    out, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    chosen = tiny.changed(training={"epochs": 3000, "batch": 16}, model={"name": "test_efficientnet"})
    recipe.write_text(chosen.to_yaml(), encoding="utf-8")
    command = ["train", str(recipe), "--store", str(colours.path), "--out", str(out), "--no-report"]
    process = started(tmp_path, "-m", "morphoscope", *command)
    deadline = time.monotonic() + 220
    while not (out / "resume" / "last.ckpt").is_file() and time.monotonic() < deadline:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    if end == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(worker(process.pid, rank=1), signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    text = (tmp_path / "log").read_text()
    assert len(ours(tmp_path)) == 1, text
    assert "--resume" in ours(tmp_path)[0]
    assert "src/morphoscope" not in text, text  # no traceback of ours
    run = open_run(out, unfinished=True)
    done = len(run.history()["epoch"])
    assert done >= 1
    shorter = chosen.changed(training={"epochs": 2999})
    with pytest.raises(UsageError, match=r"training\.epochs was 3000 and is 2999"):
        fit(shorter, colours, out, resume=True, progress=False)


def worker(agent: int, rank: int) -> int:
    """The process of a rank among the children of torchrun."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == agent and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError("torchrun has no such process")


def test_more_processes_than_galaxies_are_refused():
    distributed.check_shares(None, batch=1, training=1, validation=0)
    distributed.check_shares(TWO, batch=4, training=4, validation=2)
    with pytest.raises(
        UsageError, match=r"2 processes share batches of 3 galaxies; set training\.batch to 4"
    ):
        distributed.check_shares(TWO, batch=3, training=100, validation=0)
    with pytest.raises(UsageError, match=r"2 processes share 1 validation galaxies; set data\.validation"):
        distributed.check_shares(TWO, batch=64, training=100, validation=1)


def test_rows_are_shared_without_gaps_and_repeats():
    rows = np.arange(11)
    parts = [distributed.own_rows(rows, Process(rank, 3, rank, 3)) for rank in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert distributed.own_rows(rows, None).tolist() == rows.tolist()


def test_one_process_does_all_work_itself():
    def refused() -> None:
        raise UsageError("no")

    for shared in (distributed.on_rank_0, distributed.in_every_process):
        assert shared(None, lambda: 3) == 3
        with pytest.raises(UsageError, match="no"):
            shared(None, refused)
    assert distributed.first_not_finite(torch.tensor(1.0), torch.arange(9)) is None
    assert distributed.first_not_finite(torch.tensor(float("nan")), torch.arange(9)) == [0, 1, 2, 3, 4]


def test_only_the_loss_of_a_process_is_taken_for_one(monkeypatch: pytest.MonkeyPatch):
    assert distributed._lost(
        RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]")
    )
    assert not distributed._lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.joined() as process:
        assert process is None
    for error in (RuntimeError("other"), MorphoscopeError("as it was")):
        with pytest.raises(type(error), match=str(error)), distributed.joined():
            raise error


@pytest.fixture
def group() -> Iterator[None]:
    """A group of one process, without a port."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    yield
    torch.distributed.destroy_process_group()


def test_results_and_errors_are_the_same_in_every_process(group: None):
    def refused() -> None:
        raise UsageError("no")

    first = Process(0, 1, 0, 1)
    for together in (distributed.on_rank_0, distributed.in_every_process):
        assert together(first, lambda: {"rows": [3, 4]}) == {"rows": [3, 4]}
        with pytest.raises(UsageError, match=r"^no") as caught:
            together(first, refused)
        assert caught.value.__notes__ == [distributed._SHARED]


def test_what_rank_0_raised_ends_the_others_too(monkeypatch: pytest.MonkeyPatch):
    def sent(outcome: list[object], src: int) -> None:
        assert (outcome, src) == ([None, None], 0)
        outcome[1] = UsageError("the store is gone")

    def gathered(failures: list[object], own: object) -> None:
        failures[:] = [None, UsageError("its disk is full"), own]

    second = Process(1, 3, 1, 3)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", sent)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    with pytest.raises(UsageError, match="the store is gone"):
        distributed.on_rank_0(second, lambda: pytest.fail("this is not rank 0"))
    with pytest.raises(UsageError, match=r"^process 1: its disk is full"):
        distributed.in_every_process(second, lambda: 3)


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_are_joined_for_the_block_and_rank_0_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: int
):
    begin = torch.distributed.init_process_group

    def alone(backend: str) -> None:
        assert "gloo" in backend
        begin("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())

    monkeypatch.setattr(torch.distributed, "init_process_group", alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    with distributed.joined() as process:
        assert process == Process(rank, 2, 0, 2)
        assert torch.distributed.is_initialized()
        progress.note("from one of them")
        with distributed.joined() as again:  # an inner block leaves the group to the outer one
            assert again == process
        assert torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized()
    assert capsys.readouterr().err.count("from one of them") == 1 - rank

    own, of_all = UsageError("its own"), distributed.shared(UsageError("that of all"))
    for error in (own, of_all):
        with pytest.raises(UsageError), distributed.joined():
            raise error
    said = capsys.readouterr().err  # a command reports the errors of rank 0
    assert said == ("morphoscope: process 1: its own\n" if rank else "")
    lost = torch.distributed.DistNetworkError("Connection reset")
    with (
        pytest.raises(MorphoscopeError, match=r"another process .* has ended.* with --resume"),
        distributed.joined(),
    ):
        raise lost
    with pytest.raises(RuntimeError, match="shapes"), distributed.joined():
        raise RuntimeError("shapes cannot be multiplied")


def test_running_statistics_and_losses_of_two_processes(monkeypatch: pytest.MonkeyPatch):
    def with_another(own: torch.Tensor) -> None:
        own += 4.0

    def gathered(messages: list[torch.Tensor], own: torch.Tensor) -> None:
        messages[0].copy_(own)
        messages[1].copy_(torch.tensor([1, 7, 8, -1, -1, -1]))

    for name, stands_in in (
        ("is_initialized", lambda: True),
        ("get_world_size", lambda: 2),
        ("all_reduce", with_another),
        ("all_gather", gathered),
    ):
        monkeypatch.setattr(torch.distributed, name, stands_in)
    module = torch.nn.BatchNorm1d(3)
    distributed.average_buffers(module)
    assert module.running_mean is not None
    assert module.running_mean.tolist() == [2.0] * 3
    assert module.num_batches_tracked == 0  # counts are the same in all
    assert distributed.first_not_finite(torch.tensor(1.0), torch.arange(9)) == [7, 8]  # the other's
    assert distributed.first_not_finite(torch.tensor(float("inf")), torch.arange(3)) == [0, 1, 2]
