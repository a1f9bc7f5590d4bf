"""The command that matches two tables by position."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.options import Json, Overwrite, document
from morphoscope.progress import note, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(match)


def match(
    catalogue: Annotated[
        Path, typer.Argument(help="Catalogue or any table with ra and dec.", show_default=False)
    ],
    other: Annotated[
        Path, typer.Argument(help="Table or HATS catalogue to match it with.", show_default=False)
    ],
    out: Annotated[str, typer.Option(help="Joined table: .parquet, .fits, .vot, .ecsv, .csv or .hats.")],
    radius: Annotated[float, typer.Option(help="Largest separation, arcsec.")] = 2.0,
    ways: Annotated[
        str,
        typer.Option(
            "--match", help="mutual: each the other's nearest; nearest: of each row; all: every pair."
        ),
    ] = "mutual",
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Keep rows of CATALOGUE without a match.")
    ] = False,
    ra_column: Annotated[str | None, typer.Option(help="Right ascension in CATALOGUE.")] = None,
    dec_column: Annotated[str | None, typer.Option(help="Declination in CATALOGUE.")] = None,
    other_ra: Annotated[str | None, typer.Option(help="Right ascension in OTHER.")] = None,
    other_dec: Annotated[str | None, typer.Option(help="Declination in OTHER.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Match a catalogue with another table by position on the sky."""
    from morphoscope.catalogue.match import MatchRequest
    from morphoscope.catalogue.match import match as matched

    found = matched(
        MatchRequest(
            catalogue,
            other,
            out,
            radius=radius,
            ways=ways,
            all_rows=all_rows,
            sky=(ra_column, dec_column),
            other_sky=(other_ra, other_dec),
            overwrite=overwrite,
        )
    )
    if as_json:
        say(document(found._asdict()))
    note(f"{found.matched} of {found.rows} rows match {found.others} objects; {found.written} rows → {out}")
