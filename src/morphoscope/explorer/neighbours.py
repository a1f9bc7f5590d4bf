"""Galaxies that look alike, by the features of the network: exactly for a small catalogue, and by a few
directions that hold most of the features for a large one.

Shape letters: N galaxies, D features, E directions.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.catalogue.similar import EmbeddedCatalogue
from morphoscope.errors import MorphoscopeError

EXACT = 20_000  # galaxies of which all features are compared each time
DIRECTIONS = 64
FITTED_TO = 20_000  # galaxies


class Neighbours:
    """Similar galaxies of a catalogue with features.

    Args:
        path: of the catalogue.
        count: of its galaxies.
        folder: for the file with the directions of a large one.
    """

    def __init__(self, path: Path, count: int, folder: Path) -> None:
        self.catalogue = EmbeddedCatalogue(path)
        self.count, self.folder = count, folder
        self._lock = threading.Lock()
        self._basis_DE: np.ndarray | None = None
        self._unit_NE: np.ndarray | None = None

    @property
    def exact(self) -> bool:
        """Whether all features are compared."""
        return self.count <= EXACT or self.catalogue.width <= DIRECTIONS

    def of_row(self, row: int, count: int) -> list[tuple[int, float]]:
        """Rows and cosine similarities of the galaxies most similar to one of the catalogue."""
        if self.exact:
            return self.of_features(self.features(row), count, without=row)
        unit_NE = self._projected()
        return self._best(unit_NE @ np.asarray(unit_NE[row], np.float32), count, row)

    def of_features(
        self, features_D: np.ndarray, count: int, *, without: int | None = None
    ) -> list[tuple[int, float]]:
        """The same for given features.

        Raises:
            MorphoscopeError: they are of another network.
        """
        if len(features_D) != self.catalogue.width:
            raise MorphoscopeError("the catalogue's features are of another network than the run's")
        if self.exact:
            found = self.catalogue.nearest(features_D, count, without=without)
            return [(neighbour.row, neighbour.similarity) for neighbour in found]
        unit_NE = self._projected()
        assert self._basis_DE is not None
        wanted_E = _unit(np.asarray(features_D, np.float32)[None] @ self._basis_DE)[0]
        return self._best(unit_NE @ wanted_E, count, without)

    def features(self, row: int) -> np.ndarray:
        """The features of a galaxy, (D,) float32."""
        for start, features_ND in self.catalogue.features():
            if start <= row < start + len(features_ND):
                return features_ND[row - start]
        raise MorphoscopeError(f"{self.catalogue.path} changed while it was read; start the explorer again")

    def _projected(self) -> np.ndarray:
        """The features along the directions, normalised, (N, E) float32 in a file that is mapped."""
        with self._lock:
            if self._unit_NE is None:
                self._basis_DE = self._directions()
                file = self.folder / "features.npy"
                shape = (self.count, self._basis_DE.shape[1])
                written: Any = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                for start, features_ND in self.catalogue.features():
                    written[start : start + len(features_ND)] = _unit(features_ND @ self._basis_DE)
                written.flush()
                self._unit_NE = np.lib.format.open_memmap(file, mode="r").view(np.ndarray)
            return self._unit_NE

    def _directions(self) -> np.ndarray:
        """The directions that hold most of the normalised features, (D, E): they keep cosines best."""
        width = self.catalogue.width
        second_DD = np.zeros((width, width), np.float64)
        seen, chosen_N = 0, selection(self.count, FITTED_TO)
        for start, features_ND in self.catalogue.features():
            some_MD = _unit(features_ND[chosen_N[start : start + len(features_ND)]]).astype(np.float64)
            second_DD += some_MD.T @ some_MD
            seen += len(some_MD)
        _, vectors_DD = np.linalg.eigh(second_DD / max(1, seen))
        return np.ascontiguousarray(vectors_DD[:, ::-1][:, :DIRECTIONS]).astype(np.float32)

    @staticmethod
    def _best(similarity_N: np.ndarray, count: int, without: int | None) -> list[tuple[int, float]]:
        if without is not None:
            similarity_N = similarity_N.copy()
            similarity_N[without] = -np.inf
        some = np.argpartition(-similarity_N, min(count, len(similarity_N) - 1))[:count]
        ordered = some[np.argsort(-similarity_N[some], kind="stable")]
        return [(int(row), float(similarity_N[row])) for row in ordered if np.isfinite(similarity_N[row])]


def selection(count: int, most: int) -> np.ndarray:
    """Which of N galaxies stand for all of them, (N,) bool: all, or so many drawn at random, always the same.

    Every tenth would not do: catalogues may be periodic, such as that of a store with its classes in turn.
    """
    chosen_N = np.ones(count, bool)
    if count > most:
        chosen_N[:] = False
        chosen_N[np.random.default_rng(0).choice(count, most, replace=False)] = True
    return chosen_N


def _unit(features_ND: np.ndarray) -> np.ndarray:
    return features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)
