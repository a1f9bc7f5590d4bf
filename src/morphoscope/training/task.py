"""The Lightning module: one step of training, one of validation, for every scheme."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torchmetrics import MeanMetric

from morphoscope.augment.gpu import DeviceAugmenter
from morphoscope.data.loader import Batch
from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import Scheme
from morphoscope.models.network import Network
from morphoscope.recipes import Recipe
from morphoscope.training.averaging import averaged
from morphoscope.training.batches import size_in_epoch, warps_on
from morphoscope.training.mixing import mix
from morphoscope.training.optimisers import optimiser
from morphoscope.training.schedules import schedule

CHECK_EVERY = 20  # steps between looks at the loss on a GPU: each look waits for the device


class EpochMetrics(torch.nn.Module):
    """Mean loss and score (accuracy or RMSE) over the galaxies of one epoch."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme
        self.loss = MeanMetric(nan_strategy="disable")
        self.score = scheme.epoch_metric()

    def add(self, loss: torch.Tensor, outputs_NK: torch.Tensor, targets: torch.Tensor) -> None:
        """Count one batch."""
        self.loss.update(loss, weight=len(outputs_NK))
        self.score.update(self.scheme.probabilities(outputs_NK).contiguous(), targets)

    def measured(self) -> tuple[float, float]:
        """Mean loss and score so far."""
        return float(self.loss.compute()), float(self.score.compute())

    def reset(self) -> None:
        """Start counting anew."""
        self.loss.reset()
        self.score.reset()


class GalaxyTask(LightningModule):
    """Trains a network on batches of galaxies as a recipe says.

    Args:
        network: what is trained; held as ``self.network``.
        scheme: what the labels mean.
        recipe: how to train.
        class_weights: (K,) weights of the classes in the loss, or None.
    """

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
                batch.images, batch.rows, self.current_epoch, batch.occurrences, size
            )
        else:
            images = self.augmenter.evaluation(batch.images)
        return batch._replace(images=images)

    def on_train_epoch_start(self) -> None:
        """Tie dropout and stochastic depth to (seed, epoch), so that a resumed run draws the same."""
        torch.manual_seed((self.recipe.seed << 20) + self.current_epoch)
        self.tally("training").reset()

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
                mixup=training.mixup,
                cutmix=training.cutmix,
                generator=generator,
            )
        outputs = self.step(images)
        loss = self.scheme.loss(
            outputs, targets, label_smoothing=training.label_smoothing, class_weights_K=self.class_weights
        )
        if self.network.hidden_l2:
            loss = loss + self.network.penalty()
        self.tally("training").add(loss.detach(), outputs.detach(), batch.targets)
        self._stop_if_not_finite(step, batch)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Limit the norm of the gradient (Lightning's own clipping refuses fused optimisers)."""
        if self.recipe.optimiser.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average of the weights along."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.tally("validation").reset()

    def validation_step(self, batch: Batch, step: int) -> None:
        """Loss and score of one batch with the weights that would be deployed."""
        outputs = self.deployed(batch.images)
        loss = self.scheme.loss(outputs, batch.targets)
        if self.network.hidden_l2:  # Keras counts it in the validation loss too
            loss = loss + self.deployed.penalty()
        self.tally("validation").add(loss, outputs, batch.targets)

    def tally(self, part: str) -> EpochMetrics:
        """The running means of "training" or "validation"."""
        tally = self.tallies[f"of_{part}"]
        assert isinstance(tally, EpochMetrics)
        return tally

    def configure_optimizers(self) -> Any:
        """Optimiser and step-wise schedule of the recipe."""
        chosen = optimiser(self.recipe.optimiser, self.network)
        steps = int(self.trainer.estimated_stepping_batches)
        factors = torch.optim.lr_scheduler.LambdaLR(chosen, schedule(self.recipe.schedule, steps))
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": factors, "interval": "step"}}

    def _stop_if_not_finite(self, step: int, batch: Batch) -> None:
        if self.device.type != "cpu" and step % CHECK_EVERY:
            return
        total = self.tally("training").loss.mean_value  # one bad loss spoils the running sum for good
        if not bool(torch.isfinite(total)):
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            rows = ", ".join(str(row) for row in batch.rows[:5].tolist())
            raise MorphoscopeError(
                f"the loss is not finite in epoch {self.current_epoch + 1}, step {step + 1} (learning rate "
                f"{rate:.2g}, table rows {rows}, ...); lower optimiser.lr, set optimiser.clip, or look at "
                "these galaxies. The weights of the last whole epoch are kept"
            )


def _compiles(recipe: Recipe) -> bool:
    asked = recipe.training.compile
    return torch.cuda.is_available() if asked is None else asked
