"""The list of recipes and of their fields, for people and for programs."""

from __future__ import annotations

from typing import Any

from morphoscope.recipe import Recipe, fields
from morphoscope.studies.registry import recipes


def describe_recipes() -> list[dict[str, Any]]:
    """Name, purpose, backbone, weights of the backbone and input size of every recipe.

    Networks are counted without memory for their weights (torch's meta device).
    """
    return [_described(recipe) for recipe in recipes().values()]


def recipe_lines(described: list[dict[str, Any]]) -> list[str]:
    """The same as aligned text."""
    return [
        f"{row['name']:<28} {row['backbone']:<24} {row['backbone_parameters'] / 1e6:6.1f} M  "
        f"{row['image_size']:>4} px  {row['about']}"
        for row in described
    ]


def field_lines() -> list[str]:
    """Every field of a recipe with its default, as ``--set`` takes it."""
    lines = []
    for name, info in fields().items():
        default = info.get_default(call_default_factory=True)
        lines.append(f"{name:<28} {default!s:<18} {info.description or ''}".rstrip())
    return lines


def _described(recipe: Recipe) -> dict[str, Any]:
    import torch

    from morphoscope.models.build import build
    from morphoscope.models.network import parameter_count

    with torch.device("meta"):
        network, _ = build(recipe.model, 1, image_size=recipe.augment.size, start=False)
    return {
        "name": recipe.name,
        "study": recipe.name.split("/")[0],
        "about": recipe.about,
        "backbone": recipe.model.name,
        "backbone_parameters": parameter_count(network.backbone),
        "pretrained": recipe.model.pretrained,
        "image_size": recipe.augment.size,
        "epochs": recipe.training.epochs,
    }
