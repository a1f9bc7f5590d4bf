"""The command that fetches cutouts of a survey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.data import data
from morphoscope.cli.options import Json, document
from morphoscope.errors import UsageError
from morphoscope.progress import note, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module; they are in the group ``data``."""
    data.command()(cutouts)


def cutouts(
    table: Annotated[
        str,
        typer.Argument(help="Table with ra and dec; with --name OUT alone is given.", show_default=False),
    ],
    out: Annotated[Path | None, typer.Argument(help="Folder of cutouts to make or to continue.")] = None,
    survey: Annotated[
        str,
        typer.Option(
            help="legacy-dr10, sdss, ps1, hsc, euclid-q1, hips:ID, sia2:ADDRESS (any archive of the Virtual "
            "Observatory, by the address of its queries), or one of --service."
        ),
    ] = "legacy-dr10",
    name: Annotated[
        list[str] | None, typer.Option(help="Object in place of a table, such as NGC1300; repeatable.")
    ] = None,
    arcsec: Annotated[
        str | None,
        typer.Option(help="Side of each cutout; 'measured': by its galaxy. Default: the survey's."),
    ] = None,
    size_column: Annotated[
        str | None, typer.Option(help="Column with the side of each cutout, arcsec.")
    ] = None,
    pixels: Annotated[
        int | None, typer.Option(help="Pixels along a side. Default: the survey's scale.", min=1)
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="jpg, as the survey colours it, or fits.")] = "jpg",
    bands: Annotated[str | None, typer.Option(help="Bands, such as g,r,z. Default: the survey's.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ids of the galaxies.")] = None,
    ra_column: Annotated[str | None, typer.Option(help="Column with right ascension, degrees.")] = None,
    dec_column: Annotated[str | None, typer.Option(help="Column with declination, degrees.")] = None,
    keep_column: Annotated[
        list[str] | None, typer.Option(help="Further column to copy into the manifest; repeatable.")
    ] = None,
    service: Annotated[
        Path | None, typer.Option(help="Table of services of your own (YAML).", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch cutouts round the positions of a table from a survey's service.

    The same command continues an interrupted one and tries failures again. The exit status is 1 if some could
    not be fetched; positions outside the survey are no failure.
    """
    from morphoscope.cutouts.download import fetch_cutouts
    from morphoscope.cutouts.services import KINDS
    from morphoscope.cutouts.targets import CutoutRequest

    source, folder = _arguments(table, out, name or [])
    if kind not in KINDS:
        raise UsageError(f"--format {kind}: {' or '.join(KINDS)} was expected")
    done = fetch_cutouts(
        CutoutRequest(
            table=source,
            out=folder,
            survey=survey,
            names=name or (),
            arcsec=arcsec,
            size_column=size_column,
            pixels=pixels,
            kind=kind,
            bands=[band.strip() for band in bands.split(",")] if bands else (),
            id_column=id_column,
            ra_column=ra_column,
            dec_column=dec_column,
            keep_columns=keep_column or (),
            service=service,
        )
    )
    if as_json:
        say(document({"manifest": str(done.manifest), "counts": done.counts, "asked": done.asked}))
    else:
        say(f"{done.manifest}: " + ", ".join(f"{count} {status}" for status, count in done.counts.items()))
    if done.failed:
        note(
            f"{done.failed} cutouts are missing; their reasons are in the manifest, and the same command "
            "tries them again"
        )
        raise typer.Exit(1)


def _arguments(table: str, out: Path | None, names: list[str]) -> tuple[str | None, Path]:
    """The table, if there is one, and the folder."""
    if names:
        if out is not None:
            raise UsageError("with --name there is no table: give the folder of cutouts alone")
        return None, Path(table)
    if out is None:
        raise UsageError(f"{table}: a table and a folder of cutouts were expected (TABLE OUT), or --name")
    return table, out
