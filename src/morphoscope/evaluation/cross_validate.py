"""Measure a run that learned from every label by networks that learned from all folds but one.

Each galaxy is predicted once, by a network that has not seen it; calibration, OOD score and metrics of the
run come from these predictions. They are of networks with fewer labels than the run's own, so they are a
little pessimistic (Arlot & Celisse 2010, Statistics Surveys 4, 40, section 5).

While it lasts, the finished folds lie in the run's folder, so that an interrupted one goes on with the next::

    RUN/folds/fold-2/            the training of a fold, as any other run
    RUN/folds/1.safetensors      its predictions of the galaxies it has not seen

Shape letters: V views, N galaxies, K outputs, D features.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.data.splits.file import Split
from morphoscope.data.splits.training_split import folds_of
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.evaluate import (
    METRICS,
    predict_views,
    prediction_table,
    views_measured,
    write_fitted,
)
from morphoscope.evaluation.fit_uncertainty import HeldOut, calibration_results, training_features
from morphoscope.files import write_json
from morphoscope.inference.calibration import FEWEST, Calibration, fit_calibration
from morphoscope.inference.ood import FeatureDistribution, fit_distribution, kept_distances
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Scheme
from morphoscope.progress import note
from morphoscope.runs.run import Run

FOLDS = "folds"
_PREDICTIONS = "predictions"
_DISTANCES = "distances."


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What one fold's network says of the galaxies that it has not seen.

    Attributes:
        rows: (N,) of the store.
        predictions_VNK: uncalibrated.
        distances: number of views → (N,) distances from the galaxies that it learned from; empty without a
            feature distribution.
    """

    rows: np.ndarray
    predictions_VNK: np.ndarray
    distances: dict[int, np.ndarray] = field(default_factory=dict)


def cross_validate(run: Run, store: Store, train: Callable[[Path, Split, bool], Run]) -> dict[str, Any]:
    """Train and predict the folds that are missing, then measure the run and write what was measured.

    Args:
        run: finished, with ``data.folds`` in its recipe.
        store: of its training.
        train: trains one fold into a folder, or continues it.

    Returns:
        As :func:`measure_folds`.

    Raises:
        UsageError: the folder of the folds is a link.
        MorphoscopeError: the predictions of a fold are damaged.
    """
    splits = folds_of(run.recipe, store)
    folder = run.path / FOLDS
    if folder.is_symlink():  # a run from a stranger, and what is there would be deleted
        raise UsageError(f"{folder} is a link; a run keeps its files in its own folder. Remove the link")
    done = []
    for number, split in enumerate(splits, start=1):
        path = folder / f"{number}.safetensors"
        found = _kept(path, run, split.test)
        if found is None:
            note(f"fold {number} of {len(splits)}: {len(split.train)} galaxies to learn from")
            place = folder / f"fold-{number}"
            found = predict_fold(train(place, split, (place / "run.yaml").is_file()), store, split)
            _keep(path, run, found)
        shutil.rmtree(folder / f"fold-{number}", ignore_errors=True)
        done.append(found)
    measured = measure_folds(run, store, done)
    shutil.rmtree(folder, ignore_errors=True)
    return measured


def predict_fold(fold: Run, store: Store, split: Split) -> FoldPredictions:
    """Predict the held-out galaxies of a fold with its network."""
    predictor = Predictor(fold, calibrated=False)
    distribution = fit_distribution(training_features(predictor, store, split))
    watch = None if distribution is None else HeldOut(predictor, distribution)
    predictions_VNK = predict_views(predictor, store, split.test, "held-out galaxies", watch)
    return FoldPredictions(split.test, predictions_VNK, {} if watch is None else watch.distances)


def measure_folds(run: Run, store: Store, folds: Sequence[FoldPredictions]) -> dict[str, Any]:
    """Calibrate and measure a run from the predictions of all folds, and write the results to its folder.

    The calibration of the run is fitted to all of them. The metrics are of probabilities that were calibrated
    without the fold they are in, so that no galaxy has a part in its own correction.

    Args:
        run: that learned from all labels.
        store: of its training.
        folds: which together hold every labelled galaxy once.

    Returns:
        The document of :func:`morphoscope.evaluation.evaluate.evaluate`, with all galaxies as ``test``, and
        ``folds``: ``count``, ``sizes``, and ``scores``, the main score of each fold. Prediction sets and the
        OOD score have no measurement of their own: their thresholds are from the same galaxies.
    """
    rows = np.concatenate([fold.rows for fold in folds])
    order = np.argsort(rows)
    fold_N = np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds])[order]
    predictions_VNK = np.concatenate([fold.predictions_VNK for fold in folds], axis=1)[:, order]
    rows, targets, scheme = rows[order], store.targets()[rows[order]], run.scheme
    predictor = Predictor(run, calibrated=False)
    own_NK = predictor.average(predictions_VNK)
    calibrations = _calibrations(predictor, targets, predictions_VNK)
    predictor.calibration = calibrations.get(predictor.calibrated_for)
    corrected_NK = corrected_by_fold(scheme, predictor.calibration, targets, own_NK, fold_N)
    distribution = _distribution(predictor, store, folds)
    result = {
        "scheme": scheme.kind,
        **views_measured(predictor),
        "best_epoch": run.header.best_epoch,
        "test": scheme.measure(targets, corrected_NK),
        "validation": None,
        "counts": scheme.counts(store.targets(), {"train": rows}),
        "calibration": calibration_results(predictor, targets, own_NK, corrected_NK),
        "sets": None,
        "out_of_distribution": None,
        "folds": _by_fold(scheme, targets, corrected_NK, fold_N),
    }
    table = prediction_table(scheme, store, rows, targets, corrected_NK)
    table = table.append_column("fold", pa.array(fold_N + 1, pa.int16()))
    with files.atomic_files(run.path, last=METRICS) as folder:
        write_fitted(run, calibrations, distribution, folder)
        pq.write_table(table, folder / "predictions.parquet")
        write_json(folder / METRICS, result)
    return result


def corrected_by_fold(
    scheme: Scheme,
    calibration: Calibration | None,
    targets: np.ndarray,
    predictions_NK: np.ndarray,
    fold_N: np.ndarray,
) -> np.ndarray:
    """Predictions corrected by a calibration's method, fitted for each fold to the others, (N, K) float32."""
    if calibration is None:
        return predictions_NK
    corrected_NK = np.empty_like(predictions_NK)
    for fold in np.unique(fold_N):
        inside = fold_N == fold
        method = calibration.correction.method
        correction = scheme.fit_calibrator(method, targets[~inside], predictions_NK[~inside])
        corrected_NK[inside] = correction(predictions_NK[inside])
    return corrected_NK


def _calibrations(
    predictor: Predictor, targets: np.ndarray, predictions_VNK: np.ndarray
) -> dict[int, Calibration]:
    if not predictor.run.recipe.evaluation.calibrate:
        return {}
    if len(targets) < FEWEST:
        note(f"not calibrated: there are {len(targets)} labelled galaxies, and at least {FEWEST} are needed")
        return {}
    seed, scheme = predictor.run.recipe.data.split_seed, predictor.scheme
    fitted = {
        number: fit_calibration(scheme, targets, predictions_NK, seed=seed)
        for number, predictions_NK in predictor.averages(predictions_VNK).items()
    }
    return {number: calibration for number, calibration in fitted.items() if calibration is not None}


def _distribution(
    predictor: Predictor, store: Store, folds: Sequence[FoldPredictions]
) -> FeatureDistribution | None:
    """The feature distribution of the run's own network, with distances that the folds' networks measured."""
    views = set.intersection(*(set(fold.distances) for fold in folds))
    held_out = {
        number: np.concatenate([fold.distances[number] for fold in folds]) for number in sorted(views)
    }
    split = predictor.run.split(store)
    distribution = fit_distribution(training_features(predictor, store, split)) if held_out else None
    if distribution is None:
        note(f"no OOD score: at least {FEWEST} labelled galaxies in every fold's training are needed")
        return None
    return replace(
        distribution,
        held_out={number: kept_distances(distances_N) for number, distances_N in held_out.items()},
    )


def _by_fold(
    scheme: Scheme, targets: np.ndarray, predictions_NK: np.ndarray, fold_N: np.ndarray
) -> dict[str, Any]:
    count = int(fold_N.max()) + 1
    scores = [
        scheme.measure(targets[fold_N == fold], predictions_NK[fold_N == fold], bootstrap=0)[scheme.metric]
        for fold in range(count)
    ]
    return {
        "count": count,
        "sizes": np.bincount(fold_N).tolist(),
        "scores": [score["value"] for score in scores],
    }


def _keep(path: Path, run: Run, fold: FoldPredictions) -> None:
    from safetensors.numpy import save_file

    tensors = {"rows": fold.rows, _PREDICTIONS: np.ascontiguousarray(fold.predictions_VNK)}
    tensors |= {f"{_DISTANCES}{number}": values for number, values in fold.distances.items()}
    header = {"weights_sha256": run.header.weights_sha256, "sha256": _digest(tensors)}
    with files.atomic_file(path) as partial:
        save_file(tensors, partial, {"fold": json.dumps(header)})


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of tensors with their names, types and shapes: safetensors would not notice a flipped bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _kept(path: Path, run: Run, rows: np.ndarray) -> FoldPredictions | None:
    """The predictions of a fold from before an interruption; None if there are none of these galaxies."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["fold"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if header["sha256"] != _digest(tensors):
            raise ValueError("the checksum differs")
        fold = FoldPredictions(
            tensors["rows"],
            tensors[_PREDICTIONS],
            {
                int(name.removeprefix(_DISTANCES)): values
                for name, values in tensors.items()
                if name.startswith(_DISTANCES)
            },
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise MorphoscopeError(
            f"{path} is damaged; delete it and run the same command with --resume, to train this fold again"
        ) from error
    same = header.get("weights_sha256") == run.header.weights_sha256 and np.array_equal(fold.rows, rows)
    return fold if same else None
