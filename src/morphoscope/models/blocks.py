"""The blocks of a backbone, from its input to its output: for learning rates by depth, and for training the
last ones alone.
"""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn


def block_numbers(backbone: nn.Module) -> dict[str, int]:
    """The number of the block that each parameter belongs to, by the parameter's name, from 0 at the input.

    A block is what timm's ``group_matcher`` of a model calls one: a residual unit, a transformer's layer, the
    stem. Of a layout without that, it is an innermost module with weights. What this program adds after the
    trunk belongs to the last block.
    """
    trunk = getattr(backbone, "trunk", backbone)
    prefix = "" if trunk is backbone else "trunk."
    numbers = {f"{prefix}{name}": number for name, number in _of_trunk(trunk).items()}
    last = max(numbers.values(), default=0)
    return {name: numbers.get(name, last) for name, _ in backbone.named_parameters()}


def _of_trunk(trunk: nn.Module) -> dict[str, int]:
    matcher = getattr(trunk, "group_matcher", None)
    if matcher is not None:
        found: dict[str, int] = group_parameters(trunk, matcher(coarse=False), reverse=True)
        used = {number: index for index, number in enumerate(sorted(set(found.values())))}
        return {name: used[number] for name, number in found.items()}
    owners: dict[str, int] = {}
    return {
        name: owners.setdefault(name.rpartition(".")[0], len(owners)) for name, _ in trunk.named_parameters()
    }


def freeze_all_but_last(backbone: nn.Module, count: int) -> list[nn.Module]:
    """Freeze the parameters of all blocks but the last ``count``.

    Returns:
        The innermost modules in these blocks, such as batch normalisation, which stay in evaluation mode.
    """
    numbers = block_numbers(backbone)
    learning = max(numbers.values(), default=0) - count + 1
    kept = set()
    for name, parameter in backbone.named_parameters():
        if numbers[name] >= learning:
            kept.add(name.rpartition(".")[0])
        else:
            parameter.requires_grad_(False)
    owners = {name.rpartition(".")[0] for name in numbers} - kept - {""}  # "" is the whole backbone
    modules = (backbone.get_submodule(name) for name in sorted(owners))
    return [module for module in modules if not any(p.requires_grad for p in module.parameters())]
