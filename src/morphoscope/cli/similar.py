"""The command that searches a catalogue: similar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.options import Json, Overwrite, RunFolder, document


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(similar)


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
    from morphoscope.evaluation.text import columns
    from morphoscope.report.contact_sheet import check_sheet, draw_neighbours

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
