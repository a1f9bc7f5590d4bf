"""Commands that train: demo, models, train, study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from morphoscope.cli.options import Json, Overwrite, document
from morphoscope.errors import UsageError
from morphoscope.progress import note, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (demo, models, train, study):
        app.command()(command)


def demo(
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("morphoscope-demo"),
    count: Annotated[int, typer.Option(help="Galaxies to simulate.", min=200)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0)] = 0,
    classify_only: Annotated[
        bool, typer.Option("--classify-only", help="End before the part that simulates and trains.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """A tour, offline and in minutes: classify real sky, train on a new question, write a report."""
    from morphoscope.demo import run_demo

    run_demo(out, count=count, seed=seed, classify_only=classify_only, overwrite=overwrite)


def models(
    show_fields: Annotated[
        bool, typer.Option("--fields", help="List the fields of a recipe with their defaults instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the recipes, with their networks."""
    from morphoscope.studies.registry import describe_recipes, field_lines, recipe_lines

    if show_fields:
        say("\n".join(field_lines()))
        return
    described = describe_recipes()
    say(document(described) if as_json else "\n".join(recipe_lines(described)))


def train(
    recipe: Annotated[str, typer.Argument(help="Name from 'morphoscope models', or a YAML file.")],
    store: Annotated[
        Path, typer.Option(help="Labelled store to train on, or a table of images with a column 'label'.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; repeatable.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Local file or folder with pretrained weights.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    folds: Annotated[
        int | None,
        typer.Option(help="Learn from every label; measure by cross-validation with so many folds.", min=2),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")] = False,
) -> None:
    """Train a network, evaluate it on held-out galaxies, and write its report.

    Recipes: 'morphoscope models'. Fields for --set: 'morphoscope models --fields'.
    Several GPUs: 'torchrun --nproc-per-node 4 -m morphoscope train ...'.
    """
    from morphoscope.processes import is_rank_0, leave_messages_to_rank_0
    from morphoscope.studies.registry import find_recipe

    leave_messages_to_rank_0()
    chosen = find_recipe(recipe).with_settings(settings or [])
    if weights and from_scratch:
        raise UsageError("--weights and --from-scratch exclude each other; give one")
    if weights:
        chosen = chosen.changed({"model.weights": weights})
    if from_scratch:
        chosen = chosen.changed({"model.pretrained": False})

    if folds is not None:
        chosen = chosen.changed({"data.folds": folds})

    from morphoscope import api

    done = api.train(chosen, store, out, resume=resume, report=not no_report)
    if is_rank_0():
        _print_result(done.metrics(), out, report=not no_report)


def _print_result(metrics: dict[str, Any], out: Path, *, report: bool) -> None:
    from morphoscope.report.kinds import report_of
    from morphoscope.report.terminal import calibration_lines

    if metrics:
        say(
            "\n".join(
                report_of(metrics["scheme"]).summary_lines(metrics["test"]) + calibration_lines(metrics)
            )
        )
    note(f"run → {out}" + (f", report → {out / 'report.html'}" if report else ""))


def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="cheng, tong, yan, ng or fu.")],
    store: Annotated[Path, typer.Option(help="Store with the study's labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one is continued.")],
    seeds: Annotated[int, typer.Option(help="Trainings per row, with different seeds.", min=1)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small images, few galaxies, few epochs.")] = False,
    row: Annotated[list[str] | None, typer.Option(help="Only this row; repeatable. Default: all.")] = None,
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
            say(f"{reading:<18} {about}")
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
    say("\n".join(done.lines))
    note(f"study → {out}, page → {done.page}")
    if done.not_run:
        note(f"{len(done.not_run)} rows were not run; the page says why: {', '.join(done.not_run)}")
