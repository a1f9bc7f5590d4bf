"""The engine onnx: ONNX Runtime on the processor, without torch.

Shape letters: N images, S × S pixels, C channels, K outputs, D features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import need
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.preparation import INPUT
from morphoscope.processes import available_cores


class OnnxEngine(Engine):
    """A graph that :mod:`morphoscope.inference.engine.export` wrote.

    Args:
        graph: the ONNX file; loaded at once.

    Raises:
        MorphoscopeError: onnxruntime is not installed, or cannot read the file.
    """

    name = "onnx"

    def __init__(self, graph: Path) -> None:
        need(("onnxruntime",), "onnx", "the engine onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                graph.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has an exception class per kind of error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MorphoscopeError(f"{graph} cannot be read as an ONNX file ({reason})") from error
        self._version = onnxruntime.__version__
        self.feature_count = next(
            each.shape[1] for each in self._session.get_outputs() if each.name == "features"
        )

    @property
    def precision_description(self) -> str:
        """Always single precision, on the processor."""
        return "fp32 on cpu"

    @property
    def description(self) -> str:
        """Such as "ONNX Runtime 1.31.1"."""
        return f"ONNX Runtime {self._version}"

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        images_NCSS = np.ascontiguousarray(images_NSSC.transpose(0, 3, 1, 2), np.float32)
        predictions_NK, features_ND = self._session.run(["probabilities", "features"], {INPUT: images_NCSS})
        return np.asarray(predictions_NK)[None], np.asarray(features_ND)
