"""A run's graph with another, linear head: what a linear probe is exported as, without torch.

Shape letters: K outputs, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.inference.engine.preparation import OUTPUTS
from morphoscope.metrics.linear_models import LinearModel

FEATURES = "features"
_WEIGHT, _BIAS = "network.head.1.weight", "network.head.1.bias"  # as the exporter calls them


def write_with_head(graph: Path, out: Path, head: LinearModel, activation: str) -> None:
    """Write a graph whose outputs are computed from the features of another by a linear head.

    Args:
        graph: of a run; only what its features need is kept.
        out: the file to write.
        head: of D features.
        activation: ONNX operator that turns K numbers into probabilities: "Softmax" or "Sigmoid".

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
    nodes.append(onnx.helper.make_node(activation, [logits], [probabilities]))  # a softmax: the last axis
    galaxies = kept[0].type.tensor_type.shape.dim[0].dim_param or "galaxies"
    shape, number = [galaxies, len(bias_K)], onnx.TensorProto.FLOAT
    outputs = [onnx.helper.make_tensor_value_info(name, number, shape) for name in (probabilities, logits)]
    graph_of_head = onnx.helper.make_graph(
        nodes, model.graph.name, list(model.graph.input), [*outputs, *kept], stored
    )
    model.graph.CopyFrom(graph_of_head)
    onnx.save(model, str(out))


def _needed(nodes: Any, output: str) -> list[Any]:
    """The nodes that an output is computed from, in their order."""
    wanted, found = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]
