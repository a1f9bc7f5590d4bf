"""The engine mnn: MNN on the processor, an extra, from the same graph.

MNN computes convolutions of 3 × 3 pixels by Winograd's algorithm (Lavin & Gray 2016, arXiv:1509.09308) with a
fraction of the multiplications.

Shape letters: N images, S × S pixels, C channels, K outputs, D features.
"""

from __future__ import annotations

import os
import weakref

import numpy as np

from morphoscope.extras import need
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.mnn_graph import converted_graph_of, memory_of_a_process
from morphoscope.inference.engine.mnn_processes import TOGETHER, Processes
from morphoscope.inference.engine.processor import threads
from morphoscope.runs.run import Run

_MOST = 16  # processes: a batch has no work for more


class MnnEngine(Engine):
    """A run's graph in MNN, in processes of its own that begin to load it at once.

    Args:
        run: a finished run, or an exported file.

    Raises:
        MorphoscopeError: MNN is not installed, or as :func:`~.mnn_graph.converted_graph_of`.
    """

    name = "mnn"

    def __init__(self, run: Run) -> None:
        need(("MNN",), "mnn", "the engine mnn")
        self._graph, self._record = converted_graph_of(run)
        self._shape = run.recipe.augment.size, run.header.store.image_shape[2]
        self.feature_count = self._record.features
        self._outputs = run.scheme.outputs
        self._processes = self._started()

    def _started(self) -> Processes:
        number = min(threads(), _MOST)
        processes = Processes(self._graph, *self._shape, number, memory_of_a_process())
        weakref.finalize(self, processes.close)
        return processes

    @property
    def precision_description(self) -> str:
        """On the processor, in single precision."""
        return "fp32 on cpu"

    @property
    def description(self) -> str:
        """Such as "MNN 3.6.1"."""
        return f"MNN {self._record.mnn_version}"

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        if self._processes.owner != os.getpid() or self._processes.broken:
            self._processes.close()
            self._processes = self._started()
        count, number = len(images_NSSC), self._processes.number
        if not count:
            return np.empty((1, 0, self._outputs), np.float32), np.empty((0, self.feature_count), np.float32)
        rounds = -(-count // (TOGETHER * number))
        shares = np.array_split(images_NSSC, min(rounds * number, count))
        parts = self._processes([np.ascontiguousarray(share) for share in shares])
        predictions_NK, features_ND = map(np.concatenate, zip(*parts, strict=True))
        return predictions_NK[None], features_ND
