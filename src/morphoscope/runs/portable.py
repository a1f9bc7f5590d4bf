"""What a run says of the machine it was made on, left out: for files that are handed on."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from morphoscope.models.hub import portable_name
from morphoscope.recipes import Recipe
from morphoscope.runs.run import StoreFacts


def portable_store(facts: StoreFacts) -> StoreFacts:
    """The facts about the training's store, without the folder it was in."""
    return facts.model_copy(update={"path": "", "source": last_part(facts.source)})


def portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe, with the names alone of the files and folders it started from."""
    changes: dict[str, str] = {}
    for field in ("weights", "start"):
        value = getattr(recipe.model, field)
        if value:
            changes[f"model.{field}"] = last_part(value)
    changes["model.name"] = portable_name(recipe.model.name)
    return recipe.changed(changes)


def portable_values(values: Any) -> Any:
    """A JSON document, with the names alone of the files and folders in it."""
    if isinstance(values, dict):
        return {name: portable_values(value) for name, value in values.items()}
    if isinstance(values, list):
        return [portable_values(value) for value in values]
    return last_part(values) if isinstance(values, str) else values


def last_part(text: str) -> str:
    """The last name of an absolute path or of one from the home folder; other text as it is.

    >>> last_part("/data/me/weights.pth"), last_part("simulator"), last_part("Galaxy10.h5")
    ('weights.pth', 'simulator', 'Galaxy10.h5')
    """
    if PurePosixPath(text).is_absolute() or text.startswith(("~", "../", "./")):
        return PurePosixPath(text).name
    return PureWindowsPath(text).name if PureWindowsPath(text).is_absolute() else text
