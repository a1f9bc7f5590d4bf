"""Commands that share a run: export, publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.progress import note

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
AnyRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, or hf-hub:owner/name.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (export, publish):
        app.command()(command)


def export(
    run: AnyRun,
    onnx: Annotated[Path, typer.Option(help="File to write, .onnx; a .json is written beside it.")],
    overwrite: Overwrite = False,
) -> None:
    """Export a run's network as ONNX, checked against the run, with a JSON file on image preprocessing."""
    from morphoscope import api
    from morphoscope.inference.engine.preparation import read_preparation, sidecar

    made = api.load(run).export(onnx, overwrite=overwrite)
    parity = read_preparation(made).parity
    note(
        f"network → {made}, how to prepare images → {sidecar(made)}; on {parity['images']} images the "
        f"probabilities differ by {parity['largest_difference']:.1e} at most"
    )


def publish(
    run: AnyRun,
    to: Annotated[str, typer.Argument(metavar="TO", help="Folder to make, or hf-hub:owner/name.")],
    licence: Annotated[str, typer.Option(help="Of the weights, such as mit or cc-by-4.0.")] = "",
    authors: Annotated[str, typer.Option(help="Authors named in the model card.")] = "",
    half: Annotated[
        bool, typer.Option("--half", help="Weights in half precision; halves the folder's size.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="On the hub: visible only to you.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Publish a run, with a model card, as a folder that others can load or on a model hub."""
    from morphoscope import api

    where = api.load(run).publish(
        to, licence=licence, authors=authors, half=half, private=private, overwrite=overwrite
    )
    note(f"published → {where}" + ("" if licence else "; it names no licence (--licence)"))
