"""Calibrate the packaged network for use away from home: on simulated galaxies of other surveys, shifted.

Half of the galaxies are as the training's, half as seen by 64 surveys with other seeing, depth, stretch,
colours and compression; every image is then shifted (:mod:`morphoscope.evaluation.shifts`). The calibration
and the thresholds of prediction sets in ``calibration.json`` are replaced: for one, two and eight views, and
for as many as a galaxy needs where the run's recipe says so. No galaxy was trained on.

    python scripts/calibrate_default.py [RUN]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from morphoscope.data.sources.simulated import block_of
from morphoscope.evaluation.shifts import DESCRIPTION, shifted
from morphoscope.inference.calibration import (
    AS_NEEDED,
    Calibration,
    Shifted,
    fit_calibration,
    in_words,
    write_calibrations,
)
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.runs.run import open_run
from morphoscope.simulation.rows import Job, Plan
from morphoscope.simulation.survey import SURVEYS, Survey
from morphoscope.simulation.workers import render

COUNT = 1200  # galaxies of either half; half as many for eight views
SIDE = 128
TRAINED = ("decals", "decals", "sdss", "sdss", "euclid")
OTHERS, OTHERS_SEED = 64, 99
SEEDS = {"trained": 4242, "other": 4343}
SHIFTS_SEED = 7
ABOUT = "galaxies simulated as seen by the training's and 64 other surveys, their "


def other_survey(rng: np.random.Generator) -> Survey:
    """A survey like one of the training's with other seeing, noise, stretch, colours and compression."""

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    base = SURVEYS[TRAINED[0::2][rng.integers(3)]]
    seeing, noise, scale = between(0.5, 2), between(0.3, 3), between(0.4, 2.5)
    tint_3 = np.exp(rng.normal(0, 0.2, 3))
    return replace(
        base,
        seeing=tuple(np.array(base.seeing) * seeing),
        noise=tuple(np.array(base.noise) * noise),
        stretch_scales=tuple(np.array(base.stretch_scales) * scale * tint_3),
        stretch_softening=base.stretch_softening * between(0.4, 2.5),
        jpeg_quality=int(rng.integers(50, 96)),
    )


def simulated(
    surveys: Sequence[Survey], count: int, seed: int, side: int = SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, side, side, 3) uint8 and class indices (N,)."""
    plan = Plan(tuple(surveys), side, seed, "galaxy10", block_of("equal"))
    jobs = (Job(plan, start, min(start + 16, count)) for start in range(0, count, 16))
    rows = [row for chunk in render(jobs, 2) for row in chunk]
    return np.stack([row.image_HWC for row in rows]), np.array([row.values["label"] for row in rows])


def calibrations(
    predictor: Predictor, images: Sequence[np.ndarray], labels_N: np.ndarray
) -> dict[int, Calibration]:
    """Calibrations for every number of views within the predictor's, fitted to shifted images."""
    predictions_VNK, features_VND = predictor.predictions_and_features(images)
    found = {}
    distribution = predictor.distribution
    assert distribution is not None
    for number, predictions_NK in predictor.averages(predictions_VNK).items():
        views = predictor.feature_views if number == AS_NEEDED else number
        if views not in distribution.held_out:
            continue
        features_ND = mean_over_views(features_VND[predictor.views_within()[views]])
        seen = Shifted(
            labels_N,
            predictions_NK,
            distribution.distances(features_ND) / distribution.rare_distance(views),
            np.arange(len(labels_N)),
            ABOUT + DESCRIPTION,
        )
        fitted = fit_calibration(predictor.scheme, labels_N, seen.predictions_NK, shifted=seen)
        assert fitted is not None
        found[number] = fitted
        print(f"{in_words(number)}: {fitted.description}; log losses {fitted.held_out}")
    return found


def main(run: str = "default") -> None:
    """Simulate, shift, predict, fit, and replace the calibrations."""
    rng = np.random.default_rng(OTHERS_SEED)
    surveys = {
        "trained": [SURVEYS[name] for name in TRAINED],
        "other": [other_survey(rng) for _ in range(OTHERS)],
    }
    opened = open_run(run)
    halves = [simulated(chosen, COUNT, SEEDS[name]) for name, chosen in surveys.items()]
    seen = [shifted(list(images), np.arange(len(images)), SHIFTS_SEED) for images, _ in halves]
    for views, count in ((8, COUNT // 2), (None, COUNT)):
        images = [image for half in seen for image in half[:count]]
        labels_N = np.concatenate([labels[:count] for _, labels in halves])
        predictor = Predictor(opened, views=views, calibrated=False, precision="fp32")
        fitted = calibrations(predictor, images, labels_N)
        # One view comes from the larger number of galaxies, with the recipe's.
        write_calibrations(
            opened, {number: one for number, one in fitted.items() if (number == 8) == (views == 8)}
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
