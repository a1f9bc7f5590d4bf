"""The engine openvino: OpenVINO on the processor, an extra, from the same graph.

Shape letters: N images, S × S pixels, C channels, K outputs, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import need
from morphoscope.inference.engine.interface import INPUT, Engine
from morphoscope.inference.engine.processor import threads


class OpenvinoEngine(Engine):
    """A graph that :mod:`morphoscope.inference.engine.export` wrote, compiled for this processor.

    The latency hint uses all threads for one batch. The throughput hint uses one thread per batch and
    halved the speed of batches of 64 on two cores (EXPERIMENTS.md, 2026-11-29).

    Args:
        graph: the ONNX file; compiled at once.
        precision: "fp32", or "int8" for a quantised graph.

    Raises:
        MorphoscopeError: openvino is not installed, or cannot read or compile the file.
    """

    name = "openvino"

    def __init__(self, graph: Path, precision: str = "fp32") -> None:
        need(("openvino",), "openvino", "the engine openvino")
        try:
            import openvino  # type: ignore[import-not-found]

            properties: Any = openvino.properties
            hint = properties.hint
            options = {
                hint.performance_mode: hint.PerformanceMode.LATENCY,
                # fp32 even if the processor has bf16: the graph was compared with the network in fp32
                hint.inference_precision: openvino.Type.f32,
                properties.inference_num_threads: threads(),
                hint.enable_cpu_pinning: False,  # leave cores to other jobs
            }
            core = openvino.Core()
            model = core.read_model(graph.read_bytes(), b"")
            self._compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # openvino raises RuntimeError and its own exceptions
            reason = next(reversed([line for line in str(error).splitlines() if line.strip()]), "unknown")
            raise MorphoscopeError(f"OpenVINO cannot compile {graph} ({reason.strip()})") from error
        self._precision = precision
        self._version = openvino.__version__.split("-")[0]
        self._request = self._compiled.create_infer_request()
        narrow = self._compiled.input(INPUT).get_element_type() == openvino.Type.u8
        self._input = np.uint8 if narrow else np.float32
        self.feature_count = self._compiled.output("features").get_partial_shape()[1].get_length()

    @property
    def precision_description(self) -> str:
        """On the processor, in single precision or 8 bits, which two engines round differently."""
        return "fp32 on cpu" if self._precision == "fp32" else "int8 (OpenVINO) on cpu"

    @property
    def description(self) -> str:
        """Such as "OpenVINO 2026.4.1"."""
        return f"OpenVINO {self._version}"

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        images_NCSS = np.ascontiguousarray(images_NSSC.transpose(0, 3, 1, 2), self._input)
        try:
            found = self._request.infer({INPUT: images_NCSS}, share_inputs=True)
        except RuntimeError as error:
            raise MorphoscopeError(f"OpenVINO cannot compute this network ({error})") from error
        return np.array(found["probabilities"])[None], np.array(found["features"])
