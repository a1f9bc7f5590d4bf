"""Load finished runs and train new ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from morphoscope.api.loaded_run import LoadedRun
from morphoscope.data.splits.file import Split
from morphoscope.data.splits.training_split import training_split
from morphoscope.data.store import Store, as_store
from morphoscope.errors import UsageError, did_you_mean
from morphoscope.extras import DRAWING, installed
from morphoscope.inference.engine.choose import ENGINES as COMPUTING
from morphoscope.inference.engine.choose import PRECISIONS, leave_graph
from morphoscope.models.hub import HUB
from morphoscope.processes import is_rank_0, started
from morphoscope.progress import note
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run, open_run
from morphoscope.studies.registry import find_recipe

ENGINES = (*COMPUTING, "ray")


def load(
    run: Path | str | Sequence[Path | str],
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    dropout_samples: int = 0,
    engine: str | None = None,
    precision: str = "auto",
) -> LoadedRun:
    """Load a finished run, or several as an ensemble.

    Args:
        run: its folder; ``default`` for the network that comes with the program; ``hf-hub:owner/name``
            (``@revision``) of a published one; or an exported ``.onnx`` file. A list of them is an
            ensemble, whose predictions are the mean of its members'.
        views: test-time augmentation, 1, 2, 4, 8, 16, 24 or 48 views; None: as the recipe says.
        calibrated: apply the run's calibration; False: the network's own probabilities. None: as the
            recipe says.
        dropout_samples: Monte-Carlo dropout, predictions averaged over so many samples with other units of
            the head left out in each; 0: the whole network. Not with "onnx".
        engine: what computes the predictions: "torch"; "onnx", "openvino" or "mnn", ONNX Runtime,
            OpenVINO or MNN on the processor, for which a run is exported once; for catalogues alone "ray",
            several GPUs or machines.
            None, "auto": what is there and fast (:func:`morphoscope.inference.engine.choose.engine_of`).
        precision: "auto": as the recipe says, and ``default`` in 8 bits on a processor unless an engine is
            named; "fp32": single precision; "int8": 8 bits on a processor, if the answers stay what they are
            (:mod:`morphoscope.inference.engine.int8`).

    Raises:
        UsageError: there is no run or no such engine, or several runs do not go together.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program; or the hub cannot be
            reached.
    """
    if engine == "torchrun":
        raise UsageError("the engine torchrun is gone; several GPUs or machines predict with --engine ray")
    if engine not in (None, *ENGINES):
        raise UsageError(f"there is no engine '{engine}'{did_you_mean(engine or '', ENGINES, 'engines')}")
    if precision not in PRECISIONS:
        raise UsageError(
            f"there is no precision '{precision}'{did_you_mean(precision, PRECISIONS, 'precisions')}"
        )
    paths = [run] if isinstance(run, Path | str) else list(run)
    for path in paths:
        if _is_exported(path) and engine in ("torch", "ray"):
            raise UsageError(f"{path} is an ONNX file, which the engine {engine} does not read")
    opened = [_opened(path) for path in paths]
    return LoadedRun(opened, views, calibrated, dropout_samples, engine or "auto", precision)


def _is_exported(path: Path | str) -> bool:
    return Path(path).suffix.lower() == ".onnx"


def _opened(path: Path | str) -> Run:
    if _is_exported(path):
        from morphoscope.inference.engine.graph import open_exported

        return open_exported(path)
    if str(path).startswith(HUB):
        from morphoscope.sharing.publish import fetch

        path = fetch(str(path))
    return open_run(path)


def train(
    recipe: Recipe | Path | str,
    store: Store | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    report: bool = True,
    progress: bool = True,
) -> LoadedRun:
    """Train, calibrate, measure on the held-out galaxies, and write the report.

    Args:
        recipe: a recipe, its name such as ``small/five-class``, or a YAML file.
        store: a store or its folder; or a table of images with a column ``label``, which becomes the store
            ``OUT-store`` beside the run.
        out: the run folder to make.
        resume: continue a training that was stopped.
        report: write ``report.html`` and the figures.
        progress: show a bar over the steps.
    """
    recipe = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    store, out = _store_for(store, Path(out), recipe), Path(out)
    if recipe.data.folds and started() is not None:
        raise UsageError(
            "data.folds trains its networks one after another; start one process, without torchrun"
        )
    split = training_split(recipe, store, out)  # before torch, which takes seconds, is imported
    if recipe.training.linear_probe:
        from morphoscope.probe.run import train_probe

        run = train_probe(recipe, store, split, out, resume=resume)
    else:
        from morphoscope.training.fit import fit

        run = fit(recipe, store, out, split=split, resume=resume, progress=progress)
    if not is_rank_0():  # the others of torchrun's processes have done their part
        return LoadedRun(run)
    _measure(run, store, progress=progress)
    leave_graph(run)
    if report and recipe.training.linear_probe and not all(map(installed, DRAWING)):
        note("no report.html: it needs more packages; install with: pip install 'morphoscope[report]'")
    elif report:
        from morphoscope.report.run_report import write_report

        write_report(run, store)
    return LoadedRun(run)


def _store_for(store: Store | Path | str, out: Path, recipe: Recipe) -> Store:
    """A store, its folder's, or that of a table of labelled images."""
    if isinstance(store, Store) or not Path(store).is_file():
        return as_store(store)
    if started() is not None:
        raise UsageError(f"{store} is a table; make its store with 'data ingest table' before torchrun")
    from morphoscope.data.sources.labelled_table import store_of_table

    return store_of_table(Path(store), out.with_name(f"{out.name}-store"), size=recipe.augment.size)


def _measure(run: Run, store: Store, *, progress: bool) -> None:
    """Calibrate and measure a run that was just trained, as far as that is still to be done."""
    from morphoscope.evaluation.cross_validate import cross_validate
    from morphoscope.evaluation.evaluate import calibrate, evaluate
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution

    recipe = run.recipe
    if run.metrics():
        return
    if recipe.data.folds:
        one_fold = recipe.changed(data={"folds": None})

        def train_fold(place: Path, split: Split, resume: bool) -> Run:
            from morphoscope.training.fit import fit

            return fit(one_fold, store, place, split=split, resume=resume, progress=progress)

        cross_validate(run, store, train_fold)
    elif recipe.data.test > 0:
        evaluate(run, store)
    elif read_calibration(run) is None or read_distribution(run) is None:
        calibrate(run, store)
