"""Every recipe, paper and element of a paper by name, and lists of them.

A new study is one package and one name in PAPERS. The table of elements in docs/studies.md is made from
:func:`every_element`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.extras import need
from morphoscope.recipes import Recipe, fields
from morphoscope.studies.published import Element, Published

if TYPE_CHECKING:
    from morphoscope.models.network import Network

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


def elements_of(paper: str) -> tuple[Element, ...]:
    """A paper's listed elements and its claims."""
    listed: tuple[Element, ...] = importlib.import_module(f"morphoscope.studies.{paper}.paper").ELEMENTS
    return (*listed, *_claims(published(paper), paper))


def every_element() -> dict[str, tuple[Element, ...]]:
    """The elements of all papers, by short name."""
    return {paper: elements_of(paper) for paper in PAPERS}


def _claims(paper: Published, key: str) -> Iterable[Element]:
    for claim in paper.claims:
        asked = f" (asked of {claim.asked_of})" if claim.asked_of else ""
        declared = "" if claim.check is not None else claim.undecided
        yield Element("claim", claim.text + asked, f"studies/{key}/paper.py: CLAIMS", declared)


def describe_recipes() -> list[dict[str, Any]]:
    """Name, purpose, network, parameter counts and sizes of every recipe.

    ``parameters`` counts as torch does, ``parameters_total`` includes the running statistics of batch
    normalisation (Keras' "Total params"), and ``parameters_trainable`` leaves out frozen ones. ``outputs``
    is None where the labels decide (the counts are then for one output). Networks are built on torch's meta
    device, so no memory is allocated for their parameters.

    Raises:
        MissingExtra: torch and timm are not installed.
    """
    need(("torch", "timm"), "train", "counting the parameters of networks")
    return [_described(recipe) for recipe in recipes().values()]


def recipe_lines(described: list[dict[str, Any]]) -> list[str]:
    """The same information as aligned text."""
    return [
        f"{row['name']:<34} {row['parameters'] / 1e6:6.1f} M  {row['image_size']:>4} px  {row['about']}"
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
    from morphoscope.models.network import parameter_count, parameter_total

    outputs = scheme_outputs(recipe.data.scheme)
    network = meta_network(recipe, outputs or 1)
    return {
        "name": recipe.name,
        "study": recipe.name.split("/")[0],
        "about": recipe.about,
        "backbone": recipe.model.name,
        "parameters": parameter_count(network),
        "parameters_total": parameter_total(network),
        "parameters_trainable": parameter_count(network, trainable_only=True),
        "pretrained": recipe.model.pretrained,
        "image_size": recipe.augment.size,
        "outputs": outputs,
        "scheme": recipe.data.scheme,
        "epochs": recipe.training.epochs,
    }


def meta_network(recipe: Recipe, outputs: int) -> Network:
    """A recipe's network on torch's meta device: shapes only, no values."""
    import torch
    from torch.overrides import TorchFunctionMode

    from morphoscope.models.build import build

    class NoRandomStart(TorchFunctionMode):
        """Skips random initialisation, which takes most of the time even on the meta device."""

        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
                return args[0]
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), NoRandomStart():
        network, _ = build(recipe.model, outputs, image_size=recipe.augment.size, start=False)
    return network


def scheme_outputs(name: str | None) -> int | None:
    """K of a built-in scheme by its name."""
    from morphoscope.labels.five_class import FIVE_CLASS
    from morphoscope.labels.galaxy10 import GALAXY10
    from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES

    schemes = (GALAXY10, FIVE_CLASS, GALAXY_ZOO_2_VOTES)
    return next((scheme.outputs for scheme in schemes if scheme.name == name), None)
