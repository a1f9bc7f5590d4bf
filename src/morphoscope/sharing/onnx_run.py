"""Runs that predict with onnxruntime: from the run's folder, or from an exported file alone."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.calibration import FILE as CALIBRATION
from morphoscope.packaged import NETWORKS
from morphoscope.runs.run import Header, Run
from morphoscope.sharing.onnx_graph import export_onnx
from morphoscope.sharing.preparation import read_preparation

if TYPE_CHECKING:
    from morphoscope.models.network import Network

CACHE = Path("onnx", "network.onnx")  # within a run


@dataclass(frozen=True)
class OnnxRun(Run):
    """A run whose network is an ONNX file."""

    onnx: Path = field(kw_only=True)

    def network(self) -> Network:
        """The ONNX file with the interface of a network."""
        from morphoscope.sharing.onnx_graph import OnnxNetwork

        return OnnxNetwork(self.onnx)  # type: ignore[return-value]


@dataclass(frozen=True)
class ExportedRun(OnnxRun):
    """An exported file and its JSON description, without the run's folder."""

    texts: dict[str, str] = field(kw_only=True)

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.onnx.stem

    def content_of(self, name: str) -> str | None:
        """The content of one of the run's small files, if the JSON contains it."""
        return self.texts.get(name)

    def store(self) -> Any:
        """Not available: an exported file does not record its training galaxies."""
        raise UsageError(f"{self.onnx} does not record its training galaxies; give the run, or --store")


def open_exported(onnx: Path | str) -> ExportedRun:
    """Open an exported file without its run.

    Raises:
        UsageError: it, or the JSON beside it, is missing.
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
    texts = (
        {} if preparation.calibration is None else {CALIBRATION: preparation.calibration.model_dump_json()}
    )
    return ExportedRun(onnx, preparation.recipe, header, onnx=onnx, texts=texts)


def through_onnx(run: Run) -> OnnxRun:
    """The same run, predicting with onnxruntime; it is exported once, into ``onnx/`` of its folder.

    If that folder is read-only or part of the installation, the export goes to a temporary folder that is
    deleted when the program ends.

    Raises:
        MorphoscopeError: as :func:`morphoscope.sharing.onnx_graph.export_onnx`.
    """
    if isinstance(run, OnnxRun):
        return run
    onnx = run.path / CACHE
    with contextlib.suppress(MorphoscopeError):  # missing, damaged or outdated: export again
        preparation = read_preparation(onnx)
        if preparation.weights_sha256 == run.header.weights_sha256:
            return OnnxRun(run.path, run.recipe, run.header, onnx=onnx)
    if run.path.parent == NETWORKS or not _takes_files(run.path):
        folder = tempfile.mkdtemp(prefix="morphoscope-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        onnx = Path(folder) / CACHE.name
    export_onnx(run, onnx, overwrite=True)
    return OnnxRun(run.path, run.recipe, run.header, onnx=onnx)


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
