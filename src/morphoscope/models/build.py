"""A network from a recipe: a backbone by name, its starting weights, frozen layers, and a head."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_parameter_registration_hook

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.models.backbone import (
    backbone,
    check_other_sizes,
    feature_shape,
    weights_name,
    weights_part,
    width,
)
from morphoscope.models.blocks import freeze_all_but_last
from morphoscope.models.hub import HubBackbone, hub_backbone, is_on_hub, takes_unit_range
from morphoscope.models.network import Network, head
from morphoscope.models.pretrained import frozen_layers, load_start, reinitialise_rest, start_of
from morphoscope.models.values import Planes, Stretch
from morphoscope.recipes import Model

SLACK = 1 << 27  # parameters, half a gigabyte
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def build(
    model: Model,
    outputs: int,
    *,
    image_size: int,
    start: bool = True,
    statistics: tuple[Sequence[float], Sequence[float]] | None = None,
    hub: HubBackbone | None = None,
    other_sizes: Sequence[int] = (),
    planes: Planes | None = None,
) -> tuple[Network, str]:
    """Build the network of a recipe.

    Args:
        model: the recipe's part about the network.
        outputs: K of the label scheme.
        image_size: side of the input in pixels; vision transformers interpolate their position grid to it.
        start: load the starting weights of the recipe; false when trained weights are loaded later.
        statistics: mean and standard deviation per channel of the training galaxies (0..1), for
            ``model.normalise=data`` and for images that are not red, green and blue; trained weights include
            them.
        hub: the configuration of a backbone from a hub; None: fetched.
        other_sizes: sides of other images it will see, as in a training with growing images.
        planes: the channels of the images, and their sky and noise if they are values as measured; None:
            three, in grey levels. Pretrained first layers are adapted to them as timm does.

    Returns:
        The network, and the source of its weights in words.

    Raises:
        UsageError: no such model, an option that this model lacks, an image too small for it, or sizes that
            it does not accept.
        MorphoscopeError: the starting weights cannot be fetched or do not fit.
    """
    if hub is None and is_on_hub(model.name):
        hub = hub_backbone(model.name)
    other_sizes = sorted(set(other_sizes) - {image_size})
    planes = planes or Planes()
    channels = planes.channels
    if start:
        feature_shape(model, image_size, hub, channels=channels)
        check_other_sizes(model, image_size, other_sizes, hub, channels=channels)
    made = backbone(model, image_size, hub, other_sizes=other_sizes, channels=channels)
    frozen = (
        frozen_layers(made, model.frozen)
        if model.last_blocks is None
        else freeze_all_but_last(made, model.last_blocks)
    )
    origin = _started(made, model, frozen) if start else "not loaded"
    mean, std = _normalisation(made, model, statistics, planes)
    network = Network(
        made,
        head(width(made, model), model.hidden, outputs, model.dropout),
        mean=mean,
        std=std,
        frozen=frozen,
        hidden_l2=model.hidden_l2,
        stretch=Stretch(planes, model.stretch) if planes.sky else None,
    )
    return network, origin


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random weights by a seed, and leave the random state of the process as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def trained_network(
    model: Model,
    outputs: int,
    weights: Path | str,
    *,
    image_size: int,
    hub: HubBackbone | None = None,
    planes: Planes | None = None,
) -> Network:
    """The network of a recipe with the weights of a file, in evaluation mode, on the CPU.

    The file decides how much memory is taken, and not what a recipe from somebody else declares.

    Args:
        model: the recipe's part about the network.
        outputs: K of the label scheme.
        weights: safetensors, as a training writes them.
        image_size: side of the input in pixels.
        hub: the configuration of a backbone from a hub, as the run keeps it.
        planes: the channels of the images; None: three, in grey levels.

    Raises:
        MorphoscopeError: the file is damaged, or of another network.
    """
    weights = Path(weights)
    if hub is None and is_on_hub(model.name):
        raise MorphoscopeError(
            f"{weights.parent / 'run.yaml'} has no 'backbone', without which {model.name} cannot be loaded"
        )
    try:
        tensors = load_file(weights)
        # The first weights are random, and replaced.
        with torch.random.fork_rng(devices=[]), _at_most(sum(tensor.numel() for tensor in tensors.values())):
            network, _ = build(model, outputs, image_size=image_size, start=False, hub=hub, planes=planes)
        _check_names(network.state_dict(), tensors)
        network.load_state_dict(tensors)
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = reason_of(error)
        raise MorphoscopeError(f"{weights} does not fit the recipe's network ({reason})") from error
    return network.eval()


def _check_names(expected: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    """Name the first tensor that is wrong, where torch would list all of them."""
    for name in expected.keys() - tensors.keys():
        raise RuntimeError(f"{name} is missing")
    for name in tensors.keys() - expected.keys():
        raise RuntimeError(f"{name} is unknown")
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            raise RuntimeError(f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")


@contextlib.contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Refuse to build a network of many more parameters than a file has, before their memory is used.

    Some more are allowed: the layers that a study leaves out of a timm model are built first.

    Raises:
        RuntimeError: it has.
    """
    thread, total = threading.get_ident(), 0

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        nonlocal total
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return  # shapes are traced with a second copy on the meta device, which takes no memory
        total += parameter.numel()
        if total > 2 * parameters + SLACK:
            raise RuntimeError(f"that has more than {total:,} parameters, the file {parameters:,}")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _started(made: Any, model: Model, frozen: list[torch.nn.Module]) -> str:
    kind = start_of(model)
    if model.rest == "random" and not frozen:
        kind = "scratch"  # nothing would keep the pretrained weights
    fresh = {}
    if model.rest == "random" and kind != "scratch":
        fresh = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    whole = made if kind == "run" else weights_part(made)
    origin = load_start(whole, model, kind, hub_name=weights_name(model))
    if fresh:
        reinitialise_rest(made, fresh, frozen)
        origin = f"{origin}, in the frozen {model.frozen:.0%} of the layers; the others random"
    return origin


def _normalisation(
    made: Any, model: Model, statistics: tuple[Sequence[float], Sequence[float]] | None, planes: Planes
) -> tuple[Sequence[float], Sequence[float]]:
    count = planes.channels
    fixed: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "half": ((0.5,) * count, (0.5,) * count),
        "unit": ((0.0,) * count, (1.0,) * count),
    }
    if statistics is not None and model.normalise not in fixed:
        return statistics
    if count != 3 or planes.sky:  # until the trained weights are loaded
        return fixed.get(model.normalise, fixed["half"])
    if model.normalise == "model" and takes_unit_range(model.name):
        return fixed["unit"]
    config: dict[str, Any] = getattr(weights_part(made), "pretrained_cfg", None) or _IMAGENET
    return fixed.get(model.normalise, (config["mean"], config["std"]))
