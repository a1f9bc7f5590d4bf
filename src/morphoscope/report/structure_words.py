"""What layers are called in tables and diagrams: the papers' words for the modules of torch and timm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_UNITS = {
    "Basic": "basic unit",
    "BasicBlock": "basic unit",
    "Block17": "Inception-ResNet-B",
    "Block35": "Inception-ResNet-A",
    "Block8": "Inception-ResNet-C",
    "Bottleneck": "bottleneck unit",
    "ConvMlp": "hidden layers",
    "ConvNeXtBlock": "ConvNeXt block",
    "DenseLayer": "dense layer",
    "DepthwiseSeparableConv": "separable convolution",
    "EdgeResidual": "Fused-MBConv",
    "InvertedResidual": "MBConv",
    "Mixed5b": "Inception-A",
    "Mixed6a": "reduction A",
    "Mixed7a": "reduction B",
}
_TRANSFORMER = {"Block": "transformer block"}  # timm's name; elsewhere it could be anything
_ATTENTION = {
    "ChannelGate": "channel attention",
    "MultiScaleAttention": "multi-scale attention",
    "SpatialGate": "spatial attention",
    "TiledChannelGate": "channel attention",
}
_PARAMETERS = {"cls_token": "class token", "reg_token": "register tokens", "pos_embed": "position grid"}
_GLOBAL = "global average pool"
_MANY_CONVOLUTIONS = 4  # a unit with more is not spelled out


def kind_of(module: nn.Module) -> str:
    """What a module is for a reader of a diagram.

    "convolution", "dense", "attention", "units", "normalisation", "activation", "pooling" (it makes the map
    smaller), "global pooling" (it ends the map) or "passing" (identity, dropout).
    """
    from torch import nn

    name = type(module).__name__
    kind = "units"
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d) or name in ("DropPath", "PatchDropout"):
        kind = "passing"
    elif isinstance(module, nn.Conv2d) or (len(_own_convolutions(module)) == 1 and name not in _UNITS):
        kind = "convolution"
    elif isinstance(module, nn.Linear):
        kind = "dense"
    elif "Pool" in name:
        kind = "global pooling" if "Adaptive" in name else "pooling"
    elif isinstance(module, nn.Flatten):
        kind = "global pooling"
    elif is_attention(module):
        kind = "attention"
    elif "Norm" in name and not name.startswith("Conv"):
        kind = "normalisation"
    elif not list(module.parameters()):
        kind = "activation"
    return kind


def is_attention(module: nn.Module) -> bool:
    """Whether a module is nothing but attention: all its weights are those of gates."""
    gates = [each for each in module.modules() if type(each).__name__ in _ATTENTION]
    inside = {id(parameter) for gate in gates for parameter in gate.parameters()}
    return bool(gates) and all(id(parameter) in inside for parameter in module.parameters())


def parameter_words(name: str) -> str:
    """What a parameter outside all layers is called: "class token"."""
    last = name.rsplit(".", 1)[-1]
    return _PARAMETERS.get(last, last.replace("_", " "))


def described(modules: Sequence[nn.Module]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The words for modules in the order of the data: layers, what is inside the last unit, main kind."""
    kinds = [kind_of(module) for module in modules]
    words: list[str] = []
    details: tuple[str, ...] = ()
    for module, kind in zip(modules, kinds, strict=True):
        if kind == "units" or (kind == "convolution" and list(module.children())):
            word, inside = _unit_words(module)
            words.append(word)
            details = inside or details
        elif (word := _layer_words(module, kind)) is not None:
            words.append(word)
    if not words:
        words = ["normalisation" if "normalisation" in kinds else "activation"]
    # A map of one place is flattened without a word.
    words = [word for before, word in pairwise(["", *words]) if (word, before) != ("flatten", _GLOBAL)]
    layers = tuple(_repeated(word, len(list(same))) for word, same in groupby(words))
    ranked = [kind for kind in ("units", "convolution", "dense", "attention") if kind in kinds]
    return layers, details, ranked[0] if ranked else "other"


def _repeated(word: str, times: int) -> str:
    return word if times == 1 else f"{times} × {word}"


def _unit_words(module: nn.Module) -> tuple[str, tuple[str, ...]]:
    """The name of a composite module and the convolutions inside it."""
    parts = [child for child in module.children() if any(True for _ in child.parameters())]
    kinds = {type(part).__name__ for part in parts}
    if len(parts) > 1 and len(kinds) == 1 and _own_convolutions(parts[-1]):
        word, details = _unit_words(parts[-1])  # such as a dense block of DenseNet
        return f"{len(parts)} × {word}", details
    convolutions = _own_convolutions(module)
    name = type(module).__name__
    if len(convolutions) == 1 and name == "PatchEmbed":
        return f"patches of {_kernel(convolutions[0])}, {convolutions[0].out_channels}", ()
    if len(convolutions) == 1 and name not in _UNITS:
        return _convolution_words(convolutions[0]), ()
    words = _UNITS.get(name.replace("_", ""), name)
    if name in _TRANSFORMER and hasattr(module, "attn"):
        words = _TRANSFORMER[name]
    if "Attention" in name or "AttentionPool" in name:
        words = "attention pool" if "Pool" in name else "attention"
    # A lone 1×1 convolution only brings branches together; they would have to be spelled out too.
    telling = len(convolutions) > 1 or any(map(_is_depthwise, convolutions))
    inside = _convolution_list(convolutions) if telling and len(convolutions) <= _MANY_CONVOLUTIONS else ()
    gates = " + ".join(_attentions(module)).replace(" attention +", " +")
    return words, (*inside, gates) if gates else inside


def _own_convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """Convolutions on the main way through a unit: not those of shortcuts and gates."""
    from torch import nn

    return [child for child in module.children() if isinstance(child, nn.Conv2d)]


def _convolution_list(convolutions: Sequence[nn.Conv2d]) -> tuple[str, ...]:
    return tuple(
        f"{_kernel(each)}{' depthwise' if _is_depthwise(each) else ''}, {each.out_channels}"
        for each in convolutions
    )


def _attentions(module: nn.Module) -> tuple[str, ...]:
    """The attention inside a module, in order: "channel attention", "spatial attention"."""
    found = [
        _ATTENTION[type(each).__name__] for each in module.modules() if type(each).__name__ in _ATTENTION
    ]
    if any(type(each).__name__ == "SqueezeExcite" for each in module.modules()):
        found.append("squeeze-excite")
    return tuple(dict.fromkeys(found))


def _layer_words(module: nn.Module, kind: str) -> str | None:
    from torch import nn

    if isinstance(module, nn.Conv2d):
        return _convolution_words(module)
    if isinstance(module, nn.Linear):
        return f"dense {module.out_features}"
    if kind == "attention":
        return " + ".join(_attentions(module)).replace(" attention +", " +")
    if kind == "global pooling":
        return _global_pool_words(module)
    if kind == "pooling":
        return _local_pool_words(module)
    return None


def _convolution_words(convolution: nn.Conv2d) -> str:
    words = f"{'depthwise ' if _is_depthwise(convolution) else ''}conv {_kernel(convolution)}"
    words += f", {convolution.out_channels}"
    return words + (f", stride {convolution.stride[0]}" if convolution.stride[0] > 1 else "")


def _is_depthwise(convolution: nn.Conv2d) -> bool:
    return convolution.groups == convolution.in_channels > 1


def _kernel(convolution: nn.Conv2d) -> str:
    return "×".join(map(str, convolution.kernel_size))


def _global_pool_words(module: nn.Module) -> str | None:
    from torch import nn

    if isinstance(module, nn.Flatten):
        return "flatten"
    if "Max" in type(module).__name__ or getattr(module, "pool_type", "") == "max":
        return "global max pool"
    if hasattr(module, "pool_type") and not module.pool_type:
        return None  # timm's pooling that is switched off
    return _GLOBAL


def _local_pool_words(module: nn.Module) -> str:
    side = getattr(module, "kernel_size", 2)
    side = side[0] if isinstance(side, tuple) else side
    return f"{'max' if 'Max' in type(module).__name__ else 'average'} pool {side}×{side}"
