"""The calibration of a run, chosen on its validation galaxies and stored as ``calibration.json``.

The file holds one calibration for each number of views, since predictions averaged over sixteen views are
less confident than those of one. The number :data:`AS_NEEDED` stands for as many views as a galaxy needs.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from morphoscope.errors import MorphoscopeError
from morphoscope.files import write_json
from morphoscope.labels.calibrators import Correction, Temperature
from morphoscope.labels.mixing import Mixing, fit_mixing
from morphoscope.labels.scheme import AnyCorrection, Scheme
from morphoscope.recipes import VIEWS
from morphoscope.runs.run import Run
from morphoscope.versioned import understood

FILE = "calibration.json"
FORMAT_VERSION = 2  # 2: mixing and shifts
FEWEST = 20  # galaxies below which nothing is fitted
FOLDS = 5
AS_NEEDED = 0
"""In place of a number of views: the first alone where it is sure (``evaluation.sure``), else all of them."""


class Looks(BaseModel):
    """When a galaxy gets more than one view, for a calibration of as many as needed."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    views: int = Field(description="that a galaxy gets if the first is not enough")
    sure: float = Field(description="probability of a class at which the first is enough")


class Calibration(BaseModel):
    """The correction of predictions for one number of views, and the evidence for it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    galaxies: int = Field(description="validation galaxies it was fitted on")
    correction: AnyCorrection
    held_out: dict[str, float] = Field(
        description="candidate → cross-validated log loss, nats per galaxy (votes: per answer)"
    )
    scores: dict[str, list[float]] | None = Field(
        default=None, description="class → held-out probabilities of the truth, the basis of prediction sets"
    )
    mixing: Mixing | None = Field(
        default=None, description="how the class shares are mixed in as the OOD score grows, after that"
    )
    shifts: str = Field(default="", description="how the galaxies were changed before it was fitted")
    looks: Looks | None = Field(default=None, description="that it was fitted with, if under the key 0")

    def __call__(self, predictions_NK: np.ndarray, ood_score_N: np.ndarray | None = None) -> np.ndarray:
        """Calibrated predictions, (N, K) float32.

        Args:
            predictions_NK: the network's own.
            ood_score_N: of the same galaxies; needed where the calibration mixes.

        Raises:
            MorphoscopeError: it is needed and not there.
        """
        corrected_NK = self.correction(predictions_NK)
        if self.mixing is None:
            return corrected_NK
        if ood_score_N is None:
            raise MorphoscopeError(
                "the calibration needs OOD scores, and the run has none for these views; "
                "run 'morphoscope calibrate' again"
            )
        return self.mixing(corrected_NK, ood_score_N)

    @property
    def description(self) -> str:
        """A one-line description."""
        words = self.correction.description
        if self.mixing is not None:
            words += f", {self.mixing.description}"
        how = f", shifted ({self.shifts})" if self.shifts else ""
        return f"{words}; chosen on {self.galaxies} validation galaxies{how}"


@dataclass(frozen=True)
class Shifted:
    """Predictions for shifted images of galaxies that were not trained on.

    Attributes:
        targets: (M,) or (M, …).
        predictions_NK: uncalibrated, (M, K).
        ood_score_N: (M,); None: the run has no feature distribution.
        galaxy_N: (M,) which galaxies they are; images of one galaxy stay in one fold.
        description: how they were shifted.
    """

    targets: np.ndarray
    predictions_NK: np.ndarray
    ood_score_N: np.ndarray | None
    galaxy_N: np.ndarray
    description: str


class CalibrationFile(BaseModel):
    """The content of ``calibration.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["morphoscope-calibration"] = "morphoscope-calibration"
    format_version: int = FORMAT_VERSION
    weights_sha256: str
    views: dict[int, Calibration]

    @field_validator("views")
    @classmethod
    def _known_numbers(cls, views: dict[int, Calibration]) -> dict[int, Calibration]:
        if unknown := [number for number in views if number not in (AS_NEEDED, *VIEWS)]:
            raise ValueError(f"{unknown[0]} is no number of views")
        if AS_NEEDED in views and views[AS_NEEDED].looks is None:
            raise ValueError(f"{AS_NEEDED} does not say with how many views")
        return views


MIXED = "mixed"
"""The candidate that mixes the class shares in, beside the scheme's own."""
Fitted = tuple[Correction, Mixing | None]


def fit_calibration(
    scheme: Scheme,
    targets: np.ndarray,
    predictions_NK: np.ndarray,
    *,
    seed: int = 0,
    shifted: Shifted | None = None,
) -> Calibration | None:
    """Choose a correction by five-fold cross-validated log loss, then fit it on all galaxies.

    Of equally good methods the simplest is chosen; "none" is always a candidate. Scores for prediction sets
    come from probabilities corrected without the galaxy's own fold.

    Args:
        scheme: what the predictions mean.
        targets: (N,) class indices or (N, K) fractions, all known.
        predictions_NK: uncalibrated predictions for galaxies the network was not trained on.
        seed: of the folds.
        shifted: predictions for shifted images, which everything is then fitted on instead. With classes and
            OOD scores, the mixing with the class shares (:mod:`morphoscope.labels.mixing`) is a candidate.
            Probabilities do not become larger by it: that a network is too modest with these shifts
            does not mean that it is with others.

    Returns:
        None for fewer than twenty galaxies.
    """
    if len(predictions_NK) < FEWEST:
        return None
    if shifted is None:
        shifted = Shifted(targets, predictions_NK, None, np.arange(len(predictions_NK)), "")
    names, galaxy_N = np.unique(shifted.galaxy_N, return_inverse=True)
    fold_N = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[galaxy_N]
    mixed = (MIXED,) if shifted.ood_score_N is not None and scheme.class_names is not None else ()
    held_out: dict[str, np.ndarray] = {}
    for name in (*scheme.calibrators, *mixed):
        fitter = _fitter(scheme, name, shifted)
        corrected = held_out[name] = np.empty(np.shape(shifted.predictions_NK), np.float32)
        for fold in range(FOLDS):
            corrected[fold_N == fold] = _corrected(fitter(fold_N != fold), shifted, fold_N == fold)
    losses = {
        name: float(scheme.log_losses(shifted.targets, corrected).mean())
        for name, corrected in held_out.items()
    }
    chosen = min(losses, key=lambda name: losses[name])
    correction, mixing = _fitter(scheme, chosen, shifted)(np.ones(len(fold_N), bool))
    return Calibration(
        galaxies=len(names),
        correction=correction,
        held_out=losses,
        scores=scheme.conformal_scores(shifted.targets, held_out[chosen]),
        mixing=mixing,
        shifts=shifted.description,
    )


def _fitter(scheme: Scheme, name: str, shifted: Shifted) -> Callable[[np.ndarray], Fitted]:
    """Fits a candidate to some of the images (M,) bool."""

    def fitted(some: np.ndarray) -> Fitted:
        targets, predictions_NK = shifted.targets[some], shifted.predictions_NK[some]
        if name != MIXED:
            correction = scheme.fit_calibrator(name, targets, predictions_NK)
            sharpens = isinstance(correction, Temperature) and correction.temperature < 1
            if shifted.description and sharpens:
                correction = scheme.fit_calibrator("none", targets, predictions_NK)
            return correction, None
        assert shifted.ood_score_N is not None
        counts_K = np.bincount(shifted.targets, minlength=scheme.outputs) + 1.0  # none is impossible
        return fit_mixing(targets, predictions_NK, shifted.ood_score_N[some], counts_K / counts_K.sum())

    return fitted


def _corrected(fitted: Fitted, shifted: Shifted, some: np.ndarray) -> np.ndarray:
    correction, mixing = fitted
    corrected_NK = correction(shifted.predictions_NK[some])
    if mixing is None or shifted.ood_score_N is None:
        return corrected_NK
    return mixing(corrected_NK, shifted.ood_score_N[some])


def read_calibration(run: Run) -> CalibrationFile | None:
    """The calibration stored in a run; None if there is none.

    Raises:
        MorphoscopeError: the file is damaged, from a newer version, or for other weights or labels.
    """
    path = run.path / FILE
    content = run.content_of(FILE)
    if content is None:
        return None
    kept = understood(CalibrationFile, content, json.loads, path, "the calibration of a run")
    if kept.weights_sha256 != run.header.weights_sha256:
        raise MorphoscopeError(
            f"{path} was fitted to other weights than the run has; remove it, then run "
            f"'morphoscope calibrate {run.path}'"
        )
    for views, calibration in kept.views.items():
        fault = _misfit(run.scheme, calibration)
        if fault:
            raise MorphoscopeError(f"{path} is damaged: views.{views}: {fault}")
    return kept


def _misfit(scheme: Scheme, calibration: Calibration) -> str:
    """Why a calibration does not fit these labels; empty if it does."""
    if not isinstance(calibration.correction, scheme.corrections.get(calibration.correction.method, ())):
        return f"'{calibration.correction.method}' does not calibrate {scheme.noun}"
    if calibration.mixing is not None and len(calibration.mixing.shares) != len(scheme.class_names or ()):
        return "its class shares are of other classes"
    even_NK = np.full((1, scheme.outputs), 1 / scheme.outputs, np.float32)
    try:
        fits = calibration.correction(even_NK).shape == even_NK.shape
    except (ValueError, IndexError):  # arrays of other shapes
        fits = False
    if not fits:
        return f"its correction is not one of {scheme.description}"
    if calibration.scores is not None and set(calibration.scores) != set(scheme.class_names or ()):
        return "its scores are of other classes"
    return ""


def views_of_recipe(run: Run) -> int:
    """What a run's predictions are calibrated for: its number of views, or :data:`AS_NEEDED`.

    Votes and measurements have no class that a first view could be sure of, so they get all views.
    """
    asked = run.recipe.evaluation
    spares = asked.sure is not None and asked.views > 1 and run.scheme.class_names is not None
    return AS_NEEDED if spares else asked.views


def looks_of(run: Run) -> Looks | None:
    """When its recipe gives a galaxy more than one view; None: always, or never."""
    asked = run.recipe.evaluation
    if asked.sure is None or views_of_recipe(run) != AS_NEEDED:
        return None
    return Looks(views=asked.views, sure=asked.sure)


def calibration_of(run: Run, views: int) -> Calibration | None:
    """The run's calibration for a number of views, or for :data:`AS_NEEDED`; None if there is none."""
    kept = read_calibration(run)
    found = kept.views.get(views) if kept is not None else None
    if found is None or (views == AS_NEEDED and found.looks != looks_of(run)):
        return None
    return found


def write_calibrations(run: Run, fitted: dict[int, Calibration], folder: Path | None = None) -> None:
    """Write calibrations, by number of views, beside those that the run has for other numbers of views.

    Args:
        run: whose calibrations they are; its recipe says when a galaxy gets as many as needed.
        fitted: by number of views.
        folder: to write to; None: the run's.
    """
    if AS_NEEDED in fitted:
        fitted = {**fitted, AS_NEEDED: fitted[AS_NEEDED].model_copy(update={"looks": looks_of(run)})}
    before = read_calibration(run)
    views = {**(before.views if before is not None else {}), **fitted}
    if not views:
        return
    mixing = any(each.mixing is not None or each.shifts for each in views.values())
    document: dict[str, Any] = CalibrationFile(
        format_version=FORMAT_VERSION if mixing else 1,  # so that earlier versions read it where they can
        weights_sha256=run.header.weights_sha256,
        views=dict(sorted(views.items())),
    ).model_dump(mode="json", exclude=None if mixing else {"views": {"__all__": {"mixing", "shifts"}}})
    for number, content in document["views"].items():
        if int(number) != AS_NEEDED:
            del content["looks"]
    write_json((folder or run.path) / FILE, document)


def in_words(views: int) -> str:
    """A number of views for people: "2 views", or "as many views as needed"."""
    if views == AS_NEEDED:
        return "as many views as needed"
    return f"{views} view{'s' if views > 1 else ''}"


def why_uncalibrated(run: Run, views: int) -> str:
    """Why predictions are not calibrated, for display."""
    kept = read_calibration(run)
    if kept is None:
        return "none: the run was not calibrated"
    if views == AS_NEEDED and views in kept.views:
        return (
            "none: the run was calibrated with another number of views, or another evaluation.sure, than its "
            f"recipe has; 'morphoscope calibrate {run.path}' does it anew"
        )
    fitted = " and ".join(in_words(number) for number in kept.views)
    return f"none: the run was calibrated for {fitted}, not for {in_words(views)}"
