"""Evaluate a run, or an ensemble, on galaxies it was not trained on, and write its predictions.

Shape letters: V views, N galaxies, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.fit_uncertainty import (
    CHUNK,
    HeldOut,
    calibration_results,
    fit_views,
    held_out_of,
    ood_results,
    outputs_by_chunk,
    set_results,
    shifted_views,
)
from morphoscope.files import write_json
from morphoscope.inference.calibration import FILE as CALIBRATION
from morphoscope.inference.calibration import Calibration, write_calibrations
from morphoscope.inference.class_shares import ClassShares, class_shares_of
from morphoscope.inference.ensemble import Ensemble, mutual_information
from morphoscope.inference.ood import FeatureDistribution, write_distribution
from morphoscope.inference.predictor import Predictor
from morphoscope.inference.preprocess import store_in_order
from morphoscope.labels.five_class import translated, translation
from morphoscope.labels.scheme import Scheme
from morphoscope.metrics.conformal import check_coverage
from morphoscope.progress import Bar
from morphoscope.runs.run import Run

METRICS = "metrics.json"
COVERAGE = 0.9  # default coverage of prediction sets


def evaluate(
    run: Run,
    store: Store,
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    engine: str = "auto",
    precision: str = "auto",
    coverage: float = COVERAGE,
    keep: bool = True,
    shifts: bool = False,
) -> dict[str, Any]:
    """Metrics of a run on the test split of the store it was trained on.

    Args:
        run: a finished run.
        store: the store of its training.
        views: test-time augmentation; None: as the recipe says.
        calibrated: measure calibrated predictions; None: as the recipe says.
        engine: what computes the network (:mod:`morphoscope.inference.engine.choose`).
        precision: likewise: "auto", "fp32" or "int8".
        coverage: share of galaxies whose prediction set should hold the truth.
        keep: fit calibration and feature distribution, and write them, ``metrics.json`` and
            ``predictions.parquet`` to the run. Otherwise those already in the run are used, if any.
        shifts: fit the calibration to shifted images of the validation galaxies
            (:mod:`morphoscope.evaluation.shifts`) instead of the galaxies as they are.

    Returns:
        ``scheme`` (the kind of label), ``views``, ``best_epoch``, ``test`` and ``validation`` (from the
        scheme's :meth:`~morphoscope.labels.kind.Scheme.measure`; None where that split is empty), ``counts``
        per class and split, ``calibration``, ``sets`` and ``out_of_distribution`` (see
        :mod:`morphoscope.evaluation.fit_uncertainty`; None if the run has none).

    Raises:
        MorphoscopeError: the store is not the one the run was trained on, or the test split is empty.
    """
    check_coverage(coverage)
    split = run.split(store)
    if not len(split.test) and run.recipe.data.folds:
        raise MorphoscopeError(
            f"{run.path} learned from every label and was measured by cross-validation when it was trained "
            "(metrics.json, report.html); give other labelled galaxies with --store"
        )
    if not len(split.test):
        raise MorphoscopeError(f"{run.path} has no test galaxies; train it with data.test above 0")
    predictor = Predictor(run, views=views, calibrated=calibrated, engine=engine, precision=precision)
    targets = store.targets()
    held_out = held_out_of(predictor, store, split) if keep else None
    measuring = held_out or _measuring(predictor)
    validation_VNK = None
    if len(split.validation):
        validation_VNK = predict_views(predictor, store, split.validation, "validation galaxies", measuring)
    fitted: dict[int, Calibration] = {}
    if keep and predictor.calibrated:
        if validation_VNK is not None:
            moved = shifted_views(predictor, store, split, held_out) if shifts else None
            fitted = fit_views(predictor, split, targets, validation_VNK, moved)
        predictor.calibration = fitted.get(predictor.calibrated_for)
    if held_out is not None:
        predictor.distribution = held_out.complete(split)
    own_NK, distances_N = predict_rows(predictor, store, split.test, "test galaxies")
    predictions_NK = predictor.corrected(own_NK, distances_N)
    parts = {part: getattr(split, part) for part in ("train", "validation", "test")}
    result: dict[str, Any] = {
        "scheme": run.scheme.kind,
        **views_measured(predictor),
        "best_epoch": run.header.best_epoch,
        "test": run.scheme.measure(targets[split.test], predictions_NK),
        "validation": None,
        "counts": run.scheme.counts(targets, parts),
        "calibration": calibration_results(predictor, targets[split.test], own_NK, predictions_NK),
        "sets": set_results(predictor, targets[split.test], predictions_NK, coverage),
        "out_of_distribution": ood_results(predictor, distances_N, store),
    }
    if validation_VNK is not None:
        own_validation_NK = predictor.average(validation_VNK)
        none_N = np.full(len(split.validation), np.nan, np.float32)
        validation_N = none_N if measuring is None else measuring.distances[predictor.feature_views]
        validation_NK = predictor.corrected(own_validation_NK, validation_N)
        result["validation"] = run.scheme.measure(targets[split.validation], validation_NK)
    if keep:
        with files.atomic_files(run.path, last=METRICS) as folder:
            write_fitted(run, fitted, predictor.distribution if held_out is not None else None, folder)
            _write_predictions(run, store, split.test, targets[split.test], predictions_NK, folder)
            write_json(folder / METRICS, result)
    return result


def _measuring(predictor: Predictor) -> HeldOut | None:
    """Collector of distances from the run's own feature distribution; None without one."""
    return None if predictor.distribution is None else HeldOut(predictor, predictor.distribution)


def views_measured(predictor: Predictor | Ensemble) -> dict[str, Any]:
    """``views``, and ``sure`` where galaxies that the first view is sure of got no other; JSON-able."""
    return {"views": predictor.views, **({} if predictor.sure is None else {"sure": predictor.sure})}


def evaluate_elsewhere(
    run: Run,
    store: Store,
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    engine: str = "auto",
    precision: str = "auto",
    coverage: float = COVERAGE,
    estimate_shares: bool = False,
) -> dict[str, Any]:
    """Metrics of a run on every labelled galaxy of another store.

    The store must have the run's labels, or labels they can be translated to: the ten classes of Galaxy10 to
    the five of `tong` (see :mod:`morphoscope.labels.five_class`). The calibration is the run's own; on
    another survey it may be wrong, and the result shows by how much. With ``estimate_shares`` predictions are
    for the class shares of these galaxies, estimated without their labels.

    Returns:
        The same document as :func:`evaluate`, with all galaxies as ``test``; nothing is written. For
        translated predictions calibration and sets are None; with estimated shares the sets are, which are
        for the training's shares, and ``class_shares`` says in words what was estimated.

    Raises:
        UsageError: class shares of too few galaxies, or of a run without classes.
        MorphoscopeError: the store has different labels, or no labelled galaxies.
    """
    store = store_in_order(store, run.header.store)
    scheme = store.need_scheme()
    matrix_KL = translation(run.scheme, scheme)
    if matrix_KL is None and scheme.output_names != run.scheme.output_names:
        raise MorphoscopeError(
            f"{store.path} has the labels {', '.join(scheme.output_names[:5])}, ...; the run "
            f"predicts {', '.join(run.scheme.output_names[:5])}, ..."
        )
    if matrix_KL is None and (differ := run.scheme.mismatch(scheme)):
        raise MorphoscopeError(f"the run predicts and {store.path} has other labels: {differ}")
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise MorphoscopeError(f"{store.path} has no labelled galaxies")
    check_coverage(coverage)
    predictor = Predictor(run, views=views, calibrated=calibrated, engine=engine, precision=precision)
    targets = store.targets()[rows]
    own_NK, distances_N = predict_rows(predictor, store, rows, "galaxies")
    predictions_NK = predictor.corrected(own_NK, distances_N)
    shares: ClassShares | None = None
    if estimate_shares:
        shares = class_shares_of(predictor, predictions_NK)
        predictions_NK = shares(predictions_NK)
    same = matrix_KL is None
    with_sets = same and shares is None  # their thresholds are for the training's shares
    translated_NL = predictions_NK if same else translated(predictions_NK, matrix_KL)
    return {
        "scheme": scheme.kind,
        **views_measured(predictor),
        "best_epoch": run.header.best_epoch,
        # As the run was trained: its likelihood is no property of the store.
        "test": (run.scheme if same else scheme).measure(targets, translated_NL),
        "validation": None,
        "counts": scheme.counts(store.targets(), {"test": rows}),
        "calibration": calibration_results(predictor, targets, own_NK, predictions_NK) if same else None,
        "sets": set_results(predictor, targets, predictions_NK, coverage) if with_sets else None,
        "out_of_distribution": ood_results(predictor, distances_N),
        **({} if shares is None else {"class_shares": shares.description}),
    }


def predict_rows(
    predictor: Predictor, store: Store, rows: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """The network's own predictions for some rows of a store, averaged over the views, (N, K) float32, and
    distances from the training galaxies, (N,), NaN for a run without a feature distribution.
    """
    predictions, distances = [], []
    for predictions_VNK, features_VND in outputs_by_chunk(predictor, store, rows, f"predicting {what}"):
        predictions.append(predictor.average(predictions_VNK))
        distances.append(predictor.distances(predictor.mean_features(features_VND)))
    return np.concatenate(predictions), np.concatenate(distances)


def predict_views(
    predictor: Predictor,
    store: Store,
    rows: np.ndarray,
    what: str,
    watch: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """The network's own predictions by view, (V, N, K) float32; ``watch`` gets the features (V, N, D)."""
    predictions = []
    for predictions_VNK, features_VND in outputs_by_chunk(predictor, store, rows, f"predicting {what}"):
        predictions.append(predictions_VNK)
        if watch is not None:
            watch(features_VND)
    return np.concatenate(predictions, axis=1)


def prediction_table(
    scheme: Scheme,
    store: Store,
    rows: np.ndarray,
    targets: np.ndarray,
    predictions_NK: np.ndarray,
) -> pa.Table:
    """One row per galaxy: id, row, source, truth and prediction, with a column per class or answer."""
    columns: dict[str, Any] = {
        "id": store.table.column("id").take(pa.array(rows)).combine_chunks(),
        "row": pa.array(rows, pa.int64()),
        "source": store.table.column("source").take(pa.array(rows)).combine_chunks(),
    }
    return pa.table(columns | scheme.prediction_columns(targets, predictions_NK))


def calibrate(run: Run, store: Store, *, views: int | None = None) -> None:
    """Fit and write the calibration and feature distribution of a run that has no test galaxies."""
    split = run.split(store)
    if not len(split.validation):
        return
    predictor = Predictor(run, views=views, calibrated=False)
    held_out = held_out_of(predictor, store, split)
    if held_out is None and not run.recipe.evaluation.calibrate:
        return
    predictions_VNK = predict_views(predictor, store, split.validation, "validation galaxies", held_out)
    fitted: dict[int, Calibration] = {}
    if run.recipe.evaluation.calibrate:
        fitted = fit_views(predictor, split, store.targets(), predictions_VNK)
    with files.atomic_files(run.path, last=CALIBRATION) as folder:
        write_fitted(run, fitted, None if held_out is None else held_out.complete(split), folder)


def write_fitted(
    run: Run, fitted: dict[int, Calibration], distribution: FeatureDistribution | None, folder: Path
) -> None:
    """Write a run's calibrations and feature distribution, as far as there are any, into a folder."""
    if fitted:
        write_calibrations(run, fitted, folder)
    if distribution is not None:
        write_distribution(run, distribution, folder)


def _write_predictions(
    run: Run,
    store: Store,
    rows: np.ndarray,
    targets: np.ndarray,
    predictions_NK: np.ndarray,
    folder: Path,
) -> None:
    table = prediction_table(run.scheme, store, rows, targets, predictions_NK)
    pq.write_table(table, folder / "predictions.parquet")


def evaluate_ensemble(ensemble: Ensemble, store: Store | None = None) -> dict[str, Any]:
    """Metrics of an ensemble, and of its members on the same galaxies.

    Args:
        ensemble: of finished runs.
        store: evaluate on all its labelled galaxies; None: on the galaxies of the members' common store that
            are in the test split of every member.

    Returns:
        ``scheme`` (the kind of label), ``views``, ``test`` (from the scheme's
        :meth:`~morphoscope.labels.kind.Scheme.measure`), ``members`` (name → the same of each),
        ``mutual_information`` (mean over the galaxies, nats); ``calibration``, ``sets`` and
        ``out_of_distribution`` are None: a mean of calibrated predictions is not calibrated again.

    Raises:
        UsageError: without a store, the members were trained on different ones or have no test galaxies in
            common.
        MorphoscopeError: the store has different labels, or no labelled galaxies.
    """
    if store is None:
        store, rows = _held_out_by_all(ensemble)
    else:
        store = store_in_order(store, ensemble.run.header.store)
        rows = _labelled(ensemble, store)
    targets = store.targets()[rows]
    predictions: list[np.ndarray] = []
    information: list[np.ndarray] = []
    members: list[list[np.ndarray]] = [[] for _ in ensemble.members]
    with Bar("predicting galaxies", len(rows), "galaxies") as bar:
        for start in range(0, len(rows), CHUNK):
            images = [store.images[row] for row in rows[start : start + CHUNK]]
            each, together = ensemble.predict_each(images)
            predictions.append(together.predictions_NK)
            information.append(mutual_information(ensemble.scheme, together.members_MNK))
            for gathered, prediction in zip(members, each, strict=True):
                gathered.append(prediction.predictions_NK)
            bar.advance(len(images))
    return {
        "scheme": ensemble.scheme.kind,
        **views_measured(ensemble),
        "test": ensemble.scheme.measure(targets, np.concatenate(predictions)),
        "members": {
            member.run.name: ensemble.scheme.measure(targets, np.concatenate(gathered))
            for member, gathered in zip(ensemble.members, members, strict=True)
        },
        "mutual_information": float(np.concatenate(information).mean()),
        "calibration": None,
        "sets": None,
        "out_of_distribution": None,
    }


def _labelled(ensemble: Ensemble, store: Store) -> np.ndarray:
    if differ := ensemble.scheme.mismatch(store.need_scheme()):
        raise MorphoscopeError(f"{store.path} has other labels than the runs predict: {differ}")
    if store.meta.image_shape[0] != ensemble.input_side:
        raise MorphoscopeError(
            f"{store.path} has images of {store.meta.image_shape[0]} px; the largest that a member was "
            f"trained on have {ensemble.input_side}"
        )
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise MorphoscopeError(f"{store.path} has no labelled galaxies")
    return rows


def _held_out_by_all(ensemble: Ensemble) -> tuple[Store, np.ndarray]:
    runs = [member.run for member in ensemble.members]
    if len({run.header.store.path for run in runs}) > 1:
        raise UsageError(
            "the members were trained on different stores, so no galaxy is known to be new to all of them; "
            "give a new store with --store"
        )
    store = runs[0].store()
    rows = reduce(np.intersect1d, [run.split(store).test for run in runs])
    if not len(rows):
        raise UsageError(
            "no galaxy is in the test split of every member; train them with the same data.split_seed, or "
            "give another store with --store"
        )
    return store, rows
