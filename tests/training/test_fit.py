from __future__ import annotations

import dataclasses
import errno
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from morphoscope.augment import cpu
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.evaluate import evaluate
from morphoscope.labels.scheme import Classes
from morphoscope.models.build import build
from morphoscope.recipes import Recipe
from morphoscope.runs.run import open_run, write_header
from morphoscope.studies.run import finished
from morphoscope.training import batches, callbacks, optimisation
from morphoscope.training.fit import fit
from morphoscope.training.folder import begin, check_resumable, claimed
from morphoscope.training.task import GalaxyTask, MeanLoss


class Stopped(BaseException):
    """Stands for whatever ends a process from outside."""


def test_a_training_learns_and_leaves_a_whole_run(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(training={"epochs": 12, "mixup": 0.0, "cutmix": 0.0})
    run = fit(recipe, colours, tmp_path / "run", progress=False)
    assert evaluate(run, colours)["test"]["accuracy"]["value"] == 1.0
    assert run.recipe == recipe
    history = run.history()
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert run.header.best_epoch == 1 + int(np.argmin(history["validation_loss"]))
    assert not (run.path / "resume").exists()
    assert list((run.path / "tensorboard").glob("events*"))
    assert run.environment()["seed"] == 0
    table = run.predictions()
    assert table.num_rows == len(run.split(colours).test)
    assert {"id", "row", "source", "label", "predicted", "p_red"} <= set(table.column_names)
    # no pickle is needed: every file is text, Parquet, safetensors or TensorBoard's own
    assert not [file for file in run.path.rglob("*") if file.suffix in (".pkl", ".ckpt", ".pt", ".pth")]


def test_votes_are_learnt_by_regression(brightness: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(training={"epochs": 15}, augment={"brightness": 0.0})
    run = fit(recipe, brightness, tmp_path / "run", progress=False)
    result = evaluate(run, brightness)["test"]
    assert result["rmse"]["value"] < 0.15  # the spread of a uniform fraction is 0.29
    assert run.predictions().column_names[:5] == ["id", "row", "source", "t_bright", "bright"]


@pytest.mark.parametrize("stop_in", [1, 2, 3])
def test_a_stopped_training_continues_to_the_last_digit(
    colours: Store, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_in: int
):
    whole = fit(tiny, colours, tmp_path / "whole", progress=False)
    step = GalaxyTask.training_step

    def stopping(task: GalaxyTask, batch: object, number: int) -> torch.Tensor:
        if task.current_epoch == stop_in and number == 1:
            raise Stopped
        return step(task, batch, number)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(GalaxyTask, "training_step", stopping)
        with pytest.raises(Stopped):
            fit(tiny, colours, tmp_path / "parts", progress=False)
    with pytest.raises(MorphoscopeError, match="--resume"):
        open_run(tmp_path / "parts")
    resumed = fit(tiny, colours, tmp_path / "parts", resume=True, progress=False)
    for name, values in whole.history().items():
        if name != "seconds":
            assert values.tolist() == resumed.history()[name].tolist(), name
    first, second = (load_file(run.path / "weights.safetensors") for run in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_killed_process_resumes(colours: Store, tiny: Recipe, tmp_path: Path):
    out = tmp_path / "run"
    recipe = tiny.changed(training={"epochs": 300, "patience": None})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    program = (
        "from morphoscope.recipes import Recipe; from morphoscope.training.fit import fit;"
        "from morphoscope.data.store import open_store;"
        f"fit(Recipe.from_yaml({str(tmp_path / 'recipe.yaml')!r}), open_store({str(colours.path)!r}), "
        f"{str(out)!r}, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (out / "resume" / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "resume" / "last.ckpt").is_file()
    with pytest.raises(UsageError, match=r"started with another recipe \(seed was 0 and is 1\)"):
        fit(recipe.changed(seed=1), colours, out, resume=True, progress=False)
    last = out / "resume" / "last.ckpt"
    whole = last.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (b"", whole[:middle], b"not a checkpoint", whole[:-200] + bytes(200), flipped):
        last.write_bytes(damaged)
        with pytest.raises(MorphoscopeError, match=r"last\.ckpt is damaged \(.*delete it and run") as caught:
            fit(recipe, colours, out, resume=True, progress=False)
        assert "\n" not in str(caught.value)
    done = len(open_run(out, unfinished=True).history()["epoch"])
    assert 1 <= done < 300


def test_early_stopping_restores_the_best_weights(
    colours: Store, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = iter([0.9, 0.5, 0.7, 0.8, 0.1])
    weights: list[dict[str, torch.Tensor]] = []
    original = callbacks.Epochs._row

    def scripted(self: callbacks.Epochs, trainer: object, task: GalaxyTask) -> dict[str, float]:
        weights.append({name: w.clone() for name, w in task.deployed.state_dict().items()})
        return original(self, trainer, task) | {"validation_loss": next(losses)}  # type: ignore[arg-type]

    monkeypatch.setattr(callbacks.Epochs, "_row", scripted)
    recipe = tiny.changed(training={"epochs": 5, "patience": 2})
    run = fit(recipe, colours, tmp_path / "run", progress=False)
    assert len(run.history()["epoch"]) == 4
    assert run.header.best_epoch == 2
    kept = load_file(run.path / "weights.safetensors")
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)


def test_a_loss_that_is_not_finite_stops_and_says_where(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(optimiser={"name": "sgd", "lr": 1e12, "clip": 0.0}, model={"dropout": 0.0})
    with pytest.raises(MorphoscopeError, match=r"not finite in epoch \d+, step \d+ .*table rows"):
        fit(recipe, colours, tmp_path / "run", progress=False)


def test_results_do_not_depend_on_the_number_of_workers(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(training={"epochs": 1})
    first = fit(recipe.changed(training={"workers": 0}), colours, tmp_path / "0", progress=False)
    second = fit(recipe.changed(training={"workers": 3}), colours, tmp_path / "3", progress=False)
    assert first.history()["train_loss"].tolist() == second.history()["train_loss"].tolist()


def test_oversampling_fills_up_rare_classes_in_training_alone(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(training={"epochs": 1}, data={"balance": "oversample"})
    seen: list[np.ndarray] = []
    original = batches.training_batches

    def spy(recipe: Recipe, store: Store, rows: np.ndarray, *arguments: Any, **options: Any) -> object:
        seen.append(rows)
        return original(recipe, store, rows, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("morphoscope.training.fit.training_batches", spy)
        run = fit(recipe, colours, tmp_path / "run", progress=False)
    labels = colours.targets()
    assert len(set(np.bincount(labels[seen[0]]).tolist())) == 1
    split = run.split(colours)
    assert set(seen[0].tolist()) == set(split.train.tolist())
    assert len(np.unique(split.test)) == len(split.test)


def test_progressive_sizes_end_at_the_full_size(tiny: Recipe):
    recipe = tiny.changed(augment={"train_size": (16, 24, 32)}, training={"epochs": 7})
    sizes = [batches.size_in_epoch(recipe, epoch) for epoch in range(7)]
    assert sizes == [16, 16, 16, 24, 24, 32, 32]


def test_regularisation_grows_with_the_training(
    colours: Store, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Dropout, stochastic depth, mixing and the augmentation's magnitudes, all by the same shares."""
    recipe = tiny.changed(
        model={"dropout": 0.4, "drop_path": 0.2},
        augment={"noise": 0.0, "rotation": 40.0},
        training={"regularisation": (0.25, 1.0), "mixup": 0.8, "cutmix": 0.0},
    )
    seen: list[tuple[int, float, float]] = []
    turned: dict[int, float] = {}
    step, draw = GalaxyTask.training_step, cpu.draw_params

    def watched(task: GalaxyTask, batch: object, number: int) -> torch.Tensor:
        rates = optimisation.drop_rates(task.network).values()
        with monkeypatch.context() as patched:
            patched.setattr(
                "morphoscope.training.task.mix",
                lambda images, targets, *, mixup, **_: (
                    seen.append((task.current_epoch, max(rates), mixup)) or (images, targets)
                ),
            )
            return step(task, batch, number)  # type: ignore[arg-type]

    def drawn(config: object, seed: int, epoch: int, *others: object) -> cpu.AugmentParams:
        params = draw(config, seed, epoch, *others)  # type: ignore[arg-type]
        turned[epoch] = max(turned.get(epoch, 0.0), float(np.abs(params.angle).max()))
        return params

    monkeypatch.setattr(GalaxyTask, "training_step", watched)
    monkeypatch.setattr(cpu, "draw_params", drawn)
    fit(recipe, colours, tmp_path / "run", progress=False)
    expected = {0: (0.1, 0.2), 1: (0.1, 0.2), 2: (0.4, 0.8), 3: (0.4, 0.8)}
    assert {(epoch, *rates) for epoch, *rates in seen} == {(e, *rates) for e, rates in expected.items()}
    assert 5 < max(turned[0], turned[1]) <= 10
    assert 20 < max(turned[2], turned[3]) <= 40


def test_every_rate_is_scaled_and_stochastic_depth_too(tiny: Recipe):
    model = tiny.changed(model={"name": "resnet18", "drop_path": 0.2}).model
    network, _ = build(model, 3, image_size=32)
    full = optimisation.drop_rates(network)
    depth = [rate for name, rate in full.items() if "drop_path" in name]
    assert max(depth) == pytest.approx(0.2)
    optimisation.regularise(network, full, 0.5)
    halved = optimisation.drop_rates(network)
    assert halved == {name: pytest.approx(rate / 2) for name, rate in full.items()}


def test_a_transformer_learns_from_growing_images(colours: Store, tiny: Recipe, tmp_path: Path):
    growing = {"size": 32, "train_size": (16, 32)}
    model = {"name": "vit_tiny_patch16_224", "dropout": 0.0}
    recipe = tiny.changed(augment=growing, model=model, training={"epochs": 2})
    run = fit(recipe, colours, tmp_path / "run", progress=False)
    assert len(run.history()["epoch"]) == 2
    assert torch.isfinite(run.network()(torch.zeros(1, 3, 32, 32))).all()


def test_an_existing_folder_is_not_touched(colours: Store, tiny: Recipe, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("data")
    with pytest.raises(UsageError, match="exists already"):
        fit(tiny, colours, tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "precious.txt").read_text() == "data"
    with pytest.raises(UsageError, match="no training to resume"):
        fit(tiny, colours, tmp_path / "nothing", resume=True, progress=False)


def test_two_trainings_do_not_share_a_folder(colours: Store, tiny: Recipe, tmp_path: Path):
    out = tmp_path / "run"
    for resume in (False, True):
        with (
            claimed(out, tiny, colours, resume=False),
            pytest.raises(UsageError, match="another process is training in this folder"),
        ):
            fit(tiny, colours, out, resume=resume, progress=False)
        assert not out.exists()  # nothing was trained


@pytest.mark.parametrize("files", [(), ("split.json",), ("split.json", "recipe.yaml")])
@pytest.mark.parametrize("resume", [False, True])
def test_a_training_killed_before_its_header_begins_again(
    colours: Store, tiny: Recipe, tmp_path: Path, files: tuple[str, ...], resume: bool
):
    out = tmp_path / "run"
    (out / "resume").mkdir(parents=True)
    (out / "resume" / "lock").touch()
    (out / ".run.yaml.partial-999999-abcdef").touch()
    for name in files:
        (out / name).write_text("half of an earlier training")
    with claimed(out, tiny, colours, resume=resume) as state:
        assert state == "new"
        assert {path.name for path in out.iterdir()} == {"resume"}
    assert not list(out.iterdir())


def test_a_folder_of_somebody_else_is_not_taken_for_a_begun_training(
    colours: Store, tiny: Recipe, tmp_path: Path
):
    for name, content in (("split.json", "mine"), ("resume", None), ("notes.txt", "mine")):
        out = tmp_path / name / "run"
        out.mkdir(parents=True)
        if content is None:
            (out / "resume").mkdir()
            (out / "resume" / "cv.pdf").touch()
        else:
            (out / name).write_text(content)
        for resume in (False, True):
            with (
                pytest.raises(UsageError, match="exists already and is not a training; choose another"),
                claimed(out, tiny, colours, resume=resume),
            ):
                pass
        assert list(out.iterdir())
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a link"), claimed(link, tiny, colours, resume=False):
        pass


def test_what_differs_from_the_interrupted_training_is_named(
    colours: Store, brightness: Store, tiny: Recipe, tmp_path: Path
):
    split = make_split(colours, "random", test=0.2, validation=0.2, seed=0)
    network, _ = build(tiny.model, 3, image_size=32)
    begin(tiny, colours, split, network, tmp_path, scheme=colours.need_scheme(), origin="random", hub=None)
    check_resumable(tmp_path, tiny, colours)
    other = tiny.changed(optimiser={"lr": 0.5}, training={"batch": 3})
    with pytest.raises(
        UsageError, match=r"optimiser\.lr was 0\.003 and is 0\.5; training\.batch was 16 and is 3"
    ):
        check_resumable(tmp_path, other, colours)
    with pytest.raises(UsageError, match=r"started with another store \(count was 90 and is 60 in "):
        check_resumable(tmp_path, tiny, brightness)
    renamed = colours.meta.model_copy(update={"scheme": Classes(name="hues", classes=("a", "b", "c"))})
    with pytest.raises(UsageError, match=r"started with the labels 'colours' and .* has others"):
        check_resumable(tmp_path, tiny, dataclasses.replace(colours, meta=renamed))


def test_a_full_disk_while_a_training_begins_leaves_nothing(
    colours: Store, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(self: Recipe) -> str:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Recipe, "to_yaml", full)
    with pytest.raises(MorphoscopeError, match=r"the disk is full; nothing was kept\. .*same command again"):
        fit(tiny, colours, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_mean_loss_counts_galaxies_and_keeps_what_is_not_finite():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 30)
    mean.update(torch.tensor(5.0), 10)
    assert float(mean.compute()) == 2.0
    mean.update(torch.tensor(float("nan")), 1)
    assert not torch.isfinite(mean.compute())


def test_patience_needs_a_validation_split(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(data={"validation": 0.0}, training={"patience": 3})
    with pytest.raises(UsageError, match="patience needs a validation split"):
        fit(recipe, colours, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_memory_that_does_not_suffice_names_the_setting(
    colours: Store, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morphoscope.training.task import GalaxyTask

    def full(*_: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
        )

    monkeypatch.setattr(GalaxyTask, "training_step", full)
    with pytest.raises(MorphoscopeError, match=r"lower training\.batch"):
        fit(tiny, colours, tmp_path / "run", progress=False)


def test_galaxies_that_changed_since_the_interruption_are_refused(
    colours: Store, tiny: Recipe, tmp_path: Path
):
    shutil.copytree(colours.path, tmp_path / "store")
    store, out = open_store(tmp_path / "store"), tmp_path / "run"
    split = make_split(store, "random", test=0.2, validation=0.2, seed=0)
    network, _ = build(tiny.model, 3, image_size=32)
    begin(tiny, store, split, network, out, scheme=store.need_scheme(), origin="random", hub=None)
    (store.path / "images.npy").touch()
    check_resumable(out, tiny, store)
    place = store.path / "images.npy"
    content = bytearray(place.read_bytes())
    content[-4000] ^= 1  # not among the pixels that are looked at when a store is opened
    place.write_bytes(content)
    with pytest.raises(MorphoscopeError, match="the pixels of row 88 are not those that were written"):
        check_resumable(out, tiny, store)
    labels = store.table.column("label").to_numpy().copy()
    labels[5] = (labels[5] + 1) % 3
    column = store.table.column_names.index("label")
    changed = store.table.set_column(column, "label", pa.array(labels, store.table.field("label").type))
    with pytest.raises(UsageError, match=r"labels or pixels of .* have changed since"):
        check_resumable(out, tiny, dataclasses.replace(store, table=changed))

    # Trained to the last epoch, but not measured yet, as after a kill in between.
    header = open_run(out, unfinished=True).header
    write_header(out, header.model_copy(update={"state": "finished"}))
    with pytest.raises(MorphoscopeError, match="the pixels of row 88 are not those that were written"):
        fit(tiny, store, out, resume=True)
    with pytest.raises(UsageError, match=r"is trained, and the labels or pixels of .* have changed since"):
        fit(tiny, dataclasses.replace(store, table=changed), out, resume=True)
    with pytest.raises(UsageError, match="have changed since"):
        finished(out, tiny, dataclasses.replace(store, table=changed))
    content[-4000] ^= 1
    place.write_bytes(content)
    assert fit(tiny, store, out, resume=True).header.state == "finished"
    assert finished(out, tiny, store) is not None
