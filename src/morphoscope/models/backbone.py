"""Backbones: from an image to D pooled features.

Most are unchanged timm models. Where a study modifies one (attention on its last map, another pooling, its
own residual units) it is a :class:`Backbone`: trunk, attention, pooling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.models.attention import attention
from morphoscope.models.baseline import BaselineTrunk
from morphoscope.models.efficientnet import STAGES, fused_efficientnet
from morphoscope.models.hub import HubBackbone, hub_backbone, is_on_hub
from morphoscope.models.quick_timm import timm
from morphoscope.models.residual import DEPTHS, ResidualTrunk, Units
from morphoscope.models.torchvision_weights import layout
from morphoscope.recipes import Model

OWN = ("baseline-cnn", *(f"residual{depth}" for depth in DEPTHS))
"""Layouts of this program, in addition to timm's."""

_IMAGENET_CLASSES = 1000


class Backbone(nn.Module):
    """Trunk, attention on its last feature map, pooling.

    Args:
        trunk: maps (N, channels, H, W) to (N, C, h, w).
        attention: maps (N, C, h, w) to the same shape.
        positions: h·w to keep every position, D = C·h·w; 1 for the mean over positions, D = C.
    """

    def __init__(self, trunk: Any, attention: nn.Module, positions: int = 1) -> None:
        super().__init__()
        self.trunk = trunk
        self.attention = attention
        self.positions = positions
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.pool = nn.Flatten() if positions > 1 else mean
        self.num_features: int = trunk.num_features * positions

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W), normalised → (N, D)."""
        return self.pool(self.attention(self.trunk(images_NCHW)))


class ConvolutionalPart(nn.Module):
    """The convolutions of a timm VGG, without its two hidden layers of 4096; tensor names are kept."""

    def __init__(self, vgg: Any) -> None:
        super().__init__()
        self.features = vgg.features
        self.num_features: int = vgg.num_features

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) → (N, 512, H / 32, W / 32)."""
        return self.features(images_NCHW)


def backbone(
    model: Model,
    image_size: int,
    hub: HubBackbone | None = None,
    *,
    other_sizes: Sequence[int] = (),
    channels: int = 3,
) -> Any:
    """The backbone of a recipe, with random weights.

    Args:
        model: the recipe's part about the network.
        image_size: side of the input, pixels.
        hub: the configuration of a backbone from a hub; None: fetched.
        other_sizes: sides of other images it will see: a transformer that can then interpolates its position
            grid to each image. Weights and outputs at ``image_size`` are unaffected.
        channels: of the images.

    Raises:
        UsageError: no such model, incompatible options, or an image too small for it.
    """
    _check_options(model)
    if _is_whole(model):
        return _timm_whole(model, (image_size, *other_sizes), hub, channels)
    trunk = _trunk(model, (image_size, *other_sizes), hub, channels)
    inside = model.name in OWN  # their attention is part of the trunk
    gates = attention("none" if inside else model.attention, trunk.num_features, model.reduction)
    shape = feature_shape(model, image_size, hub, channels=channels) if model.pool == "flatten" else ()
    positions = math.prod(shape[2:]) if shape else 1
    return Backbone(trunk, gates, positions)


def weights_part(backbone: Any) -> Any:
    """The part of a backbone that pretrained weights belong to."""
    return backbone.trunk if isinstance(backbone, Backbone) else backbone


def weights_name(model: Model) -> str:
    """The timm model whose pretrained weights match a layout."""
    depth = re.fullmatch(r"residual(\d+)", model.name)
    return f"resnet{depth[1]}.tv_in1k" if depth else model.name


def width(backbone: Any, model: Model) -> int:
    """D, the number of features that the head receives."""
    if model.classifier:
        return _IMAGENET_CLASSES
    return getattr(backbone, "head_hidden_size", None) or backbone.num_features


def _is_whole(model: Model) -> bool:
    changed = model.attention != "none" or model.pool != "model" or model.fused is not None
    return not changed and model.name not in OWN


def _timm_whole(model: Model, sides: Sequence[int], hub: HubBackbone | None, channels: int) -> Any:
    classes = _IMAGENET_CLASSES if model.classifier else 0
    return _timm(model.name, sides, classes, model.drop_path, hub, **_in_chans(channels))


def _in_chans(channels: int) -> dict[str, Any]:
    return {} if channels == 3 else {"in_chans": channels}


def _trunk(model: Model, sides: Sequence[int], hub: HubBackbone | None, channels: int) -> Any:
    if model.name == "baseline-cnn":
        return BaselineTrunk(model.attention, model.reduction, model.kernels, channels)
    if model.name in OWN:
        units = Units(model.shortcut, model.biases, model.attention, model.reduction)
        return ResidualTrunk(int(model.name.removeprefix("residual")), units, channels)
    if model.fused is not None:
        return fused_efficientnet(model.fused, channels)
    if model.name.startswith("vgg"):
        return ConvolutionalPart(_timm(model.name, (224,), 0, model.drop_path, hub, **_in_chans(channels)))
    return _timm(model.name, sides, 0, model.drop_path, hub, global_pool="", **_in_chans(channels))


def _timm(
    name: str,
    sides: Sequence[int],
    classes: int,
    drop_path: float,
    hub: HubBackbone | None,
    **options: Any,
) -> Any:
    if is_on_hub(name):
        hub = hub or hub_backbone(name)
        options = hub.model_args | {"pretrained_cfg": dict(hub.pretrained_cfg)} | options
        if not timm.is_model(hub.architecture):
            raise MorphoscopeError(f"model.name={name}: this timm has no model '{hub.architecture}'")
        name = hub.architecture
    elif not timm.is_model(name := layout(name)):
        near = did_you_mean(name, [*OWN, *timm.list_models()])
        raise UsageError(f"model.name: neither timm nor this program has a model '{name}'{near}")
    if drop_path:
        options["drop_path_rate"] = drop_path
    options |= _sized(name, sides)
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes, **options)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise UsageError(f"model {name} does not take these options: {error}") from error


def _sized(name: str, sides: Sequence[int]) -> dict[str, Any]:
    """Transformers fix their position grid when built; convolutional networks accept any size.

    DINOv2 keeps the grid it was trained with (518 px) and interpolates it to the image (`ng`). With several
    sides, other transformers interpolate theirs too, from that of the first side.
    """
    if "dinov2" in name:
        return {"dynamic_img_size": True}
    fixed = name.startswith(("vit_", "deit", "beit", "eva", "swin", "cait", "xcit", "mvitv2", "maxvit"))
    if not fixed:
        return {}
    several = len(sides) > 1 and name.startswith(("vit_", "deit", "eva", "swin"))
    return {"img_size": sides[0]} | ({"dynamic_img_size": True} if several else {})


def _check_options(model: Model) -> None:
    residual = model.name.startswith("residual")
    if (model.shortcut != "standard" or model.biases) and not residual:
        layouts = ", ".join(name for name in OWN if name.startswith("residual"))
        raise UsageError(f"model.shortcut and model.biases are for {layouts}, not for {model.name}")
    if model.kernels and model.name != "baseline-cnn":
        raise UsageError(f"model.kernels is for baseline-cnn, not for {model.name}")
    if model.attention == "tiled-cbam" and model.name not in ("residual50", "residual101", "residual152"):
        raise UsageError(
            "model.attention=tiled-cbam needs bottleneck units: residual50, residual101 or residual152"
        )
    if model.fused is not None and not model.name.startswith("tf_efficientnetv2_s"):
        raise UsageError(f"model.fused counts stages of tf_efficientnetv2_s; {model.name} has none")
    if model.fused is not None and not 0 <= model.fused <= STAGES:
        raise UsageError(f"model.fused is a number of stages, 0 to {STAGES}, not {model.fused}")
    if model.classifier and not _is_whole(model):
        raise UsageError("model.classifier keeps a timm model whole; do not set attention, pool or fused")


def check_other_sizes(
    model: Model,
    image_size: int,
    other_sizes: Sequence[int],
    hub: HubBackbone | None = None,
    *,
    channels: int = 3,
) -> None:
    """Check that a network accepts images of other sizes than its last one; nothing is computed.

    Raises:
        UsageError: it does not.
    """
    last = feature_shape(model, image_size, hub, channels=channels)
    for side in other_sizes:
        shape = feature_shape(model, image_size, hub, shown=side, channels=channels)
        if model.pool == "flatten" and shape != last:
            raise UsageError(
                f"augment.train_size: model.pool=flatten keeps every position of the last map, {_by(shape)} "
                f"at {side} px and {_by(last)} at {image_size} px, but the head needs a fixed number; set "
                "model.pool=average, or leave augment.train_size out"
            )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in shape[2:])


def feature_shape(
    model: Model,
    image_size: int,
    hub: HubBackbone | None = None,
    *,
    shown: int | None = None,
    channels: int = 3,
) -> tuple[int, ...]:
    """Shape of the trunk's (or the whole timm model's) output for one image; nothing is computed.

    Args:
        model: the recipe's part about the network.
        image_size: side that the network is built for, pixels.
        hub: as in :func:`backbone`.
        shown: side of the image; None: ``image_size``.
        channels: of the image.

    Raises:
        UsageError: the image is too small for the network, or the network accepts only its own size.
    """
    side = shown or image_size
    sides = (image_size,) if side == image_size else (image_size, side)
    with torch.device("meta"):
        make = _timm_whole if _is_whole(model) else _trunk
        meta_network = make(model, sides, hub, channels)
        try:
            with torch.no_grad():
                return tuple(meta_network.eval()(torch.empty(1, channels, side, side)).shape)
        except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError) as error:
            field = "size" if side == image_size else "train_size"
            raise UsageError(
                f"augment.{field}: {model.name} does not accept {side} px "
                f"({reason_of(error).rstrip('.')}); "
                + ("set another size, such as 128 or 224" if field == "size" else "leave train_size out")
            ) from error
