"""From images to probabilities with a trained run, on whatever hardware there is.

Shape letters: V views, N galaxies, C channels, H × W pixels, K outputs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import numpy as np
import torch

from morphoscope.augment import Augmenter
from morphoscope.augment import views as views_of
from morphoscope.errors import UsageError
from morphoscope.evaluation.calibration import Calibration, calibration_of, why_none
from morphoscope.models.memory import keep_freed_memory
from morphoscope.models.precision import autocast_type, best_device
from morphoscope.training.run import Run


class Predictor:
    """A run's network with its preparation of images, loaded once and asked many times.

    Args:
        run: a finished run.
        views: test-time augmentation, 1, 2, 8 or 16 views whose probabilities are averaged (`ng`,
            section on test-time augmentation); None: as the recipe says.
        calibrated: correct the answers by the run's calibration, where it has one for these views; False:
            the network's own answers. None: as the recipe says.
        batch: images (times views) the network sees at once; None: as the recipe says.
        device: None: the GPU if there is one.
    """

    def __init__(
        self,
        run: Run,
        *,
        views: int | None = None,
        calibrated: bool | None = None,
        batch: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.run = run
        keep_freed_memory()
        self.scheme = run.scheme
        self.views = views or run.recipe.evaluation.views
        self.calibrated = run.recipe.evaluation.calibrate if calibrated is None else calibrated
        self.calibration: Calibration | None = calibration_of(run, self.views) if self.calibrated else None
        self.batch = batch or run.recipe.evaluation.batch
        self.device = device or best_device()
        self.precision = autocast_type(run.recipe.training.precision, self.device)
        self.network = run.network().to(self.device)
        if run.recipe.training.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self._augmenter = Augmenter(run.recipe.augment, threads=os.cpu_count() or 1)
        self._views = views_of(run.recipe.augment, self.views)

    @property
    def input_side(self) -> int:
        """Side in pixels of the stored images the run was trained on; other images are fitted to it."""
        return self.run.header.store.image_shape[0]

    @property
    def calibration_words(self) -> str:
        """How the answers were corrected, or why not, for people and for provenance."""
        if self.calibration is not None:
            return self.calibration.words
        return why_none(self.run, self.views) if self.calibrated else "none: the network's own answers"

    @property
    def number_format(self) -> str:
        """In which numbers the network works, for provenance: they move probabilities in the third digit."""
        precision = "bf16" if self.precision is torch.bfloat16 else "fp32"
        order = ", channels_last" if self.run.recipe.training.channels_last else ""
        return f"{precision}{order} on {self.device.type}"

    def probabilities(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Answers for images that look like the training store's.

        Args:
            images: N images, (H, W, C) uint8.

        Returns:
            (N, K) float32: class probabilities that sum to 1, or vote fractions; corrected by
            ``calibration`` if there is one.
        """
        return self.corrected(mean_over_views(self.answers_by_view(images)))

    def corrected(self, answers_NK: np.ndarray) -> np.ndarray:
        """The network's own answers, averaged over the views, after the calibration; (N, K) float32."""
        return answers_NK if self.calibration is None else self.calibration(answers_NK)

    def answers_by_view(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The network's own answers for each view, (V, N, K) float32."""
        answers = np.empty((self.views, len(images), self.scheme.outputs), np.float32)
        step = max(1, self.batch // self.views)
        for start in range(0, len(images), step):
            part = [images[row] for row in range(start, min(start + step, len(images)))]
            answers[:, start : start + step] = self._one_batch(part)
        return answers

    def views_within(self) -> dict[int, list[int]]:
        """Smaller numbers of views that are part of these, with their places among them; these included."""
        found = {}
        for number in (1, 2, 8, 16):
            if number <= self.views:
                with contextlib.suppress(UsageError):  # mirror images where handedness is kept
                    some = views_of(self.run.recipe.augment, number)
                    if set(some) <= set(self._views):  # 8 views have no mirror image, 2 have
                        found[number] = [self._views.index(view) for view in some]
        return found

    def _one_batch(self, images: list[np.ndarray]) -> np.ndarray:
        prepared = np.concatenate([self._augmenter.evaluation(images, view=view) for view in self._views])
        outputs = self._outputs(torch.from_numpy(prepared).permute(0, 3, 1, 2).to(self.device))
        answers = self.scheme.probabilities(outputs)
        return answers.view(len(self._views), len(images), -1).cpu().numpy()

    def prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images as the network sees them without augmentation, (N, size, size, C) uint8."""
        return self._augmenter.evaluation(images)

    def autocast(self) -> torch.autocast:
        """The number format of the run's predictions, as a context."""
        enabled = self.precision is not None
        return torch.autocast(self.device.type, dtype=self.precision or torch.float32, enabled=enabled)

    @torch.inference_mode()
    def _outputs(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        with self.autocast():
            return self.network(images_NCHW).float()


def mean_over_views(answers_VNK: np.ndarray) -> np.ndarray:
    """The mean of the views' answers, (N, K) float32; one view's come back as they are."""
    return answers_VNK.mean(axis=0, dtype=np.float64).astype(np.float32)
