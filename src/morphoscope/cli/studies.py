"""The command that reproduces a paper: study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.progress import note


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(study)


def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="cheng, tong, yan, ng or fu.")],
    store: Annotated[Path, typer.Option(help="Store with the study's labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one is continued.")],
    seeds: Annotated[int, typer.Option(help="Trainings per row, with different seeds.", min=1)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small images, few galaxies, few epochs.")] = False,
    row: Annotated[list[str] | None, typer.Option(help="Only this row; repeatable. [default: all]")] = None,
    weights: Annotated[str | None, typer.Option(help="Folder with pretrained weights by timm name.")] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="No pretrained weights except packaged ones; the page says so."),
    ] = False,
    literal: Annotated[
        list[str] | None,
        typer.Option(help="A literal reading of the paper, off by default; repeatable. 'list' shows them."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field in all rows.")
    ] = None,
    test_images: Annotated[
        str | None,
        typer.Option(help="ng: folder or store of Kaggle's test images; writes submission.csv for each row."),
    ] = None,
) -> None:
    """Train every row of a paper's tables and write its tables and figures, published next to measured."""
    from morphoscope.studies.study import Options, find_study

    chosen = find_study(name)
    if literal == ["list"]:
        for reading, (about, _) in chosen.literal.items():
            print(f"{reading:<18} {about}")
        return
    options = Options(
        quick=quick,
        seeds=seeds,
        rows=tuple(row or ()),
        weights=weights,
        from_scratch=from_scratch,
        literal=tuple(literal or ()),
        settings=tuple(settings or ()),
    )
    from morphoscope.studies.reproduce import study as reproduced

    done = reproduced(chosen, store, out, options, test_images=test_images)
    print("\n".join(done.lines))
    note(f"study → {out}, page → {done.page}")
    if done.not_run:
        note(f"{len(done.not_run)} rows were not run; the page says why: {', '.join(done.not_run)}")
