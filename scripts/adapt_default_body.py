"""Train the packaged network further, on simulated galaxies and pictures without labels: a run to calibrate.

All layers learn. Half of each batch are simulated galaxies with their labels, of the training's surveys and
of 256 others; the network also has to answer there as it did before. The other half are the pictures,
strongly changed, whose targets come from the network itself as it sees them unchanged: averaged over galaxies
with similar features, moved towards the class shares that they imply and squared (:mod:`adapt_default_head`),
anew :data:`ROUNDS` times from the moving average of the weights. Their loss is that of the probabilities for
these shares (logit adjustment, Menon et al. 2021, ICLR, eq. 10), so that the network itself goes on answering
for equal shares. Pictures that may be disturbed or merging galaxies, which simulated ones resemble least,
are left out. Batch normalisation keeps the statistics of the training. At the end the weights are averaged
with those at the start (Wortsman et al. 2022, CVPR, "Robust fine-tuning of zero-shot models", eq. 1).

    python scripts/adapt_default_body.py RUN OUT STEPS FOLDER...

RUN: to start from, ``default`` or one made as it was. OUT: the new run, without a calibration
(``scripts/calibrate_default.py``). STEPS: of training, such as 600. FOLDER: JPEG files, found below it.
EXPERIMENTS.md has what this is worth.

Shape letters: N galaxies, D features, K classes.
"""

from __future__ import annotations

import copy
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from adapt_default_head import NEIGHBOURS, SHARPNESS, shares_of, spread
from calibrate_default import TRAINED, other_survey, simulated
from morphoscope.augment.cpu import Augmenter
from morphoscope.augment.params import draw_params
from morphoscope.errors import UsageError
from morphoscope.files import sha256_of
from morphoscope.images.decode import crop_and_resize, read_image
from morphoscope.inference.engine.processor import has_bf16
from morphoscope.inference.ood import fit_distribution, kept_distances, write_distribution
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.models.network import Network
from morphoscope.models.pretrained import save_weights
from morphoscope.progress import note
from morphoscope.recipes import Augment
from morphoscope.runs.run import Run, open_run, write_header
from morphoscope.simulation.survey import SURVEYS

COUNTS = {"trained": 4000, "other": 4000}  # simulated galaxies of the training's surveys, and of others
HELD_OUT = 1200  # simulated galaxies that OOD scores are in units of; half as many for eight views
OTHERS, OTHERS_SEED = 256, 2024
SEEDS = {"trained": 31, "other": 32, "held out": 4242}
SIDE = 128
STORED = 212  # of the pictures, so that they can be shown larger
HALF = 16  # pictures in a batch, and simulated galaxies
LR, WARMUP, WEIGHT_DECAY, CLIP = 3e-4, 30, 0.02, 1.0
AVERAGE = 0.995  # decay of the moving average of the weights
SMOOTHING = 0.05  # of the labels of simulated galaxies
PEER = 1.0  # weight of the start's answers for simulated galaxies, where their labels and the pictures have 1
ODD = 0.4  # probability of disturbed or merging at which a picture is left out
STAYS = 0.25  # weight of the start in the average at the end
ROUNDS = 3
FAST = has_bf16()  # half precision, where the processor has it
CHANGES = {"zoom": (0.4, 1.7), "saturation": 1.0, "noise": 12.0, "gamma": 0.4, "blur": 1.3}


def as_input(images_NHWC: np.ndarray) -> torch.Tensor:
    """Images (N, H, W, 3) as the network takes them, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2)


@torch.inference_mode()
def seen_by(network: Network, images_NHWC: np.ndarray, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and features (N, D), the means of each image and its mirror image."""
    probabilities, features = [], []
    for start in range(0, len(images_NHWC), batch):
        part = as_input(images_NHWC[start : start + batch])
        views = [network.embed(view) for view in (part, part.flip(3))]
        probabilities.append(sum(network.head(view).softmax(1) for view in views) / 2)
        features.append(sum(views) / 2)
    return torch.cat(probabilities).double().numpy(), torch.cat(features).double().numpy()


def targets_of(network: Network, pictures_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (N, K) of pictures without labels, and the class shares (K,) that these are for."""
    moved_NK, shares_K = shares_of(spread(*seen_by(network, pictures_NHWC)))
    targets_NK = moved_NK**SHARPNESS
    return targets_NK / targets_NK.sum(axis=1, keepdims=True), shares_K


def ordinary(network: Network, pictures_NHWC: np.ndarray) -> np.ndarray:
    """Which pictures are hardly those of disturbed or merging galaxies, (N,) bool."""
    odd = [GALAXY10.classes.index(name) for name in ("Disturbed", "Merging")]
    probabilities_NK, _ = seen_by(network, pictures_NHWC)
    return probabilities_NK[:, odd].sum(axis=1) < ODD


def cross_entropy(targets_NK: torch.Tensor, logits_NK: torch.Tensor) -> torch.Tensor:
    """The mean over galaxies, in nats."""
    return -(targets_NK * logits_NK.log_softmax(1)).sum(1).mean()


def passes(count: int, size: int, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Epochs and rows of batches without end, each epoch in an order of its own."""
    epoch = 0
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield epoch, order[start : start + size]
        epoch += 1


def rate(step: int, steps: int) -> float:
    """Learning rate: a linear warm-up, then half a cosine down to zero."""
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    return LR * 0.5 * (1 + np.cos(np.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def train(
    network: Network,
    augment: Augment,
    pictures: tuple[np.ndarray, np.ndarray],
    galaxies: tuple[np.ndarray, np.ndarray],
    steps: int,
    noted: Callable[[int, Network, float], None] = lambda step, network, loss: None,
) -> Network:
    """The moving average of the network over the training, averaged with the start.

    Args:
        network: to start from, which learns.
        augment: of the recipe; :data:`CHANGES` goes beyond it.
        pictures: without labels, at SIDE and at STORED pixels.
        galaxies: simulated ones (N, SIDE, SIDE, 3), and their class indices (N,).
        steps: how many batches.
        noted: called after every step with its number, the average and the loss.
    """
    start, average = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    network.eval()  # batch normalisation keeps its statistics; there is no dropout
    plain_NHWC, large_NHWC = pictures
    images_NHWC, labels_N = galaxies
    *_, bias = network.head.parameters()
    classes = len(bias)
    labels_NK = np.eye(classes)[labels_N] * (1 - SMOOTHING) + SMOOTHING / classes
    config = augment.model_copy(update=CHANGES)
    augmenter = Augmenter(config)
    rng = np.random.default_rng(0)
    real, known = passes(len(plain_NHWC), HALF, rng), passes(len(images_NHWC), HALF, rng)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    targets_NK, towards_K = np.empty((0, classes)), torch.zeros(classes)
    for step in range(steps):
        if step % max(1, steps // ROUNDS) == 0:
            targets_NK, shares_K = targets_of(average, plain_NHWC)
            towards_K = torch.from_numpy(np.log(shares_K * classes)).float()
        batches, wanted = [], []
        for (epoch, rows), images, targets, seed in (
            (next(real), large_NHWC, targets_NK, 1),
            (next(known), images_NHWC, labels_NK, 2),
        ):
            batches.append(augmenter.apply(images[rows], draw_params(config, seed, epoch, rows)))
            wanted.append(torch.from_numpy(targets[rows]).float())
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps)
        shown = as_input(np.concatenate(batches))
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST):
            logits_NK = network(shown).float()
            with torch.no_grad():
                before_NK = start(shown[HALF:]).float().softmax(1)
        of_galaxies_NK = logits_NK[HALF:]
        loss = cross_entropy(wanted[0], logits_NK[:HALF] + towards_K)
        loss = (
            loss + cross_entropy(wanted[1], of_galaxies_NK) + PEER * cross_entropy(before_NK, of_galaxies_NK)
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        decay = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        noted(step, average, loss.item())
    with torch.no_grad():
        for mean, first in zip(average.parameters(), start.parameters(), strict=True):
            mean.lerp_(first, STAYS)
    return average


def simulated_galaxies() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (N, SIDE, SIDE, 3) and class indices (N,) of the training's surveys and of others."""
    rng = np.random.default_rng(OTHERS_SEED)
    surveys = {
        "trained": [SURVEYS[name] for name in TRAINED],
        "other": [other_survey(rng) for _ in range(OTHERS)],
    }
    return {name: simulated(chosen, COUNTS[name], SEEDS[name]) for name, chosen in surveys.items()}


def write_further_run(run: Run, network: Network, out: Path) -> Run:
    """Write the run with other weights. What depends on them is left out: calibration, graphs, metrics."""
    out.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_weights(tensors, out / "weights.safetensors")
    shutil.copyfile(run.path / "recipe.yaml", out / "recipe.yaml")
    shutil.copyfile(run.path / "history.csv", out / "history.csv")
    start = "recipe 'default' on simulated galaxies, then further with pictures without labels"
    digest = sha256_of(out / "weights.safetensors")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    header = run.header.model_copy(update={"weights_sha256": digest, "start": start, "created": now})
    write_header(out, header)
    return Run(out, run.recipe, header)


def write_reference(run: Run, trained: np.ndarray, held_out: np.ndarray) -> None:
    """Write the distribution of the features of simulated galaxies (N, SIDE, SIDE, 3), for OOD scores."""
    predictor = Predictor(run, views=2, calibrated=False)
    _, features_VND = predictor.in_one_view().predictions_and_features(list(trained))
    distribution = fit_distribution(features_VND[0])
    assert distribution is not None
    distances: dict[int, np.ndarray] = {}
    for views, count in ((8, HELD_OUT // 2), (2, HELD_OUT)):
        predictor = Predictor(run, views=views, calibrated=False)
        _, features_VND = predictor.predictions_and_features(list(held_out[:count]))
        for number, some in predictor.views_within().items():
            seen_ND = mean_over_views(features_VND[some])
            distances[number] = kept_distances(distribution.distances(seen_ND))
    found = {number: distances[number] for number in (1, 2, 8)}
    write_distribution(run, replace(distribution, held_out=found))


def main(first: str, out: Path, steps: int, folders: list[Path]) -> None:
    """Read, simulate, train and write."""
    if out.exists():
        raise UsageError(f"{out} exists already; choose another folder")
    paths = sorted(path for folder in folders for path in folder.rglob("*.jp*g"))
    if len(paths) <= NEIGHBOURS:
        raise UsageError(f"{len(paths)} JPEG files below {folders}; hundreds were expected")
    read = [np.asarray(read_image(path)) for path in paths]
    pictures = tuple(np.stack([crop_and_resize(each, size=size) for each in read]) for size in (SIDE, STORED))
    run = open_run(first)
    network = run.network().float().to(memory_format=torch.channels_last)
    some_N = ordinary(network, pictures[0])
    found, start = simulated_galaxies(), time.monotonic()
    images, labels = zip(*found.values(), strict=True)

    def noted(step: int, network: Network, loss: float) -> None:
        if (step + 1) % 100 == 0:
            note(f"step {step + 1} of {steps}: loss {loss:.3f}, {time.monotonic() - start:.0f} s")

    galaxies = np.concatenate(images), np.concatenate(labels)
    average = train(
        network, run.recipe.augment, (pictures[0][some_N], pictures[1][some_N]), galaxies, steps, noted
    )
    held_out, _ = simulated([SURVEYS[name] for name in TRAINED], HELD_OUT, SEEDS["held out"])
    write_reference(write_further_run(run, average, out), found["trained"][0], held_out)
    print(
        f"{out}: {some_N.sum()} of {len(paths)} pictures without labels, {len(galaxies[0])} simulated "
        f"galaxies, {steps} steps"
    )


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), [Path(folder) for folder in sys.argv[4:]])
