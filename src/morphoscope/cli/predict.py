"""Commands that make and use catalogues: predict, convert, similar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from morphoscope import progress
from morphoscope.cli.options import (
    Json,
    NoCalibration,
    Overwrite,
    RunFolder,
    RunFolders,
    Views,
    document,
    several,
)
from morphoscope.errors import UsageError
from morphoscope.processes import fall_silent
from morphoscope.progress import note


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(predict)
    app.command()(convert)
    app.command()(similar)


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
        several(run),
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
        typer.Option(help="Rows of each file of a folder; the most of them for .hats.", min=1),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a finished catalogue in another form, for instance as HATS."""
    from morphoscope.catalogue.formats.convert import convert as converted

    rows = converted(catalogue, out, shard_rows=shard_rows, overwrite=overwrite)
    note(f"{rows} galaxies → {out}")


def similar(
    run: RunFolder,
    catalogue: Annotated[
        Path, typer.Argument(help="Parquet catalogue of this run, made with 'predict --embeddings'.")
    ],
    to: Annotated[str, typer.Option(metavar="ID|IMAGE", help="A galaxy of the catalogue, or an image file.")],
    count: Annotated[int, typer.Option(help="Galaxies to find.", min=1)] = 20,
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
        print(document([neighbour.document for neighbour in found]))
    else:
        names = [name for name in ("id", "predicted", "source") if found and name in found[0].values]
        rows = [["", *names, "similarity"]]
        for place, neighbour in enumerate(found, start=1):
            shown = [str(neighbour.values[name]) for name in names]
            rows.append([str(place), *shown, f"{neighbour.similarity:.4f}"])
        print(columns(rows))
    if out is not None:
        draw_neighbours(catalogue, found, out)
