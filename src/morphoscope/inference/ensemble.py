"""Ensembles: the mean of several runs' predictions, and how much they disagree.

Shape letters: M members or samples of dropout, N galaxies, K outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.images.decode import crop_and_resize
from morphoscope.images.planes import kind_of
from morphoscope.inference.predictor import Prediction, Predictor
from morphoscope.inference.preprocess import frames_by_itself
from morphoscope.labels.scheme import Scheme
from morphoscope.runs.run import Run, StoreFacts

_SAME_SKY = 0.02  # relative difference up to which two stored images show the same field of view


@dataclass(frozen=True)
class Runs(Run):
    """Several runs described as one, for provenance: their names, and one hash of all their weights.

    Path, recipe and header are otherwise those of the member with the largest stored images.
    """

    members: tuple[Run, ...] = ()

    @property
    def name(self) -> str:
        """The members' names."""
        return ",".join(run.name for run in self.members)


class Ensemble:
    """Several predictors with the interface of one (:class:`Predictor`).

    The members' predictions are calibrated individually and averaged; the mean is not calibrated again, so
    it has no prediction sets. Networks, sizes and views may differ, but not the labels or the field of view
    of images.

    Args:
        members: two or more.

    Raises:
        UsageError: fewer than two different runs, or runs with different labels or cutouts.
    """

    calibration = None

    def __init__(self, members: Sequence[Predictor]) -> None:
        check_members([member.run for member in members])
        self.members = tuple(members)
        largest = max(self.members, key=lambda member: member.input_side)
        self.scheme = largest.scheme
        self.views = max(member.views for member in self.members)
        self.run = _together([member.run for member in self.members], largest.run)

    @property
    def sure(self) -> float | None:
        """The probability of a class at which the first view is enough; None where the members differ."""
        each = {member.sure for member in self.members}
        return each.pop() if len(each) == 1 else None

    @property
    def input_side(self) -> int:
        """Side of its input images, pixels: the largest of the members'; the others scale them."""
        return self.run.header.store.image_shape[0]

    @property
    def member_count(self) -> int:
        """M: the number of members, or of all their samples of dropout."""
        return sum(member.member_count for member in self.members)

    @property
    def has_ood_score(self) -> bool:
        """Whether every member has one."""
        return all(member.has_ood_score for member in self.members)

    @property
    def calibration_description(self) -> str:
        """How the members' predictions are calibrated."""
        words = [f"{member.run.name}: {member.calibration_description}" for member in self.members]
        return f"of each member, then averaged ({'; '.join(words)})"

    @property
    def engine_description(self) -> str:
        """The engines of the members, for provenance."""
        return "; ".join(dict.fromkeys(member.engine_description for member in self.members))

    @property
    def precision_description(self) -> str:
        """The precision of every member, for provenance."""
        return "; ".join(dict.fromkeys(member.precision_description for member in self.members))

    @property
    def quantisation_description(self) -> str:
        """What 8 bits change in every member, for provenance; empty in fp32 and bf16."""
        words = [
            f"{member.run.name}: {member.quantisation_description}"
            for member in self.members
            if member.quantisation_description
        ]
        return "; ".join(words)

    def probabilities(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The mean of the members' calibrated predictions, (N, K) float32.

        Args:
            images: N images, (H, W, C) uint8, of the ensemble's ``input_side``.
        """
        return self.predict(images).predictions_NK

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> Prediction:
        """Predictions; OOD score and p-value are the members' means. No features."""
        return self.predict_each(images)[1]

    def predict_each(self, images: Sequence[np.ndarray] | np.ndarray) -> tuple[list[Prediction], Prediction]:
        """The prediction of every member, and that of the ensemble."""
        predictions = [member.predict(self._sized(images, member.input_side)) for member in self.members]
        scores = [each.ood_score_N for each in predictions if each.ood_score_N is not None]
        p_values = [each.p_value_N for each in predictions if each.p_value_N is not None]
        complete = len(scores) == len(predictions)
        together = Prediction(
            # Over members, not samples, so that a member with more samples of dropout has no more weight.
            self.scheme.average(np.stack([each.predictions_NK for each in predictions])),
            np.concatenate([each.members_MNK for each in predictions]),
            ood_score_N=np.mean(scores, axis=0) if complete else None,
            p_value_N=np.mean(p_values, axis=0) if complete else None,
        )
        return predictions, together

    def _sized(
        self, images: Sequence[np.ndarray] | np.ndarray, side: int
    ) -> Sequence[np.ndarray] | np.ndarray:
        return images if side == self.input_side else [crop_and_resize(image, size=side) for image in images]


def check_members(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot form an ensemble.

    Raises:
        UsageError: fewer than two different runs, or runs with different labels or cutouts.
    """
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        raise UsageError("an ensemble needs two or more different runs; the same one twice says nothing new")
    first, *others = runs
    for run in others:
        if run.scheme.kind != first.scheme.kind or run.scheme.output_names != first.scheme.output_names:
            raise UsageError(
                f"{run.path} predicts {_some(run)} and {first.path} {_some(first)}; members of an ensemble "
                "must have been trained on the same labels, in the same order"
            )
        if differ := first.scheme.mismatch(run.scheme):
            raise UsageError(
                f"{first.path} and {run.path} predict {differ}; members of an ensemble must have been "
                "trained on the same labels"
            )
        difference = _other_cutout(run.header.store, first.header.store)
        if difference:
            raise UsageError(
                f"{run.path} and {first.path} were trained on images that differ in {difference}; "
                "members of an ensemble must be trained on the same cutouts; make their stores with "
                "the same options"
            )


def mutual_information(scheme: Scheme, members_SNK: np.ndarray) -> np.ndarray:
    """Mutual information: how much members or samples disagree, in nats, (N,) float32; 0 if all are the same.

    H(mean of the members) − mean of H(member), with the scheme's entropy (Houlsby et al. 2011,
    arXiv:1112.5745, eq. 2).
    """
    together_NK = scheme.average(members_SNK)
    gain_N = scheme.entropy(together_NK) - scheme.entropy(members_SNK).mean(axis=0)
    return np.maximum(gain_N, 0).astype(np.float32)  # rounding can make equal members differ below zero


def _together(runs: Sequence[Run], largest: Run) -> Runs:
    joined = hashlib.sha256("\n".join(run.header.weights_sha256 for run in runs).encode())
    alike = all(frames_by_itself(run) for run in runs)  # else each would see what it did not learn from
    evaluation = largest.recipe.evaluation.model_copy(update={"scale": "auto" if alike else "trained"})
    name = ", ".join(run.recipe.name for run in runs)
    recipe = largest.recipe.model_copy(update={"name": name, "evaluation": evaluation})
    header = largest.header.model_copy(update={"weights_sha256": joined.hexdigest()})
    return Runs(largest.path, recipe, header, tuple(runs))


def _other_cutout(one: StoreFacts, other: StoreFacts) -> str:
    """How the training images of two runs differ, for messages; empty if they show the same."""
    if one.image_shape[2] != other.image_shape[2]:
        return "their number of channels"
    if (one.bands, one.dtype) != (other.bands, other.dtype):
        return f"their images ({kind_of(one)}, and {kind_of(other)})"
    if one.crop != other.crop:
        return f"their crop ({one.crop} and {other.crop} px)"
    if one.stretch != other.stretch:
        return f"their stretch ({one.stretch} and {other.stretch})"
    if one.pixel_scale and other.pixel_scale:
        fields = one.pixel_scale * one.image_shape[0], other.pixel_scale * other.image_shape[0]
        if abs(fields[0] / fields[1] - 1) > _SAME_SKY:
            return f"the sky they show ({fields[0]:.1f}″ and {fields[1]:.1f}″)"
    return ""


def _some(run: Run) -> str:
    names = run.scheme.output_names
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''} ({run.scheme.kind})"


def load_predictor(
    runs: Sequence[Run],
    views: int | None,
    calibrated: bool | None,
    dropout_samples: int,
    engine: str,
    precision: str = "auto",
) -> Predictor | Ensemble:
    """A predictor of one run, or an ensemble of several."""
    options: dict[str, Any] = {"dropout_samples": dropout_samples, "engine": engine, "precision": precision}
    members = [Predictor(run, views=views, calibrated=calibrated, **options) for run in runs]
    if len(members) == 1:
        return members[0]
    return Ensemble(members)
