"""Fit a run's calibration, prediction sets and OOD score, and measure them on test galaxies.

The calibration and the thresholds of sets come from the validation galaxies; the feature distribution is
fitted on the training galaxies and scaled by the validation galaxies.

Shape letters: V views, N galaxies, K outputs, D features, H held-out galaxies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from morphoscope.data.splits.file import Split, limited
from morphoscope.data.store import Store
from morphoscope.evaluation.shifts import DESCRIPTION, shifted
from morphoscope.inference.calibration import AS_NEEDED, FEWEST, Calibration, Shifted, fit_calibration
from morphoscope.inference.ood import (
    METHOD,
    FeatureDistribution,
    fit_distribution,
    kept_distances,
    read_distribution,
)
from morphoscope.inference.predictor import Predictor, mean_over_views
from morphoscope.labels.scheme import Scheme
from morphoscope.metrics.bootstrap import LEVEL, auroc, resampled_sums, wilson_interval, with_interval
from morphoscope.metrics.conformal import (
    SCORE,
    Scores,
    bare_sets,
    filled_sets,
    least_probabilities,
    rank_of,
)
from morphoscope.progress import Bar, note


def measured_sets(
    scores: Scores,
    labels_N: np.ndarray,
    probabilities_NK: np.ndarray,
    classes: Sequence[str],
    coverage: float,
    *,
    per_class: bool,
) -> dict[str, Any]:
    """Coverage and size of prediction sets on galaxies with known classes, JSON-able.

    Returns:
        ``n``; ``covered`` and ``bare_covered`` (before empty sets were filled), each ``{"value", "low",
        "high"}`` with the 95 % Wilson interval; ``expected`` (``{"low", "high"}``: the central 95 % of
        ``bare_covered`` if galaxies are exchangeable, with one threshold for all classes, else None: Vovk
        2012; the coverage is beta-binomial, Angelopoulos & Bates 2023, section 3.2);
        ``mean_size``; ``filled`` (share of sets that were empty); ``sizes`` (galaxies by size of their set,
        from 0 to K); ``least`` (class → threshold); ``by_class``, a list of ``{name, n, covered, low,
        high}``.
    """
    labels_N = np.asarray(labels_N)
    least_K = least_probabilities(scores, classes, coverage, per_class=per_class)
    bare, sets = bare_sets(probabilities_NK, least_K), filled_sets(probabilities_NK, least_K)
    rows = np.arange(len(labels_N))
    hit_N = sets[rows, labels_N]
    known = sum(len(values) for values in scores.values())
    return {
        "n": len(labels_N),
        "covered": _hit_rate(int(hit_N.sum()), len(hit_N)),
        "bare_covered": _hit_rate(int(bare[rows, labels_N].sum()), len(hit_N)),
        "expected": None if per_class else expected_coverage(known, len(hit_N), coverage),
        "mean_size": float(sets.sum(axis=1).mean()),
        "filled": float(np.mean(~bare.any(axis=1))),
        "sizes": np.bincount(sets.sum(axis=1), minlength=len(classes) + 1).tolist(),
        "least": dict(zip(classes, least_K.tolist(), strict=True)),
        "by_class": [
            {"name": name, "n": int((labels_N == k).sum()), **_covered(hit_N[labels_N == k])}
            for k, name in enumerate(classes)
        ],
    }


def expected_coverage(known: int, count: int, coverage: float) -> dict[str, float] | None:
    """The central 95 % range of the coverage of ``count`` new galaxies.

    The threshold comes from ``known`` galaxies; with few of them the coverage varies more than a binomial.
    None if they are too few for the coverage, so that every set contains every class.
    """
    from scipy.stats import betabinom

    rank = rank_of(known, coverage)
    if rank > known:
        return None
    spread = betabinom(count, rank, known + 1 - rank)
    low, high = spread.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2]) / count
    return {"low": float(low), "high": float(high)}


def _hit_rate(hits: int, count: int) -> dict[str, Any]:
    low, high = wilson_interval(hits, count) or (None, None)
    return {"value": hits / count if count else None, "low": low, "high": high}


def _covered(hit_N: np.ndarray) -> dict[str, Any]:
    share = _hit_rate(int(hit_N.sum()), len(hit_N))
    return {"covered": share["value"], "low": share["low"], "high": share["high"]}


def fit_views(
    predictor: Predictor,
    split: Split,
    targets: np.ndarray,
    predictions_VNK: np.ndarray,
    shifts: ShiftedViews | None = None,
) -> dict[int, Calibration]:
    """Calibrations for every number of views within the predictor's.

    Galaxies that are also in the test split (as in some published splits) are left out: a calibration looks
    better than it is on the galaxies it was fitted on.

    Args:
        predictor: of the run.
        split: the run's.
        targets: labels of the whole store.
        predictions_VNK: uncalibrated, for the validation galaxies.
        shifts: the same for shifted images of the validation galaxies, which are then used instead.

    Returns:
        number of views (or :data:`~morphoscope.inference.calibration.AS_NEEDED`) → calibration; empty, with
        a note, if fewer than twenty galaxies are left.
    """
    alone = ~np.isin(split.validation, split.test)
    labels = targets[split.validation[alone]]
    if len(labels) < FEWEST:
        note(
            f"not calibrated: there are {len(labels)} validation galaxies outside the test, and at least "
            f"{FEWEST} are needed (data.validation)"
        )
        return {}
    fitted = {}
    for number, predictions_NK in predictor.averages(predictions_VNK[:, alone]).items():
        calibration = fit_calibration(
            predictor.scheme,
            labels,
            predictions_NK,
            seed=predictor.run.recipe.data.split_seed,
            shifted=None if shifts is None else shifts.of(predictor, number, alone, labels),
        )
        if calibration is not None:
            fitted[number] = calibration
    return fitted


@dataclass(frozen=True)
class ShiftedViews:
    """Predictions for shifted images of the N validation galaxies.

    Attributes:
        predictions_VNK: uncalibrated, by view.
        distances: number of views → distances from the training galaxies, (N,).
        distribution: that the distances are from, with those of the galaxies as they are; None: no OOD score.
    """

    predictions_VNK: np.ndarray
    distances: Mapping[int, np.ndarray]
    distribution: FeatureDistribution | None

    def of(self, predictor: Predictor, number: int, alone: np.ndarray, labels: np.ndarray) -> Shifted:
        """What a calibration for a number of views is fitted to; ``alone``: (N,) which galaxies are used."""
        predictions_NK = predictor.averages(self.predictions_VNK[:, alone])[number]
        scores_N = None
        seen = predictor.feature_views if number == AS_NEEDED else number
        if self.distribution is not None and seen in self.distribution.held_out:
            scores_N = self.distances[seen][alone] / self.distribution.rare_distance(seen)
        return Shifted(labels, predictions_NK, scores_N, np.arange(len(labels)), DESCRIPTION)


def calibration_results(
    predictor: Predictor, targets: np.ndarray, own_NK: np.ndarray, predictions_NK: np.ndarray
) -> dict[str, Any] | None:
    """The effect of the calibration, JSON-able; None without one.

    Args:
        predictor: of the run.
        targets: of N galaxies that the calibration was not fitted on.
        own_NK: the network's uncalibrated predictions.
        predictions_NK: calibrated predictions.

    Returns:
        ``method``, ``words`` (for people), ``galaxies`` (validation galaxies it was fitted on),
        ``temperature`` and ``mixing`` (or None), ``shifts`` (how they were shifted), ``held_out``
        (candidate → cross-validated log loss), ``before`` and ``after`` (see
        :meth:`morphoscope.labels.kind.Scheme.calibration_scores`), ``log_loss_change``.
    """
    calibration, scheme = predictor.calibration, predictor.scheme
    if calibration is None:
        return None
    correction = calibration.correction
    return {
        "method": correction.method,
        "words": calibration.description,
        "galaxies": calibration.galaxies,
        "temperature": getattr(correction, "temperature", None),
        "mixing": None if calibration.mixing is None else calibration.mixing.model_dump(mode="json"),
        "shifts": calibration.shifts,
        "held_out": calibration.held_out,
        "before": scheme.calibration_scores(targets, own_NK),
        "after": scheme.calibration_scores(targets, predictions_NK),
        "log_loss_change": log_loss_change(scheme, targets, own_NK, predictions_NK),
    }


def log_loss_change(
    scheme: Scheme,
    targets: np.ndarray,
    before_NK: np.ndarray,
    after_NK: np.ndarray,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean change of the log loss (after − before) with its interval; below 0 the correction helps."""
    gains = scheme.log_losses(targets, after_NK) - scheme.log_losses(targets, before_NK)
    samples = resampled_sums(gains[:, None], bootstrap, seed)[:, 0] / len(gains)
    return with_interval(float(gains.mean()), samples, len(gains))


def set_results(
    predictor: Predictor, targets: np.ndarray, predictions_NK: np.ndarray, coverage: float
) -> dict[str, Any] | None:
    """Prediction sets measured on galaxies with known classes, JSON-able; None if the run has none.

    Returns:
        ``coverage`` (requested), ``score``, ``galaxies`` (validation galaxies that set the thresholds),
        ``marginal`` and ``per_class`` (see :func:`morphoscope.evaluation.fit_uncertainty.measured_sets`).
    """
    calibration, classes = predictor.calibration, predictor.scheme.output_names
    if calibration is None or calibration.scores is None:
        return None

    def measured(*, per_class: bool) -> dict[str, Any]:
        assert calibration is not None
        assert calibration.scores is not None
        return measured_sets(
            calibration.scores, targets, predictions_NK, classes, coverage, per_class=per_class
        )

    return {
        "coverage": coverage,
        "score": SCORE,
        "galaxies": calibration.galaxies,
        "marginal": measured(per_class=False),
        "per_class": measured(per_class=True),
    }


MOST = 4_000  # training galaxies that a feature distribution is fitted on
CHUNK = 512  # galaxies per step of the progress bar
EACH = 25  # simulated non-galaxies of each kind
LEAST = 5  # of each kind; if there would be fewer, none are simulated
PER_GALAXY = 10  # test galaxies per non-galaxy of a kind, to keep small runs fast
Change = Callable[[list[np.ndarray], np.ndarray], Sequence[np.ndarray]]
EDGES = np.geomspace(0.2, 20.0, 41)  # of the histogram of OOD scores


class HeldOut:
    """Collects the distances of validation galaxies, for each number of views within the predictor's.

    Args:
        predictor: of the run.
        distribution: of the training galaxies' features.
    """

    def __init__(self, predictor: Predictor, distribution: FeatureDistribution) -> None:
        self.distribution = distribution
        self._views = predictor.views_within()
        self._distances: dict[int, list[np.ndarray]] = {number: [] for number in self._views}

    def __call__(self, features_VND: np.ndarray) -> None:
        """Add some galaxies."""
        for number, views in self._views.items():
            features_ND = mean_over_views(features_VND[views])
            self._distances[number].append(self.distribution.distances(features_ND))

    @property
    def distances(self) -> dict[int, np.ndarray]:
        """Number of views → distances of the galaxies so far, (N,)."""
        return {number: np.concatenate(parts) for number, parts in self._distances.items()}

    def complete(self, split: Split) -> FeatureDistribution:
        """The distribution with the distances of the validation galaxies that are not in the test as well."""
        alone_H = ~np.isin(split.validation, split.test)
        fresh = {
            number: kept_distances(distances_N[alone_H]) for number, distances_N in self.distances.items()
        }
        return replace(self.distribution, held_out={**self.distribution.held_out, **fresh})


def held_out_of(predictor: Predictor, store: Store, split: Split) -> HeldOut | None:
    """Collector of the validation galaxies' distances; None, with a note, if there are too few galaxies.

    If the run already has a feature distribution it is used again, so that its distances for other numbers of
    views stay valid.
    """
    alone = int((~np.isin(split.validation, split.test)).sum())
    trained = len(_trained_on(predictor, split))
    if min(alone, trained) < FEWEST:
        note(
            f"no OOD score: {trained} training galaxies and {alone} validation galaxies outside the "
            f"test; at least {FEWEST} of each are needed"
        )
        return None
    distribution = read_distribution(predictor.run)
    if distribution is None:
        distribution = fit_distribution(training_features(predictor, store, split))
    if distribution is None:
        note("no OOD score: the features of all training galaxies are the same")
        return None
    return HeldOut(predictor, distribution)


def _trained_on(predictor: Predictor, split: Split) -> np.ndarray:
    recipe = predictor.run.recipe
    return limited(split.train, recipe.data.limit, recipe.seed)


def training_features(predictor: Predictor, store: Store, split: Split) -> np.ndarray:
    """Features of up to 4,000 galaxies that were trained on, in one view, (N, D) float32."""
    rows = limited(_trained_on(predictor, split), MOST, predictor.run.recipe.data.split_seed)
    chunks = outputs_by_chunk(predictor.in_one_view(), store, rows, "features of training galaxies")
    return np.concatenate([features_VND[0] for _, features_VND in chunks])


def outputs_by_chunk(
    predictor: Predictor, store: Store, rows: np.ndarray, title: str, change: Change | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Uncalibrated predictions (V, n, K) and features (V, n, D) of some rows, chunk by chunk.

    Args:
        predictor: of the run.
        store: with the images.
        rows: of the store.
        title: of the progress bar.
        change: of the images of some rows, before they are predicted.
    """
    with Bar(title, len(rows), "galaxies") as bar:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            images = [store.images[row] for row in part]
            yield predictor.predictions_and_features(images if change is None else change(images, part))
            bar.advance(len(part))


def shifted_views(predictor: Predictor, store: Store, split: Split, held_out: HeldOut | None) -> ShiftedViews:
    """Predictions for the validation galaxies, each shifted at random.

    Args:
        predictor: of the run.
        store: of its training.
        split: the run's.
        held_out: has the distances of the validation galaxies as they are; None: no OOD score.
    """
    seed = predictor.run.recipe.data.split_seed
    moved = None if held_out is None else HeldOut(predictor, held_out.distribution)
    predictions = []
    for predictions_VNK, features_VND in outputs_by_chunk(
        predictor,
        store,
        split.validation,
        "predicting shifted galaxies",
        lambda images, rows: shifted(images, rows, seed),
    ):
        predictions.append(predictions_VNK)
        if moved is not None:
            moved(features_VND)
    return ShiftedViews(
        np.concatenate(predictions, axis=1),
        {} if moved is None else moved.distances,
        None if held_out is None else held_out.complete(split),
    )


def ood_results(
    predictor: Predictor, distances_N: np.ndarray, store: Store | None = None
) -> dict[str, Any] | None:
    """OOD scores of test galaxies, and how well they separate simulated non-galaxies, JSON-able.

    Args:
        predictor: with the feature distribution.
        distances_N: of galaxies that the distribution was not fitted on.
        store: simulated store, for whose survey non-galaxies are simulated; None, or another store: none are.

    Returns:
        None without a feature distribution; else ``method``, ``galaxies`` (training), ``held_out``
        (validation galaxies), ``test``: ``n`` and ``stranger``, the share with a score above 1, with its
        Wilson interval; ``histogram``: ``edges`` of the score, ``test`` and ``non_galaxies`` counts, with
        values beyond the ends in the outermost bins; ``non_galaxies``: for each kind ``name``, ``n``,
        ``stranger``, ``auroc`` with its interval.
    """
    distribution = predictor.distribution
    if distribution is None or not predictor.has_ood_score:
        return None
    test_N = distances_N / distribution.rare_distance(predictor.feature_views)
    samples = {} if store is None else _ood_samples(predictor, store, len(test_N))
    return {
        "method": METHOD,
        "galaxies": distribution.galaxies,
        "held_out": len(distribution.held_out[predictor.feature_views]),
        "test": {"n": len(test_N), "stranger": _above_one(test_N)},
        "histogram": {
            "edges": EDGES.tolist(),
            "test": _counts(test_N),
            "non_galaxies": _counts(np.concatenate(list(samples.values()))) if samples else [],
        },
        "non_galaxies": [
            {"name": kind, "n": len(values), "stranger": _above_one(values), "auroc": auroc(test_N, values)}
            for kind, values in samples.items()
        ],
    }


def _ood_samples(predictor: Predictor, store: Store, galaxies: int) -> dict[str, np.ndarray]:
    """OOD scores of simulated non-galaxies of the store's survey, by kind."""
    surveys = tuple(name.strip() for name in str(store.meta.options.get("survey", "")).split(","))
    each = min(EACH, galaxies // PER_GALAXY)
    if store.meta.source != "simulator" or not surveys[0] or each < LEAST:
        return {}
    simulated = _non_galaxies(surveys, each, store.meta.image_shape[0])
    return {kind: np.asarray(predictor.predict(images).ood_score_N) for kind, images in simulated.items()}


@lru_cache(maxsize=1)  # the rows of a study are all measured on the same ones
def _non_galaxies(surveys: tuple[str, ...], each: int, side: int) -> Mapping[str, list[np.ndarray]]:
    from morphoscope.simulation.nongalaxies import KINDS, non_galaxies

    found = {}
    with Bar("simulating non-galaxies", each * len(KINDS), "images") as bar:
        for kind in KINDS:
            shares = [each // len(surveys) + (index < each % len(surveys)) for index in range(len(surveys))]
            found[kind] = [
                image
                for survey, share in zip(surveys, shares, strict=True)
                for image in non_galaxies(kind, survey, share, side)
            ]
            bar.advance(each)
    return found


def _above_one(scores_N: np.ndarray) -> dict[str, Any]:
    return _hit_rate(int((scores_N > 1).sum()), len(scores_N))


def _counts(scores_N: np.ndarray) -> list[int]:
    inside = np.clip(scores_N, EDGES[0], EDGES[-1])
    return np.histogram(inside, EDGES)[0].tolist()
