"""The form in which MNN reads a run's graph: converted once, compared with ONNX Runtime, kept in the cache.

::

    CACHE/graphs/HASH.mnn    HASH: the SHA-256 of the graph that it was made from
    CACHE/graphs/HASH.json   of what it was made, by which version and where, and how far its answers are off

It is never read from a run's folder: what somebody else converted has not been compared with anything.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.images.limits import most_network_bytes
from morphoscope.inference.engine.graph import graph_of, in_cache
from morphoscope.inference.engine.mnn_processes import Processes, convert
from morphoscope.inference.engine.onnx_engine import OnnxEngine
from morphoscope.inference.engine.preparation import sidecar
from morphoscope.inference.engine.processor import processor_name
from morphoscope.inference.engine.trial import TOLERANCE, largest_difference, trial_images
from morphoscope.progress import note
from morphoscope.runs.run import Run
from morphoscope.versioned import read_document, understood

_LIBRARIES = 2 << 30  # bytes of address space that Python and its libraries take at most


class ConvertedGraph(BaseModel):
    """The JSON beside a converted graph."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["morphoscope-mnn"] = "morphoscope-mnn"
    format_version: int = 1
    onnx_sha256: str
    mnn_sha256: str
    mnn_version: str
    processor: str
    features: int
    largest_difference: float


def mnn_version() -> str:
    """The installed version of MNN."""
    return importlib.metadata.version("MNN")


def memory_of_a_process() -> int:
    """Bytes that a process of MNN may have; 0 where the system cannot bound it."""
    return most_network_bytes() + _LIBRARIES if sys.platform == "linux" else 0


def converted_graph_of(run: Run) -> tuple[Path, ConvertedGraph]:
    """A run's graph as MNN reads it, which is made now if it is not in the cache.

    Args:
        run: a finished run, or an exported file.

    Returns:
        The file, and what is known of it.

    Raises:
        MorphoscopeError: MNN cannot convert or compute the graph, or its answers differ from ONNX Runtime's
            by more than :data:`~.trial.TOLERANCE`; or as :func:`~.graph.graph_of`.
    """
    graph = graph_of(run)
    digest = files.sha256_of(graph)
    kept = _kept(digest)
    if kept is not None:
        return kept
    note("converting the network for MNN")
    folder = tempfile.mkdtemp(prefix="morphoscope-")  # MNN does not say that a disk is full
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = Path(folder) / f"{digest}.mnn"
    reason = convert(graph, model, memory_of_a_process())
    if reason:
        raise MorphoscopeError(f"MNN cannot convert {graph} ({reason}); --engine onnx reads it")
    features, difference = _compared(run, graph, model)
    if not difference <= TOLERANCE:
        raise MorphoscopeError(
            f"a probability that MNN computes from {graph} differs from ONNX Runtime's by "
            f"{difference:.1e}, and {TOLERANCE:.0e} is allowed; use --engine onnx"
        )
    found = ConvertedGraph(
        onnx_sha256=digest,
        mnn_sha256=files.sha256_of(model),
        mnn_version=mnn_version(),
        processor=processor_name(),
        features=features,
        largest_difference=difference,
    )
    target = in_cache(model.name)
    try:
        with files.atomic_file(target) as path:
            shutil.copyfile(model, path)
        files.write_json(sidecar(target), found.model_dump(mode="json"))
    except MorphoscopeError:  # no room, or no writing there
        return model, found
    shutil.rmtree(folder, ignore_errors=True)
    return target, found


def _kept(digest: str) -> tuple[Path, ConvertedGraph] | None:
    """What this version of MNN converted before on such a processor, if it is whole."""
    graph = in_cache(f"{digest}.mnn")
    if not graph.is_file():
        return None
    with contextlib.suppress(MorphoscopeError, OSError):
        record, what = sidecar(graph), "a converted graph's record"
        found = understood(ConvertedGraph, read_document(record), json.loads, record, what)
        here = (digest, mnn_version(), processor_name())
        same = (found.onnx_sha256, found.mnn_version, found.processor) == here
        if same and found.mnn_sha256 == files.sha256_of(graph):
            return graph, found
    return None


def _compared(run: Run, graph: Path, converted: Path) -> tuple[int, float]:
    """The number of features, and the largest difference of a prediction from ONNX Runtime's."""
    side, channels = run.recipe.augment.size, run.header.store.image_shape[2]
    expected = OnnxEngine(graph)
    processes = Processes(converted, side, channels, 1, memory_of_a_process())
    largest = 0.0
    try:
        for images_NSSC in trial_images(side, channels):
            ((found_NK, features_ND),) = processes([images_NSSC])
            expected_MNK, expected_ND = expected(images_NSSC)
            if found_NK.shape != expected_MNK[0].shape or features_ND.shape != expected_ND.shape:
                raise MorphoscopeError(f"MNN computes something else from {graph}; use --engine onnx")
            largest = max(largest, largest_difference(expected_MNK[0], found_NK, run.scheme.output_scales))
            if not np.allclose(features_ND, expected_ND, rtol=1e-3, atol=1e-3):
                largest = np.inf
    finally:
        processes.close()
    return expected.feature_count, largest
