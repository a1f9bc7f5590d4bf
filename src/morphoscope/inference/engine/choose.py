"""Which engine computes a run's predictions."""

from __future__ import annotations

import importlib.util

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.inference.engine.graph import ExportedRun, graph_of
from morphoscope.inference.engine.interface import Engine
from morphoscope.runs.run import Run

ENGINES = ("auto", "torch", "onnx")


def check_dropout(run: Run, name: str, dropout_samples: int) -> None:
    """Refuse Monte-Carlo dropout with an engine that cannot do it.

    Raises:
        UsageError: the engine, or the run, is a graph.
    """
    if dropout_samples and (name not in ("auto", "torch") or isinstance(run, ExportedRun)):
        raise UsageError(
            "--dropout-samples: an ONNX file is the whole network, without its dropout; use --engine torch"
        )


def engine_of(run: Run, name: str = "auto", *, dropout_samples: int = 0) -> Engine:
    """Load the engine for a run.

    Args:
        run: a finished run, or an exported file.
        name: one of :data:`ENGINES`.
        dropout_samples: of Monte-Carlo dropout, which torch computes; 0: none.

    Raises:
        UsageError: no such engine, or one that cannot do what is asked.
        MorphoscopeError: it is not installed, or the run's weights or graph are missing or damaged.
    """
    if name not in ENGINES:
        raise UsageError(f"there is no engine '{name}'{did_you_mean(name, ENGINES, 'engines')}")
    check_dropout(run, name, dropout_samples)
    exported = isinstance(run, ExportedRun)
    if name == "auto":
        has_torch = importlib.util.find_spec("torch") is not None
        name = "onnx" if exported or not (has_torch or dropout_samples) else "torch"
    if name == "onnx":
        from morphoscope.inference.engine.onnx_engine import OnnxEngine

        return OnnxEngine(graph_of(run))
    from morphoscope.extras import need

    need(("torch", "timm"), "train", "the engine torch")
    from morphoscope.inference.engine.torch_engine import TorchEngine

    return TorchEngine(run, dropout_samples=dropout_samples)
