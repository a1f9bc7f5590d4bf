"""How a run that predicts the ten classes of Galaxy10 does on real galaxies, framed and changed in many ways.

    python scripts/real_galaxies.py [RUN...] --five IMAGES LABELS.csv [--ten IMAGES LABELS.csv] [--half]

``--five``: pictures with one of `tong`'s five classes; ``--ten``: with one of Galaxy10's ten. The first
column of LABELS.csv is the name of the picture, with or without ending, the second the number of its class.
With ``--half`` only pictures whose name has an odd SHA-256 count, which keeps the other half for choosing.
Runs (default: the packaged one) are compared with the first of them on the same galaxies.

For every run it prints accuracy, macro recall, top two, mean probability less accuracy, calibration error and
log loss: calibrated and not; for as many views as ``predict`` takes by itself, one, two and eight; in grey,
with another stretch, with noise; the central half and pictures twice and three times as wide, framed as
``predict`` does by itself and with the other ``--scale``; with estimated class shares. Then prediction sets,
and how often each of the ten classes is stated.

Shape letters: V views, N galaxies, K classes of the run, L classes of the labels.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from morphoscope.images.decode import read_image
from morphoscope.inference.calibration import in_words
from morphoscope.inference.class_shares import class_shares_of
from morphoscope.inference.predictor import Predictor
from morphoscope.inference.preprocess import facts_for_fitting, frames_by_itself, load_and_preprocess
from morphoscope.labels.five_class import FIVE_CLASS, translated, translation
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.metrics.calibration_error import errors_by_chance
from morphoscope.metrics.classification import classification_metrics, mcnemar
from morphoscope.metrics.conformal import filled_sets, least_probabilities
from morphoscope.progress import track
from morphoscope.runs.run import Run, open_run

NOISE, GAMMA = 5.0, 0.7  # grey levels; power of the grey levels
SERVED = None  # in place of a number of views: as the run says
VIEWS = (1, 2, 8)
SEED = 5
LEVELS = (0.7, 0.95)  # of probability, for "sure"
COVERAGE = 0.9  # of prediction sets


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures with labels."""

    title: str
    paths: Sequence[Path]
    labels_N: np.ndarray
    classes: tuple[str, ...]


def whole(image_HWC: np.ndarray) -> np.ndarray:
    """The picture as it is."""
    return image_HWC


def central_half(image_HWC: np.ndarray) -> np.ndarray:
    """The middle, half as high and half as wide."""
    top, left = (side // 4 for side in image_HWC.shape[:2])
    return image_HWC[top : image_HWC.shape[0] - top, left : image_HWC.shape[1] - left]


def wider(factor: int) -> Callable[[np.ndarray], np.ndarray]:
    """A change that surrounds a picture with its mirror images until it is ``factor`` times as wide."""

    def changed(image_HWC: np.ndarray) -> np.ndarray:
        border = [(side * (factor - 1) // 2,) * 2 for side in image_HWC.shape[:2]]
        return np.pad(image_HWC, (*border, (0, 0)), mode="symmetric")

    return changed


def in_grey(image_HWC: np.ndarray) -> np.ndarray:
    """The luminance (Rec. 601) in all channels."""
    grey_HW = np.rint(image_HWC @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(grey_HW.astype(np.uint8)[:, :, None], 3, axis=2)


def restretched(image_HWC: np.ndarray) -> np.ndarray:
    """Grey levels to the power :data:`GAMMA`."""
    return np.rint(255 * (image_HWC / 255) ** GAMMA).astype(np.uint8)


def noisy(image_HWC: np.ndarray) -> np.ndarray:
    """More noise, of the pixels that the network sees; the same for the same picture."""
    rng = np.random.default_rng([SEED, int(image_HWC.sum())])
    return np.clip(np.rint(image_HWC + rng.normal(0, NOISE, image_HWC.shape)), 0, 255).astype(np.uint8)


BEFORE = {
    "as they are": whole,
    "the central half": central_half,
    "twice as wide": wider(2),
    "three times as wide": wider(3),
}
AFTER = {
    "in grey": in_grey,
    f"grey levels to the power {GAMMA}": restretched,
    f"{NOISE:g} grey levels of noise": noisy,
}


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network gives for the pictures of one setting, before any calibration."""

    own_VNK: np.ndarray
    features_VND: np.ndarray


class Measured:
    """A run with its engine, and what it gives."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.facts = facts_for_fitting(run)
        self.predictor = Predictor(run, views=max(VIEWS), calibrated=False)
        self.calibrated = {
            views: Predictor(run, views=views, engine=self.predictor.engine) for views in (SERVED, *VIEWS)
        }

    def shown(self, pictures: Pictures, change: Callable[[np.ndarray], np.ndarray], fit: bool) -> np.ndarray:
        """Pictures as the network sees them, (N, side, side, 3)."""
        found = []
        for path in track(pictures.paths, "reading", unit="images"):
            image_HWC = change(np.asarray(read_image(path)))
            found.append(load_and_preprocess(partial(np.asarray, image_HWC), self.facts, fitted=fit)[0])
        return np.stack(found)

    def seen(self, shown_NHWC: np.ndarray, views: int | None = SERVED) -> Seen:
        """What the network gives."""
        of = Predictor(self.run, views=views, calibrated=False, engine=self.predictor.engine)
        return Seen(*of.predictions_and_features(list(shown_NHWC)))

    def probabilities(self, seen: Seen, views: int | None = SERVED, calibrated: bool = True) -> np.ndarray:
        """Of the run's own classes, (N, K)."""
        predictor = self.calibrated[views]
        own_VNK, features_VND = seen.own_VNK, seen.features_VND
        if views is not None:
            some = self.calibrated[len(own_VNK)].views_within()[views]
            own_VNK, features_VND = own_VNK[some], features_VND[some]
        own_NK = predictor.average(own_VNK)
        if not calibrated:
            return own_NK
        return predictor.corrected(own_NK, predictor.distances(predictor.mean_features(features_VND)))


def in_classes_of(own_NK: np.ndarray, pictures: Pictures) -> np.ndarray:
    """Probabilities of the labels' classes, (N, L)."""
    if pictures.classes == GALAXY10.classes:
        return own_NK
    matrix_KL = translation(GALAXY10, FIVE_CLASS)
    assert matrix_KL is not None
    return translated(own_NK, matrix_KL)


def described(name: str, probabilities_NL: np.ndarray, pictures: Pictures, first_N: np.ndarray | None) -> str:
    """One line of a table."""
    found = classification_metrics(pictures.labels_N, probabilities_NL, pictures.classes)
    accuracy, interval, error = found["accuracy"]["value"], found["accuracy"], found["ece"]
    right_N = probabilities_NL.argmax(axis=1) == pictures.labels_N
    excess = probabilities_NL.max(axis=1).mean() - accuracy
    line = (
        f"| {name} | {len(right_N):,} | {accuracy:.1%} ({interval['low']:.1%}–{interval['high']:.1%}) | "
        f"{found['macro_recall']['value']:.3f} | {found['top2']['value']:.1%} | {excess:+.3f} | "
        f"{error['value']:.3f} ({error['low']:.3f}–{error['high']:.3f}) | {found['log_loss']['value']:.3f} |"
    )
    if first_N is None:
        return line + " |"
    test = mcnemar(first_N, right_N)
    gained, lost = int((right_N & ~first_N).sum()), int((first_N & ~right_N).sum())
    return line + f" {gained}, {lost}, p = {test['p']:.2g} |"


HEAD = (
    "| | n | accuracy (95 %) | macro recall | top two | mean probability − accuracy | calibration error "
    "(95 %) | log loss | gained, lost |\n|---|---|---|---|---|---|---|---|---|"
)


def tables(measured: Measured, pictures: Pictures, firsts: dict[str, np.ndarray]) -> Iterator[str]:
    """The lines of all tables of a run.

    Args:
        measured: the run.
        pictures: with labels.
        firsts: which galaxies the first run got right, by line; the first run's are entered.
    """

    def line(name: str, own_NK: np.ndarray, beside: str | None = None) -> str:
        probabilities_NL = in_classes_of(own_NK, pictures)
        right_N = probabilities_NL.argmax(axis=1) == pictures.labels_N
        rights[name] = right_N
        return described(name, probabilities_NL, pictures, rights[beside] if beside else firsts.get(name))

    rights: dict[str, np.ndarray] = {}
    yield f"\n{measured.run.name}: {pictures.title}\n\n{HEAD}"
    fit = frames_by_itself(measured.run)
    other = f"`--scale {'trained' if fit else 'auto'}`"
    plain_NHWC = measured.shown(pictures, whole, fit=fit)
    seen = measured.seen(plain_NHWC)
    own_NK = measured.probabilities(seen)
    yield line("as they are", own_NK)
    yield line("uncalibrated", measured.probabilities(seen, calibrated=False))
    for views in VIEWS:
        yield line(in_words(views), measured.probabilities(measured.seen(plain_NHWC, views), views))
    for name, change in AFTER.items():
        changed_NHWC = np.stack([change(image) for image in plain_NHWC])
        yield line(name, measured.probabilities(measured.seen(changed_NHWC)))
    otherwise_NK = own_NK
    for name, change in BEFORE.items():
        if name != "as they are":
            shown_NHWC = measured.shown(pictures, change, fit=fit)
            yield line(name, measured.probabilities(measured.seen(shown_NHWC)))
        shown_NHWC = measured.shown(pictures, change, fit=not fit)
        other_NK = measured.probabilities(measured.seen(shown_NHWC))
        otherwise_NK = other_NK if name == "as they are" else otherwise_NK
        yield line(f"{name}, {other}", other_NK, beside=name)
    predictor = measured.calibrated[SERVED]
    if len(own_NK) >= 200:
        yield line("estimated shares", class_shares_of(predictor, own_NK)(own_NK), beside="as they are")
        shares = class_shares_of(predictor, otherwise_NK)
        name = f"as they are, {other}"
        yield line(f"{name}, estimated shares", shares(otherwise_NK), beside=name)
    firsts |= {name: right_N for name, right_N in rights.items() if name not in firsts}
    yield from others(measured, pictures, own_NK)


def others(measured: Measured, pictures: Pictures, own_NK: np.ndarray) -> Iterator[str]:
    """Lines on classes and sets."""
    answered_NL = in_classes_of(own_NK, pictures)
    right_N = answered_NL.argmax(axis=1) == pictures.labels_N
    yield "\nright of each class: " + ", ".join(
        f"{name} {int(right_N[pictures.labels_N == k].sum())} of {int((pictures.labels_N == k).sum())}"
        for k, name in enumerate(pictures.classes)
    )
    stated_K = np.bincount(own_NK.argmax(axis=1), minlength=own_NK.shape[1])
    yield "stated: " + ", ".join(
        f"{name} {count}" for name, count in zip(GALAXY10.classes, stated_K, strict=True)
    )
    confidence_N = answered_NL.max(axis=1)
    chance = errors_by_chance(confidence_N)
    low, high = np.quantile(chance, [0.025, 0.975])
    error = classification_metrics(pictures.labels_N, answered_NL, pictures.classes)["ece"]["value"]
    yield (
        f"calibration error {error:.3f}; a calibrated network would show {chance.mean():.3f} "
        f"({low:.3f}–{high:.3f}), at least as much in {(chance >= error).mean():.0%} of draws"
    )
    for level in LEVELS:
        sure_N = confidence_N >= level
        share = right_N[sure_N].mean() if sure_N.any() else float("nan")
        yield f"at least {level:.0%}: {sure_N.mean():.1%} of the galaxies, {share:.1%} of these right"
    calibration = measured.calibrated[SERVED].calibration
    if calibration is not None and calibration.scores is not None:
        least_K = least_probabilities(calibration.scores, GALAXY10.classes, COVERAGE, per_class=False)
        sets_NK = filled_sets(own_NK, least_K)
        counterpart_KL = np.eye(len(GALAXY10.classes))
        if pictures.classes != GALAXY10.classes:
            counterpart_KL = translation(GALAXY10, FIVE_CLASS)
        held_N = (sets_NK @ counterpart_KL)[np.arange(len(own_NK)), pictures.labels_N] > 0
        size = sets_NK.sum(axis=1).mean()
        yield f"sets of {COVERAGE:.0%}: {held_N.mean():.1%} hold the truth, {size:.1f} classes on average"


def pictures_of(title: str, where: Sequence[Path], classes: tuple[str, ...], half: bool) -> Pictures:
    """The pictures of a folder that have a label in a table, in the order of their names."""
    folder, table = where
    with open(table, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        labels = {Path(row[0]).stem: int(row[1]) for row in rows}
    paths = sorted(path for path in folder.rglob("*.jp*g") if path.stem in labels)
    if half:
        paths = [path for path in paths if hashlib.sha256(path.stem.encode()).digest()[-1] % 2]
    return Pictures(title, paths, np.array([labels[path.stem] for path in paths]), classes)


def main() -> None:
    """Read the options, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", default=["default"])
    parser.add_argument("--five", nargs=2, type=Path, metavar=("IMAGES", "LABELS"))
    parser.add_argument("--ten", nargs=2, type=Path, metavar=("IMAGES", "LABELS"))
    parser.add_argument(
        "--half", action="store_true", help="only those of --five that nothing is chosen with"
    )
    asked = parser.parse_args()
    chosen = []
    if asked.five:
        chosen.append(pictures_of("five classes", asked.five, FIVE_CLASS.classes, asked.half))
    if asked.ten:
        chosen.append(pictures_of("ten classes", asked.ten, GALAXY10.classes, False))
    if not chosen:
        parser.error("give --five or --ten")
    firsts: list[dict[str, np.ndarray]] = [{} for _ in chosen]
    for name in asked.runs:
        measured = Measured(open_run(name))
        for pictures, first in zip(chosen, firsts, strict=True):
            for line in tables(measured, pictures, first):
                print(line, flush=True)


if __name__ == "__main__":
    main()
