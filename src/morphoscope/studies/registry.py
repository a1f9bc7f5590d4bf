"""Every recipe by its name. Adding a study is one module and one line here."""

from __future__ import annotations

import importlib
from pathlib import Path

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.recipe import Recipe
from morphoscope.studies.published import PAPERS

STUDIES = ("small", *PAPERS)  # modules of this package; each lists its recipes as RECIPES


def recipes() -> dict[str, Recipe]:
    """All recipes by name, such as ``small/five-class``."""
    named: dict[str, Recipe] = {}
    for study in STUDIES:
        module = importlib.import_module(f"morphoscope.studies.{study}")
        for function in module.RECIPES:
            recipe: Recipe = function()
            named[recipe.name] = recipe
    return named


def find_recipe(name: str) -> Recipe:
    """A recipe by its name, or from a YAML file.

    Raises:
        UsageError: neither a known name nor a readable file.
    """
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return Recipe.from_yaml(name)
    known = recipes()
    if name not in known:
        raise UsageError(f"no recipe '{name}'{did_you_mean(name, known, 'recipes')}; or give a YAML file")
    return known[name]
