"""Every recipe and paper by name. A new study is one package and one name in PAPERS."""

from __future__ import annotations

import importlib
from pathlib import Path

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.recipes import Recipe
from morphoscope.studies.published import Published

PAPERS = ("cheng", "tong", "yan", "ng", "fu")
# Modules that list their recipes as RECIPES.
MODULES = ("morphoscope.recipes.presets", *(f"morphoscope.studies.{paper}.study" for paper in PAPERS))


def recipes() -> dict[str, Recipe]:
    """All recipes by name, such as ``small/five-class``."""
    named: dict[str, Recipe] = {}
    for module in MODULES:
        for function in importlib.import_module(module).RECIPES:
            recipe: Recipe = function()
            named[recipe.name] = recipe
    return named


def find_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or from a YAML file.

    Raises:
        UsageError: neither a known name nor a readable file.
    """
    name = str(name)
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return Recipe.from_yaml(name)
    known = recipes()
    if name not in known:
        raise UsageError(
            f"no recipe '{name}'{did_you_mean(name, known, 'recipes')}; give a name or a YAML file"
        )
    return known[name]


def published(study: str) -> Published:
    """What the paper of a study publishes.

    Raises:
        UsageError: no such study.
    """
    if study not in PAPERS:
        raise UsageError(f"no paper '{study}'{did_you_mean(study, PAPERS, 'papers')}")
    return importlib.import_module(f"morphoscope.studies.{study}.paper").PUBLISHED
