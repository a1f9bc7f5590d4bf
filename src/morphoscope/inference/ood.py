"""Out-of-distribution (OOD) score: how far a galaxy's features are from those of the training galaxies.

The distance is Mahalanobis' (Lee et al. 2018, arXiv:1807.03888, eq. 2) with one mean and one covariance for
all training galaxies. In EXPERIMENTS.md a mean for every class was no better (and vote fractions have no
classes), and nearest neighbours (Sun et al. 2022, arXiv:2204.06507) took stars for galaxies.

The covariance is shrunk towards a sphere, C = (1 − α) S + α (tr S / D) I, and stored as its largest
eigenvalues with their vectors; the remaining eigenvalues are replaced by their mean, which keeps the file
small. Held-out galaxies of the same kind say what a distance means: as a score, in units of the distance
within which 95 % of them lie, and as a conformal p-value.

Shape letters: N galaxies, D features, E eigenvectors, H held-out galaxies.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
FEWEST = 20  # minimum number of galaxies, training and held-out, for fitting a distribution
LARGEST = 1_400_000  # bytes of eigenvectors
LARGEST_FILE = 64 << 20  # bytes; this program writes no larger file
MOST_HELD_OUT = 5_000  # distances stored for each number of views
RARE = 0.95  # fraction of held-out galaxies within the distance that has a score of 1


@dataclass(frozen=True, eq=False)
class FeatureDistribution:
    """The distribution of the training galaxies' features.

    Attributes:
        mean_D: mean of the features.
        vectors_ED: eigenvectors of the covariance, scaled so that the squared projections on them are
            subtracted from the squared length over ``floor``.
        floor: the eigenvalue of all other directions.
        galaxies: number of training galaxies it was fitted to.
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
        with np.errstate(over="ignore", invalid="ignore"):  # infinitely far then
            along_N = np.square(centred_ND @ self.vectors_ED.T).sum(axis=1, dtype=np.float64)
            sphere_N = np.square(centred_ND).sum(axis=1, dtype=np.float64) / self.floor
            squared_N = np.maximum(sphere_N - along_N, 0) / centred_ND.shape[1]
        return np.where(np.isfinite(squared_N), np.sqrt(squared_N), np.inf).astype(np.float32)

    def rare_distance(self, views: int) -> float:
        """The distance within which 95 % of held-out galaxies lie; the largest if there are fewer than 20."""
        distances_H = self.held_out[views]
        rank = int(np.ceil(round(RARE * (len(distances_H) + 1), 9)))
        return float(distances_H[min(rank, len(distances_H)) - 1])

    def p_values(self, distances_N: np.ndarray, views: int) -> np.ndarray:
        """Conformal p-values: (1 + held-out galaxies at least as far out) / (1 + H), (N,) float32.

        Of galaxies from the same distribution as the held-out ones, at most a fraction p has a value below
        p (Bates et al. 2023, Annals of Statistics 51, 149, eq. 3).
        """
        distances_H = self.held_out[views]
        farther_N = len(distances_H) - np.searchsorted(distances_H, distances_N, side="left")
        return ((1 + farther_N) / (1 + len(distances_H))).astype(np.float32)


def fit_distribution(features_ND: np.ndarray, *, largest: int = LARGEST) -> FeatureDistribution | None:
    """Fit the mean and covariance of training galaxies' features.

    Args:
        features_ND: features of training galaxies.
        largest: bytes that the eigenvectors may take.

    Returns:
        None for fewer than twenty galaxies, or for features that are all equal or not finite.
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
    floor = min(floor, float(values_E.min()))  # rounding may put one below the others
    # Σ_i (u_i·z)²/λ_i + (‖z‖² − Σ_i (u_i·z)²)/f = ‖z‖²/f − Σ_i (u_i·z)² (1/f − 1/λ_i)
    weights_E = np.sqrt(np.maximum(1 / floor - 1 / values_E, 0))
    return FeatureDistribution(
        mean_D.astype(np.float32), (vectors_DE * weights_E).T.astype(np.float32), floor, galaxies=count
    )


def _largest_eigenvectors(centred_ND: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (E,) of the covariance, ascending, and their vectors (D, E)."""
    count, width = centred_ND.shape
    if count <= width:  # the (N, N) Gram matrix has the same non-zero eigenvalues and is smaller
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
    """Distances in stored form: ascending; if there are very many, an even selection with both ends."""
    distances_H = np.sort(np.asarray(distances_H, np.float32))
    if len(distances_H) <= MOST_HELD_OUT:
        return distances_H
    return distances_H[np.linspace(0, len(distances_H) - 1, MOST_HELD_OUT).round().astype(int)]


def write_distribution(run: Run, distribution: FeatureDistribution, folder: Path | None = None) -> None:
    """Write a run's feature distribution into a folder, or into the run."""
    from safetensors.numpy import save_file

    tensors = {
        "mean": distribution.mean_D,
        "vectors": distribution.vectors_ED,
        "floor": np.array([distribution.floor], np.float64),
    }
    tensors |= {f"held_out.{views}": distances for views, distances in distribution.held_out.items()}
    header = {
        "format_version": FORMAT_VERSION,
        "method": METHOD,
        "galaxies": distribution.galaxies,
        "weights_sha256": run.header.weights_sha256,
    }
    metadata = {KIND: json.dumps(header)}  # one entry: safetensors writes several in any order
    with files.atomic_file((folder or run.path) / FILE) as path:
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path, metadata)
        path.chmod(0o644)  # safetensors leaves its files readable by their owner alone


def read_distribution(run: Run) -> FeatureDistribution | None:
    """The feature distribution stored in a run; None if there is none.

    Raises:
        MorphoscopeError: the file is damaged, from a newer program, or of other weights.
    """
    exported = run.path.is_file()
    content = run.content_of(FILE) if exported else None
    path = run.path if exported else run.path / FILE
    if not path.is_file() or (exported and content is None):
        return None
    damaged = (
        f"{path} is damaged: it is not the feature distribution of a run; remove it, then run "
        f"'morphoscope calibrate {run.path}'"
    )
    if exported:
        damaged = f"{path}: its JSON is damaged: 'reference' is not a feature distribution; export it again"
        header, tensors = _embedded(str(content), damaged)
    else:
        header, tensors = _content(path, damaged)
    try:
        version, galaxies = int(header["format_version"]), int(header["galaxies"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MorphoscopeError(damaged) from error
    check_version(version, FORMAT_VERSION, path)
    if header.get("weights_sha256") != run.header.weights_sha256:
        raise MorphoscopeError(
            f"{path} was made with other weights than the run has; remove it, then run "
            f"'morphoscope calibrate {run.path}'"
        )
    try:
        held_out = {
            int(name.removeprefix("held_out.")): values
            for name, values in tensors.items()
            if name.startswith("held_out.")
        }
        floor = float(tensors["floor"].item())
        distribution = FeatureDistribution(tensors["mean"], tensors["vectors"], floor, galaxies, held_out)
    except (KeyError, ValueError) as error:
        raise MorphoscopeError(damaged) from error
    if not _is_whole(distribution):
        raise MorphoscopeError(damaged)
    return distribution


def _content(path: Path, damaged: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The file's own header, and its arrays."""
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > LARGEST_FILE:
        raise MorphoscopeError(
            f"{path} is larger than {LARGEST_FILE >> 20} MiB; a feature distribution is smaller"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[KIND])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise MorphoscopeError(damaged) from error
    if not isinstance(header, dict):
        raise MorphoscopeError(damaged)
    return header, tensors


def _embedded(text: str, damaged: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same of the file's content in base64."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = base64.b64decode(text, validate=True)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KIND])
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise MorphoscopeError(damaged) from error
    if not isinstance(header, dict):
        raise MorphoscopeError(damaged)
    return header, tensors


def _is_whole(found: FeatureDistribution) -> bool:
    """Whether all parts are consistent and their numbers valid for computing distances."""
    arrays = (found.mean_D, found.vectors_ED, *found.held_out.values())
    if any(array.dtype.kind != "f" or not np.isfinite(array).all() for array in arrays):
        return False
    return (
        found.mean_D.ndim == 1
        and len(found.mean_D) > 0
        and found.vectors_ED.ndim == 2
        and found.vectors_ED.shape[1] == len(found.mean_D)
        and 0 < found.floor < np.inf
        and all(
            array.ndim == 1 and len(array) > 0 and (np.diff(array) >= 0).all() and array[0] >= 0
            for array in found.held_out.values()
        )
    )


def why_no_ood_score(run: Run, views: int) -> str:
    """Why a run has no OOD score, for display."""
    distribution = read_distribution(run)
    if distribution is None and run.path.is_file():
        return "the exported file has no feature distribution; export it again from a run that has one"
    if distribution is None:
        return f"the run has no {FILE}; 'morphoscope calibrate {run.path}' makes it"
    known = " and ".join(str(number) for number in sorted(distribution.held_out)) or "no"
    return (
        f"the run has distances for {known} views, not for {views}; "
        f"'morphoscope calibrate {run.path} --views {views}' adds them"
    )
