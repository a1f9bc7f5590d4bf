"""Batches of stored images, loaded ahead in threads: training batches with augmentation, MixUp and CutMix,
validation batches without.

On a CPU the loader's threads warp each image with OpenCV. On a GPU they only gather stored images, and the
whole batch is warped there.

Shape letters: N galaxies, C channels, H × W pixels, K outputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from morphoscope.augment.cpu import Augmenter
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.processes import available_cores
from morphoscope.recipes import Recipe

if TYPE_CHECKING:
    import torch

Prepare = Callable[["Picked", np.ndarray, int, np.ndarray], np.ndarray]


class Batch(NamedTuple):
    """N samples as tensors."""

    images: torch.Tensor  # (N, C, S, S) uint8, channels_last in memory
    targets: torch.Tensor  # (N,) or (N, K); (N, 0) without labels
    rows: torch.Tensor  # (N,) int64 rows of the store
    occurrences: torch.Tensor  # (N,) int64: how often the row occurs earlier in the loader's list


class Picked:
    """Some rows of an image sequence, each read when accessed: a batch is never in memory twice."""

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows.tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[self.rows[index]]


class Batches:
    """Batches of prepared images, one epoch per iteration.

    ::

        batches = Batches(store, rows, store.targets(), augmenter.training, batch=64, shuffle=True, seed=0)
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            for batch in batches: ...

    Stopping an iteration, an error in it, or Ctrl-C ends the threads. An error in a thread is raised when
    its batch is requested. At most ``prefetch`` batches (at least one per thread) wait in memory.

    Args:
        images: a store, or any sequence of (H, W, C) uint8 images.
        rows: (M,) rows to load; a row may occur several times (oversampling).
        targets: labels by row of the store, (len(store), ...); None: batches without labels.
        prepare: ``prepare(images, rows, epoch, occurrences)`` → (N, S, S, C) uint8, called in the threads,
            such as ``Augmenter.training``. ``images`` is a sequence that reads image by image;
            ``occurrences`` counts the earlier occurrences of each sample's row in ``rows``, so that copies
            of a galaxy can be augmented differently whatever the order.
        batch: images per batch; the last one is smaller unless ``drop_last``.
        shuffle: a new order each epoch from (seed, epoch); else the order of ``rows``.
        workers: threads; 0: prepare in the caller's thread; None: one per core.
        prefetch: batches to prepare ahead.
        part: (rank, count): take every count-th image of each batch, starting at rank, so that ``count``
            processes with the same arguments share each batch without repeating or missing an image.
    """

    def __init__(
        self,
        images: Store | Sequence[np.ndarray] | np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray | None,
        prepare: Prepare,
        *,
        batch: int,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        workers: int | None = None,
        prefetch: int = 3,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        sequence = images.images if isinstance(images, Store) else images
        # A plain array: np.memmap adds some microseconds to every view of an image.
        self.images = sequence.view(np.ndarray) if isinstance(sequence, np.ndarray) else sequence
        self.rows = np.asarray(rows, np.int64)
        self.targets = np.empty((len(self.images), 0), np.float32) if targets is None else targets
        self.prepare = prepare
        self.batch, self.shuffle, self.seed, self.drop_last = batch, shuffle, seed, drop_last
        self.workers = available_cores() if workers is None else workers
        self.part = part
        self.prefetch = max(prefetch, self.workers, 1)
        self.epoch = 0
        self.occurrences = occurrences(self.rows)
        if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= len(self.images)):
            raise MorphoscopeError(
                f"rows are {self.rows.min()} to {self.rows.max()}; expected 0 to {len(self.images) - 1}"
            )

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self.batch)
        return whole + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration: its order and its augmentation."""
        self.epoch = epoch

    def order(self, epoch: int) -> np.ndarray:
        """Positions in ``rows`` in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.rows))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))

    def __iter__(self) -> Iterator[Batch]:
        epoch, order = self.epoch, self.order(self.epoch)
        rank, count = self.part
        starts = range(0, len(self) * self.batch, self.batch)
        chunks = (order[start : start + self.batch][rank::count] for start in starts)
        if self.workers == 0:
            for chunk in chunks:
                yield self._batch(chunk, self._prepared(chunk, epoch))
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="morphoscope-loader")
        waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(self._prepared, chunk, epoch)))
                if len(waiting) > self.prefetch:
                    yield self._next(waiting)
            while waiting:
                batch = self._next(waiting)
                if not waiting:
                    # Here Ctrl-C reaches the caller; Python would swallow it in the clean-up below, once the
                    # generator is exhausted.
                    pool.shutdown()
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, waiting: deque[tuple[np.ndarray, Future[np.ndarray]]]) -> Batch:
        chunk, future = waiting.popleft()
        return self._batch(chunk, future.result())

    def _prepared(self, chunk: np.ndarray, epoch: int) -> np.ndarray:
        rows = self.rows[chunk]
        return self.prepare(Picked(self.images, rows), rows, epoch, self.occurrences[chunk])

    def _batch(self, chunk: np.ndarray, images_NHWC: np.ndarray) -> Batch:
        import torch

        rows = self.rows[chunk]
        return Batch(
            images=torch.from_numpy(images_NHWC).permute(0, 3, 1, 2),
            targets=torch.from_numpy(np.ascontiguousarray(self.targets[rows])),
            rows=torch.from_numpy(rows),
            occurrences=torch.from_numpy(self.occurrences[chunk]),
        )


def occurrences(rows: np.ndarray) -> np.ndarray:
    """How often each row occurs earlier in ``rows``, (M,) int64: [4, 7, 4, 4] → [0, 0, 1, 2]."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.empty(0, np.int64)
    lengths = np.diff(np.r_[starts, len(rows)])
    counts = np.empty(len(rows), np.int64)
    counts[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return counts


T = TypeVar("T")


class EpochOfBatches(Callback):
    """Sets the loader's epoch, which determines order and augmentation."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the epoch of the next iteration."""
        self.batches.set_epoch(trainer.current_epoch)


@dataclass(frozen=True)
class TrainingBatches:
    """The training loader, and the callback that sets its epoch."""

    batches: Batches
    callback: Callback


def training_batches(
    recipe: Recipe, store: Store, rows: np.ndarray, device: torch.device, *, part: tuple[int, int] = (0, 1)
) -> TrainingBatches:
    """Shuffled, augmented batches; the augmentation of a galaxy depends only on (seed, epoch, row).

    With ``augment.train_size`` the side of the images grows over the epochs in equal shares
    (progressive learning, Tan & Le 2021, section 4), with ``training.regularisation`` the strength of the
    augmentation. A process takes its ``part`` of each batch: its rank,
    and how many there are.
    """
    augmenter = Augmenter(recipe.augment, recipe.seed)

    def augmented(images: Picked, rows: np.ndarray, epoch: int, occurrences: np.ndarray) -> np.ndarray:
        size, strength = size_in_epoch(recipe, epoch), regularisation_in_epoch(recipe, epoch)
        return augmenter.training(images, rows, epoch, occurrences, size, strength)

    batches = Batches(
        store,
        rows,
        store.targets(),
        gathered if warps_on(device) else augmented,
        batch=recipe.training.batch,
        shuffle=True,
        seed=recipe.seed,
        drop_last=len(rows) > recipe.training.batch,  # a last batch of one breaks batch normalisation
        workers=recipe.training.workers,
        part=part,
    )
    return TrainingBatches(batches, EpochOfBatches(batches))


def validation_batches(recipe: Recipe, store: Store, rows: np.ndarray, device: torch.device) -> Batches:
    """Centre crops without augmentation, in the order of the rows."""
    augmenter = Augmenter(recipe.augment, recipe.seed)

    def plain(images: Picked, *_: object) -> np.ndarray:
        return augmenter.evaluation(images)

    return Batches(
        store,
        rows,
        store.targets(),
        gathered if warps_on(device) else plain,
        batch=recipe.evaluation.batch,
        shuffle=False,
        seed=recipe.seed,
        workers=recipe.training.workers,
    )


def size_in_epoch(recipe: Recipe, epoch: int) -> int:
    """Side of the training images in an epoch (counted from 0)."""
    return _in_epoch(recipe, recipe.augment.train_size or (recipe.augment.size,), epoch)


def regularisation_in_epoch(recipe: Recipe, epoch: int) -> float:
    """Share of the recipe's dropout, mixing and augmentation in an epoch (counted from 0).

    Progressive learning raises it with the size of the images (Tan & Le 2021, algorithm 1).
    """
    return _in_epoch(recipe, recipe.training.regularisation or (1.0,), epoch)


def _in_epoch(recipe: Recipe, values: Sequence[T], epoch: int) -> T:
    """The value of an epoch, where each value is for an equal part of the training."""
    epochs = recipe.training.epochs - recipe.training.initial_epoch
    return values[min(len(values) - 1, epoch * len(values) // epochs)]


def warps_on(device: torch.device) -> bool:
    """Whether batches are warped on the device and not by the loader's threads."""
    return device.type == "cuda"


def gathered(images: Picked, *_: object) -> np.ndarray:
    """The stored images of a batch, (N, H, W, C) uint8."""
    return np.stack([images[index] for index in range(len(images))])


def mix(
    images_NCHW: torch.Tensor,
    targets_NK: torch.Tensor,
    *,
    mixup: float,
    cutmix: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every galaxy of a batch with another one of the same batch.

    Each batch uses one method; if both are on, each has the same probability.

    Args:
        images_NCHW: grey levels.
        targets_NK: shares of the classes, or vote fractions.
        mixup: alpha of Beta(alpha, alpha) for λ in λ·x + (1 − λ)·x′ (Zhang et al. 2018, eq. 1); 0: off.
        cutmix: the same for the area of a pasted rectangle (Yun et al. 2019, eq. 1 and 2); 0: off.
        generator: source of the random numbers, on the CPU.

    Returns:
        Mixed images (floating point) and targets of the same shapes.
    """
    if not (mixup or cutmix):
        return images_NCHW, targets_NK
    paste = cutmix > 0 and (mixup == 0 or bool(torch.rand((), generator=generator) < 0.5))
    keep = _beta(cutmix if paste else mixup, generator)
    partner = torch.randperm(len(images_NCHW), generator=generator).to(images_NCHW.device)
    if paste:
        height, width = images_NCHW.shape[-2:]
        top, bottom = _side(height, keep, generator)
        left, right = _side(width, keep, generator)
        images_NCHW = images_NCHW.clone(memory_format=torch.preserve_format)
        images_NCHW[:, :, top:bottom, left:right] = images_NCHW[partner, :, top:bottom, left:right]
        keep = 1.0 - (bottom - top) * (right - left) / (height * width)
    else:
        images_NCHW = torch.lerp(images_NCHW[partner].float(), images_NCHW.float(), keep)
    return images_NCHW, torch.lerp(targets_NK[partner], targets_NK, keep)


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _side(length: int, keep: float, generator: torch.Generator) -> tuple[int, int]:
    """Start and end of the rectangle along one axis; clipped at the image's edge."""
    half = 0.5 * length * (1.0 - keep) ** 0.5
    centre = float(torch.rand((), generator=generator)) * length
    return max(0, round(centre - half)), min(length, round(centre + half))
