"""Train the rows of a study, one after another or one per GPU; resume an interrupted study.

The folder of a study::

    study.yaml      which study, on which store, with which options
    runs/ROW/N/     an ordinary run for each row and seed
    results.json    every number of every training
    study.html      the page; figures/ has its figures at print quality
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from morphoscope import files, interruption
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.files import write_json
from morphoscope.processes import package_path, python_module
from morphoscope.progress import note
from morphoscope.recipes import Recipe, differences
from morphoscope.runs.run import Run, open_run
from morphoscope.studies.extra_scores import map_scores, map_target, view_scores
from morphoscope.studies.results import Measured, Results, Row
from morphoscope.studies.study import Options, Study, for_store, resolved_rows
from morphoscope.versioned import LARGEST_YAML, load_yaml, read_document


def run_study(study: Study, store: Store, out: Path, options: Options, *, progress: bool = True) -> Results:
    """Train and measure every row; finished rows are kept.

    A row that cannot be trained (its pretrained weights are not available, or it runs out of memory) is
    recorded with the reason, and the rest continue.

    Args:
        study: the study to run.
        store: galaxies with the study's labels.
        out: the study's folder; an interrupted study in it is resumed.
        options: how to run it.
        progress: show a bar over the steps of each training.

    Raises:
        UsageError: the study needs other labels than the store's; ``out`` holds another study or other
        options. MorphoscopeError: no row could be trained.
    """
    rows = {
        name: for_store(recipe, store, study.served_side)
        for name, recipe in resolved_rows(study, options).items()
    }
    _check_store(study, store, rows)
    _begin(study, store, out, options)
    jobs = [(name, seed) for seed in range(options.seeds) for name in rows]
    twins = _twins(rows)
    reasons = {name: reason for name, recipe in rows.items() if (reason := _untrainable(recipe))}
    trained = _train_all(
        [
            (name, seed, _seeded(rows[name], seed))
            for name, seed in jobs
            if twins[name] == name and name not in reasons
        ],
        store,
        out,
        progress=progress,
    )
    trained |= {(name, seed): Measured(seed, failure=reasons[name]) for name, seed in jobs if name in reasons}
    results = Results({name: Row(recipe) for name, recipe in rows.items()})
    mapped, viewed = study.mapped_rows(), study.viewed_rows()
    for name, seed in jobs:
        found = trained[twins[name], seed]
        same = twins[name] if twins[name] != name else ""
        more: dict[str, float] = {}
        if found.run is not None and name in mapped:
            of_seed = {each: trained[twins[each], seed].run for each in rows}
            runs = {each: run for each, run in of_seed.items() if run is not None}
            target = map_target(study, name, runs)
            more |= map_scores(study.map_method, target, found.run, store)
        if found.run is not None and name in viewed:
            more |= view_scores(found.run, store)
        results.rows[name].trainings.append(Measured(seed, found.run, found.failure, same, more))
    write_json(out / "results.json", results.document())
    if not results.measured():
        reasons = sorted({row.why_not() for row in results.rows.values()})
        raise MorphoscopeError(f"no row of study {study.key} could be trained: {'; '.join(reasons)}")
    return results


def _check_store(study: Study, store: Store, rows: Mapping[str, Recipe]) -> None:
    found = store.need_scheme()
    fitting = [recipe for recipe in rows.values() if recipe.data.scheme in (None, found.name)]
    if found.class_names is None:
        fitting = [recipe for recipe in fitting if recipe.data.balance == "none"]  # balance is of classes
    if not fitting:
        raise UsageError(
            f"study {study.key} needs a store with the label scheme '{study.scheme}', but "
            f"{store.path} has '{found.name}'; make one with: {study.how_to_get_data}"
        )


def _begin(study: Study, store: Store, out: Path, options: Options) -> None:
    place = out / "study.yaml"
    told: dict[str, Any] = {"study": study.key, "store": str(store.path.resolve())}
    told |= {name: value for name, value in asdict(options).items() if name not in ("seeds", "rows")}
    told = yaml.safe_load(
        yaml.safe_dump({**told, "literal": list(options.literal), "settings": list(options.settings)})
    )
    if place.is_file():
        begun = _begun(place)
        differing = [name for name in told if begun.get(name) != told[name]]
        if differing:
            words = ", ".join(f"{name}: {begun.get(name)} against {told[name]}" for name in differing)
            raise UsageError(f"{out} was started with other options ({words}); use those, or another folder")
        return
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} exists and is not a study; give another folder")
    with files.explained_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(place) as partial:
            partial.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def _begun(place: Path) -> dict[str, Any]:
    """The options an interrupted study was started with.

    Raises:
        MorphoscopeError: the file is damaged.
    """
    try:
        begun = load_yaml(read_document(place, LARGEST_YAML))
    except yaml.YAMLError as error:
        begun = error
    if not isinstance(begun, dict):
        raise MorphoscopeError(f"{place} is damaged; restore it, or use another folder")
    return begun


def _twins(rows: dict[str, Recipe]) -> dict[str, str]:
    """For every row, the first row whose recipe is the same except for its name; it is trained once."""
    first: dict[Recipe, str] = {}
    return {name: first.setdefault(recipe.changed(name="", about=""), name) for name, recipe in rows.items()}


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return recipe.changed({"seed": seed, "data.split_seed": seed})


def _untrainable(recipe: Recipe) -> str:
    """Why training a row would be meaningless; empty if it is not."""
    if recipe.model.frozen > 0 and not recipe.model.uses_pretrained and not recipe.model.start:
        return "its frozen layers need ImageNet weights; give them with --weights"
    return ""


Job = tuple[str, int, Recipe]


def _train_all(
    jobs: list[Job], store: Store, out: Path, *, progress: bool
) -> dict[tuple[str, int], Measured]:
    gpus = _gpus()
    if gpus > 1 and len(jobs) > 1:
        return _on_gpus(jobs, store, out, gpus)
    done = {}
    for number, job in enumerate(jobs):
        note(f"[{number + 1}/{len(jobs)}] {job[0]}, seed {job[1]}")
        done[job[:2]] = _one(job, store, out, progress=progress)
    return done


def _one(job: Job, store: Store, out: Path, *, progress: bool) -> Measured:
    from morphoscope.evaluation.evaluate import evaluate
    from morphoscope.training.fit import fit

    name, seed, recipe = job
    folder = run_folder(out, name, seed)
    try:
        run = finished(folder, recipe, store)
        if run is None:
            begun = (folder / "run.yaml").is_file()
            run = fit(recipe, store, folder, resume=begun, progress=progress)
        if not run.metrics():
            evaluate(run, store, engine="torch")  # no other engine is worth its graph for one pass
        return Measured(seed, run)
    except MorphoscopeError as error:
        interruption.pass_on()
        note(f"{name}, seed {seed}: not run: {error}")
        return Measured(seed, failure=str(error))


def finished(folder: Path, recipe: Recipe, store: Store) -> Run | None:
    """The finished run in a folder.

    Raises:
        UsageError: it was trained with another recipe, for instance by an older version, or on galaxies that
            have changed since.
    """
    if not (folder / "run.yaml").is_file():
        return None
    run = open_run(folder, unfinished=True)
    if differences(run.recipe, recipe):
        raise UsageError(f"{folder} holds a run with another recipe; remove it to train this row again")
    if run.header.state != "finished":
        return None
    from morphoscope.training.folder import check_same_galaxies

    check_same_galaxies(run, store)
    return run


def run_folder(out: Path, name: str, seed: int) -> Path:
    """The folder of a row's run."""
    return out / "runs" / name.split("/")[-1] / str(seed)


def _on_gpus(jobs: list[Job], store: Store, out: Path, gpus: int) -> dict[tuple[str, int], Measured]:
    """One process per GPU at a time, each an ordinary ``morphoscope train``, with its log next to the run."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: dict[tuple[str, int], Measured] = {}

    def work(gpu: int) -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            note(f"GPU {gpu}: {job[0]}, seed {job[1]}")
            done[job[:2]] = _in_process(job, store, out, {"CUDA_VISIBLE_DEVICES": str(gpu)})

    _together([lambda gpu=gpu: work(gpu) for gpu in range(gpus)])
    return done


def _in_process(job: Job, store: Store, out: Path, environment: dict[str, str]) -> Measured:
    name, seed, recipe = job
    folder = run_folder(out, name, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        run = finished(folder, recipe, store)
        if run is None or not run.metrics():
            place = folder.parent / f"{seed}.yaml"
            place.write_text(recipe.to_yaml(), encoding="utf-8")
            command = [*python_module("morphoscope"), "train", str(place), "--no-report"]
            command += ["--store", str(store.path), "--out", str(folder)]
            command += ["--resume"] if (folder / "run.yaml").is_file() else []
            with open(folder.parent / f"{seed}.log", "w", encoding="utf-8") as log:
                surroundings = {**os.environ, **package_path(), **environment}
                ended = subprocess.run(command, stdout=log, stderr=log, env=surroundings)
            if ended.returncode:
                said = (folder.parent / f"{seed}.log").read_text(encoding="utf-8").strip().splitlines()
                raise MorphoscopeError(
                    said[-1].removeprefix("morphoscope: ") if said else "the training process died"
                )
        return Measured(seed, open_run(folder))
    except MorphoscopeError as error:
        interruption.pass_on()
        note(f"{name}, seed {seed}: not run: {error}")
        return Measured(seed, failure=str(error))


def _together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
