"""A run's calibration: fitted on its validation galaxies, and what it does to galaxies held out.

Shape letters: V views, N galaxies, K outputs.

A run's reference, fitted on its training galaxies and read off held-out ones, and how well it tells
strangers.

Shape letters: V views, N galaxies, D features, H held-out galaxies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from morphoscope.data.splits.file import Split
from morphoscope.data.store import Store
from morphoscope.inference.calibration import FEWEST, Calibration, fit_calibration
from morphoscope.inference.ood import (
    METHOD,
    Reference,
    fit_reference,
    keep_reference,
    kept_distances,
    read_reference,
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
    """How a kind of set does on galaxies with known classes, JSON-able.

    Returns:
        ``n``; ``covered`` and ``bare_covered`` (before empty sets were filled), each ``{"value", "low",
        "high"}`` with the 95 % Wilson interval of a share; ``expected`` (``{"low", "high"}``: where
        ``bare_covered`` lies in 95 of 100 cases if all is well, of one threshold for all classes, else
        None: Vovk 2012; the share covered is beta-binomial, Angelopoulos & Bates 2023, section 3.2);
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
    """Between which shares the coverage of ``count`` new galaxies lies in 95 of 100 cases.

    ``known`` galaxies set the threshold; with few of them it varies more than a binomial says. None where
    they are too few for the coverage, so that every set holds every class.
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
    predictor: Predictor, split: Split, targets: np.ndarray, predictions_VNK: np.ndarray
) -> dict[int, Calibration]:
    """Calibrations for the predictor's views and every smaller number of views that is part of them.

    Galaxies that are in the test as well (some published splits) are left out: a correction fitted on the
    galaxies it is judged by would look better than it is.

    Args:
        predictor: of the run; knows its views.
        split: the run's.
        targets: labels of the whole store.
        predictions_VNK: the network's own answers for the validation galaxies.

    Returns:
        number of views → calibration; empty, with a note, where fewer than twenty galaxies are left.
    """
    alone = ~np.isin(split.validation, split.test)
    labels = targets[split.validation[alone]]
    if len(labels) < FEWEST:
        note(
            f"not calibrated: {len(labels)} validation galaxies that are not in the test, and "
            f"{FEWEST} are the fewest to learn from (data.validation)"
        )
        return {}
    fitted = {}
    for number, places in predictor.views_within().items():
        predictions_NK = mean_over_views(predictions_VNK[places][:, alone])
        calibration = fit_calibration(
            predictor.scheme, labels, predictions_NK, seed=predictor.run.recipe.data.split_seed
        )
        if calibration is not None:
            fitted[number] = calibration
    return fitted


def calibration_results(
    predictor: Predictor, targets: np.ndarray, own_NK: np.ndarray, predictions_NK: np.ndarray
) -> dict[str, Any] | None:
    """What the calibration did, JSON-able; None without one.

    Args:
        predictor: that answered.
        targets: of N galaxies that the calibration was not fitted on.
        own_NK: the network's own answers.
        predictions_NK: the corrected ones.

    Returns:
        ``method``, ``words`` (for people), ``galaxies`` (validation galaxies it was fitted on),
        ``temperature`` (or None), ``held_out`` (candidate → cross-validated log loss), ``before`` and
        ``after`` (see :meth:`morphoscope.labels.kind.Scheme.calibration_scores`),
        ``log_loss_change``.
    """
    calibration, scheme = predictor.calibration, predictor.scheme
    if calibration is None:
        return None
    correction = calibration.correction
    return {
        "method": correction.method,
        "words": calibration.words,
        "galaxies": calibration.galaxies,
        "temperature": getattr(correction, "temperature", None),
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
    """Log loss after minus before, galaxy by galaxy, with its interval: below 0 the correction helps."""
    gains = scheme.log_losses(targets, after_NK) - scheme.log_losses(targets, before_NK)
    samples = resampled_sums(gains[:, None], bootstrap, seed)[:, 0] / len(gains)
    return with_interval(float(gains.mean()), samples, len(gains))


def set_results(
    predictor: Predictor, targets: np.ndarray, predictions_NK: np.ndarray, coverage: float
) -> dict[str, Any] | None:
    """Prediction sets measured on galaxies with known classes, JSON-able; None where none can be made.

    Returns:
        ``coverage`` (as asked), ``score``, ``galaxies`` (validation galaxies that set the thresholds),
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


MOST = 4_000  # training galaxies that a reference is fitted on
CHUNK = 512  # galaxies between two movements of the progress bar
EACH = 25  # simulated non-galaxies of each kind
LEAST = 5  # of each kind; where there would be fewer, none are made
PER_GALAXY = 10  # test galaxies for one non-galaxy of a kind: a small run is not to wait for them
EDGES = np.geomspace(0.2, 20.0, 41)  # of the histogram of strangeness


class HeldOut:
    """Distances of galaxies that pass by, over each number of views that is part of the predictor's.

    A reference is fitted, or taken from the run if there is one already, when the first galaxy passes.

    Args:
        predictor: of the run.
        reference: fitted on training galaxies.
    """

    def __init__(self, predictor: Predictor, reference: Reference) -> None:
        self.reference = reference
        self._places = predictor.views_within()
        self._distances: dict[int, list[np.ndarray]] = {number: [] for number in self._places}

    def __call__(self, features_VND: np.ndarray) -> None:
        """Take in some galaxies."""
        for number, places in self._places.items():
            self._distances[number].append(self.reference.distances(mean_over_views(features_VND[places])))

    def complete(self, alone_H: np.ndarray) -> Reference:
        """The reference with the distances of those galaxies that passed by and are marked in ``alone_H``."""
        fresh = {
            number: kept_distances(np.concatenate(parts)[alone_H])
            for number, parts in self._distances.items()
        }
        return replace(self.reference, held_out={**self.reference.held_out, **fresh})


def held_out_of(predictor: Predictor, store: Store, split: Split) -> HeldOut | None:
    """What validation galaxies are to pass by; None, with a note, where there is nothing to learn from.

    The reference that the run has is used again, so that what it has for other numbers of views stays true.
    """
    alone = int((~np.isin(split.validation, split.test)).sum())
    if min(alone, len(split.train)) < FEWEST:
        note(
            f"no reference of what the training's galaxies look like: {len(split.train)} training galaxies "
            f"and {alone} validation galaxies that are not in the test, and {FEWEST} of each are the fewest"
        )
        return None
    reference = read_reference(predictor.run) or fit_reference(training_features(predictor, store, split))
    if reference is None:
        note("no reference of what the training's galaxies look like: their features are all alike")
        return None
    return HeldOut(predictor, reference)


def finish(predictor: Predictor, held_out: HeldOut, split: Split) -> None:
    """Keep the reference in the run once the validation galaxies have passed, and let the predictor use
    it.
    """
    predictor.reference = held_out.complete(~np.isin(split.validation, split.test))
    keep_reference(predictor.run, predictor.reference)


def training_features(predictor: Predictor, store: Store, split: Split) -> np.ndarray:
    """Features of up to 4,000 training galaxies, drawn by the split's seed, in one view, (N, D) float32."""
    rows = split.train
    if len(rows) > MOST:
        seed = predictor.run.recipe.data.split_seed
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    one = predictor.in_one_view()
    with Bar("features of training galaxies", len(rows), "galaxies") as bar:

        def chunks() -> Iterator[np.ndarray]:
            for start in range(0, len(rows), CHUNK):
                part = [store.images[row] for row in rows[start : start + CHUNK]]
                yield one.predictions_and_features(part)[1][0]
                bar.advance(len(part))

        return np.concatenate(list(chunks()))


def ood_results(
    predictor: Predictor, distances_N: np.ndarray, store: Store | None = None
) -> dict[str, Any] | None:
    """How strange some galaxies are, and how well strangers are told from them, JSON-able; None without
    reference.

    Args:
        predictor: with the reference.
        distances_N: of galaxies that the reference has not seen.
        store: whose survey's non-galaxies are simulated; None, or one that is not simulated: none are.

    Returns:
        ``method``, ``galaxies`` (training), ``held_out`` (validation galaxies), ``test``: ``n`` and
        ``stranger``, the share beyond the distance within which 95 % of held-out galaxies lie, with its
        Wilson interval; ``histogram``: ``edges`` of strangeness, ``test`` and ``non_galaxies`` counts, what
        lies beyond an end being in the last bin; ``non_galaxies``: for each kind ``name``, ``n``,
        ``stranger``, ``auroc`` with its interval.
    """
    reference = predictor.reference
    if reference is None or not predictor.has_ood_score:
        return None
    rare = reference.rare_distance(predictor.views)
    test_N = distances_N / rare
    strangers = {} if store is None else _ood_samples(predictor, store, len(test_N))
    return {
        "method": METHOD,
        "galaxies": reference.galaxies,
        "held_out": len(reference.held_out[predictor.views]),
        "test": {"n": len(test_N), "stranger": _share(test_N)},
        "histogram": {
            "edges": EDGES.tolist(),
            "test": _counts(test_N),
            "non_galaxies": _counts(np.concatenate(list(strangers.values()))) if strangers else [],
        },
        "non_galaxies": [
            {"name": kind, "n": len(values), "stranger": _share(values), "auroc": auroc(test_N, values)}
            for kind, values in strangers.items()
        ],
    }


def _ood_samples(predictor: Predictor, store: Store, galaxies: int) -> dict[str, np.ndarray]:
    """Strangeness of simulated non-galaxies of the store's survey by their kind."""
    surveys = str(store.meta.options.get("survey", "")).split(",")
    each = min(EACH, galaxies // PER_GALAXY)
    if store.meta.source != "simulator" or not surveys[0] or each < LEAST:
        return {}
    from morphoscope.simulation.nongalaxies import KINDS, non_galaxies

    found = {}
    with Bar("simulating non-galaxies", each * len(KINDS), "pictures") as bar:
        for kind in KINDS:
            shares = [each // len(surveys) + (place < each % len(surveys)) for place in range(len(surveys))]
            images = [
                image
                for survey, share in zip(surveys, shares, strict=True)
                for image in non_galaxies(kind, survey.strip(), share, store.meta.image_shape[0])
            ]
            found[kind] = np.asarray(predictor.predict(images).ood_score_N)
            bar.advance(each)
    return found


def _share(values_N: np.ndarray) -> dict[str, float | None]:
    hits = int((values_N > 1).sum())
    low, high = wilson_interval(hits, len(values_N)) or (None, None)
    return {"value": hits / len(values_N) if len(values_N) else None, "low": low, "high": high}


def _counts(values_N: np.ndarray) -> list[int]:
    inside = np.clip(values_N, EDGES[0], EDGES[-1])
    return np.histogram(inside, EDGES)[0].tolist()
