"""A run's graph with another, linear head: what a linear probe is exported as, without torch.

Shape letters: K outputs, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.inference.engine.interface import OUTPUTS
from morphoscope.labels.measurement_likelihood import LARGEST_LOG_SPREAD
from morphoscope.labels.scheme import Measurements, Scheme
from morphoscope.metrics.linear_models import LinearModel

FEATURES = "features"
_WEIGHT, _BIAS = "network.head.1.weight", "network.head.1.bias"  # as the exporter calls them


def write_with_head(graph: Path, out: Path, head: LinearModel, scheme: Scheme) -> None:
    """Write a graph whose outputs are computed from the features of another by a linear head.

    Args:
        graph: of a run; only what its features need is kept.
        out: the file to write.
        head: of D features.
        scheme: whose predictions the K numbers of the head become.

    Raises:
        MorphoscopeError: the graph cannot be read, or has no features of this width.
    """
    import onnx

    probabilities, logits, features = OUTPUTS
    try:
        model = onnx.load(str(graph))
    except Exception as error:  # whatever protobuf raises
        raise MorphoscopeError(f"{graph} cannot be read as an ONNX file") from error
    kept = [output for output in model.graph.output if output.name == features]
    width = kept[0].type.tensor_type.shape.dim[-1].dim_value if kept else 0
    if width != head.weight_KD.shape[1]:
        raise MorphoscopeError(f"{graph} has {width} features, and the head was fitted to others")
    nodes = _needed(model.graph.node, features)
    used = {name for node in nodes for name in node.input}
    stored = [each for each in model.graph.initializer if each.name in used]
    weight_KD, bias_K = head.weight_KD.astype(np.float32), head.bias_K.astype(np.float32)
    stored += [onnx.numpy_helper.from_array(weight_KD, _WEIGHT), onnx.numpy_helper.from_array(bias_K, _BIAS)]
    nodes.append(onnx.helper.make_node("Gemm", [features, _WEIGHT, _BIAS], [logits], transB=1))
    if scheme.linear_activation:  # a softmax: over the last axis
        nodes.append(onnx.helper.make_node(scheme.linear_activation, [logits], [probabilities]))
    else:
        assert isinstance(scheme, Measurements)
        more, constants = _means_and_spreads(scheme, logits, probabilities)
        nodes += more
        stored += constants
    galaxies = kept[0].type.tensor_type.shape.dim[0].dim_param or "galaxies"
    shape, number = [galaxies, len(bias_K)], onnx.TensorProto.FLOAT
    outputs = [onnx.helper.make_tensor_value_info(name, number, shape) for name in (probabilities, logits)]
    graph_of_head = onnx.helper.make_graph(
        nodes, model.graph.name, list(model.graph.input), [*outputs, *kept], stored
    )
    model.graph.CopyFrom(graph_of_head)
    onnx.save(model, str(out))


def _means_and_spreads(scheme: Measurements, logits: str, out: str) -> tuple[list[Any], list[Any]]:
    """Nodes and constants that do what :meth:`Measurements.linear_predictions` does."""
    import onnx

    size = len(scheme.names)
    constants = {
        "axis": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
        "half": np.array([size], np.int64),
        "end": np.array([2 * size], np.int64),
        "centres": np.array(scheme.centres, np.float32),
        "scales": np.array(scheme.scales, np.float32),
        "limit": np.array([LARGEST_LOG_SPREAD], np.float32),
    }
    steps = [
        ("Slice", [logits, "zero", "half", "axis"], "standard"),
        ("Mul", ["standard", "scales"], "scaled"),
        ("Add", ["scaled", "centres"], "means"),
        ("Slice", [logits, "half", "end", "axis"], "logarithms"),
        ("Div", ["logarithms", "limit"], "share"),
        ("Tanh", ["share"], "bounded"),
        ("Mul", ["bounded", "limit"], "exponent"),
        ("Exp", ["exponent"], "spread"),
        ("Mul", ["spread", "scales"], "spreads"),
    ]

    def named(name: str) -> str:
        return name if name == logits else f"measurements.{name}"

    nodes = [
        onnx.helper.make_node(kind, [named(name) for name in taken], [named(made)])
        for kind, taken, made in steps
    ]
    nodes.append(onnx.helper.make_node("Concat", [named("means"), named("spreads")], [out], axis=1))
    stored = [onnx.numpy_helper.from_array(value, named(name)) for name, value in constants.items()]
    return nodes, stored


def _needed(nodes: Any, output: str) -> list[Any]:
    """The nodes that an output is computed from, in their order."""
    wanted, found = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]
