"""The command that serves the explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(serve)


def serve(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CATALOGUE|STORE", help="What to look at: a folder, or a catalogue's file."
        ),
    ],
    catalogue: Annotated[
        Path | None, typer.Option(help="With a run: a catalogue made with it. Default: its test galaxies.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder, archive, table, Galaxy10 file or store with the images. Default: as the "
            "catalogue says."
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="A second catalogue or run of the same galaxies.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of the labels given, .sqlite. Default: beside the source.")
    ] = None,
    queue: Annotated[
        Path | None, typer.Option(help="Table with a column of ids: the galaxies to label first.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="Classes to label with, comma-separated. Default: the scheme's.")
    ] = "",
    feature_map: Annotated[
        str, typer.Option(help="Map of features shown first: pca or umap (needs the extra 'umap').")
    ] = "pca",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.")] = 8501,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; beyond this machine a token is needed, which is printed."),
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve a page to look at galaxies, ask a catalogue, compare, and label. Ctrl-C ends it."""
    from morphoscope.explorer.server import Request
    from morphoscope.explorer.server import serve as served

    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    if classes and len(set(names)) < 2:
        raise UsageError(f"--classes {classes}: at least two different names were expected")
    request = Request(source, catalogue, images, compare, labels, queue, names, feature_map, host, port)
    served(request, open_browser=open_browser)
