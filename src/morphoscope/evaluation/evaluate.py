"""Measure a run on held-out galaxies and keep every prediction.

Shape letters: V views, N galaxies, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.calibrated import (
    calibration_results,
    fit_views,
    set_results,
)
from morphoscope.evaluation.calibration import keep_calibrations
from morphoscope.evaluation.conformal import check_coverage
from morphoscope.evaluation.metrics import measure
from morphoscope.evaluation.predictor import Predictor, mean_over_views
from morphoscope.evaluation.strangeness import finish, held_out_of, strangeness_results
from morphoscope.labels.scheme import Classes, VoteFractions, probability_column
from morphoscope.labels.translate import translated, translation
from morphoscope.progress import Bar
from morphoscope.training.run import Run, write_json

CHUNK = 512  # galaxies between two movements of the progress bar
COVERAGE = 0.9  # of prediction sets, where none was asked for


def evaluate(
    run: Run,
    store: Store,
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    coverage: float = COVERAGE,
    keep: bool = True,
) -> dict[str, Any]:
    """Metrics of a run on the test split of the store it was trained on.

    Args:
        run: a finished run.
        store: the store of its training.
        views: test-time augmentation; None: as the recipe says.
        calibrated: correct the answers first; None: as the recipe says.
        coverage: share of galaxies that prediction sets are to hold the truth of.
        keep: fit the calibration anew on the validation galaxies and write it, the reference of what the
            training's galaxies look like, ``metrics.json`` and ``predictions.parquet`` into the run.
            Otherwise the run's own are used, if it has them.

    Returns:
        ``scheme``, ``views``, ``best_epoch``, ``test`` and ``validation`` (see evaluation/metrics.py;
        None where that split is empty), ``counts`` per class and split, ``calibration`` and ``sets`` (see
        evaluation/calibrated.py; None where there is none), ``out_of_distribution`` (see
        evaluation/strangeness.py; likewise).

    Raises:
        MorphoscopeError: the store is not the one the run was trained on, or the test split is empty.
    """
    check_coverage(coverage)
    split = run.split(store)
    if not len(split.test):
        raise MorphoscopeError(f"{run.path} holds no galaxy out for the test; set data.test above 0")
    predictor = Predictor(run, views=views, calibrated=calibrated)
    targets = store.targets()
    held_out = held_out_of(predictor, store, split) if keep else None
    validation_VNK = None
    if len(split.validation):
        validation_VNK = predict_views(predictor, store, split.validation, "validation galaxies", held_out)
    if keep and predictor.calibrated:
        fitted = {}
        if validation_VNK is not None:
            fitted = fit_views(predictor, split, targets, validation_VNK)
            keep_calibrations(run, fitted)
        predictor.calibration = fitted.get(predictor.views)
    if held_out is not None:
        finish(predictor, held_out, split)
    own_NK, distances_N = predict_rows(predictor, store, split.test, "test galaxies")
    answers_NK = predictor.corrected(own_NK)
    parts = {part: getattr(split, part) for part in ("train", "validation", "test")}
    result: dict[str, Any] = {
        "scheme": run.scheme.kind,
        "views": predictor.views,
        "best_epoch": run.header.best_epoch,
        "test": measure(run.scheme, targets[split.test], answers_NK),
        "validation": None,
        "counts": counts(run.scheme, targets, parts),
        "calibration": calibration_results(predictor, targets[split.test], own_NK, answers_NK),
        "sets": set_results(predictor, targets[split.test], answers_NK, coverage),
        "out_of_distribution": strangeness_results(predictor, distances_N, store),
    }
    if validation_VNK is not None:
        steering_NK = predictor.corrected(mean_over_views(validation_VNK))
        result["validation"] = measure(run.scheme, targets[split.validation], steering_NK)
    if keep:
        _keep_predictions(run, store, split.test, targets[split.test], answers_NK)
        write_json(run.path / "metrics.json", result)
    return result


def evaluate_elsewhere(
    run: Run,
    store: Store,
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    coverage: float = COVERAGE,
) -> dict[str, Any]:
    """Metrics of a run on every labelled galaxy of another store.

    The store has the run's labels, or others that they can be translated to: ten classes of Galaxy10 to
    the five of `tong` (see :mod:`morphoscope.labels.translate`). The calibration is the run's own: on
    another survey it may be wrong, and what is measured says how much.

    Returns:
        The same document as :func:`evaluate`, with all galaxies as ``test``; nothing is written. Of
        translated answers neither calibration nor sets are measured.

    Raises:
        MorphoscopeError: the store has other labels, or no galaxy has one.
    """
    scheme = store.need_scheme()
    matrix_KL = translation(run.scheme, scheme)
    if matrix_KL is None and scheme.output_names != run.scheme.output_names:
        raise MorphoscopeError(
            f"{store.path} has the labels {', '.join(scheme.output_names[:5])}, ...; the run "
            f"answers {', '.join(run.scheme.output_names[:5])}, ..."
        )
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise MorphoscopeError(f"{store.path} has no labelled galaxy to measure on")
    check_coverage(coverage)
    predictor = Predictor(run, views=views, calibrated=calibrated)
    targets = store.targets()[rows]
    own_NK, distances_N = predict_rows(predictor, store, rows, "galaxies")
    answers_NK = predictor.corrected(own_NK)
    same = matrix_KL is None
    asked_NL = answers_NK if same else translated(answers_NK, matrix_KL)
    return {
        "scheme": scheme.kind,
        "views": predictor.views,
        "best_epoch": run.header.best_epoch,
        "test": measure(scheme, targets, asked_NL),
        "validation": None,
        "counts": counts(scheme, store.targets(), {"test": rows}),
        "calibration": calibration_results(predictor, targets, own_NK, answers_NK) if same else None,
        "sets": set_results(predictor, targets, answers_NK, coverage) if same else None,
        "out_of_distribution": strangeness_results(predictor, distances_N),
    }


def predict_rows(
    predictor: Predictor, store: Store, rows: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows of a store the network's own answers, averaged over the views, (N, K) float32, and
    distances from the training's galaxies, (N,): of a run without reference, NaN.
    """
    answers, distances = [], []
    for answers_VNK, features_VND in _chunks(predictor, store, rows, what):
        answers.append(mean_over_views(answers_VNK))
        distances.append(predictor.distances(mean_over_views(features_VND)))
    return np.concatenate(answers), np.concatenate(distances)


def predict_views(
    predictor: Predictor,
    store: Store,
    rows: np.ndarray,
    what: str,
    watch: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """The network's own answers for each view, (V, N, K) float32; ``watch`` is shown the features (V, N,
    D).
    """
    answers = []
    for answers_VNK, features_VND in _chunks(predictor, store, rows, what):
        answers.append(answers_VNK)
        if watch is not None:
            watch(features_VND)
    return np.concatenate(answers, axis=1)


def _chunks(
    predictor: Predictor, store: Store, rows: np.ndarray, what: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with Bar(f"predicting {what}", len(rows), "galaxies") as bar:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            yield predictor.answers_and_features([store.images[row] for row in part])
            bar.advance(len(part))


def counts(
    scheme: Classes | VoteFractions, targets: np.ndarray, parts: dict[str, np.ndarray]
) -> dict[str, dict[str, int]]:
    """Galaxies per class (classes) or in all (votes) of each part of a split."""
    if isinstance(scheme, VoteFractions):
        return {part: {"galaxies": len(rows)} for part, rows in parts.items()}
    return {
        part: {name: int((targets[rows] == k).sum()) for k, name in enumerate(scheme.classes)}
        for part, rows in parts.items()
    }


def prediction_table(
    scheme: Classes | VoteFractions,
    store: Store,
    rows: np.ndarray,
    targets: np.ndarray,
    answers_NK: np.ndarray,
) -> pa.Table:
    """One row a galaxy: id, row, source, truth and prediction, with a column per class or answer."""
    columns: dict[str, Any] = {
        "id": store.table.column("id").take(pa.array(rows)).combine_chunks(),
        "row": pa.array(rows, pa.int64()),
        "source": store.table.column("source").take(pa.array(rows)).combine_chunks(),
    }
    if isinstance(scheme, VoteFractions):
        for k, name in enumerate(scheme.answers):
            columns[f"t_{name}"] = pa.array(targets[:, k], pa.float32())
            columns[name] = pa.array(answers_NK[:, k], pa.float32())
        return pa.table(columns)
    chosen = answers_NK.argmax(axis=1)
    columns["label"] = pa.array(targets, pa.int16())
    columns["predicted"] = pa.array(chosen, pa.int16())
    columns["probability"] = pa.array(answers_NK.max(axis=1), pa.float32())
    for k, name in enumerate(scheme.classes):
        columns[probability_column(name)] = pa.array(answers_NK[:, k], pa.float32())
    return pa.table(columns)


def calibrate(run: Run, store: Store, *, views: int | None = None) -> None:
    """Fit a run's calibration and its reference on its validation galaxies, for a run without test
    galaxies.
    """
    split = run.split(store)
    if not len(split.validation):
        return
    predictor = Predictor(run, views=views, calibrated=False)
    held_out = held_out_of(predictor, store, split)
    if held_out is None and not run.recipe.evaluation.calibrate:
        return
    answers_VNK = predict_views(predictor, store, split.validation, "validation galaxies", held_out)
    if run.recipe.evaluation.calibrate:
        keep_calibrations(run, fit_views(predictor, split, store.targets(), answers_VNK))
    if held_out is not None:
        finish(predictor, held_out, split)


def _keep_predictions(
    run: Run, store: Store, rows: np.ndarray, targets: np.ndarray, answers: np.ndarray
) -> None:
    table = prediction_table(run.scheme, store, rows, targets, answers)
    with files.atomic_file(run.path / "predictions.parquet") as place:
        pq.write_table(table, place)
