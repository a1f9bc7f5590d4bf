"""Train the packaged network further, on simulated galaxies and pictures without labels: a run to calibrate.

All layers learn. A batch has four parts:

- simulated galaxies with their labels, of the training's surveys and of 256 others, for which the network
  also has to answer as it did before;
- the pictures, strongly changed, whose targets come from the network itself as it sees them unchanged:
  averaged over galaxies with similar features, moved towards the class shares of their folder and squared
  (:mod:`adapt_default_head`), anew :data:`ROUNDS` times from the moving average of the weights. Their loss
  is that of the probabilities for these shares (logit adjustment, Menon et al. 2021, ICLR, eq. 10), so that
  the network itself goes on answering for equal shares. Pictures that may be disturbed or merging galaxies,
  which simulated ones resemble least, are left out;
- a few pictures of another survey, all classes of which are about as frequent: their targets are the
  network's answers, squared, and nothing more;
- simulated stars, empty sky, trails, bad columns and ghosts (:data:`WITHOUT_CLASS`), for which all classes
  have to be equally probable (outlier exposure, Hendrycks, Mazeika and Dietterich 2019, ICLR, eq. 1).

Batch normalisation keeps the statistics of the training, moved by :data:`TOWARDS` to those of the other
survey.

    python scripts/adapt_default_body.py RUN OUT STEPS FOLDER... --equal FOLDER...

RUN: to start from, one that learned from simulated galaxies alone. OUT: the new run, without a calibration
(``scripts/calibrate_default.py``). STEPS: of training, such as 1500. FOLDER: JPEG files, found below it;
those of ``--equal`` are the other survey's. EXPERIMENTS.md has what this is worth.

Shape letters: N galaxies, D features, K classes.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
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
from morphoscope.simulation.nongalaxies import non_galaxies
from morphoscope.simulation.survey import SURVEYS, Survey

COUNTS = {"trained": 12000, "other": 8000}  # simulated galaxies of the training's surveys, and of others
HELD_OUT = 1200  # simulated galaxies that OOD scores are in units of; half as many for eight views
OTHERS, OTHERS_SEED = 256, 2024
SEEDS = {"trained": 31, "other": 32, "held out": 4242, "without class": 33}
SIDE = 128
STORED = 250  # of all images, so that they can be shown larger
WITHOUT_CLASS = {
    "star": 5,
    "empty sky": 1,
    "satellite trail": 1,
    "bad columns": 1,
    "ghost": 1,
}  # of each survey
BATCH = {"pictures": 16, "galaxies": 16, "other pictures": 2, "without class": 5}
WEIGHT = {"pictures": 1.0, "galaxies": 1.0, "other pictures": 0.2, "without class": 0.4}  # of their losses
LR, WARMUP, WEIGHT_DECAY, CLIP = 4e-4, 60, 0.02, 1.0
AVERAGE = 0.997  # decay of the moving average of the weights
SMOOTHING = 0.05  # of the labels of simulated galaxies
PEER = 0.5  # weight of the start's answers for simulated galaxies
ODD = 0.4  # probability of disturbed or merging at which a picture is left out
TOWARDS = 0.2  # weight of the other pictures in the statistics of batch normalisation
ROUNDS = 2
SURE = 0.8  # a galaxy that the first view gives a class at least this gets no other when it is predicted
FAST = has_bf16()  # half precision, where the processor has it
CHANGES = {"zoom": (0.4, 2.3), "saturation": 1.0, "noise": 12.0, "gamma": 0.4, "blur": 1.3}
LEVELS = ((0.75, STORED), (1.5, SIDE), (np.inf, SIDE // 2))  # side of an image shown with less than this zoom


@dataclass(frozen=True, eq=False)
class Images:
    """Images without or with targets, in several sizes."""

    sizes: dict[int, np.ndarray]  # by side, (N, side, side, 3) uint8
    labels_N: np.ndarray | None = None
    groups_N: np.ndarray | None = None  # pictures of the same number have class shares of their own

    def __len__(self) -> int:
        return len(self.sizes[SIDE])

    def only(self, some_N: np.ndarray) -> Images:
        """Some of the images."""
        sizes = {side: images[some_N] for side, images in self.sizes.items()}
        known = (None if known_N is None else known_N[some_N] for known_N in (self.labels_N, self.groups_N))
        return Images(sizes, *known)


def images_of(
    stored_NHWC: np.ndarray, labels_N: np.ndarray | None = None, groups_N: np.ndarray | None = None
) -> Images:
    """Images (N, STORED, STORED, 3) in all the sizes needed."""
    sizes = {
        side: np.stack(
            [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in stored_NHWC]
        )
        for _, side in LEVELS
        if side != STORED
    }
    return Images(sizes | {STORED: stored_NHWC}, labels_N, groups_N)


def changed(images: Images, rows: np.ndarray, augment: Augment, seed: int, epoch: int) -> np.ndarray:
    """Some images, changed at random, (N, SIDE, SIDE, 3).

    Zooms are spread evenly in their logarithm, and each image is taken in the size that suits its zoom, so
    that none is blurred or aliased.
    """
    augmenter = Augmenter(augment)
    low, high = augment.zoom
    drawn = draw_params(augment, seed, epoch, rows)
    zoom_N2 = low * (high / low) ** ((drawn.zoom - low) / (high - low or 1))
    out_NHWC = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    least = 0.0
    for most, side in LEVELS:
        some_N = (zoom_N2[:, 0] >= least) & (zoom_N2[:, 0] < most)
        least = most
        if some_N.any():
            params = replace(draw_params(augment, seed, epoch, rows[some_N]), zoom=zoom_N2[some_N])
            out_NHWC[some_N] = augmenter.apply(images.sizes[side][rows[some_N]], params)
    return out_NHWC


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


def targets_of(network: Network, pictures: Images) -> tuple[np.ndarray, np.ndarray]:
    """Targets of pictures without labels, (N, K), and the class shares that each of these is for, (N, K)."""
    seen_NK, groups_N = spread(*seen_by(network, pictures.sizes[SIDE])), pictures.groups_N
    assert groups_N is not None
    moved_NK, shares_NK = np.empty_like(seen_NK), np.empty_like(seen_NK)
    for group in np.unique(groups_N):
        some_N = groups_N == group
        moved_NK[some_N], shares_NK[some_N] = shares_of(seen_NK[some_N])
    targets_NK = moved_NK**SHARPNESS
    return targets_NK / targets_NK.sum(axis=1, keepdims=True), shares_NK


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


def move_statistics(network: Network, images_NHWC: np.ndarray, batch: int = 50) -> None:
    """Move the statistics of batch normalisation by :data:`TOWARDS` to those of some images."""
    found = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    before = [tuple(buffer.clone() for buffer in statistics_of(part)) for part in found]
    for part in found:
        part.momentum = None  # the mean over all batches
        part.reset_running_stats()
        part.train()
    with torch.no_grad():
        for start in range(0, len(images_NHWC) - batch + 1, batch):
            network(as_input(images_NHWC[start : start + batch]))
    for part, (old_mean, old_variance) in zip(found, before, strict=True):
        part.eval()
        mean, variance = statistics_of(part)
        between = TOWARDS * (1 - TOWARDS) * (mean - old_mean) ** 2
        variance.copy_(torch.lerp(old_variance, variance, TOWARDS) + between)
        mean.copy_(torch.lerp(old_mean, mean, TOWARDS))


def statistics_of(part: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """The means and variances that a layer keeps."""
    assert part.running_mean is not None
    assert part.running_var is not None
    return part.running_mean, part.running_var


def train(
    network: Network,
    augment: Augment,
    parts: dict[str, Images],
    steps: int,
    noted: Callable[[int, Network, float], None] = lambda step, network, loss: None,
) -> Network:
    """The moving average of the network over the training.

    Args:
        network: to start from, which learns.
        augment: of the recipe; :data:`CHANGES` goes beyond it.
        parts: of a batch, with the names of :data:`BATCH`. "other pictures" may be missing.
        steps: how many batches.
        noted: called after every step with its number, the average and the loss.
    """
    start = copy.deepcopy(network).eval()
    if "other pictures" in parts:
        move_statistics(network, parts["other pictures"].sizes[SIDE])
    average = copy.deepcopy(network).eval()
    network.eval()  # batch normalisation keeps its statistics; there is no dropout
    *_, bias = network.head.parameters()
    classes = len(bias)
    labels_N = parts["galaxies"].labels_N
    assert labels_N is not None
    targets = {
        "galaxies": np.eye(classes)[labels_N] * (1 - SMOOTHING) + SMOOTHING / classes,
        "without class": np.full((len(parts["without class"]), classes), 1 / classes),
    }
    config = augment.model_copy(update=CHANGES)
    rng = np.random.default_rng(0)
    order = {name: passes(len(images), BATCH[name], rng) for name, images in parts.items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    shares_NK = np.empty((0, classes))
    for step in range(steps):
        if step % max(1, steps // ROUNDS) == 0:
            targets["pictures"], shares_NK = targets_of(average if step else start, parts["pictures"])
            if "other pictures" in parts:
                own_NK, _ = seen_by(average, parts["other pictures"].sizes[SIDE])
                targets["other pictures"] = own_NK**2 / (own_NK**2).sum(axis=1, keepdims=True)
        batches, wanted, towards_NK = [], [], torch.zeros(())
        for seed, name in enumerate(parts):
            epoch, rows = next(order[name])
            batches.append(changed(parts[name], rows, config, seed, epoch))
            wanted.append(torch.from_numpy(targets[name][rows]).float())
            if name == "pictures":
                towards_NK = torch.from_numpy(np.log(shares_NK[rows] * classes)).float()
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST):
            logits_NK = network(as_input(np.concatenate(batches))).float()
            with torch.no_grad():
                shown = as_input(batches[list(parts).index("galaxies")])
                before_NK = start(shown).float().softmax(1)
        loss = torch.zeros(())
        for name, target_NK, some_NK in zip(
            parts, wanted, logits_NK.split([len(batch) for batch in batches]), strict=True
        ):
            moved_NK = some_NK + towards_NK if name == "pictures" else some_NK
            loss = loss + WEIGHT[name] * cross_entropy(target_NK, moved_NK)
            if name == "galaxies":
                loss = loss + PEER * cross_entropy(before_NK, some_NK)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        decay = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        noted(step, average, loss.item())
    return average


def surveys_of_all() -> dict[str, list[Survey]]:
    """The training's surveys, and others."""
    rng = np.random.default_rng(OTHERS_SEED)
    return {
        "trained": [SURVEYS[name] for name in TRAINED],
        "other": [other_survey(rng) for _ in range(OTHERS)],
    }


def simulated_galaxies() -> Images:
    """Galaxies of the training's surveys, then of others."""
    images, labels = zip(
        *(
            simulated(surveys, COUNTS[name], SEEDS[name], STORED)
            for name, surveys in surveys_of_all().items()
        ),
        strict=True,
    )
    return images_of(np.concatenate(images), np.concatenate(labels))


def simulated_without_class() -> Images:
    """What is no galaxy, in all surveys."""
    surveys = [survey for some in surveys_of_all().values() for survey in some]
    return images_of(
        np.concatenate(
            [
                non_galaxies(kind, survey, count, STORED, seed=SEEDS["without class"] + number)
                for number, survey in enumerate(surveys)
                for kind, count in WITHOUT_CLASS.items()
            ]
        )
    )


def pictures_below(folders: Sequence[Path]) -> Images:
    """The JPEG files below some folders, each of which has class shares of its own."""
    found = [(path, group) for group, folder in enumerate(folders) for path in sorted(folder.rglob("*.jp*g"))]
    if len(found) <= NEIGHBOURS:
        raise UsageError(
            f"{len(found)} JPEG files below {', '.join(map(str, folders))}; hundreds were expected"
        )
    images = [crop_and_resize(np.asarray(read_image(path)), size=STORED) for path, _ in found]
    return images_of(np.stack(images), groups_N=np.array([group for _, group in found]))


def write_further_run(run: Run, network: Network, out: Path) -> Run:
    """Write the run with other weights. What depends on them is left out: calibration, graphs, metrics."""
    out.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_weights(tensors, out / "weights.safetensors")
    evaluation = run.recipe.evaluation.model_copy(update={"scale": "auto", "sure": SURE})
    recipe = run.recipe.model_copy(update={"evaluation": evaluation})
    (out / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    shutil.copyfile(run.path / "history.csv", out / "history.csv")
    start = "recipe 'default' on simulated galaxies, then further with pictures without labels"
    digest = sha256_of(out / "weights.safetensors")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    header = run.header.model_copy(update={"weights_sha256": digest, "start": start, "created": now})
    write_header(out, header)
    return Run(out, recipe, header)


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


def main() -> None:
    """Read, simulate, train and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--equal", type=Path, nargs="+", default=[], help="pictures of another survey")
    asked = parser.parse_args()
    if asked.out.exists():
        raise UsageError(f"{asked.out} exists already; choose another folder")
    pictures = pictures_below(asked.folders)
    run = open_run(asked.run)
    network = run.network().float().to(memory_format=torch.channels_last)
    ordinary_N = ordinary(network, pictures.sizes[SIDE])
    parts = {
        "pictures": pictures.only(ordinary_N),
        "galaxies": simulated_galaxies(),
        "without class": simulated_without_class(),
    }
    if asked.equal:
        parts["other pictures"] = pictures_below(asked.equal)
    start = time.monotonic()

    def noted(step: int, network: Network, loss: float) -> None:
        if (step + 1) % 100 == 0:
            note(f"step {step + 1} of {asked.steps}: loss {loss:.3f}, {time.monotonic() - start:.0f} s")

    average = train(network, run.recipe.augment, parts, asked.steps, noted)
    held_out, _ = simulated([SURVEYS[name] for name in TRAINED], HELD_OUT, SEEDS["held out"])
    fit_on = parts["galaxies"].sizes[SIDE][: COUNTS["trained"] // 3]
    write_reference(write_further_run(run, average, asked.out), fit_on, held_out)
    counts = ", ".join(f"{len(images)} {name}" for name, images in parts.items())
    print(f"{asked.out}: {counts}, {asked.steps} steps")


if __name__ == "__main__":
    main()
