"""Freezing a share of a network's layers, and reinitialising the rest.

`fu` counts layers as Keras does: 427 of DenseNet-121, including activations, concatenations and poolings.
The first ⌊427 · share⌋ of them keep their ImageNet weights and do not learn.
"""

from __future__ import annotations

import torch
from torch import nn


def layers_in_order(backbone: nn.Module) -> list[nn.Module | None]:
    """The layers of a backbone from input to output; None for one without a module.

    DenseNets are listed layer by layer as Keras lists them. For other networks these are the innermost
    modules and all with weights of their own, in the order of definition, which for timm's convolutional
    networks is that of the forward pass.
    """
    if hasattr(backbone, "features") and hasattr(backbone.features, "denseblock1"):
        return _densenet_as_keras(backbone)
    trunk = getattr(backbone, "trunk", backbone)
    return [module for module in trunk.modules() if _is_layer(module)]


def frozen_layers(backbone: nn.Module, share: float) -> list[nn.Module]:
    """The modules among the first ⌊n · share⌋ layers that have weights.

    Args:
        backbone: without its head.
        share: from 0 (all learn) to 1 (only the head learns).
    """
    if share >= 1:  # including what belongs to no layer, such as the scales of ConvNeXt's blocks
        return [getattr(backbone, "trunk", backbone)]
    layers = layers_in_order(backbone)
    first = layers[: int(len(layers) * share + 1e-9)]
    return [layer for layer in first if layer is not None and list(layer.parameters())]


def reinitialise_rest(backbone: nn.Module, fresh: dict[str, torch.Tensor], frozen: list[nn.Module]) -> None:
    """Restore the random weights of all layers that learn (`fu` in its default reading).

    Args:
        backbone: with pretrained weights.
        fresh: its state before they were loaded.
        frozen: the layers that keep them.
    """
    kept = {id(module) for module in frozen}
    state = backbone.state_dict()
    for name, module in backbone.named_modules():
        if id(module) in kept:
            prefix = f"{name}." if name else ""
            fresh |= {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
    backbone.load_state_dict(fresh)


def _is_layer(module: nn.Module) -> bool:
    """Whether a module counts as a layer: timm's normalisation with activation has weights and a child."""
    if isinstance(module, nn.Identity | nn.Dropout):
        return False
    children = list(module.children())
    if not children:
        return True
    return bool(module._parameters) and not any(list(child.parameters()) for child in children)


def _densenet_as_keras(backbone: nn.Module) -> list[nn.Module | None]:
    """427 for DenseNet-121: stem 7, dense layers 7 each, transitions 4, last normalisation and ReLU 2."""
    features = backbone.features
    assert isinstance(features, nn.Module)
    stem = [None, None, features.conv0, features.norm0, None, None, features.pool0]
    layers: list[nn.Module | None] = [_module(layer) for layer in stem]
    for name, part in features.named_children():
        if name.startswith("denseblock"):
            for dense in part.children():
                inside = (dense.norm1, None, dense.conv1, dense.norm2, None, dense.conv2, None)
                layers += [_module(layer) for layer in inside]
        elif name.startswith("transition"):
            layers += [_module(part.norm), None, _module(part.conv), _module(part.pool)]
    return [*layers, _module(features.norm5), None]


def _module(layer: object) -> nn.Module | None:
    assert layer is None or isinstance(layer, nn.Module)
    return layer
