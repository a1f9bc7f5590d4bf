"""Commands that make and use catalogues: predict, convert, similar, label-next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.cli.options import (
    Json,
    NoCalibration,
    Overwrite,
    Precision,
    RunFolder,
    RunFolders,
    Views,
    document,
    options_of,
    several,
)
from morphoscope.errors import UsageError
from morphoscope.extras import DETECTION, DRAWING, need
from morphoscope.processes import started
from morphoscope.progress import note, say

INPUT = Annotated[
    str | None,
    typer.Argument(metavar="INPUT", help="Folder, quoted glob, image, archive, table, store or mosaic."),
]
OUT = Annotated[
    str,
    typer.Option(
        help="Catalogue to write: .parquet, .fits, .vot, .ecsv, .csv or .hats; without an ending a folder of "
        "Parquet files."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(predict)
    app.command()(convert)
    app.command()(similar)
    app.command()(label_next)


@options_of(CatalogueRequest, source=(INPUT, None), out=OUT)
def predict(
    run: RunFolders,
    request: CatalogueRequest,
    views: Views = None,
    no_calibration: NoCalibration = False,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Adapt batch normalisation to the first 512 images or sources.")
    ] = False,
    dropout_samples: Annotated[
        int, typer.Option(help="Monte-Carlo dropout: number of samples, 2 or more.", min=0)
    ] = 0,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What computes: torch, onnx, openvino, mnn, or ray (machines). Default: the fastest."
        ),
    ] = None,
    precision: Precision = "auto",
    detect: Annotated[
        bool,
        typer.Option("--detect", help="Detect the galaxies of INPUT, an image of the sky or FITS mosaic."),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --detect: also draw the labelled image (PNG).")
    ] = None,
    planes: Annotated[
        Path | None,
        typer.Option(help="With --measure: also draw classes in the C–A and Gini–M20 planes (PNG or SVG)."),
    ] = None,
    min_area: Annotated[
        int | None, typer.Option(help="With --detect: least pixels of a source. Default: 150.", min=1)
    ] = None,
) -> None:
    """Predict a catalogue of galaxies, in constant memory.

    Continue an interrupted catalogue with --resume. The exit status is 1 if some images could not be read or
    fetched; all others are in the catalogue.
    """
    from morphoscope import api

    if min_area is not None and not detect:
        raise UsageError("--min-area is for the sources of --detect; give both")
    _check(request, detect=detect, picture=picture, planes=planes, engine=engine, adapt=adapt)
    loaded = api.load(
        several(run),
        views=views,
        calibrated=False if no_calibration else None,
        dropout_samples=dropout_samples,
        engine=engine,
        precision=precision,
    )
    if adapt and not detect:
        loaded.adapt(request.source, scale=request.scale, crop=request.crop)
    if detect:
        found = loaded.sky(
            request.source,
            request.out,
            bands=request.bands or None,
            stretch=request.stretch,
            drawn=picture,
            overwrite=request.overwrite,
            coverage=request.coverage,
            per_class=request.per_class,
            adapt=adapt,
            quality=request.quality,
            **({} if min_area is None else {"min_area": min_area}),
        )
        note(f"{found.num_rows} sources → {request.out}" + (f", picture → {picture}" if picture else ""))
        return
    summary = loaded.catalogue(request)
    again = f", {summary.resumed} of them before the interruption" if summary.resumed else ""
    note(f"{summary.predicted} galaxies → {summary.out} ({summary.rate:.0f}/s{again})")
    if planes is not None:
        from morphoscope.report.figures.shape_planes import draw_planes

        note(f"planes → {draw_planes(summary.out, planes)}")
    if summary.unreadable:
        total = summary.predicted + summary.unreadable
        what, where = "images could not be read", ""
        if request.survey is not None:
            what, where = "positions have no image", "the column quality and in "
        note(f"{summary.unreadable} of {total} {what}; the reasons are in {where}{summary.unreadable_list}")
        raise typer.Exit(1)


def _check_survey(request: CatalogueRequest, *, detect: bool, adapt: bool, engine: str | None) -> None:
    from morphoscope.catalogue.inputs.survey_cutouts import check_survey_options

    check_survey_options(request)
    if detect or adapt:
        raise UsageError(
            f"--{'detect' if detect else 'adapt'} needs images that are there; fetch them with "
            "'morphoscope data cutouts' first"
        )
    if engine == "ray":
        raise UsageError(
            "--engine ray would ask the service from every machine; fetch the images with 'morphoscope data "
            "cutouts' first"
        )


def _check(
    request: CatalogueRequest,
    *,
    detect: bool,
    picture: Path | None,
    planes: Path | None,
    engine: str | None,
    adapt: bool,
) -> None:
    """Refuse options that do not go together, before anything heavy is loaded.

    Raises:
        UsageError: they do not.
    """
    if request.survey is not None:
        _check_survey(request, detect=detect, adapt=adapt, engine=engine)
    if engine is None and started() is not None:
        raise UsageError(
            "torchrun would start several processes that all write this catalogue; start one, with "
            "--engine ray for several GPUs or machines"
        )
    if request.measure and (detect or engine == "ray"):
        raise UsageError(
            f"--measure does not go with {'--detect' if detect else '--engine ray'}; use 'morphoscope "
            "measure', and join by id"
        )
    if planes is not None and not request.measure:
        raise UsageError("--planes draws the shapes of --measure; give both")
    if planes is not None:
        need(DRAWING, "report", "--planes")
    if picture is not None and not detect:
        raise UsageError("--picture draws the sources of --detect; give both")
    if picture is not None:
        need(DRAWING, "report", "--picture")
    if not detect:
        return
    need(DETECTION, "detect", "--detect")
    if request.scale == "auto":
        raise UsageError("--detect sizes each cutout by its source; leave out --scale")
    if request.estimate_shares:
        raise UsageError("--estimate-shares is for catalogues of cutouts, not for --detect")
    if request.embeddings:
        raise UsageError("--embeddings is for catalogues of cutouts, not for --detect")
    if request.resume or request.shard_rows:
        raise UsageError("--detect writes a single file; leave out --resume and --shard-rows")
    if request.sources or request.cutout_arcsec or request.size_column or request.image_column:
        raise UsageError("--detect finds the sources itself; leave out the options for tables and cutouts")


def convert(
    catalogue: Annotated[Path, typer.Argument(help="Parquet catalogue, a folder of its parts, or HATS.")],
    out: Annotated[
        str,
        typer.Option(
            help="Catalogue to write: .hats, .parquet, .fits, .vot, .ecsv or .csv; without an ending a "
            "folder of Parquet files."
        ),
    ],
    shard_rows: Annotated[
        int | None,
        typer.Option(help="Rows per file of a folder; for .hats the largest number per tile.", min=1),
    ] = None,
    float32: Annotated[
        bool,
        typer.Option(
            "--float32", help="Embeddings in single precision in Parquet too, for readers without float16."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a finished catalogue to another format, such as HATS."""
    from morphoscope.catalogue.formats.convert import convert as converted

    rows = converted(catalogue, out, shard_rows=shard_rows, float32=float32, overwrite=overwrite)
    note(f"{rows} galaxies → {out}")


def similar(
    run: RunFolder,
    catalogue: Annotated[
        Path, typer.Argument(help="Parquet catalogue of this run, made with 'predict --embeddings'.")
    ],
    to: Annotated[str, typer.Option(metavar="ID|IMAGE", help="A galaxy of the catalogue, or an image file.")],
    count: Annotated[int, typer.Option(help="Number of galaxies.", min=1)] = 20,
    out: Annotated[Path | None, typer.Option(help="Also draw their images side by side (PNG).")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the galaxies of a catalogue that look most like one."""
    from morphoscope import api
    from morphoscope.report.figures.contact_sheet import check_sheet, draw_neighbours
    from morphoscope.report.terminal import columns

    if out is not None:
        check_sheet(out, overwrite=overwrite)
    found = api.load(run).similar(catalogue, to, count=count)
    if as_json:
        say(document([neighbour.document for neighbour in found]))
    else:
        names = [name for name in ("id", "predicted", "source") if found and name in found[0].values]
        rows = [["", *names, "similarity"]]
        for rank, neighbour in enumerate(found, start=1):
            shown = [str(neighbour.values[name]) for name in names]
            rows.append([str(rank), *shown, f"{neighbour.similarity:.4f}"])
        say(columns(rows))
    if out is not None:
        draw_neighbours(catalogue, found, out)


def label_next(
    catalogue: Annotated[Path, typer.Argument(help="Catalogue of 'predict', in any format.")],
    out: Annotated[
        str, typer.Option(help="Table to make: .csv for a spreadsheet, .parquet, .fits, .vot or .ecsv.")
    ],
    count: Annotated[int, typer.Option(help="Number of galaxies.", min=1)] = 50,
    by: Annotated[
        str | None,
        typer.Option(
            help="bald (members of an ensemble or samples of dropout disagree), entropy, coreset (needs "
            "--embeddings) or random. Default: bald if the catalogue has it, else entropy."
        ),
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="TABLE",
            help="Galaxies labelled or asked for already, such as the last round; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --by random.", min=0)] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Choose which galaxies to label next, so that the labels teach most.

    Fill in the column 'label' and give the table to 'data ingest table ... --label-column label'.
    """
    from morphoscope.catalogue.active_learning import label_next as chosen

    choice = chosen(catalogue, count, by=by, labelled=labelled or (), out=out, seed=seed, overwrite=overwrite)
    earlier = choice.table.num_rows - choice.new
    kept = f", after {earlier} of earlier rounds" if earlier else ""
    note(f"{choice.new} galaxies to label in round {choice.round}, by {choice.by} → {out}{kept}")
