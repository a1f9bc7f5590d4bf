"""The graph (ONNX file) of a run: stored next to its weights, or exported without the run.

::

    RUN/onnx/network.onnx
    RUN/onnx/network.json   checksums of its weights and of itself
    RUN/onnx/int8.onnx      the same in 8 bits, if it was asked for (:mod:`.int8`)

If the run's folder is not writable, or part of the installation, the graph is kept in the user's cache.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphoscope import files
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import installed
from morphoscope.inference.calibration import FILE as CALIBRATION
from morphoscope.inference.engine.preparation import read_preparation, sidecar
from morphoscope.inference.ood import FILE as REFERENCE
from morphoscope.packaged import NETWORKS
from morphoscope.progress import note
from morphoscope.runs.run import Header, Run

if TYPE_CHECKING:
    from morphoscope.models.network import Network

GRAPH = Path("onnx", "network.onnx")  # within a run
INT8 = Path("onnx", "int8.onnx")


@dataclass(frozen=True)
class ExportedRun(Run):
    """An exported file and its JSON description, without the run's folder."""

    onnx: Path = field(kw_only=True)
    texts: dict[str, str] = field(kw_only=True)

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.onnx.stem

    def network(self) -> Network:
        """Not available: the file is only a graph."""
        raise UsageError(f"{self.onnx} is an exported file, which torch does not read; give the run's folder")

    def content_of(self, name: str) -> str | None:
        """The content of one of the run's small files, if the JSON contains it; binary ones in base64."""
        return self.texts.get(name)

    def store(self) -> Any:
        """Not available: an exported file does not record its training galaxies."""
        raise UsageError(f"{self.onnx} does not record its training galaxies; give the run, or --store")


def open_exported(onnx: Path | str) -> ExportedRun:
    """Open an exported file without its run.

    Raises:
        UsageError: it, or the JSON next to it, is missing.
        MorphoscopeError: one of them is damaged, or from a newer version.
    """
    onnx = Path(onnx)
    preparation = read_preparation(onnx)
    header = Header(
        state="finished",
        scheme=preparation.scheme,
        store=preparation.store,
        parameters=preparation.parameters,
        start=preparation.start,
        weights_sha256=preparation.weights_sha256,
        program_version=preparation.versions.get("morphoscope", ""),
        created=preparation.created,
    )
    texts = {}
    if preparation.calibration is not None:
        texts[CALIBRATION] = preparation.calibration.model_dump_json()
    if preparation.reference is not None:
        texts[REFERENCE] = preparation.reference
    return ExportedRun(onnx, preparation.recipe, header, onnx=onnx, texts=texts)


def graph_of(run: Run) -> Path:
    """The run's graph; it is made if there is none.

    Raises:
        MorphoscopeError: there is none for the run's weights, and torch or a package for exporting is not
            installed; or as :func:`morphoscope.inference.engine.export.export_onnx`.
    """
    kept = kept_graph(run)
    if kept is not None:
        return kept
    if not installed("torch"):
        raise MorphoscopeError(
            f"{run.path / GRAPH} is missing or does not belong to the run's weights, and torch, which makes "
            "it, is not installed; install with: pip install 'morphoscope[train]'"
        )
    from morphoscope.inference.engine.export import export_onnx

    return export_onnx(run, new_path(run), overwrite=True)


def kept_graph(run: Run) -> Path | None:
    """The run's existing graph if it is intact and matches the weights; None otherwise.

    A note says so if a graph is damaged or has other weights.
    """
    if isinstance(run, ExportedRun):
        return run.onnx
    for graph in paths_of(run):
        if not graph.is_file() and not sidecar(graph).is_file():
            continue
        try:
            preparation = read_preparation(graph)
        except MorphoscopeError as error:
            note(f"a graph is not used: {error}")
            continue
        if preparation.weights_sha256 == weights_sha256(run):
            return graph
        note(f"{graph} is not used: it is a graph of other weights than the run's")
    return None


def paths_of(run: Run, name: Path = GRAPH) -> list[Path]:
    """Where a run's graph may be: beside its weights, or in the user's cache."""
    found = [run.path / name]
    with contextlib.suppress(OSError):  # no weights to name it by
        found.append(_in_cache(run, name))
    return found


def _in_cache(run: Run, name: Path) -> Path:
    ending = ".onnx" if name == GRAPH else f".{name.name}"
    return in_cache(f"{weights_sha256(run)}{ending}")


def weights_sha256(run: Run) -> str:
    """The SHA-256 of the run's weights, which a graph names."""
    return run.header.weights_sha256 or files.sha256_of(run.path / "weights.safetensors")


def new_path(run: Run, name: Path = GRAPH) -> Path:
    """Where to write it: next to the weights, or the user's cache, or a folder that is deleted at exit."""
    if run.path.parent != NETWORKS and _takes_files(run.path):
        (run.path / name).parent.mkdir(exist_ok=True)
        return run.path / name
    graph = _in_cache(run, name)
    with contextlib.suppress(OSError):
        graph.parent.mkdir(parents=True, exist_ok=True)
        if _takes_files(graph.parent):
            return graph
    folder = tempfile.mkdtemp(prefix="morphoscope-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / name.name


def in_cache(name: str) -> Path:
    """Where a graph of that name is in the user's cache, if it is there."""
    return files.cache_folder() / "graphs" / name


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
