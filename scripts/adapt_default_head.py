"""Adapt the packaged network's last layer to pictures without labels: a run to calibrate and measure.

Everything before the last layer stays, and so do features, OOD scores and linear probes. The targets of the
pictures come from the network itself: its probabilities are averaged over galaxies with similar features
(label spreading, Zhou et al. 2004, NeurIPS 16, 321), moved towards the class shares that they imply (Saerens,
Latinne and Decaestecker 2002, Neural Computation 14, 21, eq. 2.8, with a Dirichlet prior) and squared.
Simulated galaxies with their labels keep the ten classes apart, and their logits near the old ones.

    python scripts/adapt_default_head.py OUT SIMULATED FOLDER...

OUT: the new run, without a calibration (``scripts/calibrate_default.py``). SIMULATED: a store of a few
hundred simulated galaxies. FOLDER: JPEG files, found below it. EXPERIMENTS.md has what this is worth.

Shape letters: V views, N galaxies, D features, R = D + 1, K classes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from morphoscope.data.store import open_store
from morphoscope.errors import UsageError
from morphoscope.files import sha256_of
from morphoscope.images.decode import crop_and_resize, read_image
from morphoscope.inference.ood import read_distribution, write_distribution
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.metrics.linear_models import LinearModel, softmax
from morphoscope.runs.run import Run, open_run, write_header

NEIGHBOURS, STEPS = 20, 5  # of label spreading
OWN = 0.1  # weight of a galaxy's own probabilities in it
AXES = 64  # principal components in which galaxies are compared
WIDTH = 0.1  # of the kernel, in units of the cosine
EVENNESS = 1.0  # galaxies in equal shares that are added to each galaxy when class shares are estimated
SHARPNESS = 2  # power of the targets
ANCHOR = 0.3  # weight of the squared change of the logits of simulated galaxies
LABELLED = 0.5  # weight of their labels
SMOOTHING = 0.05  # of these labels
HEAD = ("head.1.weight", "head.1.bias")


def spread(probabilities_NK: np.ndarray, features_ND: np.ndarray) -> np.ndarray:
    """Probabilities averaged over similar galaxies, (N, K)."""
    centred_ND = features_ND - features_ND.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred_ND[::2], full_matrices=False)
    points = centred_ND @ axes[:AXES].T / np.sqrt(lengths[:AXES])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    nearest, weights = [], []
    for start in range(0, len(points), 1000):
        part = slice(start, start + 1000)
        cosines = points[part] @ points.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf  # not itself
        found = np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        kernel = np.exp((np.take_along_axis(cosines, found, axis=1) - 1) / WIDTH)
        nearest.append(found)
        weights.append(kernel / kernel.sum(axis=1, keepdims=True))
    nearest_NM, weights_NM = np.concatenate(nearest), np.concatenate(weights)
    seen_NK = probabilities_NK
    for _ in range(STEPS):
        around_NK = np.einsum("nm,nmk->nk", weights_NM, seen_NK[nearest_NM])
        seen_NK = OWN * probabilities_NK + (1 - OWN) * around_NK
    return seen_NK


def shares_of(probabilities_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) for the class shares that they imply, and these (K,).

    The probabilities were learned with equal shares.
    """
    count, classes = probabilities_NK.shape
    shares_K, moved_NK = np.full(classes, 1 / classes), probabilities_NK
    for _ in range(200):
        moved_NK = probabilities_NK * shares_K
        moved_NK /= moved_NK.sum(axis=1, keepdims=True)
        shares_K = moved_NK.sum(axis=0) + EVENNESS * count / classes
        shares_K /= shares_K.sum()
    return moved_NK, shares_K


def fitted(
    old: LinearModel, real: tuple[np.ndarray, np.ndarray], simulated: tuple[np.ndarray, np.ndarray]
) -> LinearModel:
    """The head with the least loss on both sets of features (N, D) and targets (N, K)."""
    from scipy.optimize import minimize

    def with_one(features_ND: np.ndarray) -> np.ndarray:
        return np.concatenate([features_ND, np.ones((len(features_ND), 1))], axis=1)

    start_KR = np.concatenate([old.weight_KD, old.bias_K[:, None]], axis=1)
    anchor_NR = with_one(simulated[0])
    moments_RR = anchor_NR.T @ anchor_NR / len(anchor_NR) + 1e-3 * np.eye(anchor_NR.shape[1])
    parts = [(with_one(real[0]), real[1], 1.0), (anchor_NR, simulated[1], LABELLED)]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        head_KR = flat.reshape(start_KR.shape)
        change_KR = head_KR - start_KR
        pull_KR = ANCHOR * change_KR @ moments_RR
        loss, gradient_KR = 0.5 * float((change_KR * pull_KR).sum()), pull_KR
        for design_NR, targets_NK, weight in parts:
            predicted_NK = softmax(design_NR @ head_KR.T)
            loss -= weight * float((targets_NK * np.log(predicted_NK + 1e-12)).sum()) / len(design_NR)
            gradient_KR = gradient_KR + weight * (predicted_NK - targets_NK).T @ design_NR / len(design_NR)
        return loss, gradient_KR.ravel()

    found = minimize(objective, start_KR.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    head_KR = np.asarray(found.x).reshape(start_KR.shape)
    return LinearModel(head_KR[:, :-1], head_KR[:, -1])


def adapted(
    old: LinearModel, real_VND: np.ndarray, simulated_VND: np.ndarray, labels_N: np.ndarray
) -> LinearModel:
    """The new head, from features of pictures without labels and of simulated galaxies with theirs."""
    views, classes = len(real_VND), len(old.bias_K)
    own_NK = mean_over_views(np.stack([softmax(old(features_ND)) for features_ND in real_VND]))
    moved_NK, _ = shares_of(spread(own_NK, mean_over_views(real_VND)))
    targets_NK = moved_NK**SHARPNESS
    targets_NK /= targets_NK.sum(axis=1, keepdims=True)
    labels_NK = np.eye(classes)[labels_N] * (1 - SMOOTHING) + SMOOTHING / classes
    return fitted(
        old,
        (np.concatenate(real_VND), np.tile(targets_NK, (views, 1))),
        (np.concatenate(simulated_VND), np.tile(labels_NK, (views, 1))),
    )


def write_run(run: Run, head: LinearModel, out: Path) -> None:
    """Write the run with another head. What depends on the head is left out: calibration, graphs, metrics."""
    from safetensors.numpy import load_file, save_file

    distribution = read_distribution(run)
    out.mkdir()
    tensors = load_file(run.path / "weights.safetensors")
    for name, values in zip(HEAD, (head.weight_KD, head.bias_K), strict=True):
        tensors[name] = np.ascontiguousarray(values, np.float32)
    save_file(tensors, out / "weights.safetensors")
    (out / "weights.safetensors").chmod(0o644)  # safetensors restricts its files to their owner
    shutil.copyfile(run.path / "recipe.yaml", out / "recipe.yaml")
    digest = sha256_of(out / "weights.safetensors")
    start = "'default', its last layer adapted to pictures without labels"
    header = run.header.model_copy(update={"weights_sha256": digest, "start": start})
    write_header(out, header)
    if distribution is not None:  # of the features, which are the same
        write_distribution(Run(out, run.recipe, header), distribution)


def main(out: Path, simulated: Path, folders: Sequence[Path]) -> None:
    """Read, predict, fit and write."""
    from safetensors.numpy import load_file

    if out.exists():
        raise UsageError(f"{out} exists already; choose another folder")
    run, store = open_run("default"), open_store(simulated)
    paths = sorted(path for folder in folders for path in folder.rglob("*.jp*g"))
    if len(paths) <= NEIGHBOURS:
        raise UsageError(f"{len(paths)} JPEG files below {folders}; hundreds were expected")
    side = run.header.store.image_shape[0]
    predictor = Predictor(run, views=2, calibrated=False)
    pictures = [crop_and_resize(read_image(path), size=side) for path in paths]
    _, real_VND = predictor.predictions_and_features(pictures)
    _, simulated_VND = predictor.predictions_and_features(list(store.images))
    labels_N = np.asarray(store.table.column("label"), np.int64)
    tensors = load_file(run.path / "weights.safetensors")
    old = LinearModel(*(tensors[name].astype(np.float64) for name in HEAD))
    new = adapted(old, real_VND.astype(np.float64), simulated_VND.astype(np.float64), labels_N)
    write_run(run, new, out)
    print(f"{out}: {len(paths)} pictures without labels, {len(store)} simulated galaxies")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])
