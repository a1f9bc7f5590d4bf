"""The command for decision trees: trees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.options import Json, Overwrite, document
from morphoscope.errors import UsageError
from morphoscope.progress import note, say


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(trees)


def trees(
    name: Annotated[
        str | None,
        typer.Argument(help="A tree of the list, or the .yaml file of your own.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """List the decision trees of Galaxy Zoo's campaigns, or show one."""
    from morphoscope.labels.tree_files import tree_file, tree_names
    from morphoscope.labels.tree_text import list_lines, tree_document, tree_lines

    if name is None:
        if out is not None:
            raise UsageError("--out draws one tree; name it: morphoscope trees NAME --out FILE")
        listed = {key: tree_document(tree_file(key)) for key in tree_names()} if as_json else {}
        say(document(listed) if as_json else "\n".join(list_lines()))
        return
    file = tree_file(name)
    say(document(tree_document(file)) if as_json else "\n".join(tree_lines(file)))
    if out is not None:
        from morphoscope.extras import need
        from morphoscope.labels.tree_files import decision_tree as sums_of

        if out.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"{out}: a name that ends in .png, .svg or .pdf was expected")
        if out.exists() and not overwrite:
            raise UsageError(f"{out} exists already; choose another name or pass --overwrite")
        need(("matplotlib",), "report", "drawing a decision tree")
        from morphoscope.report.figures.decision_tree import decision_tree
        from morphoscope.report.figures.style import save

        save(decision_tree(sums_of(file.tree())), out)
        note(f"drawn → {out}")
