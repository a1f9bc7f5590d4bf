"""Where on the image each position of a feature map looks: the centre of its receptive field.

Maps are usually stretched over the image as if cell i of h lay in the middle of the i-th of h equal
stripes. That is so for pooling of 2 by 2 and for patches of transformers. A 3 × 3 convolution of stride 2
with one row of zeros on either side (ResNet) is centred half a pixel earlier, one with zeros on the far
side alone (TensorFlow's "same", EfficientNet) half a pixel later, in the pixels of its input. After five
such layers the map lies 15.5 pixels off, a tenth of an image of 160 pixels: enough to miss the bar of a
galaxy.

Source of the arithmetic: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural
networks", equations 2 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import grid_sample

from morphoscope.explanation.layers import Layer
from morphoscope.models.network import Network

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
            network(torch.zeros(1, 3, size, size, device=weight.device, dtype=weight.dtype))
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
