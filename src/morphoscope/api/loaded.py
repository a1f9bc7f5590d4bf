"""Runs that are loaded, and runs that are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from morphoscope.api.catalogues import MakesCatalogues
from morphoscope.api.images import AnswersImages
from morphoscope.api.results import MeasuresAndShares
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError, did_you_mean
from morphoscope.models.hub import HUB
from morphoscope.processes import started
from morphoscope.recipe import Recipe
from morphoscope.studies.registry import find_recipe
from morphoscope.training.run import Run, open_run

ENGINES = ("torch", "onnx", "ray", "torchrun")


class LoadedRun(AnswersImages, MakesCatalogues, MeasuresAndShares):
    """A finished run, or several that answer as one, ready to answer.

    Args:
        run: the opened folder or exported file, or several.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.
        dropout_samples: answer as so many networks with other units left out in each; 0: the whole network.
        engine: "torch", "onnx", "ray" or "torchrun" (see :func:`load`).

    Raises:
        UsageError: several that do not go together, or samples of dropout from an ONNX file.
    """


def load(
    run: Path | str | Sequence[Path | str],
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    dropout_samples: int = 0,
    engine: str | None = None,
) -> LoadedRun:
    """Load a finished run, or several that are to answer as one.

    Args:
        run: its folder; ``default`` for the network that the program brings along; ``hf-hub:owner/name``
            (``@revision``) of a published one; or an exported ``.onnx`` file. Of a list of them the answers
            are the mean of theirs.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.
        dropout_samples: Monte-Carlo dropout, answers averaged over so many networks with other units of the
            head left out in each; 0: the whole network. Not with "onnx".
        engine: what computes the answers: "torch"; "onnx", onnxruntime on the processor, for which a run is
            exported once; for catalogues alone "ray", a cluster, and "torchrun", the processes that it has
            started. None: "onnx" for a file, "torchrun" where it has started several, else "torch".

    Raises:
        UsageError: there is no run or no such engine, or several runs do not go together.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program; or the hub cannot be
            reached.
    """
    if engine not in (None, *ENGINES):
        raise UsageError(f"there is no engine '{engine}'{did_you_mean(engine or '', ENGINES, 'engines')}")
    places = [run] if isinstance(run, Path | str) else list(run)
    for place in places:
        if _is_exported(place) and engine not in (None, "onnx"):
            raise UsageError(f"{place} is an ONNX file, which the engine {engine} does not read")
    if engine is None:
        engine = "torch" if started() is None else "torchrun"
        if any(_is_exported(place) for place in places):
            if engine == "torchrun":
                raise UsageError("an ONNX file is read by one process; run it without torchrun")
            engine = "onnx"
    return LoadedRun([_opened(place) for place in places], views, calibrated, dropout_samples, engine)


def _is_exported(place: Path | str) -> bool:
    return Path(place).suffix.lower() == ".onnx"


def _opened(place: Path | str) -> Run:
    if _is_exported(place):
        from morphoscope.sharing.onnx_run import open_exported

        return open_exported(place)
    if str(place).startswith(HUB):
        from morphoscope.sharing.hub import fetch

        place = fetch(str(place))
    return open_run(place)


def train(
    recipe: Recipe | str,
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
        store: a store or its folder.
        out: the run folder to make.
        resume: continue a training that was stopped.
        report: write ``report.html`` and the figures.
        progress: show a bar over the steps.
    """
    from morphoscope.evaluation.calibration import read_calibration
    from morphoscope.evaluation.evaluate import calibrate, evaluate
    from morphoscope.evaluation.reference import read_reference
    from morphoscope.training.fit import fit

    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    store = store if isinstance(store, Store) else open_store(store)
    run = fit(recipe, store, out, resume=resume, progress=progress)
    if recipe.data.test == 0:
        if read_calibration(run) is None or read_reference(run) is None:
            calibrate(run, store)
    elif not run.metrics():
        evaluate(run, store)
    if report:
        from morphoscope.report.page import write_report

        write_report(run, store)
    return LoadedRun(run)
