"""Which engine computes a run's predictions. Where the answer depends on the machine, the engines are timed
once and the result is kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from morphoscope import files, interruption
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.extras import installed, need
from morphoscope.inference.engine.graph import ExportedRun, graph_of, kept_graph
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.engine.processor import has_bf16, may_have_gpu, processor_name, threads
from morphoscope.packaged import NETWORKS
from morphoscope.progress import note
from morphoscope.runs.run import Run

ENGINES = ("auto", "torch", "onnx", "openvino", "mnn")
PRECISIONS = ("auto", "fp32", "int8")
VARIABLE = "MORPHOSCOPE_ENGINE"  # what "auto" means on this machine
_GRAPHS = ("onnx", "openvino", "mnn")
_EXPORTING = ("torch", "timm", "onnxscript")


def check_dropout(run: Run, name: str, dropout_samples: int) -> None:
    """Refuse Monte-Carlo dropout with an engine that does not support it.

    Raises:
        UsageError: the engine, or the run, is a graph.
    """
    if dropout_samples and (name in _GRAPHS or isinstance(run, ExportedRun)):
        raise UsageError(
            "--dropout-samples: an ONNX file is the whole network, without its dropout; use --engine torch"
        )


def check_int8(name: str, dropout_samples: int = 0, *, adapt: bool = False) -> None:
    """Refuse 8 bits together with what torch computes.

    Raises:
        UsageError: the engine does not compute in 8 bits, or something that torch alone can do is asked for.
    """
    if name == "mnn":
        raise UsageError("--precision int8 is not for --engine mnn; leave out one, or use --engine onnx")
    unfit = {"--engine torch": name == "torch", "--dropout-samples": dropout_samples, "--adapt": adapt}
    for option, asked in unfit.items():
        if asked:
            raise UsageError(
                f"--precision int8 is for graphs, and {option} needs torch; leave out one of them"
            )


def engine_of(run: Run, name: str = "auto", *, dropout_samples: int = 0, precision: str = "auto") -> Engine:
    """Load the engine for a run.

    "auto" is torch on a GPU and for samples of dropout. On a processor it is ONNX Runtime, or torch if the
    run has no graph and none can be made; where MNN is installed, or the processor has bf16 instructions, the
    fastest of those that compute the run, which is measured once. The variable :data:`VARIABLE` overrides
    it. In 8 bits it is OpenVINO where that is installed.

    With engine and precision left to "auto", the packaged network is computed on a processor in 8 bits, in
    ONNX Runtime: its answers do not depend on the processor, and how far they are from fp32's was measured
    when it was packaged.

    Args:
        run: a finished run, or an exported file.
        name: one of :data:`ENGINES`.
        dropout_samples: of Monte-Carlo dropout, which torch computes; 0: none.
        precision: one of :data:`PRECISIONS`: as above and as the recipe says; single precision; or 8 bits on
            a processor.

    Raises:
        UsageError: no such engine or precision, or an engine that cannot do what is asked.
        MorphoscopeError: it is not installed, or the run's weights or graph are missing or damaged.
    """
    _check_name(name)
    check_dropout(run, name, dropout_samples)
    if name == "auto" and not dropout_samples and not isinstance(run, ExportedRun):
        name = os.environ.get(VARIABLE, "").strip() or name
        _check_name(name, f"{VARIABLE}: ")
    if precision not in PRECISIONS:
        raise UsageError(
            f"there is no precision '{precision}'{did_you_mean(precision, PRECISIONS, 'precisions')}"
        )
    if precision == "int8":
        check_int8(name, dropout_samples)
        return _in_8_bits(run, name)
    if name in _GRAPHS:
        return graph_engine(run, name)
    if name == "torch" or dropout_samples:
        return _torch(run, dropout_samples, precision)
    if precision == "auto" and (engine := _packaged_in_8_bits(run)) is not None:
        return engine
    return _fastest(run, precision)


def graph_engine(run: Run, name: str) -> Engine:
    """ONNX Runtime, OpenVINO or MNN with the run's graph."""
    if name == "mnn":
        need(("MNN",), "mnn", "the engine mnn")
        from morphoscope.inference.engine.mnn_engine import MnnEngine

        return MnnEngine(run)
    if name == "openvino":
        need(("openvino",), "openvino", "the engine openvino")
        from morphoscope.inference.engine.openvino_engine import OpenvinoEngine

        return OpenvinoEngine(graph_of(run))
    from morphoscope.inference.engine.onnx_engine import OnnxEngine, need_runtime

    need_runtime()
    return OnnxEngine(graph_of(run))


def _in_8_bits(run: Run, name: str) -> Engine:
    from morphoscope.inference.engine.int8 import int8_graph_of
    from morphoscope.inference.engine.onnx_engine import OnnxEngine

    openvino = name == "openvino" or (name == "auto" and installed("openvino"))
    if openvino:
        need(("openvino",), "openvino", "the engine openvino")
    graph, record = int8_graph_of(run)
    try:
        if openvino:
            from morphoscope.inference.engine.openvino_engine import OpenvinoEngine

            engine: Engine = OpenvinoEngine(graph, precision="int8")
        else:
            engine = OnnxEngine(graph, precision="int8")
        _tried(engine, run)
    except MorphoscopeError as error:
        if name != "auto":
            raise
        _note_fp32(error)
        return _fastest(run, "fp32")
    engine.quantisation = record.agreement.description
    return engine


def _packaged_in_8_bits(run: Run) -> Engine | None:
    """The packaged network in 8 bits; None for other runs, on a GPU, and, with a note, where it fails."""
    if run.path.parent != NETWORKS or (_installed("torch", "timm") and _on_gpu()):
        return None
    from morphoscope.inference.engine.int8 import kept_int8

    kept = kept_int8(run)
    if kept is None or not _installed("onnxruntime"):
        return None
    from morphoscope.inference.engine.onnx_engine import OnnxEngine

    graph, record = kept
    try:
        engine = _tried(OnnxEngine(graph, precision="int8"), run)
    except MorphoscopeError as error:
        _note_fp32(error)
        return None
    engine.quantisation = record.agreement.description
    return engine


def _note_fp32(error: MorphoscopeError) -> None:
    interruption.pass_on()
    note(f"computed in fp32 instead of 8 bits: {error}")


def leave_graph(run: Run) -> None:
    """Make a run's graph for predictions without torch; a note says so if that fails."""
    if os.environ.get(VARIABLE, "").strip() == "torch" or not _installed("onnxruntime", *_EXPORTING):
        return
    try:
        graph_of(run)
    except MorphoscopeError as error:
        interruption.pass_on()
        note(f"predictions with this run need torch: {error}")


def _check_name(name: str, where: str = "") -> None:
    if name not in ENGINES:
        raise UsageError(f"{where}there is no engine '{name}'{did_you_mean(name, ENGINES, 'engines')}")


def _torch(run: Run, dropout_samples: int = 0, precision: str = "auto") -> Engine:
    need(("torch", "timm"), "train", "the engine torch")
    from morphoscope.inference.engine.torch_engine import TorchEngine

    return TorchEngine(run, dropout_samples=dropout_samples, precision=precision)


def _fastest(run: Run, precision: str = "auto") -> Engine:
    if isinstance(run, ExportedRun):
        return graph_engine(run, "onnx")
    others = ["mnn"] if _installed("MNN") else []
    if _installed("torch", "timm"):
        number_type = run.recipe.training.precision if precision == "auto" else precision
        if number_type == "bf16" or _on_gpu():
            return _torch(run, precision=precision)
        if not _installed("onnxruntime") or (kept_graph(run) is None and not _installed(*_EXPORTING)):
            return _torch(run, precision=precision)
        if has_bf16() and number_type == "auto":
            others.append("torch")  # which takes seconds to load: the last of all
        try:
            return _measured(run, others)
        except MorphoscopeError as error:
            interruption.pass_on()
            note(f"torch computes instead of ONNX Runtime: {error}")
            return _torch(run, precision=precision)
    return _measured(run, others)


def _measured(run: Run, others: list[str]) -> Engine:
    """ONNX Runtime, or one of some others if it was faster when they were measured, which may be now.

    Raises:
        MorphoscopeError: ONNX Runtime cannot compute the run.
    """
    if not others:
        return _tried(graph_engine(run, "onnx"), run)
    packages = {"onnx": "onnxruntime", "mnn": "MNN", "torch": "torch"}
    versions = [f"{name} {importlib.metadata.version(packages[name])}" for name in ("onnx", *others)]
    side, channels = run.recipe.augment.size, run.header.store.image_shape[2]
    network = f"{run.recipe.model.name}, {side} px, {channels} bands"
    key = f"{processor_name()}, {threads()} threads: {network}, {', '.join(versions)}"
    known = remembered(key)
    if known == "mnn":
        engine = _mnn(run)
        if engine is not None:
            return engine
    elif known == "torch":
        return _torch(run)
    engines = {"onnx": _tried(graph_engine(run, "onnx"), run)}
    if known == "onnx":
        return engines["onnx"]
    for name in others:
        other = _mnn(run) if name == "mnn" else _torch(run)
        if other is not None:
            engines[name] = other
    return engines[faster(engines, key, side, channels)]


def _mnn(run: Run) -> Engine | None:
    """The engine mnn; None, with a note, if it cannot compute the run."""
    try:
        return _tried(graph_engine(run, "mnn"), run)
    except MorphoscopeError as error:
        interruption.pass_on()
        note(f"MNN is left out: {str(error).rpartition(';')[0] or error}")  # without the way out
        return None


def _tried(engine: Engine, run: Run) -> Engine:
    """The engine, after a test with one image: unsupported instructions show up in the first pass.

    Raises:
        MorphoscopeError: it cannot.
    """
    side = run.recipe.augment.size
    predictions_MNK, _ = engine(np.zeros((1, side, side, run.header.store.image_shape[2]), np.uint8))
    if not np.isfinite(predictions_MNK).all():
        raise MorphoscopeError(f"{engine.description} gives numbers that are not finite for a black image")
    return engine


def _on_gpu() -> bool:
    if not may_have_gpu():
        return False
    from morphoscope.models.precision import best_device

    return best_device().type != "cpu"


def _installed(*packages: str) -> bool:
    return all(installed(name) for name in packages)


FILE = "engines.json"  # within the cache
ROUNDS = 3  # rounds of all engines in turn, since machine speed drifts; the fastest round counts
SECONDS = 0.15  # per round of an engine
_LONG = 0.5  # seconds for a pass of many images


def faster(engines: Mapping[str, Engine], key: str, side: int, channels: int) -> str:
    """The name of the fastest engine.

    Args:
        engines: by name.
        key: processor, threads, network and versions: what the speed depends on.
        side: of the network's input, pixels.
        channels: C.
    """
    known = remembered(key)
    if known is not None and known in engines:
        return known
    few = max(2, threads())
    count = min(64, 8 * few)
    batch_NSSC = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    slowest = 0.0
    for engine in engines.values():
        engine(batch_NSSC[:few])  # the first pass allocates
        begun = time.perf_counter()
        engine(batch_NSSC[:few])
        slowest = max(slowest, time.perf_counter() - begun)
    if slowest * count / few > _LONG:
        batch_NSSC = batch_NSSC[:few]  # of a network so large, whose passes need no more images
    else:
        for engine in engines.values():
            engine(batch_NSSC)
    rates = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            count, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < SECONDS:
                engine(batch_NSSC)
                count += len(batch_NSSC)
            rates[name] = max(rates[name], count / (time.perf_counter() - begun))
    chosen = max(rates, key=lambda name: rates[name])
    _remember(key, chosen, rates)
    return chosen


def remembered(key: str) -> str | None:
    """The engine that was fastest when measured; None if not measured, or if the cache is damaged."""
    return _read().get(key, {}).get("engine")


def _path() -> Path:
    return files.cache_folder() / FILE


def _read() -> dict[str, dict[str, str]]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(_path().read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(each, dict) for each in found.values()):
            return found
    return {}


def _remember(key: str, chosen: str, rates: Mapping[str, float]) -> None:
    """Add a measurement to the cache; failing to write is not an error."""
    rows = {name: f"{rate:.0f} images/s" for name, rate in rates.items()}
    with contextlib.suppress(OSError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        files.write_json(_path(), {**_read(), key: {"engine": chosen, **rows}})
