"""Commands around recipes and runs: models, train, calibrate, evaluate, compare, predict, demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from morphoscope import progress
from morphoscope.errors import UsageError
from morphoscope.processes import fall_silent
from morphoscope.progress import note

RunFolder = Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Views = Annotated[int | None, typer.Option(help="Views averaged: 1, 2, 8 or 16. [default: the recipe's]")]
NoCalibration = Annotated[
    bool, typer.Option("--no-calibration", help="The network's own answers, not corrected.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
RunFolders = Annotated[
    str,
    typer.Argument(
        metavar="RUN[,RUN...]",
        help="A finished run: folder, 'default', hf-hub:owner/name, or an exported .onnx file; of several, "
        "with commas between them, the mean answer.",
        show_default=False,
    ),
]
HONESTY = ("calibration", "sets", "out_of_distribution")  # what an evaluation says beside the metrics


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (demo, models, train, calibrate, evaluate, compare, explain, predict):
        app.command()(command)


def demo(
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("morphoscope-demo"),
    count: Annotated[int, typer.Option(help="Galaxies to simulate.", min=200)] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0)] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Simulate, train, measure, report, and classify a real picture of the sky: offline, in minutes."""
    from morphoscope.demo import run_demo

    run_demo(out, count=count, seed=seed, overwrite=overwrite)


def models(
    show_fields: Annotated[
        bool, typer.Option("--fields", help="List the fields of a recipe with their defaults instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the recipes to train by, with their networks."""
    from morphoscope.studies.listing import describe_recipes, field_lines, recipe_lines

    if show_fields:
        print("\n".join(field_lines()))
        return
    described = describe_recipes()
    print(document(described) if as_json else "\n".join(recipe_lines(described)))


def train(
    recipe: Annotated[str, typer.Argument(help="Name from 'morphoscope models', or a YAML file.")],
    store: Annotated[Path, typer.Option(help="Labelled store to learn from.")],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; repeatable.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Local file or folder with pretrained weights.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave report.html out.")] = False,
) -> None:
    """Train a network, measure it on held-out galaxies, and write its report.

    The recipes: 'morphoscope models'. The fields for --set: 'morphoscope models --fields'.
    """
    from morphoscope.studies.registry import find_recipe

    chosen = find_recipe(recipe).with_settings(settings or [])
    if weights and from_scratch:
        raise UsageError("--weights and --from-scratch contradict each other; give one")
    if weights:
        chosen = chosen.changed({"model.weights": weights})
    if from_scratch:
        chosen = chosen.changed({"model.pretrained": False})

    from morphoscope import api
    from morphoscope.data.store import open_store

    done = api.train(chosen, open_store(store), out, resume=resume, report=not no_report)
    _say_result(done.metrics(), out, report=not no_report)


def calibrate(
    run: RunFolder,
    store: Annotated[
        Path | None, typer.Option(help="The store of the training. [default: where it was]")
    ] = None,
    views: Views = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave report.html as it is.")] = False,
) -> None:
    """Fit the calibration of a run to its validation galaxies, and measure the run anew.

    A training does it by itself; this is for runs of older programs, and for another number of views.
    """
    from morphoscope import api
    from morphoscope.evaluation.text import calibration_lines

    measured = api.load(run, views=views).calibrate(
        None if store is None else api.open_store(store), report=not no_report
    )
    print("\n".join(calibration_lines(measured)))


def evaluate(
    run: RunFolders,
    store: Annotated[
        Path | None, typer.Option(help="Another labelled store. [default: the run's test split]")
    ] = None,
    views: Views = None,
    tta: Annotated[bool, typer.Option("--tta", help="The same as --views 16.")] = False,
    coverage: Annotated[float, typer.Option(help="Coverage of the prediction sets, 0 to 1.")] = 0.9,
    no_calibration: NoCalibration = False,
    as_json: Json = False,
) -> None:
    """Measure a run: on the galaxies it held out, or on another store with the same labels."""
    from morphoscope import api

    loaded = api.load(_several(run), views=_views(views, tta), calibrated=False if no_calibration else None)
    other = None if store is None else api.open_store(store)
    measured = loaded.evaluate(other, coverage=coverage)
    together = ("members", "mutual_information")
    if as_json:
        names = ("views", *HONESTY, *together)
        print(document(measured["test"] | {name: measured[name] for name in names if name in measured}))
        return
    from morphoscope.evaluation.text import calibration_lines, ensemble_lines, summary_lines

    if "members" in measured:
        print("\n".join(summary_lines(measured["test"]) + ensemble_lines(measured)))
        return
    print("\n".join(summary_lines(measured["test"]) + calibration_lines(measured)))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs; the first is the baseline.")],
    as_json: Json = False,
) -> None:
    """Put runs side by side, galaxy by galaxy."""
    if len(runs) < 2:
        raise UsageError("compare needs at least two runs")
    from morphoscope.evaluation.compare import compare as compared
    from morphoscope.evaluation.text import compare_table
    from morphoscope.training.run import open_run

    opened = [open_run(run) for run in runs]
    result = compared(
        [{"name": run.name, "predictions": run.predictions(), "metrics": run.metrics()} for run in opened]
    )
    print(document(result) if as_json else compare_table(result))


def explain(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder to make: explain.html, figures, maps.npz.")],
    store: Annotated[
        Path | None, typer.Option(help="Labelled galaxies. [default: the run's test split]")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="Comma between several: saliency, smoothgrad, integrated, gradcam, ablationcam."),
    ] = "saliency,gradcam",
    which: Annotated[
        str, typer.Option("--class", help="A class, a vote column such as Class4.1, or best-f1.")
    ] = "best-f1",
    count: Annotated[int, typer.Option(help="Galaxies.", min=1)] = 9,
    layer: Annotated[str | None, typer.Option(help="Layer by name. [default: the last feature map]")] = None,
    score: Annotated[bool, typer.Option("--score", help="Measure how faithful the maps are.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Show what a network looks at, and measure whether the maps are right."""
    from morphoscope.report.maps import explain as explained

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


def predict(
    run: RunFolders,
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Folder, quoted glob, image, archive, table, store or mosaic."),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="Catalogue to write: .parquet, .fits, .vot, .ecsv, .csv or .hats; without an ending a "
            "folder of Parquet files."
        ),
    ],
    views: Views = None,
    crop: Annotated[
        int | None, typer.Option(help="Side of the centre crop of each image, pixels. [default: as trained]")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the table with the images; with commas, one a band.")
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="Bands of FITS images, such as g,r,z: '{id}_{band}.fits', or parts of each file."),
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Table with ra and dec: INPUT is a FITS mosaic to cut them out of.")
    ] = None,
    cutout_arcsec: Annotated[
        float | None, typer.Option(help="Side of these cutouts, arcsec. [default: as the training's images]")
    ] = None,
    size_column: Annotated[
        str | None, typer.Option(help="Column of --sources with each cutout's side, arcsec.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images at a time.", min=1)] = 256,
    coverage: Annotated[
        float | None,
        typer.Option(help="Add a column 'set': classes that hold the truth for this share of galaxies."),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="With --coverage: within every class.")
    ] = False,
    no_calibration: NoCalibration = False,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Batch normalisation by the input's first 512 images.")
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Add the features, for 'morphoscope similar'.")
    ] = False,
    dropout_samples: Annotated[
        int, typer.Option(help="Monte-Carlo dropout: networks with other units left out, 2 or more.", min=0)
    ] = 0,
    engine: Annotated[
        str | None,
        typer.Option(help="What computes: torch, onnx, ray (a cluster), torchrun. [default: torch]"),
    ] = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="INPUT is one picture or FITS mosaic: find its galaxies.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --detect: also draw the labelled picture (PNG).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this catalogue where it was interrupted.")
    ] = False,
    shard_rows: Annotated[
        int | None,
        typer.Option(
            help="Rows of each file of a folder of Parquet files; the most of them for .hats.", min=1
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Classify galaxies: a streaming catalogue of answers, memory does not grow with its length.

    An interrupted catalogue goes on with --resume. The exit status is 1 if some images could not be read;
    the others are in the catalogue all the same.
    """
    from morphoscope import api

    if engine in (None, "torchrun"):
        fall_silent()
    if picture is not None and not detect:
        raise UsageError("--picture draws what --detect has found; give both")
    if embeddings and detect:
        raise UsageError("--embeddings is for catalogues of cutouts, not for --detect")
    loaded = api.load(
        _several(run),
        views=views,
        calibrated=False if no_calibration else None,
        dropout_samples=dropout_samples,
        engine=engine,
    )
    if adapt and detect:
        raise UsageError("--adapt is for catalogues of cutouts, not for --detect")
    if adapt:
        loaded.adapt(source)
    sets: dict[str, Any] = {"coverage": coverage, "per_class": per_class}
    if detect and (resume or shard_rows):
        raise UsageError("--detect makes one file at once; leave --resume and --shard-rows out")
    if detect and (sources or cutout_arcsec or size_column or image_column):
        raise UsageError("--detect finds the sources itself; leave the options about tables and cutouts out")
    if detect:
        found = loaded.sky(source, out, bands=bands, drawn=picture, overwrite=overwrite, **sets)
        note(f"{found.num_rows} sources → {out}" + (f", picture → {picture}" if picture else ""))
        return
    summary = loaded.catalogue(
        source,
        out,
        crop=crop,
        batch=batch,
        overwrite=overwrite,
        image_column=image_column,
        bands=bands,
        sources=sources,
        cutout_arcsec=cutout_arcsec,
        size_column=size_column,
        resume=resume,
        shard_rows=shard_rows,
        embeddings=embeddings,
        **sets,
    )
    if progress.silent:  # the leader says what became of the images
        return
    again = f", {summary.resumed} of them before" if summary.resumed else ""
    note(f"{summary.predicted} galaxies → {summary.out} ({summary.rate:.0f}/s{again})")
    if summary.unreadable:
        total = summary.predicted + summary.unreadable
        note(
            f"{summary.unreadable} of {total} images could not be read; the reasons are in "
            f"{summary.unreadable_list}"
        )
        raise typer.Exit(1)


def _several(runs: str) -> list[str]:
    """The runs of a list with commas; a folder that has a comma in its name is itself."""
    if Path(runs).exists():
        return [runs]
    names = [name.strip() for name in runs.split(",") if name.strip()]
    if not names:
        raise UsageError("the folder of a finished run was expected")
    return names


def _say_result(metrics: dict[str, Any], out: Path, *, report: bool) -> None:
    from morphoscope.evaluation.text import calibration_lines, summary_lines

    if metrics:
        print("\n".join(summary_lines(metrics["test"]) + calibration_lines(metrics)))
    note(f"run → {out}" + (f", report → {out / 'report.html'}" if report else ""))


def _views(views: int | None, tta: bool) -> int | None:
    return 16 if tta and views is None else views


def document(values: Any) -> str:
    """A JSON document as it is printed."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
