"""The list of recipes and of their fields, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from morphoscope.extras import need
from morphoscope.recipes import Recipe, fields
from morphoscope.studies.registry import recipes

if TYPE_CHECKING:
    from morphoscope.models.network import Network


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
