"""Commands for stores: simulate, fetch, ingest, info, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from morphoscope.cli.options import Json, document
from morphoscope.errors import UsageError
from morphoscope.progress import note, say

Out = Annotated[Path, typer.Argument(help="Store to make.", show_default=False)]
StoreFolder = Annotated[Path, typer.Argument(help="Folder of a store.", show_default=False)]
Crop = Annotated[int | None, typer.Option(help="Side of the centre crop, source pixels.", min=1)]
Size = Annotated[int | None, typer.Option(help="Scale to this side, pixels.", min=1)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")]
Workers = Annotated[int | None, typer.Option(help="Threads. Default: all cores.", min=1)]
PixelScale = Annotated[float | None, typer.Option(help="Arcsec per source pixel.", min=0)]
Stretch = Annotated[
    str | None,
    typer.Option(
        help="Of FITS images, to a picture: lupton, legacy, sdss, asinh or linear; or a plane for each of "
        "--bands: values (as measured, float32) or bands (8 bits). Default: lupton, values for more than "
        "three bands."
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        help="Bands of FITS images and arrays, such as g,r,z: a file each, or parts of each file. Up to "
        "three make a picture, up to eight are kept as planes."
    ),
]

Show = Annotated[
    str | None,
    typer.Option(
        help="One to three of --bands that pictures for people show, as red, green and blue. Default: the "
        "reddest, the middle and the bluest."
    ),
]

data = typer.Typer(help="Make, inspect and check stores of galaxy images.", no_args_is_help=True)
ingest = typer.Typer(help="Make a store from existing images and labels.", no_args_is_help=True)
fetch = typer.Typer(help="Download a data set, verify it, and make a store of it.", no_args_is_help=True)
data.add_typer(ingest, name="ingest")
data.add_typer(fetch, name="fetch")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(data, name="data")


@data.command()
def simulate(
    out: Out,
    count: Annotated[int, typer.Option(help="Number of galaxies.")] = 1000,
    size: Annotated[int, typer.Option(help="Pixels along a side; the same sky whatever the size.")] = 128,
    scheme: Annotated[
        str, typer.Option(help="galaxy10 (ten classes), votes, vote-counts (37 answers) or measurements.")
    ] = "galaxy10",
    survey: Annotated[str, typer.Option(help="decals, sdss, euclid, or several: sdss,euclid.")] = "decals",
    proportions: Annotated[
        str, typer.Option(help="Class sizes: equal, or galaxy10 (as imbalanced as that data set).")
    ] = "equal",
    masks: Annotated[
        bool, typer.Option("--masks", help="Also store masks of bulge, disc, arms, bar, companion, tail, ….")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same galaxies.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes. Default: all cores.", min=1)] = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate labelled galaxies as observed by a survey, with their true parameters."""
    from morphoscope.data.sources.simulated import simulate as simulated

    _print_size(
        simulated(
            out,
            count,
            size,
            scheme=scheme,
            seed=seed,
            workers=workers,
            overwrite=overwrite,
            proportions=proportions,
            survey=survey,
            masks=masks,
        )
    )


@fetch.command("galaxy10")
def fetch_galaxy10(
    out: Out,
    url: Annotated[str | None, typer.Option(help="Another address of the same file.")] = None,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
) -> None:
    """Download Galaxy10_DECals.h5 (2.7 GB, resumable) and make a store of it."""
    from morphoscope.data.sources.download import fetch_galaxy10 as fetched

    options: dict[str, Any] = {} if url is None else {"url": url}
    _print_size(fetched(out, crop=crop, size=size, overwrite=overwrite, **options))


@ingest.command("galaxy10")
def ingest_galaxy10(
    source: Annotated[Path, typer.Argument(help="Galaxy10_DECals.h5.")],
    out: Out,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """The official Galaxy10 DECaLS file."""
    from morphoscope.data.sources.galaxy10 import ingest_galaxy10 as ingested

    _print_size(ingested(source, out, crop=crop, size=size, overwrite=overwrite, workers=workers))


@ingest.command("galaxy-zoo")
def ingest_galaxy_zoo(
    source: Annotated[Path, typer.Argument(help="Kaggle's folder or zip file, as downloaded.")],
    out: Out,
    scheme: Annotated[
        str, typer.Option(help="votes (37 fractions), vote-counts, five-class, or none.")
    ] = "votes",
    labels: Annotated[
        Path | None, typer.Option(help="CSV with GalaxyID and Label, or with the votes.")
    ] = None,
    unmatched: Annotated[str, typer.Option(help="Images without a label: skip, keep or error.")] = "skip",
    spiral_threshold: Annotated[
        float, typer.Option(help="Smallest Class4.1 of a spiral (five-class).")
    ] = 0.619,
    volunteers: Annotated[
        int | None, typer.Option(help="Taken to have looked at each galaxy (vote-counts).")
    ] = None,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """The Kaggle Galaxy Zoo challenge: images with or without solutions."""
    from morphoscope.data.sources.galaxy_zoo import ingest_galaxy_zoo as ingested

    _print_size(
        ingested(
            source,
            out,
            scheme=scheme,
            labels=labels,
            unmatched=unmatched,
            spiral_threshold=spiral_threshold,
            volunteers=volunteers,
            crop=crop,
            size=size,
            overwrite=overwrite,
            workers=workers,
        )
    )


@ingest.command("folder")
def ingest_folder(
    source: Annotated[Path, typer.Argument(help="Folder with one folder of images per class.")],
    out: Out,
    classes: Annotated[
        str | None, typer.Option(help="Class folders in order, comma-separated. Default: alphabetical.")
    ] = None,
    pixel_scale: PixelScale = None,
    stretch: Stretch = None,
    bands: Bands = None,
    show: Show = None,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """Your own images, sorted into one folder per class (JPEG, PNG, TIFF, FITS)."""
    from morphoscope.data.sources.folder import ingest_folder as ingested

    _print_size(
        ingested(
            source,
            out,
            classes=_names(classes),
            pixel_scale=pixel_scale,
            stretch=stretch,
            bands=bands,
            show=show,
            crop=crop,
            size=size,
            overwrite=overwrite,
            workers=workers,
        )
    )


@ingest.command("table")
def ingest_table(
    source: Annotated[
        Path,
        typer.Argument(help="CSV, Parquet, HDF5, FITS table or VOTable; a HATS catalogue, folder or glob."),
    ],
    out: Out,
    image_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with the image files, or three for bands. Default: found by name."),
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the classes.")] = None,
    vote_column: Annotated[
        list[str] | None, typer.Option(help="Column with a vote fraction; repeatable.")
    ] = None,
    value_column: Annotated[
        list[str] | None, typer.Option(help="Column with any measured number (regression); repeatable.")
    ] = None,
    error_column: Annotated[
        list[str] | None,
        typer.Option(help="VALUE=ERROR: the column with the errors of a value column; repeatable."),
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="VALUE=UNIT: unit of a value column. Default: the table's.")
    ] = None,
    redshift: Annotated[
        list[str] | None,
        typer.Option(help="Value column that is a redshift: residuals are divided by 1 + z; repeatable."),
    ] = None,
    missing: Annotated[
        list[float] | None, typer.Option(help="Number that means 'none', such as -99; repeatable.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ids of the galaxies.")] = None,
    ra_column: Annotated[str | None, typer.Option(help="Column with right ascension, degrees.")] = None,
    dec_column: Annotated[str | None, typer.Option(help="Column with declination, degrees.")] = None,
    keep_column: Annotated[list[str] | None, typer.Option(help="Further column to copy; repeatable.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the image files. Default: the table's.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Classes in order, comma-separated.")] = None,
    pixel_scale: PixelScale = None,
    stretch: Stretch = None,
    bands: Bands = None,
    show: Show = None,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """Your own table with an image column and label columns."""
    from morphoscope.data.sources.table import ingest_table as ingested

    _print_size(
        ingested(
            source,
            out,
            image_column=image_column,
            label_column=label_column,
            vote_columns=vote_column or (),
            measured=_measured(value_column, error_column, unit, redshift, missing),
            id_column=id_column,
            ra_column=ra_column,
            dec_column=dec_column,
            keep_columns=keep_column or (),
            folder=folder,
            classes=_names(classes),
            pixel_scale=pixel_scale,
            stretch=stretch,
            bands=bands,
            show=show,
            crop=crop,
            size=size,
            overwrite=overwrite,
            workers=workers,
        )
    )


@ingest.command("votes")
def ingest_votes(
    source: Annotated[Path, typer.Argument(help="CSV, Parquet, FITS table or VOTable of votes.")],
    out: Out,
    tree: Annotated[str, typer.Option(help="Decision tree: a name of 'morphoscope trees', or a .yaml file.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, called like the ids or as the table says.")
    ] = None,
    values: Annotated[
        str, typer.Option(help="Votes: counts, or weighted or debiased fractions, rounded to votes.")
    ] = "counts",
    without: Annotated[
        list[str] | None, typer.Option(help="Question of the tree to leave out; repeatable.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Column with the image files.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ids of the galaxies.")] = None,
    ra_column: Annotated[str | None, typer.Option(help="Column with right ascension, degrees.")] = None,
    dec_column: Annotated[str | None, typer.Option(help="Column with declination, degrees.")] = None,
    keep_column: Annotated[list[str] | None, typer.Option(help="Further column to copy; repeatable.")] = None,
    pixel_scale: PixelScale = None,
    stretch: Stretch = None,
    bands: Bands = None,
    show: Show = None,
    crop: Crop = None,
    size: Size = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """A table of volunteers' votes on the questions of a decision tree, as Galaxy Zoo publishes them."""
    from morphoscope.data.sources.votes import ingest_votes as ingested

    _print_size(
        ingested(
            source,
            out,
            tree=tree,
            images=images,
            values=values,
            without=without or (),
            image_column=image_column,
            id_column=id_column,
            ra_column=ra_column,
            dec_column=dec_column,
            keep_columns=keep_column or (),
            pixel_scale=pixel_scale,
            stretch=stretch,
            bands=bands,
            show=show,
            crop=crop,
            size=size,
            overwrite=overwrite,
            workers=workers,
        )
    )


@data.command()
def info(
    store: StoreFolder,
    verify: Annotated[bool, typer.Option("--verify", help="Check every pixel against its checksum.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also export it: as class folders, or as .h5 in Galaxy10's layout.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="With --export: a folder for each part, train, validation, test. A split's name or file."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Describe a store: counts per class, size, source."""
    from morphoscope.data.store import describe, description_lines, open_store

    opened = open_store(store, verify=verify)
    described = describe(opened)
    say(document(described) if as_json else "\n".join(description_lines(described)))
    if export is not None:
        from morphoscope.data.export import export_folders, export_hdf5

        if export.suffix not in (".h5", ".hdf5"):
            from morphoscope.data.splits.split import split_of_store

            export_folders(opened, export, split=None if split is None else split_of_store(opened, split))
        elif split is None:
            export_hdf5(opened, export)
        else:
            raise UsageError("--split makes folders; an .h5 file holds all galaxies together")
        note(f"{len(opened)} galaxies → {export}")
    elif split is not None:
        raise UsageError("--split is for --export; to check a split there is 'data audit --split'")


@data.command()
def audit(
    store: StoreFolder,
    radius: Annotated[list[float] | None, typer.Option(help="Arcsec; repeatable.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split file, run folder, or the name of a split to check.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find galaxies that appear more than once, contradicting labels, and leaks across a split.

    STORE may also be a table with the columns ra, dec and, if known, label.
    """
    from morphoscope.data.audit import audit_lines, audit_path

    radii = tuple(radius) if radius else (0.1, 5.0, 67.0)
    if min(radii) <= 0:
        raise UsageError(f"--radius {min(radii)}: a radius above 0 arcsec was expected")
    result = audit_path(store, radii=radii, split=split)
    say(document(result) if as_json else "\n".join(audit_lines(result)))


def _measured(
    values: list[str] | None,
    errors: list[str] | None,
    units: list[str] | None,
    redshifts: list[str] | None,
    missing: list[float] | None,
) -> Any:
    """What the options say about columns of measurements; None without any."""
    if not values:
        for option, given in (
            ("--error-column", errors),
            ("--unit", units),
            ("--redshift", redshifts),
            ("--missing", missing),
        ):
            if given:
                raise UsageError(f"{option} needs --value-column, the column that it is about")
        return None
    from morphoscope.labels.own import MeasuredColumns

    return MeasuredColumns(
        tuple(values),
        errors=_pairs("--error-column", errors),
        units=_pairs("--unit", units),
        redshifts=tuple(redshifts or ()),
        missing=tuple(missing or ()),
    )


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """VALUE=OTHER of an option, each VALUE once."""
    found: dict[str, str] = {}
    for text in texts or ():
        column, equals, other = text.partition("=")
        if not (column and equals and other):
            raise UsageError(f"{option} {text}: VALUE=OTHER was expected, such as {option} z=e_z")
        if column in found:
            raise UsageError(f"{option} is given twice for '{column}'")
        found[column] = other
    return found


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _print_size(store: Any) -> None:
    say(f"{store.path}: {len(store)} galaxies, {store.meta.image_shape[0]} px")
    if store.meta.unreadable:  # the rest is done, and a script must be able to tell
        raise typer.Exit(1)
