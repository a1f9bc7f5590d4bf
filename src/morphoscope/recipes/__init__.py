"""Recipes: everything a training needs, as data.

    fields.py    every field with its default and description, and values from text as ``--set`` gives them
    recipe.py    the recipe: change, compare, read and write it
    presets.py   recipes for a small machine

A paper's row is a Python function that returns a :class:`Recipe`; a variant changes a base with
:meth:`Recipe.changed`. Any field can be set from the command line as ``--set optimiser.lr=0.01``.
The resolved recipe is saved with the run as ``recipe.yaml`` and can be run again.
"""

from __future__ import annotations

from morphoscope.recipes.fields import (
    MIRRORED,
    VIEWS,
    Augment,
    Data,
    Evaluation,
    Model,
    Optimiser,
    Part,
    Schedule,
    Training,
)
from morphoscope.recipes.recipe import Recipe, differences, fields

__all__ = [
    "MIRRORED",
    "VIEWS",
    "Augment",
    "Data",
    "Evaluation",
    "Model",
    "Optimiser",
    "Part",
    "Recipe",
    "Schedule",
    "Training",
    "differences",
    "fields",
]
