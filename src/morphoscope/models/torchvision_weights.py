"""ImageNet weights that torchvision trained and timm does not carry, for timm's layouts.

``convnext_large.tv_in1k`` (`ng`) and ``mobilenetv2_100.tv_in1k`` (`yan`) are named as timm names
torchvision's weights of other networks (``resnet50.tv_in1k``). The layers are the same, the tensors' names
are not.
"""

from __future__ import annotations

import re
from typing import Any

import torch

TAG = ".tv_in1k"
MODELS = {
    "mobilenetv2_100": "mobilenet_v2",
    **{f"convnext_{size}": f"convnext_{size}" for size in ("tiny", "small", "base", "large")},
}
"""timm's name → torchvision's."""

_UNIT_OF_CONVNEXT = r"features\.([1357])\.(\d+)\."
_CONVNEXT = (
    (r"features\.0\.", "stem."),
    (_UNIT_OF_CONVNEXT + "layer_scale", "stages.{stage}.blocks.{unit}.gamma"),
    (_UNIT_OF_CONVNEXT + r"block\.0\.", "stages.{stage}.blocks.{unit}.conv_dw."),
    (_UNIT_OF_CONVNEXT + r"block\.2\.", "stages.{stage}.blocks.{unit}.norm."),
    (_UNIT_OF_CONVNEXT + r"block\.3\.", "stages.{stage}.blocks.{unit}.mlp.fc1."),
    (_UNIT_OF_CONVNEXT + r"block\.5\.", "stages.{stage}.blocks.{unit}.mlp.fc2."),
    (r"features\.([246])\.", "stages.{stage}.downsample."),
    (r"classifier\.0\.", "head.norm."),
    (r"classifier\.2\.", "head.fc."),
)
# Of MobileNetV2's 17 units, torchvision numbers all and timm within seven stages.
_STAGES = tuple((stage, unit) for stage, units in enumerate((1, 2, 3, 4, 3, 3, 1)) for unit in range(units))
_FIRST_UNIT = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_UNIT = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}
_AROUND = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "classifier.1": "classifier",
}


def is_torchvisions(name: str) -> bool:
    """Whether a model's name asks for weights that only torchvision has."""
    return name.endswith(TAG) and name.removesuffix(TAG) in MODELS


def layout(name: str) -> str:
    """Timm's name of the layout alone, where the tag is torchvision's; any other name unchanged."""
    return name.removesuffix(TAG) if is_torchvisions(name) else name


def file_name(name: str) -> str:
    """The name under which torchvision distributes these weights, such as ``convnext_large-ea097f82.pth``."""
    return str(_entry(name).url).rpartition("/")[2]


def fetched(name: str) -> dict[str, torch.Tensor]:
    """The weights from torchvision's server or its cache, under timm's names.

    Raises:
        OSError: neither reaches them.
    """
    return renamed(_entry(name).get_state_dict(progress=False, check_hash=True), name)


def renamed(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Weights under torchvision's names under timm's; weights under timm's names are unchanged.

    Args:
        weights: by name.
        name: timm's name of the model, with the tag.
    """
    if not any(key.startswith("features.") for key in weights):
        return weights
    rename = _mobilenet if name.startswith("mobilenet") else _convnext
    new = {rename(key): tensor for key, tensor in weights.items()}
    return {key: tensor.flatten() if key.endswith(".gamma") else tensor for key, tensor in new.items()}


def _entry(name: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(MODELS[layout(name)])["IMAGENET1K_V1"]  # type: ignore[index]


def _convnext(key: str) -> str:
    """Torchvision numbers the stem, stages and scalings between them alike; timm counts stages from 0."""
    for pattern, replacement in _CONVNEXT:
        match = re.match(pattern, key)
        if match:
            stage = int(match[1]) // 2 if match.groups() else 0
            unit = match[2] if len(match.groups()) > 1 else ""
            return replacement.format(stage=stage, unit=unit) + key[match.end() :]
    return key


def _mobilenet(key: str) -> str:
    module, _, tensor = key.rpartition(".")
    if module in _AROUND:
        return f"{_AROUND[module]}.{tensor}"
    unit = re.fullmatch(r"features\.(\d+)\.conv\.(.+)", module)
    if unit is None:
        return key
    number, part = int(unit[1]), unit[2]
    stage, place = _STAGES[number - 1]
    names = _FIRST_UNIT if number == 1 else _UNIT
    return f"blocks.{stage}.{place}.{names[part]}.{tensor}"
