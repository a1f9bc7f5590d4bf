"""How often a run gives a confident class to what is no galaxy.

Simulated: stars, empty sky and artefacts of three surveys (:mod:`morphoscope.simulation.nongalaxies`).
With FOLDER also squares of real sky: of the FITS images below it, those in which no source is detected.
Confident is a class of at least 0.5, with an OOD score of at most 1, that ``quality`` does not rule out.

    python benchmarks/non_galaxies.py [RUN] [FOLDER]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np

import morphoscope as ms
from morphoscope.catalogue.detection.catalogue import LIKELY
from morphoscope.catalogue.detection.detect import detect_sources
from morphoscope.catalogue.pipeline import preprocess_item
from morphoscope.errors import MorphoscopeError
from morphoscope.images.decode import read_image
from morphoscope.images.source_quality import has_no_class
from morphoscope.images.stream import Item
from morphoscope.inference.predictor import Predictor
from morphoscope.inference.preprocess import frames_by_itself
from morphoscope.metrics.bootstrap import wilson_interval
from morphoscope.simulation.nongalaxies import KINDS, non_galaxies
from morphoscope.simulation.survey import SURVEYS

EACH = 20  # of a kind and survey
SIDE = 128  # pixels
SKY = 24  # squares of real sky at most from one image


def main(run: str = "default", folder: str = "") -> None:
    predictor = ms.load(run).predictor
    plain = ms.load(run, calibrated=False).predictor
    print("confident: uncalibrated; calibrated; and not out of distribution; and quality allows it (95 %)")
    total: list[np.ndarray] = []
    for kind in KINDS:
        images = [image for survey in SURVEYS for image in non_galaxies(kind, survey, EACH, SIDE, seed=5)]
        total.append(measured(kind, predictor, plain, images))
    summarised("all simulated", np.concatenate(total))
    if folder:
        real = list(real_sky(Path(folder)))
        if real:
            measured("real empty sky", predictor, plain, real)


def measured(kind: str, predictor: Predictor, plain: Predictor, images: list[np.ndarray]) -> np.ndarray:
    """Print one line; (N, 4) bool: likely uncalibrated, likely, not OOD too, of quality too.

    Images are framed, and their quality is judged, as ``predict`` does it.
    """
    run = predictor.run
    fitted = frames_by_itself(run)
    items = [Item(kind, partial(np.asarray, image)) for image in images]
    done = [
        preprocess_item(item, facts=run.header.store, crop=None, fitted=fitted, check=True) for item in items
    ]
    shown = [each.image for each in done if each.image is not None]
    seen = predictor.predict(shown)
    own_N = plain.predict(shown).predictions_NK.max(axis=1) >= LIKELY
    likely_N = seen.predictions_NK.max(axis=1) >= LIKELY
    known_N = likely_N & (np.asarray(seen.ood_score_N) <= 1)
    fine_N = np.array([not has_no_class(item.found.get("quality", ())) for item in items])
    return summarised(kind, np.stack([own_N, likely_N, known_N, known_N & fine_N], axis=1))


def summarised(kind: str, confident_N4: np.ndarray) -> np.ndarray:
    """Print the four shares with their intervals."""
    words = []
    for column in confident_N4.T:
        low, high = wilson_interval(int(column.sum()), len(column)) or (0, 1)
        words.append(f"{column.mean():.0%} ({low:.0%}–{high:.0%})")
    print(f"{kind}, n = {len(confident_N4)}: {'; '.join(words)}")
    return confident_N4


def real_sky(folder: Path) -> list[np.ndarray]:
    """Squares of the images below a folder in which no source was detected, (SIDE, SIDE, 3) uint8."""
    found: list[np.ndarray] = []
    for path in sorted(folder.rglob("*.fits*")):
        try:
            image = read_image(path)
            sources = detect_sources(image, threshold=4.0, min_area=12)
        except (MorphoscopeError, ValueError, OSError):
            continue
        height, width = image.shape[:2]
        taken = 0
        for top in range(0, height - SIDE + 1, SIDE):
            for left in range(0, width - SIDE + 1, SIDE):
                square = image[top : top + SIDE, left : left + SIDE]
                inside = (np.abs(sources.x - left - SIDE / 2) < SIDE / 2 + 4) & (
                    np.abs(sources.y - top - SIDE / 2) < SIDE / 2 + 4
                )
                if taken < SKY and not inside.any() and np.ptp(square) > 0:
                    found.append(square)
                    taken += 1
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
