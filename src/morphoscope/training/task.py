"""The Lightning module: one step of training, one of validation, for every scheme."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torchmetrics import Metric

from morphoscope.augment.gpu import DeviceAugmenter
from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import Scheme
from morphoscope.models.network import Network
from morphoscope.recipes import Recipe
from morphoscope.training.batches import Batch, mix, regularisation_in_epoch, size_in_epoch, warps_on
from morphoscope.training.distributed import average_buffers, first_not_finite, is_shared, shared
from morphoscope.training.optimisation import averaged, drop_rates, optimiser, regularise, schedule

CHECK_EVERY = 20  # steps between checks of the loss on a GPU: each check waits for the device


class MeanLoss(Metric):
    """Mean of a loss over galaxies; once not finite, it stays so.

    Not torchmetrics' ``MeanMetric``: it keeps a loss that is not finite only with ``nan_strategy="disable"``,
    and then it ignores the weights (1.9.0), so that a small last batch counts as a full one.
    """

    total: torch.Tensor
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, mean: torch.Tensor, galaxies: int) -> None:
        """Add the mean loss of a batch."""
        self.total += mean * galaxies
        self.count += galaxies

    def compute(self) -> torch.Tensor:
        """The mean so far; 0 without galaxies."""
        return self.total / self.count.clamp(min=1)


class EpochMetrics(torch.nn.Module):
    """Mean loss and score (accuracy or RMSE) over the galaxies of one epoch."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        self.loss = MeanLoss()
        self.score = scheme.epoch_metric()

    def add(self, loss: torch.Tensor, outputs_NK: torch.Tensor, targets: torch.Tensor) -> None:
        """Add one batch."""
        self.loss.update(loss, len(outputs_NK))
        self.score.update(self.scheme.probabilities(outputs_NK).contiguous(), targets)

    def measured(self) -> tuple[float, float]:
        """Mean loss and score so far, over all processes that train together."""
        return float(self.loss.compute()), float(self.score.compute())

    def reset(self) -> None:
        """Start a new epoch."""
        self.loss.reset()
        self.score.reset()


class GalaxyTask(LightningModule):
    """Trains a network on batches of galaxies according to a recipe.

    Args:
        network: the network to train, available as ``self.network``.
        scheme: what the labels mean.
        recipe: how to train.
        class_weights: (K,) class weights for the loss, or None.

    Attributes:
        batch_total: galaxies per step of all processes together; 0: there is only one process.
    """

    batch_total: int = 0
    class_weights: torch.Tensor | None

    def __init__(
        self,
        network: Network,
        scheme: Scheme,
        recipe: Recipe,
        class_weights: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.scheme = scheme
        self.recipe = recipe
        self.augmenter = DeviceAugmenter(recipe.augment, recipe.seed)
        self.register_buffer("class_weights", class_weights, persistent=False)
        decay = recipe.training.ema
        self.average = averaged(network, decay) if decay else None
        if self.average is not None:
            self.average.requires_grad_(False)  # it follows the network; DDP would wait for its gradients
        self.full_rates = drop_rates(network)
        self.step = torch.compile(network) if _compiles(recipe) else network
        self.tallies = torch.nn.ModuleDict(
            {"of_training": EpochMetrics(scheme), "of_validation": EpochMetrics(scheme)}
        )

    @property
    def deployed(self) -> Network:
        """The weights to use: the moving average where there is one."""
        used = self.network if self.average is None else self.average.module
        assert isinstance(used, Network)
        return used

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On a GPU the batch arrives as stored images and is warped there."""
        if not warps_on(self.device):
            return batch
        if self.trainer.training:
            size = size_in_epoch(self.recipe, self.current_epoch)
            images = self.augmenter.training(
                batch.images, batch.rows, self.current_epoch, batch.occurrences, size, self.regularisation
            )
        else:
            images = self.augmenter.evaluation(batch.images)
        return batch._replace(images=images)

    def on_train_epoch_start(self) -> None:
        """Seed dropout and stochastic depth by (seed, epoch, rank), so that a resumed run draws the same."""
        torch.manual_seed((self.recipe.seed << 20) + self.current_epoch + (self.global_rank << 44))
        for part in ("training", "validation"):
            self.epoch_metrics(part).reset()
        regularise(self.network, self.full_rates, self.regularisation)

    @property
    def regularisation(self) -> float:
        """Share of the recipe's dropout, mixing and augmentation in this epoch."""
        return regularisation_in_epoch(self.recipe, self.current_epoch)

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        """Mean loss of one batch."""
        images, targets = batch.images, batch.targets
        training = self.recipe.training
        if training.mixup or training.cutmix:
            generator = torch.Generator().manual_seed(
                (self.recipe.seed << 40) + (self.current_epoch << 20) + step
            )
            images, targets = mix(
                images,
                self.scheme.mixable(targets),
                mixup=training.mixup * self.regularisation,
                cutmix=training.cutmix * self.regularisation,
                generator=generator,
            )
        outputs = self.step(images)
        loss = self.scheme.loss(
            outputs, targets, label_smoothing=training.label_smoothing, class_weights_K=self.class_weights
        )
        if self.network.hidden_l2:
            loss = loss + self.network.penalty()
        self.epoch_metrics("training").add(loss.detach(), outputs.detach(), batch.targets)
        self._stop_if_not_finite(step, batch)
        if is_shared():  # DDP takes the mean over the processes, whose parts may differ by one galaxy
            loss = loss * (len(images) * self.trainer.world_size / self.batch_total)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Limit the norm of the gradient (Lightning's own clipping refuses fused optimisers)."""
        if self.recipe.optimiser.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Update the average of the weights; at the end of an epoch the processes' running statistics."""
        if self.average is not None:
            self.average.update_parameters(self.network)
        if self.trainer.is_last_batch:
            average_buffers(self.network)
            if self.average is not None:
                average_buffers(self.average)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics of validation."""
        self.epoch_metrics("validation").reset()

    def validation_step(self, batch: Batch, step: int) -> None:
        """Loss and score of one batch, with the weights that would be deployed."""
        outputs = self.deployed(batch.images)
        loss = self.scheme.loss(outputs, batch.targets)
        if self.network.hidden_l2:  # Keras counts it in the validation loss too
            loss = loss + self.deployed.penalty()
        self.epoch_metrics("validation").add(loss, outputs, batch.targets)

    def epoch_metrics(self, part: str) -> EpochMetrics:
        """The metrics of "training" or "validation"."""
        metrics = self.tallies[f"of_{part}"]  # the name is part of checkpoints
        assert isinstance(metrics, EpochMetrics)
        return metrics

    def configure_optimizers(self) -> Any:
        """Optimiser and step-wise schedule of the recipe."""
        chosen = optimiser(self.recipe.optimiser, self.network)
        steps = int(self.trainer.estimated_stepping_batches)
        factors = torch.optim.lr_scheduler.LambdaLR(chosen, schedule(self.recipe.schedule, steps))
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": factors, "interval": "step"}}

    def _stop_if_not_finite(self, step: int, batch: Batch) -> None:
        if self.device.type != "cpu" and step % CHECK_EVERY:
            return
        total = self.epoch_metrics("training").loss.total  # stays not finite after one such loss
        bad = first_not_finite(total, batch.rows)
        if bad is not None:
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            rows = ", ".join(str(row) for row in bad)
            reduced = str(self.trainer.precision).startswith("bf16")
            in_full = ", training.precision=fp32" if reduced else ""
            error = MorphoscopeError(
                f"the loss is not finite in epoch {self.current_epoch + 1}, step {step + 1} (learning rate "
                f"{rate:.2g}, table rows {rows}, ...); lower optimiser.lr, set optimiser.clip{in_full}, or "
                "check these galaxies. The weights of the last checkpoint are kept"
            )
            raise shared(error)


def _compiles(recipe: Recipe) -> bool:
    choice = recipe.training.compile
    return torch.cuda.is_available() if choice is None else choice
