"""A network from a recipe: a timm backbone by name, its starting weights, and a head."""

from __future__ import annotations

from typing import Any

import timm

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.models.heads import head
from morphoscope.models.network import Network
from morphoscope.models.pretrained import load_start, start_of
from morphoscope.recipe import Model


def build(model: Model, outputs: int, *, image_size: int, start: bool = True) -> tuple[Network, str]:
    """Build the network of a recipe.

    Args:
        model: the recipe's part about the network.
        outputs: K of the label scheme.
        image_size: side of the input in pixels; vision transformers resize their position grid to it.
        start: load the starting weights the recipe asks for; false when trained weights follow.

    Returns:
        The network and a sentence that says where its weights come from.

    Raises:
        UsageError: no such model, or an option this model does not have.
        MorphoscopeError: the starting weights are not to be had or do not fit.
    """
    backbone = _backbone(model, image_size)
    origin = load_start(backbone, model, start_of(model)) if start else "not loaded"
    config: dict[str, Any] = backbone.pretrained_cfg
    network = Network(
        backbone,
        head(_width(backbone), model.hidden, outputs, model.dropout),
        mean=config["mean"],
        std=config["std"],
    )
    return network, origin


def _backbone(model: Model, image_size: int) -> Any:
    on_a_hub = ":" in model.name  # such as hf-hub:owner/name
    if not on_a_hub and not timm.is_model(model.name):
        raise UsageError(
            f"model.name: timm has no model '{model.name}'{did_you_mean(model.name, timm.list_models())}"
        )
    options: dict[str, Any] = {"num_classes": 0}
    if model.drop_path:
        options["drop_path_rate"] = model.drop_path
    try:
        return timm.create_model(model.name, pretrained=False, **_sized(model.name, image_size), **options)
    except TypeError as error:
        raise UsageError(f"model {model.name} does not take these options: {error}") from error


def _sized(name: str, image_size: int) -> dict[str, Any]:
    """Transformers fix their position grid when built; convolutional networks take any size."""
    fixed = name.startswith(("vit_", "deit", "beit", "eva", "swin", "cait", "xcit", "mvitv2", "maxvit"))
    return {"img_size": image_size} if fixed else {}


def _width(backbone: Any) -> int:
    return getattr(backbone, "head_hidden_size", None) or backbone.num_features
