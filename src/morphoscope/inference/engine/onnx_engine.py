"""The engine onnx: ONNX Runtime on the processor, without torch.

Shape letters: N images, S × S pixels, C channels, K outputs, D features.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.extras import MissingExtra, installed
from morphoscope.images.limits import most_network_bytes, needs_too_much
from morphoscope.inference.engine.interface import INPUT, Engine
from morphoscope.inference.engine.processor import threads

_TOGETHER = 8  # images of a pass: more are no faster and take more memory (EXPERIMENTS.md, 2026-12-01)
_PASSES = 4  # at the same time, at most
_FOLDED = 4  # times its size is what a constant may have that ONNX Runtime computes when it loads a graph


def _passes_at_once(number: int) -> int:
    """How many passes share some threads, which lose time where they wait for each other in every layer."""
    return max(passes for passes in range(1, _PASSES + 1) if number % passes == 0)


def _bound_memory(options: Any, size: int) -> None:
    """Bound what a session may allocate: a few bytes of a graph can ask for any amount.

    Args:
        options: of the session.
        size: of the graph, bytes.
    """
    import onnxruntime as ort

    # All sessions share one allocator, since only that can be given a maximum; the newest maximum counts.
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    most = most_network_bytes()
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": most}))
    options.add_session_config_entry("session.use_env_allocators", "1")
    folded = str(min(most, _FOLDED * size))
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", folded)


def _check_memory(error: Exception, graph: Path) -> None:
    if "BFCArena" in str(error):  # the allocator had no more to give
        raise MorphoscopeError(f"{graph} {needs_too_much()}") from error


def need_runtime() -> None:
    """Refuse work that needs ONNX Runtime where it is missing, although every installation has it.

    Raises:
        MissingExtra: it is.
    """
    if not installed("onnxruntime"):
        raise MissingExtra(
            "ONNX Runtime, a part of every installation, is missing or damaged; install the program again: "
            "pip install --force-reinstall morphoscope"
        )


class OnnxEngine(Engine):
    """A graph that :mod:`~morphoscope.inference.engine.export` or :mod:`~.quantise` wrote.

    Args:
        graph: the ONNX file; loaded at once.
        precision: "fp32", or "int8" for a quantised graph.

    Raises:
        MorphoscopeError: onnxruntime is not installed, or cannot read the file.
    """

    name = "onnx"

    def __init__(self, graph: Path, precision: str = "fp32") -> None:
        need_runtime()
        self._precision = precision
        try:
            import onnxruntime
        except ImportError as error:  # built for another processor or C library
            if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C while its library is being loaded
                raise error.__cause__ from None
            raise MorphoscopeError(f"ONNX Runtime cannot be loaded here ({error})") from error

        options = onnxruntime.SessionOptions()
        passes = _passes_at_once(threads())
        options.intra_op_num_threads = threads() // passes
        options.log_severity_level = 4  # errors are raised as well
        # Threads that spin while waiting for the next operator would take cores from decoding and other jobs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = graph.read_bytes()
        _bound_memory(options, len(content))
        try:
            # Its fallback would try the same again, and print messages.
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime has many exception classes
            _check_memory(error, graph)
            reason = reason_of(error)
            raise MorphoscopeError(f"{graph} cannot be read as an ONNX file ({reason})") from error
        self._passes = passes
        self._threads: tuple[int, ThreadPoolExecutor] | None = None
        self._version = onnxruntime.__version__
        self._graph = graph
        shapes = {each.name: each.shape for each in self._session.get_outputs()}
        width = (shapes.get("features") or [None])[-1]
        if "probabilities" not in shapes or not isinstance(width, int) or len(shapes["features"]) != 2:
            raise MorphoscopeError(
                f"{graph} is not the graph of a run: the outputs 'probabilities' and 'features' were expected"
            )
        self.feature_count = width
        self._input = np.uint8 if self._session.get_inputs()[0].type == "tensor(uint8)" else np.float32

    @property
    def precision_description(self) -> str:
        """On the processor, in single precision or 8 bits, which two engines round differently."""
        return "fp32 on cpu" if self._precision == "fp32" else "int8 (ONNX Runtime) on cpu"

    @property
    def description(self) -> str:
        """Such as "ONNX Runtime 1.31.1"."""
        return f"ONNX Runtime {self._version}"

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        rounds = max(1, -(-len(images_NSSC) // (_TOGETHER * self._passes)))
        number = rounds * self._passes
        shares = np.array_split(images_NSSC, max(1, min(number, len(images_NSSC))))
        parts = self._pool().map(self._pass, shares) if len(shares) > 1 else map(self._pass, shares)
        predictions_NK, features_ND = map(np.concatenate, zip(*parts, strict=True))
        return predictions_NK[None], features_ND

    def _pool(self) -> ThreadPoolExecutor:
        """The threads of this process: a forked one has none of its parent's."""
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = os.getpid(), ThreadPoolExecutor(self._passes, thread_name_prefix="network")
        return self._threads[1]

    def _pass(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images_NCSS = np.ascontiguousarray(images_NSSC.transpose(0, 3, 1, 2), self._input)
        try:
            predictions_NK, features_ND = self._session.run(
                ["probabilities", "features"], {INPUT: images_NCSS}
            )
        except Exception as error:  # as above
            _check_memory(error, self._graph)
            reason = reason_of(error)
            raise MorphoscopeError(f"{self._graph} cannot be run ({reason})") from error
        return np.asarray(predictions_NK), np.asarray(features_ND)
