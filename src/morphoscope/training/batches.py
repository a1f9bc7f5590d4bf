"""Training batches with augmentation, and validation batches without.

On a CPU the loader's threads warp each image with OpenCV. On a GPU they only gather stored images, and the
whole batch is warped there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from morphoscope.augment.cpu import Augmenter
from morphoscope.data.store import Store
from morphoscope.recipes import Recipe
from morphoscope.training.loader import Batches, Picked

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
