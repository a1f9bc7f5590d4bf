"""The structure of a network, read from its modules: stages, output shapes, parameters, names of layers.

A forward pass on the meta device, where tensors have shapes but no values, shows the order in which modules
are called and what they return; nothing is allocated or computed, so ConvNeXt-Large takes a second. Layers
are named as the papers name them, not as torch and timm do.
Shape letters: C channels, H × W pixels, T tokens, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from morphoscope.report import formatting
from morphoscope.report.tables import Table

if TYPE_CHECKING:
    from torch import nn

BATCH = 2  # batch normalisation that is training refuses a single image


@dataclass(frozen=True)
class Stage:
    """A stretch of layers with a common name.

    Attributes:
        name: dotted path of its first module, or of the container it fills.
        layers: what it does, in order: "3 × bottleneck unit", "7×7 conv, 64, stride 2", "max pool".
        details: the convolutions inside a repeated unit, "1×1, 64"; possibly none.
        kind: "convolution", "units", "attention", "dense" or "other", the main thing it holds.
        shape: of its output without the batch: (C, H, W), (T, D) or (D,); empty where unknown.
        parameters: parameters, as torch counts them.
        trainable: those of them that learn.
        statistics: running means and variances, which Keras counts as parameters.
    """

    name: str
    layers: tuple[str, ...]
    details: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int
    statistics: int


@dataclass
class _Call:
    order: int
    given: Any
    returned: Any


@dataclass
class _Group:
    parent: str
    units: list[tuple[str, nn.Module]] = field(default_factory=list)


def stages(network: nn.Module, image_size: int, channels: int = 3) -> list[Stage]:
    """The stages of a network in the order in which an image passes them.

    Parameters outside the modules that are passed (a class token, a position grid) form a last stage of kind
    "other", so that the parameters of all stages add up to the network's.

    Args:
        network: on any device, also "meta"; neither changed nor computed.
        image_size: side of the input in pixels.
        channels: of the input.
    """
    calls = _calls(network, image_size, channels)
    groups = _merged(_grouped(_units(network, calls)))
    counted: set[int] = set()
    names = _names(groups)
    found = [_stage(name, group, calls, counted) for name, group in zip(names, groups, strict=True)]
    rest = [(name, p) for name, p in network.named_parameters() if id(p) not in counted]
    if rest:
        layers = tuple(dict.fromkeys(parameter_words(name) for name, _ in rest))
        parameters = sum(p.numel() for _, p in rest)
        trainable = sum(p.numel() for _, p in rest if p.requires_grad)
        found.append(Stage("", layers, (), "other", (), parameters, trainable, 0))
    return found


def shape_words(shape: Sequence[int]) -> str:
    """An output shape to read: "64 × 56 × 56", "261 tokens × 768", "2048"."""
    if len(shape) == 2:
        return f"{shape[0]} tokens × {shape[1]}"
    return " × ".join(map(str, shape)) or formatting.DASH


def structure_table(network: nn.Module, image_size: int, channels: int = 3) -> Table:
    """Stages with layers, output and parameters; sums as torch and as Keras count (`cheng` T1, `tong` T III).

    Args:
        network: as for :func:`stages`.
        image_size: side of the input in pixels.
        channels: of the input.
    """
    found = stages(network, image_size, channels)
    whole = sum(stage.parameters for stage in found)
    rows = []
    for stage in found:
        layers = " · ".join(stage.layers)
        if stage.details:
            layers += f" ({'; '.join(stage.details)})"
        share = formatting.percent(stage.parameters / whole if whole else None)
        rows.append(
            [
                stage.name or formatting.DASH,
                layers,
                shape_words(stage.shape),
                formatting.count(stage.parameters),
                share,
            ]
        )
    sums = [("All parameters", whole)]
    learning = sum(stage.trainable for stage in found)
    if learning != whole:
        sums.append(("of which trainable", learning))
    statistics = sum(stage.statistics for stage in found)
    sums.append(("With running means and variances, as Keras counts", whole + statistics))
    for words, value in sums:
        share = formatting.percent(value / whole) if whole and value <= whole else ""
        rows.append(["", words, "", formatting.count(value), share])
    return Table(
        headings=["Stage", "Layers", "Output (C × H × W)", "Parameters", "Share"],
        rows=rows,
        text_columns=frozenset({0, 1, 2}),
        caption=f"Input {channels} × {image_size} × {image_size}.",
        totals=len(sums),
        code_columns=frozenset({0}),
    )


def _calls(network: nn.Module, image_size: int, channels: int) -> dict[nn.Module, _Call]:
    """What each module was given and returned in one forward pass of shapes."""
    import torch

    calls: dict[nn.Module, _Call] = {}

    def note(module: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
        # The first call counts; tensors are kept so that their identity stays theirs.
        calls.setdefault(module, _Call(len(calls), given[0] if given else None, returned))

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    tensors = [*network.named_parameters(), *network.named_buffers()]
    state = {name: tensor.detach().to("meta") for name, tensor in tensors}
    images = torch.empty(BATCH, channels, image_size, image_size, device="meta")
    try:
        with torch.no_grad():
            torch.func.functional_call(network, state, (images,))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _units(network: nn.Module, calls: dict[nn.Module, _Call]) -> Iterator[tuple[str, str, nn.Module]]:
    """(parent, name, module) of everything that is not opened further, in the order of the data."""
    whole = sum(p.numel() for p in network.parameters())

    def opened(parent: str, name: str, module: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
        children = _called_children(name, module, calls)
        trunk = 2 * sum(p.numel() for p in module.parameters()) > whole and not _repeats(module)
        container = (
            children and not is_attention(module) and (trunk or _is_container(module, children, calls))
        )
        if not name or container:
            for path, child in children:
                yield from opened(name, path, child)
        else:
            yield parent, name, module

    yield from opened("", "", network)


def _called_children(
    name: str, module: nn.Module, calls: dict[nn.Module, _Call]
) -> list[tuple[str, nn.Module]]:
    """Children that were called, by time; a list of modules that is only iterated stays a child."""

    def first_call(child: nn.Module) -> int | None:
        inside = [calls[each].order for each in child.modules() if each in calls]
        return min(inside) if inside else None

    timed = []
    for key, child in module.named_children():
        order = first_call(child)
        if order is not None:
            timed.append((order, f"{name}.{key}" if name else key, child))
    return [(path, child) for _, path, child in sorted(timed, key=lambda entry: entry[0])]


def _is_container(
    module: nn.Module, children: list[tuple[str, nn.Module]], calls: dict[nn.Module, _Call]
) -> bool:
    """Whether a module only passes its input from child to child and is not a unit of its own."""
    from torch import nn

    if module not in calls or type(module).forward is nn.Sequential.forward:
        return True
    if not _is_chain(module, [child for _, child in children], calls):
        return False
    holds_list = any(isinstance(child, nn.Sequential | nn.ModuleList) for _, child in children)
    return holds_list or not any(isinstance(each, nn.Conv2d | nn.BatchNorm2d) for each in module.modules())


def _is_chain(module: nn.Module, children: list[nn.Module], calls: dict[nn.Module, _Call]) -> bool:
    """Whether each child takes what the one before returned, told by the identity of the tensors."""
    passed = calls[module].given
    for child in children:
        # A list that is iterated was not called itself; its members were.
        members = [child] if child in calls else [each for each in child.children() if each in calls]
        for member in members:
            if calls[member].given is not passed:
                return False
            passed = calls[member].returned
    return calls[module].returned is passed


def _repeats(module: nn.Module) -> bool:
    """Whether all children with parameters are of one composite kind, as the layers of a dense block are."""
    kinds = [type(child) for child in module.children() if any(True for _ in child.parameters())]
    return len(kinds) > 1 and len(set(kinds)) == 1


def _grouped(units: Iterator[tuple[str, str, nn.Module]]) -> list[_Group]:
    """Neighbours with one parent belong together; a local pooling ends a group, a global one begins one."""
    groups: list[_Group] = []
    ended = True
    for parent, name, module in units:
        kind = kind_of(module)
        if kind == "passing":
            continue
        if ended or groups[-1].parent != parent or kind == "global pooling":
            groups.append(_Group(parent))
        groups[-1].units.append((name, module))
        ended = kind == "pooling"
    return groups


def _weighted(units: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in units if any(True for _ in module.parameters())]


def _merged(groups: list[_Group]) -> list[_Group]:
    """Groups without layers of their own join a neighbour: the next after global pooling, else the last."""
    merged: list[_Group] = []
    waiting: list[tuple[str, nn.Module]] = []
    for group in groups:
        kinds = {kind_of(module) for _, module in group.units}
        small = kinds <= {"global pooling", "pooling", "normalisation", "activation"}
        if small and (waiting or "global pooling" in kinds):
            waiting += group.units
        elif small and merged:
            merged[-1].units += group.units
        else:
            group.units, waiting = [*waiting, *group.units], []
            merged.append(group)
    return [*merged, _Group("", waiting)] if waiting else merged


def _names(groups: list[_Group]) -> list[str]:
    """Each group's parent if the group has all its parameters, else its first module with parameters."""
    weighted = [[name for name, _ in _weighted(group.units) or group.units] for group in groups]
    names = []
    for group, own in zip(groups, weighted, strict=True):
        elsewhere = [name for others in weighted if others is not own for name in others]
        shared = any(name.startswith(f"{group.parent}.") for name in elsewhere)
        names.append(own[0] if shared or not group.parent else group.parent)
    return names


def _stage(name: str, group: _Group, calls: dict[nn.Module, _Call], counted: set[int]) -> Stage:
    """Add up a group; what has been counted (a module used twice) is not counted again."""
    modules = [module for _, module in group.units]
    parameters = trainable = statistics = 0
    for module in modules:
        for parameter in module.parameters():
            if id(parameter) not in counted:
                counted.add(id(parameter))
                parameters += parameter.numel()
                trainable += parameter.numel() if parameter.requires_grad else 0
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")) and id(buffer) not in counted:
                counted.add(id(buffer))
                statistics += buffer.numel()
    layers, details, kind = described(modules)
    shape = _shape(modules[-1], calls[modules[-1]].returned)
    return Stage(name, layers, details, kind, shape, parameters, trainable, statistics)


def _shape(module: nn.Module, returned: Any) -> tuple[int, ...]:
    shape = tuple(getattr(returned, "shape", ()))[1:]
    projection = getattr(module, "proj", None)  # of a patch embedding that gives (H, W, C)
    if len(shape) == 3 and getattr(projection, "out_channels", shape[0]) == shape[2] != shape[0]:
        return shape[2], shape[0], shape[1]
    return shape


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
    elif "Pool" in name and "Attention" not in name:
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
    """Whether a module is nothing but attention: all its parameters are those of gates."""
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
    # A map of one position is flattened without mentioning it.
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
    if "Attention" in name:
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
