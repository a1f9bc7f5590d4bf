"""Where a map is taken: the last feature map by default, or any layer by name; and which pixels its units
see.

Shape letters: N galaxies, C channels, h × w positions of a feature map, T tokens, K outputs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import grid_sample

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.models.backbone import Backbone
from morphoscope.models.network import Network


@dataclass(frozen=True)
class Layer:
    """A layer of a network whose output is a map.

    Attributes:
        name: dotted path of the module inside the network.
        module: it.
        prefix: tokens that are not a position on the image (class and register tokens); 0 for feature maps.
        channels_last: maps are (N, h, w, C), as Swin transformers keep them.
        tail: the layer's output → the network's outputs (N, K), where only what follows is computed; None
            where the whole network must run.
    """

    name: str
    module: nn.Module
    prefix: int = 0
    tail: Callable[[torch.Tensor], torch.Tensor] | None = None
    channels_last: bool = False

    def as_map(self, output: torch.Tensor) -> torch.Tensor:
        """The layer's output as (N, C, h, w): tokens (N, T, C) are put on their square grid.

        Raises:
            UsageError: the output has no positions.
        """
        if output.ndim == 4:
            return output.movedim(-1, 1) if self.channels_last else output
        side = math.isqrt(max(output.shape[1] - self.prefix, 0)) if output.ndim == 3 else 0
        if side == 0 or side * side != output.shape[1] - self.prefix:
            raise UsageError(
                f"layer '{self.name}' gives {tuple(output.shape[1:])} for each galaxy, which is not a "
                "map; choose an earlier one"
            )
        return output[:, self.prefix :].transpose(1, 2).unflatten(2, (side, side))

    def masked(self, output: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        """The output of one galaxy, (1, ...), repeated with one channel set to zero in each copy.

        Args:
            output: as the layer gives it, (1, C, h, w), (1, h, w, C) or (1, T, C).
            channels: (B,) which channel is zero in each copy.

        Returns:
            (B, ...) copies; class and register tokens keep their values.
        """
        copies = output.expand(len(channels), *output.shape[1:]).clone()
        rows = torch.arange(len(channels), device=output.device)
        if output.ndim == 4 and self.channels_last:
            copies[rows, :, :, channels] = 0
        elif output.ndim == 4:
            copies[rows, channels] = 0
        else:
            copies[rows, self.prefix :, channels] = 0
        return copies


def find_layer(network: Network, name: str | None = None, *, size: int = 96) -> Layer:
    """The layer for maps: the last feature map, or any module by its dotted name.

    Of vision transformers the default is the output of the last block but one: after the last block the
    class token alone decides, and patches have no gradient.

    Args:
        network: any.
        name: dotted path of a module; None: the last feature map.
        size: side of the input in pixels; some transformers take no other than their own.

    Raises:
        UsageError: there is no such layer (near ones are named), or the network has no feature map.
    """
    modules = dict(network.named_modules())
    if name is not None:
        if name not in modules or not name:
            inner = [each for each in modules if each]
            raise UsageError(f"the network has no layer '{name}'{did_you_mean(name, inner, 'layers')}")
        return Layer(name, modules[name], _prefix(network), channels_last=_last(network, modules[name]))
    found = _last_map(network, size)
    names = {id(module): path for path, module in modules.items()}
    return replace(found, name=names[id(found.module)])


def _prefix(network: Network) -> int:
    return int(getattr(network.backbone, "num_prefix_tokens", 0))


def _last(network: Network, module: nn.Module) -> bool:
    """Whether a module's maps have their channels last; convolutions inside such a network do not."""
    kept_last = str(getattr(network.backbone, "output_fmt", "NCHW")).endswith("NHWC")
    return kept_last and not isinstance(module, nn.Conv2d)


def _last_map(network: Network, size: int) -> Layer:
    backbone: Any = network.backbone
    if isinstance(backbone, Backbone):
        plain = isinstance(backbone.attention, nn.Identity)
        module = backbone.trunk if plain else backbone.attention
        return Layer("", module, tail=lambda features: network.head(backbone.pool(features)))
    if hasattr(backbone, "patch_embed") and hasattr(backbone, "blocks"):
        return _transformer(network)
    if not hasattr(backbone, "forward_features"):
        raise UsageError(f"{type(backbone).__name__} tells nothing of its feature maps; name a layer")
    module = _last_called(backbone, size, network.channels)
    return Layer(
        "",
        module,
        tail=lambda features: network.head(backbone.forward_head(features)),
        channels_last=_last(network, module),
    )


def _transformer(network: Network) -> Layer:
    backbone: Any = network.backbone
    last = backbone.blocks[-1]

    def tail(tokens_NTC: torch.Tensor) -> torch.Tensor:
        return network.head(backbone.forward_head(backbone.norm(last(tokens_NTC))))

    return Layer("", backbone.blocks[-2], _prefix(network), tail)


def _last_called(backbone: Any, size: int, channels: int) -> nn.Module:
    """The module whose output is that of ``forward_features``: the one that returns last."""
    returned: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, *_: returned.append(module))
        for module in backbone.modules()
        if module is not backbone
    ]
    weight = next(backbone.parameters())
    try:
        with torch.no_grad(), _evaluating(backbone):
            images = torch.zeros(1, channels, size, size, device=weight.device, dtype=weight.dtype)
            backbone.forward_features(images)
    finally:
        for handle in handles:
            handle.remove()
    return returned[-1]


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextlib.contextmanager
def output_of(layer: Layer, *, leaf: bool) -> Iterator[list[torch.Tensor]]:
    """Collect what a layer returns while the network runs.

    The network goes on with a copy, for what follows may change it in place: many a ReLU and residual sum do.

    Args:
        layer: which.
        leaf: hand on a copy that begins a new graph, so that a gradient goes back to this layer and no
            further; nothing before it is kept in memory.
    """
    kept: list[torch.Tensor] = []

    def keep(module: nn.Module, given: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor):
            raise UsageError(f"layer '{layer.name}' gives no single tensor; choose another")
        if leaf:
            output = output.detach().requires_grad_()
        kept.append(output)
        return output.clone()

    handle = layer.module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


_LOOKING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Centres:
    """Cell i of a map looks at the pixel ``first + i · step`` (the same for rows and columns)."""

    first: float
    step: float


def centres(network: Network, layer: Layer, size: int) -> Centres:
    """Follow one image to a layer and add up what each convolution and pooling shifts.

    Parallel branches (shortcuts, Inception) shift alike; each change of size counts once. What keeps the size
    is centred. Where a map shrank by other means (the patch merging of Swin transformers), its cells are
    equal stripes of the image.

    Args:
        network: any.
        layer: where the map is taken.
        size: side of the input, pixels.
    """
    changes: dict[tuple[int, int], tuple[float, int]] = {}
    handles: list[Any] = []
    done: list[int] = []  # cells of the layer's map

    def look(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        before, after = int(given[0].shape[-1]), int(output.shape[-1])
        if not done and before != after and after > 1:
            kernel, stride, padding = (
                _one(getattr(module, name)) for name in ("kernel_size", "stride", "padding")
            )
            if "Same" in type(module).__name__:
                padding = max((after - 1) * stride + kernel - before, 0) // 2
            changes.setdefault((before, after), ((kernel - 1) / 2 - padding, stride))

    for module in network.modules():
        if isinstance(module, _LOOKING):
            handles.append(module.register_forward_hook(look))
    handles.append(
        layer.module.register_forward_hook(lambda *call: done.append(layer.as_map(call[2]).shape[-1]))
    )
    weight = next(network.parameters())
    try:
        with torch.no_grad():
            network(torch.zeros(1, network.channels, size, size, device=weight.device, dtype=weight.dtype))
    finally:
        for handle in handles:
            handle.remove()
    first, step = 0.0, 1.0
    for shift, stride in changes.values():
        first += shift * step
        step *= stride
    if done and step * done[0] < size / 2:
        step = size / done[0]
        first = (step - 1) / 2
    return Centres(first, step)


def over_the_image(maps_Nhw: torch.Tensor, where: Centres, size: tuple[int, int]) -> torch.Tensor:
    """Maps laid over the image, (N, H, W): bilinear between the middles of cells, constant beyond the last.

    Args:
        maps_Nhw: of a layer.
        where: its cells look at.
        size: H, W.
    """
    rows, columns = (
        (torch.arange(length, dtype=torch.float32, device=maps_Nhw.device) - where.first) / where.step
        for length in size
    )
    height, width = maps_Nhw.shape[1:]
    grid = torch.stack(
        torch.meshgrid(columns * 2 / max(width - 1, 1) - 1, rows * 2 / max(height - 1, 1) - 1, indexing="xy"),
        dim=-1,
    )
    return grid_sample(
        maps_Nhw.float()[:, None],
        grid.expand(len(maps_Nhw), *grid.shape),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )[:, 0]


def _one(value: int | tuple[int, ...] | str) -> int:
    if isinstance(value, str):
        return 0
    return int(value[0] if isinstance(value, tuple | list) else value)
