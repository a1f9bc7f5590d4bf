"""Commands that evaluate runs: calibrate, evaluate, compare, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.options import (
    Json,
    NoCalibration,
    Overwrite,
    Precision,
    RunFolder,
    RunFolders,
    Views,
    document,
    several,
)
from morphoscope.errors import UsageError
from morphoscope.extras import DRAWING, need
from morphoscope.progress import note, say

UNCERTAINTY = ("calibration", "sets", "out_of_distribution")  # parts of an evaluation beside the metrics


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (calibrate, evaluate, compare, explain):
        app.command()(command)


def calibrate(
    run: RunFolder,
    store: Annotated[Path | None, typer.Option(help="The training's store. Default: where it was.")] = None,
    views: Views = None,
    shifts: Annotated[
        bool,
        typer.Option(
            "--shifts", help="Fit it to images with other scales, noise, colours and stretches as well."
        ),
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave report.html as it is.")] = False,
) -> None:
    """Fit the calibration of a run to its validation galaxies, and evaluate the run again.

    Training already does this; use it for runs of older versions, for another number of views, and with
    --shifts for honest probabilities on other surveys than the training's.
    """
    from morphoscope import api
    from morphoscope.report.terminal import calibration_lines

    if not no_report:
        need(DRAWING, "report", "report.html (or leave it with --no-report)")
    measured = api.load(run, views=views).calibrate(
        None if store is None else api.open_store(store), report=not no_report, shifts=shifts
    )
    say("\n".join(calibration_lines(measured)))


def evaluate(
    run: RunFolders,
    store: Annotated[
        Path | None, typer.Option(help="Another labelled store. Default: the run's test split.")
    ] = None,
    views: Views = None,
    tta: Annotated[bool, typer.Option("--tta", help="The same as --views 16.")] = False,
    coverage: Annotated[float, typer.Option(help="Coverage of the prediction sets, 0 to 1.")] = 0.9,
    no_calibration: NoCalibration = False,
    precision: Precision = "auto",
    estimate_shares: Annotated[
        bool,
        typer.Option(
            "--estimate-shares",
            help="With --store: for the class shares of its galaxies, as in predict.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run on its test galaxies, or on another store with the same labels."""
    from morphoscope import api

    loaded = api.load(
        several(run),
        views=_views(views, tta),
        calibrated=False if no_calibration else None,
        precision=precision,
    )
    other = None if store is None else api.open_store(store)
    measured = loaded.evaluate(other, coverage=coverage, estimate_shares=estimate_shares)
    together = ("members", "mutual_information")
    if as_json:
        names = ("views", *UNCERTAINTY, *together, "class_shares")
        say(document(measured["test"] | {name: measured[name] for name in names if name in measured}))
        return
    from morphoscope.report.kinds import report_of
    from morphoscope.report.terminal import calibration_lines

    report = report_of(measured["scheme"])
    further = report.ensemble_lines(measured) if "members" in measured else calibration_lines(measured)
    say("\n".join(report.summary_lines(measured["test"]) + further))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs; the first is the baseline.")],
    as_json: Json = False,
) -> None:
    """Compare runs on the same test galaxies."""
    if len(runs) < 2:
        raise UsageError("compare needs at least two runs")
    from morphoscope.evaluation.compare import compare as compared
    from morphoscope.report.kinds import report_of
    from morphoscope.runs.run import open_run

    opened = [open_run(run) for run in runs]
    result = compared(
        [{"name": run.name, "predictions": run.predictions(), "metrics": run.metrics()} for run in opened]
    )
    say(document(result) if as_json else report_of(result["kind"]).compare_table(result))


def explain(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder to make: explain.html, figures, maps.npz.")],
    store: Annotated[
        Path | None, typer.Option(help="Labelled galaxies. Default: the run's test split.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="saliency, smoothgrad, integrated, gradcam, ablationcam; comma-separated."),
    ] = "saliency,gradcam",
    which: Annotated[
        str, typer.Option("--class", help="A class, a vote column such as Class4.1, or best-f1.")
    ] = "best-f1",
    count: Annotated[int, typer.Option(help="Number of galaxies.", min=1)] = 9,
    layer: Annotated[str | None, typer.Option(help="Layer by name. Default: the last feature map.")] = None,
    score: Annotated[bool, typer.Option("--score", help="Measure how faithful the maps are.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Show what a network looks at (attribution maps), and measure how faithful the maps are."""
    from morphoscope.report.explain_report import explain as explained

    page = explained(
        run,
        out,
        store=store,
        methods=[name.strip() for name in method.split(",") if name.strip()],
        which=which,
        count=count,
        layer=layer,
        score=score,
        overwrite=overwrite,
    )
    note(f"maps → {page}")


def _views(views: int | None, tta: bool) -> int | None:
    return 16 if tta and views is None else views
