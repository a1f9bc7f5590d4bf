"""How unlike the training's galaxies a galaxy is: its distance in the space of features, and what it means.

The distance is Mahalanobis' (Lee et al. 2018, arXiv:1807.03888, eq. 2) with one mean and one covariance for
all training galaxies. EXPERIMENTS.md has the choice: a mean for every class was no better, and votes have no
classes; nearest neighbours (Sun et al. 2022, arXiv:2204.06507) took stars for galaxies.

The covariance is shrunk towards a sphere, C = (1 − α) S + α (tr S / D) I, and kept as its largest eigenvalues
with their vectors; the others are replaced by their mean, which keeps the file small. What a distance means
is read off galaxies of the training's own kind that the network did not learn from.

Shape letters: N galaxies, D features, E eigenvectors, H held-out galaxies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.runs.run import Run
from morphoscope.versioned import check_version

FILE = "reference.safetensors"
KIND = "morphoscope-reference"
FORMAT_VERSION = 1
METHOD = "Mahalanobis distance of the features"
SHRINKAGE = 0.1  # α
FEWEST = 20  # galaxies below which there is no reference, in training and held out
LARGEST = 1_400_000  # bytes of eigenvectors
MOST_HELD_OUT = 5_000  # distances kept for each number of views
RARE = 0.95  # share of held-out galaxies within the distance that counts as 1


@dataclass(frozen=True, eq=False)
class Reference:
    """What galaxies like the training's look like to the network.

    Attributes:
        mean_D: of the training galaxies' features.
        vectors_ED: eigenvectors of the covariance, each divided so that a squared projection on it adds to
            the squared distance what its eigenvalue asks for.
        floor: the eigenvalue of all other directions.
        galaxies: training galaxies it was fitted on.
        held_out: number of views → distances of held-out galaxies, ascending, (H,).
    """

    mean_D: np.ndarray
    vectors_ED: np.ndarray
    floor: float
    galaxies: int
    held_out: Mapping[int, np.ndarray] = field(default_factory=dict)

    def distances(self, features_ND: np.ndarray) -> np.ndarray:
        """Mahalanobis distance over √D, (N,) float32: about 1 for a training galaxy.

        Features that are not finite give an infinite distance.
        """
        centred_ND = np.asarray(features_ND, np.float32) - self.mean_D
        along_N = np.square(centred_ND @ self.vectors_ED.T).sum(axis=1, dtype=np.float64)
        sphere_N = np.square(centred_ND).sum(axis=1, dtype=np.float64) / self.floor
        squared_N = np.maximum(sphere_N - along_N, 0) / centred_ND.shape[1]
        return np.where(np.isfinite(squared_N), np.sqrt(squared_N), np.inf).astype(np.float32)

    def rare_distance(self, views: int) -> float:
        """The distance within which 95 % of held-out galaxies lie; of nineteen, the largest."""
        distances_H = self.held_out[views]
        rank = int(np.ceil(round(RARE * (len(distances_H) + 1), 9)))
        return float(distances_H[min(rank, len(distances_H)) - 1])

    def typicality(self, distances_N: np.ndarray, views: int) -> np.ndarray:
        """Share of held-out galaxies at least as far out, (1 + #) / (1 + H), (N,) float32.

        For galaxies drawn as the held-out ones were, it is below any p for at most a share p of them: a
        conformal p-value (Bates et al. 2023, Annals of Statistics 51, 149, eq. 3).
        """
        distances_H = self.held_out[views]
        farther_N = len(distances_H) - np.searchsorted(distances_H, distances_N, side="left")
        return ((1 + farther_N) / (1 + len(distances_H))).astype(np.float32)


def fit_reference(features_ND: np.ndarray, *, largest: int = LARGEST) -> Reference | None:
    """The mean and the covariance of training galaxies' features.

    Args:
        features_ND: of galaxies that the network learned from.
        largest: bytes that the eigenvectors may take.

    Returns:
        None for fewer than twenty galaxies, and for features that are all alike or not finite.
    """
    count, width = features_ND.shape
    if count < FEWEST or not np.isfinite(features_ND).all():
        return None
    mean_D = features_ND.mean(axis=0, dtype=np.float64)
    centred_ND = features_ND - mean_D
    sphere = float(np.square(centred_ND).sum()) / (count * width)
    if sphere <= 0:
        return None
    kept = min(width, count - 1, max(1, largest // (4 * width)))
    values_E, vectors_DE = _largest_eigenvectors(centred_ND, kept)
    others = (sphere * width - float(values_E.sum())) / (width - kept) if kept < width else 0.0
    values_E = (1 - SHRINKAGE) * values_E + SHRINKAGE * sphere
    floor = (1 - SHRINKAGE) * max(others, 0.0) + SHRINKAGE * sphere
    floor = min(floor, float(values_E.min()))  # rounding alone may put one below the others
    # Σ_i (u_i·z)²/λ_i + (‖z‖² − Σ_i (u_i·z)²)/f = ‖z‖²/f − Σ_i (u_i·z)² (1/f − 1/λ_i)
    weights_E = np.sqrt(np.maximum(1 / floor - 1 / values_E, 0))
    return Reference(
        mean_D.astype(np.float32), (vectors_DE * weights_E).T.astype(np.float32), floor, galaxies=count
    )


def _largest_eigenvectors(centred_ND: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (E,) of the covariance, ascending, and their vectors (D, E)."""
    count, width = centred_ND.shape
    if count <= width:  # those of the galaxies' products are the same, and there are fewer
        values_N, vectors_NN = np.linalg.eigh(centred_ND @ centred_ND.T / count)
        values_E, vectors_NE = np.maximum(values_N[-kept:], 0), vectors_NN[:, -kept:]
        lengths_E = np.sqrt(np.maximum(values_E * count, np.finfo(float).tiny))
        return values_E, centred_ND.T @ vectors_NE / lengths_E
    covariance_DD = centred_ND.T @ centred_ND / count
    if 4 * kept > width:
        values_D, vectors_DD = np.linalg.eigh(covariance_DD)
        return values_D[-kept:], vectors_DD[:, -kept:]
    from scipy.sparse.linalg import eigsh

    start_D = np.random.default_rng(0).standard_normal(width)  # the same file every time
    values_E, vectors_DE = eigsh(covariance_DD, k=kept, which="LA", v0=start_D)
    return values_E, vectors_DE


def kept_distances(distances_H: np.ndarray) -> np.ndarray:
    """Distances as a reference keeps them: ascending, of very many an even selection with both ends."""
    distances_H = np.sort(np.asarray(distances_H, np.float32))
    if len(distances_H) <= MOST_HELD_OUT:
        return distances_H
    return distances_H[np.linspace(0, len(distances_H) - 1, MOST_HELD_OUT).round().astype(int)]


def keep_reference(run: Run, reference: Reference) -> None:
    """Write a reference into a run."""
    from safetensors.numpy import save_file

    tensors = {
        "mean": reference.mean_D,
        "vectors": reference.vectors_ED,
        "floor": np.array([reference.floor], np.float64),
    }
    tensors |= {f"held_out.{views}": distances for views, distances in reference.held_out.items()}
    said = {
        "format_version": FORMAT_VERSION,
        "method": METHOD,
        "galaxies": reference.galaxies,
        "weights_sha256": run.header.weights_sha256,
    }
    note = {KIND: json.dumps(said)}  # one entry: safetensors writes several in any order
    with files.atomic_file(run.path / FILE) as place:
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, place, note)
        place.chmod(0o644)  # safetensors leaves its files to their owner alone


def read_reference(run: Run) -> Reference | None:
    """The reference kept in a run; None where there is none.

    Raises:
        MorphoscopeError: the file is damaged, from a newer program, or of other weights.
    """
    from safetensors import SafetensorError, safe_open

    place = run.path / FILE
    if not place.is_file():
        return None
    try:
        with safe_open(place, framework="numpy") as file:
            said = json.loads((file.metadata() or {})[KIND])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        version, galaxies = int(said["format_version"]), int(said["galaxies"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise MorphoscopeError(
            f"{place} is damaged: it is not the reference of a run; remove it, then run "
            f"'morphoscope calibrate {run.path}'"
        ) from error
    check_version(version, FORMAT_VERSION, place)
    if said.get("weights_sha256") != run.header.weights_sha256:
        raise MorphoscopeError(
            f"{place} was made with other weights than the run has; remove it, then run "
            f"'morphoscope calibrate {run.path}'"
        )
    held_out = {
        int(name.removeprefix("held_out.")): values
        for name, values in tensors.items()
        if name.startswith("held_out.")
    }
    try:
        return Reference(tensors["mean"], tensors["vectors"], float(tensors["floor"][0]), galaxies, held_out)
    except (KeyError, IndexError) as error:
        raise MorphoscopeError(f"{place} is damaged: it lacks a part of the reference") from error


def why_no_reference(run: Run, views: int) -> str:
    """Why a run cannot say how unlike its training a galaxy is, for people."""
    reference = read_reference(run)
    if run.path.is_file():
        return "an exported file does not carry the reference; predict with the run and --engine onnx"
    if reference is None:
        return f"the run has no {FILE}; 'morphoscope calibrate {run.path}' makes it"
    known = " and ".join(str(number) for number in sorted(reference.held_out)) or "no"
    return (
        f"the run has distances for {known} views, not for {views}; "
        f"'morphoscope calibrate {run.path} --views {views}' adds them"
    )
