"""Write the tables of ``docs/recipes.md``, ``studies.md`` and ``vote-counts.md`` from the program itself.

``make docs`` runs it; ``tests/test_docs.py`` sees that it was run.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from morphoscope.labels.tree_files import tree_file, tree_names
from morphoscope.recipes import Recipe, fields
from morphoscope.studies.registry import every_element, recipes

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Replace what stands between the marks of every table."""
    for page in TABLES:
        path = DOCS / page
        path.write_text(filled(path.read_text(encoding="utf-8"), page), encoding="utf-8")


def filled(text: str, page: str) -> str:
    """A page with its tables as the program has them now."""
    for name, make in TABLES[page].items():
        table = make()
        begin, end = f"<!-- {name}: written by make docs -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            sys.exit(f"{page}: the marks '{begin}' and '{end}' are missing")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def recipe_table() -> str:
    """One line a named recipe."""
    lines = ["| name | network | start | pixels | epochs | what for |", "|---|---|---|---|---|---|"]
    for recipe in recipes().values():
        start = "ImageNet" if recipe.model.uses_pretrained else "scratch"
        if recipe.model.start:
            start = f"`{recipe.model.start}`"
        lines.append(
            f"| `{recipe.name}` | {recipe.model.name} | {start} | {recipe.augment.size} | "
            f"{recipe.training.epochs} | {recipe.about} |"
        )
    return "\n".join(lines)


def tree_table() -> str:
    """One line a decision tree of the package."""
    lines = ["| name | campaign | questions | answers | tables | verified |", "|---|---|---|---|---|---|"]
    for name in tree_names():
        file = tree_file(name)
        tree, checked = file.tree(), "yes" if file.verified else "not every route"
        lines.append(
            f"| `{name}` | {file.title} | {len(tree.questions)} | {len(tree.columns)} | "
            f"{'; '.join(file.tables)} | {checked} |"
        )
    return "\n".join(lines)


def field_tables() -> str:
    """One table a part of the recipe, one line a field."""
    parts: dict[str, list[str]] = {}
    for name, field in fields().items():
        part = name.partition(".")[0] if "." in name else ""
        description = (field.description or "").replace("|", "\\|")
        default = "none" if field.default is None else f"`{_yaml(field.default)}`"
        parts.setdefault(part, []).append(
            f"| `{name}` | {_values(field.annotation)} | {default} | {description} |"
        )
    tables = []
    for part, lines in parts.items():
        about = Recipe.model_fields[part].annotation.__doc__ if part else "The recipe itself."
        title = f"### {part}" if part else "### The recipe"
        head = ["| field | values | default | |", "|---|---|---|---|"]
        tables.append("\n".join([title, "", str(about).strip().splitlines()[0], "", *head, *lines]))
    return "\n\n".join(tables)


def element_table() -> str:
    """One line a table, figure, setting or claim of a paper."""
    lines = ["| paper | element | what | where | |", "|---|---|---|---|---|"]
    for paper, elements in every_element().items():
        for each in elements:
            how = f"declared: {each.declared}" if each.declared else "exact"
            lines.append(f"| `{paper}` | {each.name} | {each.what} | `{each.location}` | {how} |")
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "recipes.md": {"recipes": recipe_table, "fields": field_tables},
    "studies.md": {"elements": element_table},
    "vote-counts.md": {"trees": tree_table},
}


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _values(annotation: Any) -> str:
    """The values a field takes, in words."""
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_values(option) for option in get_args(annotation))
    if origin is tuple:
        kinds = get_args(annotation)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return f"a list: {_values(kinds[0])} each"
        return f"{len(kinds)} × {_values(kinds[0])}"
    if hasattr(annotation, "__metadata__"):
        return _values(get_args(annotation)[0])
    names = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "none"}
    return names[annotation]


if __name__ == "__main__":
    main()
