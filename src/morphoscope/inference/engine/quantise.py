"""Static quantisation of a run's graph to 8 bits: convolutions and what lies between them.

Weights are rounded to 7 bits per output channel: processors without VNNI add two products of 8 bits in 16
bits, which overflow with 8-bit weights, so the same graph gives the same answers everywhere. Activations have
8 bits per tensor between the smallest and the largest value seen; narrower ranges (percentiles, least squared
error) cut the galaxies' bright centres and cost class agreement (EXPERIMENTS.md, 2026-11-29). Images enter as
the grey levels that they are, and the normalisation goes into the first convolution.

The graph holds pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO replace by
integer kernels. ONNX Runtime computes narrow groups and three channels slowly, so neighbouring groups are
joined and the image gets a fourth channel, with weights of zero: the sums of integers, and so the answers,
are the same (EXPERIMENTS.md, 2026-11-30).

Shape letters: N images, S × S pixels, C channels.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.inference.engine.interface import INPUT, OUTPUTS

if TYPE_CHECKING:
    import onnx

WEIGHT_LIMIT = 63  # 255 · 63 · 2 < 2¹⁵
LEVELS = 255
BATCH = 8  # images: every intermediate tensor is in memory at once
_GROUP_INPUTS = 32  # channels that groups are joined up to,
_NARROWEST = 8  # if they have so many at least: depthwise convolutions have kernels of their own
_CHANNELS = 4  # ONNX Runtime's kernel takes the channels of a convolution of one group in fours
_ACTIVATIONS = ("Relu", "Clip")
_LEVELS = "images.levels"
_SAME_RANGE = ("MaxPool",)  # its outputs are some of its inputs


class Quantiser:
    """A graph that :mod:`morphoscope.inference.engine.export` wrote, and the ranges of its tensors.

    Args:
        path: the graph in fp32.
        images_NSSC: uint8, to take the ranges from.

    Raises:
        MorphoscopeError: the graph has no convolution.
    """

    def __init__(self, path: Path, images_NSSC: np.ndarray) -> None:
        import onnx

        self._model = _folded(path)
        graph = self._model.graph
        self._constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        self._producer = {output: node for node in graph.node for output in node.output}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._only_reader = {name: node for node in graph.node for name in node.input}
        self.convolutions = [
            node.output[0]
            for node in graph.node
            if node.op_type == "Conv" and all(name in self._constants for name in node.input[1:])
        ]
        if not self.convolutions:
            raise MorphoscopeError("the network has no convolution, and only these are computed in 8 bits")
        self._normalised = self._normalisation()
        self._ranges = self._seen(images_NSSC)

    def quantised(self, fp32: Collection[str] = ()) -> bytes:
        """The graph in 8 bits, for uint8 images where the first convolution is quantised, else for float32.

        Args:
            fp32: of the :attr:`convolutions`, those that stay as they are.
        """
        return _Writer(self, frozenset(self.convolutions) - frozenset(fp32)).model.SerializeToString()

    def _activated(self, output: str) -> str:
        """The tensor behind a node, or behind the activation that alone reads it."""
        reader = self._only_reader.get(output)
        if self._readers[output] == 1 and reader is not None and reader.op_type in _ACTIVATIONS:
            return reader.output[0]
        return output

    def _normalisation(self) -> tuple[str, np.ndarray, np.ndarray] | None:
        """The first convolution's input, with mean and divisor by channel: (images − mean) / divisor."""
        for output in self.convolutions:
            entered = self._producer[output].input[0]
            divided = self._producer.get(entered)
            if divided is None or divided.op_type != "Div" or self._readers[entered] != 1:
                continue
            shifted = self._producer.get(divided.input[0])
            if shifted is None or shifted.op_type != "Sub" or shifted.input[0] != INPUT:
                continue
            mean, divisor = (self._constants.get(node.input[1]) for node in (shifted, divided))
            if mean is not None and divisor is not None:
                return entered, mean.reshape(1, -1, 1, 1), divisor.reshape(1, -1, 1, 1)
        return None

    def _seen(self, images_NSSC: np.ndarray) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of every tensor that may be quantised; 0 is in all of them."""
        import onnx

        wanted: dict[str, None] = {}
        for output in self.convolutions:
            wanted |= dict.fromkeys((self._producer[output].input[0], self._activated(output)))
        for node in self._model.graph.node:
            if node.op_type == "Add" and not any(name in self._constants for name in node.input):
                wanted |= dict.fromkeys((*node.input, self._activated(node.output[0])))
            elif node.op_type in _SAME_RANGE:
                wanted |= dict.fromkeys((node.input[0], node.output[0]))
        wanted.pop(INPUT, None)
        model = type(self._model)()
        model.CopyFrom(self._model)
        present = {each.name for each in model.graph.output}
        for name in wanted.keys() - present:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        session = _session(model.SerializeToString())
        low, high = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
        for start in range(0, len(images_NSSC), BATCH):
            batch = images_NSSC[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32)
            for name, values in zip(wanted, session.run(list(wanted), {INPUT: batch}), strict=True):
                low[name] = min(low[name], float(values.min()))
                high[name] = max(high[name], float(values.max()))
        return {name: (low[name], high[name]) for name in wanted}


class _Writer:
    """The quantised graph of some convolutions; :attr:`model` is the result."""

    def __init__(self, source: Quantiser, chosen: frozenset[str]) -> None:
        import onnx

        self._onnx = onnx
        self._source, self._chosen = source, chosen
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._rounded: dict[str, str] = {}  # tensor → the same through 8 bits
        self._integer: set[str] = set()  # tensors that integer kernels produce
        for node in source._model.graph.node:
            self._add(node)
        self.model = self._finished()

    def _add(self, node: onnx.NodeProto) -> None:
        output = node.output[0]
        if output in self._chosen:
            self._convolution(node)
            self._output_of(output)
        elif node.op_type == "Add" and all(name in self._integer for name in node.input):
            self._copy(node, [self._through_8_bits(name) for name in node.input])
            self._output_of(output)
        elif node.op_type in _SAME_RANGE and node.input[0] in self._integer:
            self._source._ranges[output] = self._source._ranges[node.input[0]]
            self._copy(node, [self._through_8_bits(node.input[0]), *node.input[1:]])
            self._output_of(output)
        else:
            inputs = [self._rounded.get(name, name) for name in node.input]
            self._copy(node, inputs)
            if node.op_type in _ACTIVATIONS and output in self._integer:
                self._through_8_bits(output)

    def _output_of(self, output: str) -> None:
        """Round what a node gives, behind its activation if it has one."""
        activated = self._source._activated(output)
        self._integer.add(activated)
        if activated == output:
            self._through_8_bits(output)

    def _through_8_bits(self, name: str) -> str:
        if name not in self._rounded:
            low, high = self._source._ranges[name]
            scale = np.float32(max((high - low) / LEVELS, 1e-12))
            zero = np.uint8(np.clip(np.round(-low / scale), 0, LEVELS))
            self._constant(f"{name}.scale", np.array(scale))
            self._constant(f"{name}.zero", np.array(zero))
            parts = (f"{name}.scale", f"{name}.zero")
            self._node("QuantizeLinear", [name, *parts], f"{name}.uint8")
            self._node("DequantizeLinear", [f"{name}.uint8", *parts], f"{name}.rounded")
            self._rounded[name] = f"{name}.rounded"
        return self._rounded[name]

    def _convolution(self, node: onnx.NodeProto) -> None:
        constants, normalised = self._source._constants, self._source._normalised
        entered, weights = node.input[0], constants[node.input[1]].astype(np.float64)
        bias = constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else np.zeros(len(weights))
        if normalised is not None and entered == normalised[0]:
            # Grey levels, less the mean of the channels' means, are the quantised input; the bias makes up
            # for each channel's own mean, but in the padding, which is then a few grey levels off.
            _, mean, divisor = normalised
            middle = np.round(mean.mean())
            weights = weights / divisor
            bias = bias + (weights * (middle - mean)).sum(axis=(1, 2, 3))
            scale = np.float32(1.0)
            weights = self._levels(weights, np.uint8(middle))
            entered = _LEVELS
        else:
            entered = self._through_8_bits(entered)
            low, high = self._source._ranges[node.input[0]]
            scale = np.float32(max((high - low) / LEVELS, 1e-12))
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
        steps = np.maximum(largest / WEIGHT_LIMIT, 1e-12).astype(np.float32)
        shape = (-1, *[1] * (weights.ndim - 1))
        whole = np.clip(np.round(weights / steps.reshape(shape)), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        whole, groups = _with_wider_groups(whole, _groups_of(node))
        bias_steps = (scale * steps).astype(np.float32)
        most = 2**31 - 1
        inputs = [
            entered,
            self._by_channel(f"{node.output[0]}.weight", whole.astype(np.int8), steps),
            self._by_channel(
                f"{node.output[0]}.bias",
                np.clip(np.round(bias / bias_steps), -most, most).astype(np.int32),
                bias_steps,
            ),
        ]
        self._copy(node, inputs)
        for attribute in self._nodes[-1].attribute:
            if attribute.name == "group":
                attribute.i = groups

    def _levels(self, weights: np.ndarray, zero: np.uint8) -> np.ndarray:
        """Add the images' grey levels, with empty channels up to a multiple of four; the weights for them."""
        empty, images = -weights.shape[1] % _CHANNELS, INPUT
        self._constant("images.scale", np.array(np.float32(1.0)))
        self._constant("images.zero", np.array(zero))
        if empty:
            self._constant("images.padding", np.array([0, 0, 0, 0, 0, empty, 0, 0]))
            images = "images.padded"
            self._node("Pad", [INPUT, "images.padding", "images.zero"], images)
        self._node("DequantizeLinear", [images, "images.scale", "images.zero"], _LEVELS)
        return np.pad(weights, ((0, 0), (0, empty), *[(0, 0)] * (weights.ndim - 2)))

    def _by_channel(self, name: str, whole: np.ndarray, steps: np.ndarray) -> str:
        """Integers with one step per channel, as a tensor of floats."""
        self._constant(f"{name}.whole", whole)
        self._constant(f"{name}.steps", steps)
        self._constant(f"{name}.zeros", np.zeros(len(steps), whole.dtype))
        self._node("DequantizeLinear", [f"{name}.whole", f"{name}.steps", f"{name}.zeros"], name, axis=0)
        return name

    def _constant(self, name: str, values: np.ndarray) -> None:
        self._tensors.append(self._onnx.numpy_helper.from_array(values, name))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(
            self._onnx.helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes)
        )

    def _copy(self, node: onnx.NodeProto, inputs: list[str]) -> None:
        copied = self._onnx.NodeProto()
        copied.CopyFrom(node)
        del copied.input[:]
        copied.input.extend(inputs)
        self._nodes.append(copied)

    def _finished(self) -> onnx.ModelProto:
        model = self._onnx.ModelProto()
        model.CopyFrom(self._source._model)
        graph = model.graph
        nodes = list(_needed(self._nodes))
        read = {name for node in nodes for name in node.input}
        tensors = [each for each in (*graph.initializer, *self._tensors) if each.name in read]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        if _LEVELS in read:
            graph.input[0].type.tensor_type.elem_type = self._onnx.TensorProto.UINT8
        return model


def _groups_of(convolution: onnx.NodeProto) -> int:
    return next((each.i for each in convolution.attribute if each.name == "group"), 1)


def _with_wider_groups(weights: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """The weights of the same convolution in fewer groups, and their number.

    Args:
        weights: (outputs, inputs of a group, …).
        groups: how many there are.
    """
    inputs = weights.shape[1]
    if inputs < _NARROWEST:
        return weights, groups
    most = max(1, _GROUP_INPUTS // inputs)
    joined = next(each for each in range(min(most, groups), 0, -1) if groups % each == 0)
    if joined == 1:
        return weights, groups
    group_O = np.arange(len(weights)) // (len(weights) // groups)
    wider = np.zeros((len(weights), joined * inputs, *weights.shape[2:]), weights.dtype)
    for place in range(joined):
        of_place = group_O % joined == place
        wider[of_place, place * inputs : (place + 1) * inputs] = weights[of_place]
    return wider, groups // joined


def _needed(nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes that the outputs are computed from."""
    wanted, kept = set(OUTPUTS), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return reversed(kept)


def _folded(path: Path) -> onnx.ModelProto:
    """The graph with its constants computed."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="morphoscope-") as folder:
        written = Path(folder) / "folded.onnx"
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(written)
        _session(path.read_bytes(), options)
        return onnx.load(str(written))


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return options


def _session(model: bytes, options: Any = None) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        model, options or _options(), providers=["CPUExecutionProvider"], enable_fallback=0
    )
