"""Maps of the network's features, each as two more columns of the table: by principal components, by UMAP.

Principal components take seconds and are worked out when they are first asked for. UMAP takes minutes for a
large catalogue: a process of its own makes it (:mod:`morphoscope.explorer.umap_process`), and whoever asks
meanwhile is told how far it is.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.explorer.neighbours import Neighbours, selection
from morphoscope.explorer.table import ROW, GalaxyTable
from morphoscope.explorer.umap_process import lines_of
from morphoscope.extras import need
from morphoscope.processes import helper

METHODS = ("pca", "umap")
COLUMNS = {"pca": ("feature_x", "feature_y"), "umap": ("umap_x", "umap_y")}
UMAP_PACKAGES = ("umap",)
NO_FEATURES = (
    "the catalogue has no features, so nothing is known of galaxies that look alike; make it with "
    "'morphoscope predict ... --embeddings'"
)
_DESCRIPTIONS = {
    "feature_x": ("first principal component of the features", ""),
    "feature_y": ("second principal component of the features", ""),
    "umap_x": ("first coordinate of the features' map by UMAP", ""),
    "umap_y": ("second coordinate of the features' map by UMAP", ""),
}
_FITTED_TO = 20_000
# The process shares its work among threads of its own. A product that the library of linear algebra shares
# among its threads waits for the slowest, on a busy machine several times as long.
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def check_method(method: str) -> None:
    """Refuse what is no way to make a map.

    Raises:
        UsageError: there is no such way.
        MissingExtra: it needs packages that are not installed.
    """
    if method not in METHODS:
        raise UsageError(f"there is no map by '{method}'{did_you_mean(method, METHODS, 'maps')}")
    if method == "umap":
        need(UMAP_PACKAGES, "umap", "a map by UMAP")


class FeatureMaps:
    """The maps of one catalogue.

    Args:
        table: that gets the columns.
        neighbours: that read the features; None: there are none.
    """

    def __init__(self, table: GalaxyTable, neighbours: Neighbours | None) -> None:
        self.table, self.neighbours = table, neighbours
        self._lock, self._computing = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._progress: dict[str, Any] = {}
        self._failed = ""
        self._began = 0.0
        if neighbours is not None:  # a filter may name them before anybody has looked at a map
            table.later(COLUMNS["pca"], self._principal)
            table.later(COLUMNS["umap"], self._need_umap)

    def need(self, method: str) -> dict[str, Any] | None:
        """See that a map is made; how far it is, or None: its columns are there.

        Raises:
            UsageError: there is no such map, or the catalogue has no features.
            MissingExtra: the packages of the extra ``umap`` are missing.
            MorphoscopeError: it cannot be made.
        """
        check_method(method)
        if self.neighbours is None:
            raise UsageError(NO_FEATURES)
        if method == "pca":
            self._principal()
            return None
        with self._lock:
            if self.table.has(*COLUMNS["umap"]):
                return None
            if self._failed:
                raise MorphoscopeError(self._failed)
            if self._thread is None:
                self._progress, self._began = {"what": "Starting", "done": 0, "of": 0}, time.monotonic()
                self._thread = threading.Thread(target=self._make_umap, name="umap", daemon=True)
                self._thread.start()
            return {**self._progress, "seconds": round(time.monotonic() - self._began)}

    def close(self) -> None:
        """End what is still being made."""
        with self._lock:
            process, self._failed = self._process, "the explorer has ended"
        if process is not None:
            process.kill()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _principal(self) -> None:
        with self._computing:
            if self.table.has(*COLUMNS["pca"]) or self.neighbours is None:
                return
            catalogue = self.neighbours.catalogue
            self._add("pca", principal_components(catalogue.features, self.table.count))

    def _add(self, method: str, places_N2: np.ndarray) -> None:
        names = COLUMNS[method]
        columns = dict(zip(names, places_N2.T, strict=True))
        added = pa.table({ROW: np.arange(len(places_N2)), **columns})
        self.table.add_columns(added, {name: _DESCRIPTIONS[name] for name in names})

    # UMAP.

    def _need_umap(self) -> None:
        """Refuse a filter by a map that is not made yet.

        Raises:
            MorphoscopeError: with how far it is.
        """
        progress = self.need("umap")
        if progress is not None:
            far = f", {100 * progress['done'] // progress['of']} %" if progress["of"] else ""
            raise MorphoscopeError(
                f"the map by UMAP is being made ({progress['what'].lower()}{far}); ask again in a while"
            )

    def _make_umap(self) -> None:
        out = self.table.folder / "umap.npy"
        try:
            self._run_process(out)
            self._add("umap", np.load(out, allow_pickle=False))
        except Exception as error:  # a thread of its own has nobody to tell but who asks next
            said = str(error) if isinstance(error, MorphoscopeError) else ""
            with self._lock:
                self._failed = self._failed or said or f"the map by UMAP cannot be made ({reason_of(error)})"
        finally:
            with contextlib.suppress(OSError):
                out.unlink(missing_ok=True)

    def _run_process(self, out: Path) -> None:
        assert self.neighbours is not None
        catalogue, count = self.neighbours.catalogue.path.resolve(), self.table.count
        arguments = (str(catalogue), str(count), str(out))
        with (
            open(self.table.folder / "umap.log", "wb") as errors,
            helper(
                "morphoscope.explorer.umap_process",
                *arguments,
                environment=dict.fromkeys(_THREADS, "1"),
                stderr=errors,
                encoding="utf-8",
            ) as process,
        ):
            with self._lock:
                if self._failed:  # the explorer has ended meanwhile
                    return
                self._process = process
            assert process.stdout is not None
            for said in lines_of(process.stdout):
                if "error" in said:
                    raise MorphoscopeError(str(said["error"]))
                with self._lock:
                    self._progress = said
            status = process.wait()
        if status:
            raise MorphoscopeError(
                f"UMAP's process ended before the map was made (exit status {status}); the machine may be "
                "short of memory"
            )


def principal_components(features: Any, count: int) -> np.ndarray:
    """The first two principal components of N galaxies' features, (N, 2) float32, by two passes.

    The components are those of a random selection of 20,000 galaxies.

    Args:
        features: called for each pass: blocks of (first row, (N, D) features).
        count: N.
    """
    chosen_N = selection(count, _FITTED_TO)
    some_MD = np.concatenate([block[chosen_N[at : at + len(block)]] for at, block in features()])
    mean_D = some_MD.mean(axis=0, dtype=np.float64)
    centred_MD = some_MD - mean_D
    _, vectors_DD = np.linalg.eigh(centred_MD.T @ centred_MD)
    axes_D2 = vectors_DD[:, ::-1][:, :2]
    if axes_D2.shape[1] < 2:
        axes_D2 = np.pad(axes_D2, ((0, 0), (0, 1)))
    # The sign of an axis is arbitrary: its largest entry is made positive, for the same map every time.
    signs = np.sign(axes_D2[np.abs(axes_D2).argmax(axis=0), [0, 1]])
    axes_D2 = axes_D2 * np.where(signs == 0, 1, signs)
    return np.concatenate([((block - mean_D) @ axes_D2).astype(np.float32) for _, block in features()])
