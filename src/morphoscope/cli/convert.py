"""The command that writes a catalogue in another form: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.runs import Overwrite
from morphoscope.progress import note


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(convert)


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
