"""The calibration of a run, chosen on its validation galaxies and stored as ``calibration.json``.

The file holds one calibration for each number of views, since predictions averaged over sixteen views are
less confident than those of one.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from morphoscope.errors import MorphoscopeError
from morphoscope.files import write_json
from morphoscope.labels.scheme import AnyCorrection, Scheme
from morphoscope.runs.run import Run
from morphoscope.versioned import understood

FILE = "calibration.json"
FORMAT_VERSION = 1
FEWEST = 20  # galaxies below which nothing is fitted
FOLDS = 5


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

    def __call__(self, predictions_NK: np.ndarray) -> np.ndarray:
        """Calibrated predictions, (N, K) float32."""
        return self.correction(predictions_NK)

    @property
    def description(self) -> str:
        """A one-line description."""
        return f"{self.correction.description}; chosen on {self.galaxies} validation galaxies"


class CalibrationFile(BaseModel):
    """The content of ``calibration.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["morphoscope-calibration"] = "morphoscope-calibration"
    format_version: int = FORMAT_VERSION
    weights_sha256: str
    views: dict[int, Calibration]


def fit_calibration(
    scheme: Scheme, targets: np.ndarray, predictions_NK: np.ndarray, *, seed: int = 0
) -> Calibration | None:
    """Choose a correction by five-fold cross-validated log loss, then fit it on all galaxies.

    Of equally good methods the simplest is chosen; "none" is always a candidate. Scores for prediction sets
    come from probabilities corrected without the galaxy's own fold.

    Args:
        scheme: what the predictions mean.
        targets: (N,) class indices or (N, K) fractions, all known.
        predictions_NK: uncalibrated predictions for galaxies the network was not trained on.
        seed: of the folds.

    Returns:
        None for fewer than twenty galaxies.
    """
    count = len(predictions_NK)
    if count < FEWEST:
        return None
    fold_N = np.random.default_rng(seed).permutation(count) % FOLDS
    held_out = {name: np.empty(np.shape(predictions_NK), np.float32) for name in scheme.calibrators}
    for name, corrected in held_out.items():
        for fold in range(FOLDS):
            inside = fold_N != fold
            correction = scheme.fit_calibrator(name, targets[inside], predictions_NK[inside])
            corrected[~inside] = correction(predictions_NK[~inside])
    losses = {
        name: float(scheme.log_losses(targets, corrected).mean()) for name, corrected in held_out.items()
    }
    chosen = min(losses, key=lambda name: losses[name])
    return Calibration(
        galaxies=count,
        correction=scheme.fit_calibrator(chosen, targets, predictions_NK),
        held_out=losses,
        scores=scheme.conformal_scores(targets, held_out[chosen]),
    )


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
    even_NK = np.full((1, scheme.outputs), 1 / scheme.outputs, np.float32)
    try:
        fits = calibration(even_NK).shape == even_NK.shape
    except (ValueError, IndexError):  # arrays of other shapes
        fits = False
    if not fits:
        return f"its correction is not one of {scheme.description}"
    if calibration.scores is not None and set(calibration.scores) != set(scheme.class_names or ()):
        return "its scores are of other classes"
    return ""


def calibration_of(run: Run, views: int) -> Calibration | None:
    """The run's calibration for a number of views; None if there is none."""
    kept = read_calibration(run)
    return kept.views.get(views) if kept is not None else None


def write_calibrations(run: Run, fitted: dict[int, Calibration], folder: Path | None = None) -> None:
    """Write calibrations, by number of views, beside those that the run has for other numbers of views.

    Args:
        run: whose calibrations they are.
        fitted: by number of views.
        folder: to write to; None: the run's.
    """
    before = read_calibration(run)
    views = {**(before.views if before is not None else {}), **fitted}
    if not views:
        return
    document: dict[str, Any] = CalibrationFile(
        weights_sha256=run.header.weights_sha256, views=dict(sorted(views.items()))
    ).model_dump(mode="json")
    write_json((folder or run.path) / FILE, document)


def why_uncalibrated(run: Run, views: int) -> str:
    """Why predictions are not calibrated, for display."""
    kept = read_calibration(run)
    if kept is None:
        return "none: the run was not calibrated"
    fitted = " and ".join(str(number) for number in kept.views)
    return f"none: the run was calibrated for {fitted} views, not for {views}"
