"""From images to probabilities with a trained run, on any hardware.

Views, calibration and OOD score are handled here; an engine runs the network
(:mod:`morphoscope.inference.engine`).

Shape letters: V views, N galaxies, C channels, H × W pixels, D features, K outputs, S Monte-Carlo samples of
dropout, M members of an ensemble or samples.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.augment.cpu import Augmenter, View
from morphoscope.augment.cpu import views as views_of
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.inference.calibration import (
    AS_NEEDED,
    Calibration,
    calibration_of,
    in_words,
    views_of_recipe,
    why_uncalibrated,
)
from morphoscope.inference.engine.choose import engine_of
from morphoscope.inference.engine.interface import Engine
from morphoscope.inference.ood import FILE, FeatureDistribution, read_distribution
from morphoscope.processes import available_cores
from morphoscope.recipes import VIEWS
from morphoscope.runs.run import Run

if TYPE_CHECKING:
    from morphoscope.inference.engine.torch_engine import TorchEngine


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network, or an ensemble, predicts for N galaxies.

    Attributes:
        predictions_NK: calibrated class probabilities or vote fractions; the mean over the members.
        members_MNK: the calibrated predictions of each member of an ensemble and each sample of dropout; of
            a single network just its own.
        features_ND: averaged over the views, or of the first where not every galaxy gets all; None for an
            ensemble, whose members have different features.
        ood_score_N: distance from the training galaxies in units of that within which 95 % of held-out ones
            lie; None where the run has no feature distribution for these views.
        p_value_N: conformal p-value, the fraction of held-out galaxies at least as far out; None likewise.
    """

    predictions_NK: np.ndarray
    members_MNK: np.ndarray
    features_ND: np.ndarray | None = None
    ood_score_N: np.ndarray | None = None
    p_value_N: np.ndarray | None = None


class Predictor:
    """A run's network with its preprocessing and calibration, loaded once for many predictions.

    Args:
        run: a finished run.
        views: test-time augmentation, 1, 2, 4, 8, 16, 24 or 48 views whose probabilities are averaged (`ng`,
            section on test-time augmentation); None: as the recipe says, which can also spare galaxies that
            the first view is sure of the others (``evaluation.sure``).
        calibrated: apply the run's calibration, where it has one for these views; False: the network's own
            predictions. None: as the recipe says.
        batch: images (times views) in a batch; None: as the recipe says.
        engine: one of :data:`~morphoscope.inference.engine.choose.ENGINES`, or a loaded engine.
        dropout_samples: Monte-Carlo samples with different units of the head dropped
            (:mod:`morphoscope.inference.mc_dropout`), computed by torch; 0: no dropout.
        precision: one of :data:`~morphoscope.inference.engine.choose.PRECISIONS`: "auto", as the recipe says
            and the packaged network in 8 bits on a processor; "fp32"; or "int8" on a processor
            (:mod:`morphoscope.inference.engine.int8`).

    Raises:
        UsageError: views that the recipe rules out, or samples of a network without dropout.
        MorphoscopeError: weights, calibration or feature distribution are damaged or of another network.
    """

    def __init__(
        self,
        run: Run,
        *,
        views: int | None = None,
        calibrated: bool | None = None,
        batch: int | None = None,
        engine: str | Engine = "auto",
        dropout_samples: int = 0,
        precision: str = "auto",
    ) -> None:
        self.run = run
        self.scheme = run.scheme
        self.views = views or run.recipe.evaluation.views
        spares = views is None and views_of_recipe(run) == AS_NEEDED
        self.sure = run.recipe.evaluation.sure if spares else None
        self.calibrated = run.recipe.evaluation.calibrate if calibrated is None else calibrated
        self.calibration: Calibration | None = (
            calibration_of(run, self.calibrated_for) if self.calibrated else None
        )
        self.batch = batch or run.recipe.evaluation.batch
        self.engine = (
            engine
            if isinstance(engine, Engine)
            else engine_of(run, engine, dropout_samples=dropout_samples, precision=precision)
        )
        self._precision = precision
        self.distribution: FeatureDistribution | None = read_distribution(run)
        if self.distribution is not None and len(self.distribution.mean_D) != self.feature_count:
            raise MorphoscopeError(
                f"{run.path / FILE} has {len(self.distribution.mean_D)} features and the network "
                f"{self.feature_count}; remove it, then run 'morphoscope calibrate {run.path}'"
            )
        self._augmenter = Augmenter(run.recipe.augment, threads=available_cores())
        self.adapted_to = 0  # images whose statistics the batch normalisation has; 0: the training's
        self._views = views_of(run.recipe.augment, self.views)

    @property
    def input_side(self) -> int:
        """Side in pixels of the training's stored images, to which other images are preprocessed."""
        return self.run.header.store.image_shape[0]

    @property
    def calibration_description(self) -> str:
        """How predictions are calibrated, or why not, for display and provenance."""
        if self.calibration is not None:
            return self.calibration.description
        if not self.calibrated:
            return "none: the network's own predictions"
        return why_uncalibrated(self.run, self.calibrated_for)

    @property
    def calibrated_for(self) -> int:
        """Its calibration's key: the views, or :data:`~morphoscope.inference.calibration.AS_NEEDED`."""
        return self.views if self.sure is None else AS_NEEDED

    @property
    def feature_views(self) -> int:
        """The number of views that the features, and so the OOD score, are of: the same for every galaxy."""
        return self.views if self.sure is None else 1

    @property
    def views_description(self) -> str:
        """The number of views for people, and which galaxies get them."""
        words = in_words(self.views)
        return (
            words if self.sure is None else f"{words}, one where that is at least {100 * self.sure:g} % sure"
        )

    @property
    def precision_description(self) -> str:
        """The floating-point precision, for provenance: it changes probabilities in the third digit."""
        return self.engine.precision_description

    @property
    def engine_description(self) -> str:
        """The engine and its version, for provenance."""
        return self.engine.description

    @property
    def quantisation_description(self) -> str:
        """How far answers in 8 bits are from those in fp32, for provenance; empty in fp32 and bf16."""
        return self.engine.quantisation

    @property
    def member_count(self) -> int:
        """M: samples of dropout, or 1."""
        return self.engine.member_count

    @property
    def feature_count(self) -> int:
        """D."""
        return self.engine.feature_count

    @property
    def has_ood_score(self) -> bool:
        """Whether the run has a feature distribution for these views."""
        return self.distribution is not None and self.feature_views in self.distribution.held_out

    def probabilities(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Predictions for preprocessed images.

        Args:
            images: N images, (H, W, C) uint8.

        Returns:
            (N, K) float32: class probabilities that sum to 1, or vote fractions; calibrated if the run has
            a calibration.
        """
        return self.predict(images).predictions_NK

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> Prediction:
        """Predictions, features and OOD scores from one pass through the network.

        Args:
            images: N images, (H, W, C) uint8.
        """
        own_MNK, features_ND = self._means(images)
        ood_score_N = p_value_N = None
        distances_N = self.distances(features_ND)
        if self.distribution is not None and self.has_ood_score:
            ood_score_N = self.ood_scores(distances_N)
            p_value_N = self.distribution.p_values(distances_N, self.feature_views)
        members_MNK = np.stack([self.corrected(own_NK, distances_N) for own_NK in own_MNK])
        predictions_NK = members_MNK[0] if self.member_count == 1 else self.scheme.average(members_MNK)
        return Prediction(predictions_NK, members_MNK, features_ND, ood_score_N, p_value_N)

    def distances(self, features_ND: np.ndarray) -> np.ndarray:
        """Distances from the training galaxies, (N,) float32; NaN without a feature distribution."""
        if self.distribution is None:
            return np.full(len(features_ND), np.nan, np.float32)
        return self.distribution.distances(features_ND)

    def ood_scores(self, distances_N: np.ndarray) -> np.ndarray | None:
        """OOD scores of distances, (N,); None where the run has none for these views."""
        if self.distribution is None or not self.has_ood_score:
            return None
        return distances_N / self.distribution.rare_distance(self.feature_views)

    def corrected(self, predictions_NK: np.ndarray, distances_N: np.ndarray) -> np.ndarray:
        """Calibrate predictions that are averaged over the views, (N, K) float32.

        Args:
            predictions_NK: the network's own.
            distances_N: from the training galaxies, as of :meth:`distances`.

        Raises:
            MorphoscopeError: the calibration needs OOD scores and the run has none for these views.
        """
        if self.calibration is None:
            return predictions_NK
        return self.calibration(predictions_NK, self.ood_scores(distances_N))

    def predictions_and_features(
        self, images: Sequence[np.ndarray] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated predictions (V, N, K) and features (V, N, D) by view, float32: all views of all."""
        predictions_MVNK, features_VND = self._passes(images, self._views)
        views = [self.scheme.average(predictions_MVNK[:, view]) for view in range(self.views)]
        return predictions_MVNK[0] if self.member_count == 1 else np.stack(views), features_VND

    def averages(self, predictions_VNK: np.ndarray) -> dict[int, np.ndarray]:
        """Mean predictions (N, K) from all views of all galaxies, for everything that a calibration is for.

        Returns:
            number of views within these, or :data:`~morphoscope.inference.calibration.AS_NEEDED` →
            predictions.
        """
        found = {
            number: self.scheme.average(predictions_VNK[views])
            for number, views in self.views_within().items()
        }
        if self.sure is not None:
            sure_N1 = self._is_sure(predictions_VNK[:1])[:, None]
            found[AS_NEEDED] = np.where(sure_N1, predictions_VNK[0], found[self.views])
        return found

    def average(self, predictions_VNK: np.ndarray) -> np.ndarray:
        """What :meth:`predict` gives before calibration, from all views of all galaxies, (N, K) float32."""
        return self.averages(predictions_VNK)[self.calibrated_for]

    def mean_features(self, features_VND: np.ndarray) -> np.ndarray:
        """The features that :meth:`predict` gives, from all views of all galaxies, (N, D) float32."""
        return mean_over_views(features_VND[: self.feature_views])

    def _is_sure(self, predictions_MNK: np.ndarray) -> np.ndarray:
        """Which galaxies the first view is sure of, (N,) bool."""
        return np.asarray(self.scheme.average(predictions_MNK).max(axis=1) >= (self.sure or 0.0))

    def _means(self, images: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (M, N, K) and features (N, D), each the mean over the views that a galaxy gets."""
        if self.sure is None:
            predictions_MVNK, features_VND = self._passes(images, self._views)
            means = [self.scheme.average(predictions_VNK) for predictions_VNK in predictions_MVNK]
            return np.stack(means), mean_over_views(features_VND)
        first_MVNK, features_VND = self._passes(images, self._views[:1])
        predictions_MNK = first_MVNK[:, 0]
        unsure = np.flatnonzero(~self._is_sure(predictions_MNK))
        if len(unsure):
            others_MVNK, _ = self._passes([images[row] for row in unsure.tolist()], self._views[1:])
            for member, others_VNK in enumerate(others_MVNK):
                seen_VNK = np.concatenate([first_MVNK[member][:, unsure], others_VNK])
                predictions_MNK[member, unsure] = self.scheme.average(seen_VNK)
        return predictions_MNK, features_VND[0]

    def _passes(
        self, images: Sequence[np.ndarray] | np.ndarray, views: Sequence[View]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (M, V, N, K) and features (V, N, D) of these views."""
        shape = (len(views), len(images))
        predictions = np.empty((self.member_count, *shape, self.scheme.outputs), np.float32)
        features = np.empty((*shape, self.feature_count), np.float32)
        step = max(1, self.batch // len(views))
        for start in range(0, len(images), step):
            part = [images[row] for row in range(start, min(start + step, len(images)))]
            rows = slice(start, start + step)
            predictions[:, :, rows], features[:, rows] = self._one_batch(part, views)
        return predictions, features

    def in_one_view(self) -> Predictor:
        """The same network with one view; with samples of dropout, only its features are meaningful."""
        one = copy.copy(self)
        one.views, one.sure = 1, None
        one._views = views_of(self.run.recipe.augment, 1)
        return one

    def views_within(self) -> dict[int, list[int]]:
        """Numbers of views that are subsets of these views (themselves included), with the indices."""
        found = {}
        for number in VIEWS:
            with contextlib.suppress(UsageError):  # mirror images if handedness is kept
                some = views_of(self.run.recipe.augment, number)
                if set(some) <= set(self._views):  # two views have a mirror image, eight have none
                    found[number] = [self._views.index(view) for view in some]
        return found

    def _one_batch(self, images: list[np.ndarray], views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
        prepared = np.concatenate([self._augmenter.evaluation(images, view=view) for view in views])
        predictions_MNK, features_ND = self.engine(prepared)
        shape = (len(views), len(images), -1)
        return predictions_MNK.reshape(self.member_count, *shape), features_ND.reshape(shape)

    def pass_through(self, images: Sequence[np.ndarray]) -> None:
        """Run images through the network, one view each, without keeping its outputs."""
        self.engine(self._augmenter.evaluation(images))

    def torch_engine(self) -> TorchEngine:
        """The network in torch, for gradients and modifications: the predictor's engine or a new one."""
        need(("torch", "timm"), "train", "a network's gradients and changes to it")
        from morphoscope.inference.engine.torch_engine import TorchEngine

        if isinstance(self.engine, TorchEngine):
            return self.engine
        return TorchEngine(self.run, precision=self._precision)

    def prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images at the network's input size without augmentation, (N, size, size, C) uint8."""
        return self._augmenter.evaluation(images)


def mean_over_views(predictions_VNK: np.ndarray) -> np.ndarray:
    """The mean over the first axis, in float64, as float32."""
    return predictions_VNK.mean(axis=0, dtype=np.float64).astype(np.float32)
