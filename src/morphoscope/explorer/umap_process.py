"""A map of features by UMAP, made in a process of its own, ``python -m`` this module.

UMAP's compiled loops do not let go of the interpreter, so that a server in the same process would answer
nobody for minutes. The process writes its progress to standard output, a JSON object a line, and the places
to a file; it ends when its standard input closes, which happens even if the server is killed.

The features are brought to unit length, so that near means what it means for similar galaxies, and reduced
to their first principal components, those of a random selection. UMAP lays out this selection, of 20,000
galaxies at most; each other galaxy is placed among the laid-out ones nearest to it
(:mod:`morphoscope.explorer.placing`), block by block, so that memory does not grow with the catalogue.

Source: L. McInnes, J. Healy, J. Melville 2018, arXiv:1802.03426 (umap-learn); M. Walmsley et al. 2022,
arXiv:2110.12735, reduce the features of galaxies in the same way first.

Shape letters: N galaxies, M of the selection, D features, E components.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.explorer.neighbours import selection
from morphoscope.explorer.placing import Placing
from morphoscope.processes import available_cores

LAID_OUT = 20_000  # galaxies at most; the others are placed among them
COMPONENTS = 50
NEIGHBOURS = 15
FEWEST = 10  # of which a map is made
KEPT = 16  # maps in the folder of the cache
SEED = 0

Features = Callable[[], Iterable[tuple[int, np.ndarray]]]
Tell = Callable[[str, int, int], None]


def umap_places(features: Features, count: int, tell: Tell) -> np.ndarray:
    """Places of N galaxies on a map by UMAP, (N, 2) float32; the same features give the same places.

    Args:
        features: called for each of two passes: blocks of (first row, (N, D) features), finite. Features of
            zeros, which stand for none, are one place.
        count: N.
        tell: called with what is done, how much of it, and of how much (0: unknown).

    Raises:
        MorphoscopeError: there are too few galaxies.
    """
    if count < FEWEST:
        raise MorphoscopeError(f"a map by UMAP needs at least {FEWEST} galaxies, not {count}")
    chosen_N = selection(count, LAID_OUT)
    components = _Components(_read(features, chosen_N, tell))
    tell(f"Arranging {len(components.selected_ME):,} galaxies", 0, 0)
    near = min(NEIGHBOURS, len(components.selected_ME) - 1)
    places_M2 = _laid_out(components.selected_ME, near)
    places_N2 = np.empty((count, 2), np.float32)
    places_N2[chosen_N] = places_M2
    if chosen_N.all():
        return places_N2
    placing = Placing(components.selected_ME, places_M2, near)
    placed, others = 0, count - len(places_M2)
    tell("Placing the other galaxies", placed, others)
    with ThreadPoolExecutor(available_cores()) as pool:
        for start, block_ND in features():
            others_n = ~chosen_N[start : start + len(block_ND)]
            rows = start + np.flatnonzero(others_n)
            places_N2[rows] = placing.places(components.of(block_ND[others_n]), each=pool.map)
            placed += len(rows)
            tell("Placing the other galaxies", placed, others)
    return places_N2


def _laid_out(features_ME: np.ndarray, near: int) -> np.ndarray:
    umap: Any = importlib.import_module("umap")
    # Few galaxies have no spectrum worth starting from.
    start = "spectral" if len(features_ME) > 4 * NEIGHBOURS else "random"
    return umap.UMAP(n_neighbors=near, random_state=SEED, n_jobs=1, init=start).fit_transform(features_ME)


def _read(features: Features, chosen_N: np.ndarray, tell: Tell) -> np.ndarray:
    pieces = []
    for start, block_ND in features():
        pieces.append(block_ND[chosen_N[start : start + len(block_ND)]])
        tell("Reading the features", start + len(block_ND), len(chosen_N))
    return np.concatenate(pieces)


class _Components:
    """The first principal components of the unit features of a selection.

    Args:
        selected_MD: the features of the selection.

    Attributes:
        selected_ME: its components.
    """

    def __init__(self, selected_MD: np.ndarray) -> None:
        centred_MD = _unit(selected_MD).astype(np.float64)
        mean_D = centred_MD.mean(axis=0)
        centred_MD -= mean_D
        _, vectors_DD = np.linalg.eigh(centred_MD.T @ centred_MD)
        axes_DE = np.ascontiguousarray(vectors_DD[:, ::-1][:, :COMPONENTS])
        self._mean_D, self._axes_DE = mean_D.astype(np.float32), axes_DE.astype(np.float32)
        self.selected_ME = self.of(selected_MD)

    def of(self, features_ND: np.ndarray) -> np.ndarray:
        """Components of galaxies, (N, E)."""
        return (_unit(features_ND) - self._mean_D) @ self._axes_DE


def _unit(features_ND: np.ndarray) -> np.ndarray:
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return features_ND / np.maximum(lengths_N1, 1e-12)


# A map is kept: it takes minutes, and the same features give the same map.


def kept_at(features: Features, tell: Tell) -> Path:
    """Where the map of these features is kept, whether or not it is there."""
    umap = importlib.metadata.version("umap-learn")
    said = [LAID_OUT, COMPONENTS, NEIGHBOURS, SEED, "the others among their neighbours", umap]
    digest = hashlib.sha256(json.dumps(said).encode())
    for start, block_ND in features():
        digest.update(block_ND.tobytes())
        tell("Looking whether this map is known", start + len(block_ND), 0)
    return files.cache_folder() / "umap" / f"{digest.hexdigest()}.npy"


def kept_places(path: Path, count: int) -> np.ndarray | None:
    """A map that was kept; None: it is not there, or is damaged."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        places_N2 = np.load(path, allow_pickle=False)
        if places_N2.shape == (count, 2) and places_N2.dtype == np.float32:
            path.touch()  # the maps used last are kept
            return places_N2
    return None


def keep(path: Path, places_N2: np.ndarray) -> None:
    """Keep a map, and no more than :data:`KEPT`; a folder that cannot be written is no error."""
    with contextlib.suppress(OSError, MorphoscopeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(path) as partial, open(partial, "wb") as file:
            np.save(file, places_N2)
        old = sorted(path.parent.glob("*.npy"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT:]:
            each.unlink(missing_ok=True)


# The process.


def main(catalogue: str, count: int, out: str) -> int:
    """Write the places of a catalogue's galaxies to a file; 0, or 1 after a sentence that says why not."""
    from morphoscope.catalogue.similar import EmbeddedCatalogue

    warnings.simplefilter("ignore")  # umap's, about its number of threads
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)  # whoever looks at galaxies meanwhile comes first
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    tell = _Told()
    try:
        embedded = EmbeddedCatalogue(catalogue)
        path = kept_at(embedded.features, tell)
        places_N2 = kept_places(path, count)
        if places_N2 is None:
            places_N2 = umap_places(embedded.features, count, tell)
            keep(path, places_N2)
        np.save(out, places_N2)
    except MorphoscopeError as error:
        _say({"error": str(error)})
        return 1
    except MemoryError:
        _say({"error": "there is not enough memory for a map by UMAP"})
        return 1
    except Exception as error:  # whatever umap and its compiler raise
        _say({"error": f"UMAP failed ({reason_of(error)})"})
        return 1
    return 0


class _Told:
    """Writes progress, at most a few lines a second."""

    def __init__(self) -> None:
        self._last = ("", 0.0)

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if what != self._last[0] or now - self._last[1] > 0.3:
            self._last = (what, now)
            _say({"what": what, "done": done, "of": of})


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def _end_with_the_server() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):  # not by sys.stdin, whose lock must be free when the interpreter ends
            pass
    os._exit(3)


def lines_of(stream: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What the process has said; lines that are none of its own are left out."""
    for line in stream:
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                yield document


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
