"""Measure a run on held-out galaxies and keep every prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope import files
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.evaluation.metrics import measure
from morphoscope.evaluation.predictor import Predictor
from morphoscope.labels.scheme import Classes, VoteFractions, probability_column
from morphoscope.progress import Bar
from morphoscope.training.run import Run, write_json

CHUNK = 1024  # galaxies between two movements of the progress bar


def evaluate(run: Run, store: Store, *, views: int | None = None, keep: bool = True) -> dict[str, Any]:
    """Metrics of a run on the test split of the store it was trained on.

    Args:
        run: a finished run.
        store: the store of its training.
        views: test-time augmentation; None: as the recipe says.
        keep: write ``metrics.json`` and ``predictions.parquet`` into the run.

    Returns:
        ``scheme``, ``views``, ``best_epoch``, ``test`` and ``validation`` (see evaluation/metrics.py;
        None where that split is empty), ``counts`` per class and split.

    Raises:
        MorphoscopeError: the store is not the one the run was trained on, or the test split is empty.
    """
    split = run.split(store)
    if not len(split.test):
        raise MorphoscopeError(f"{run.path} holds no galaxy out for the test; set data.test above 0")
    predictor = Predictor(run, views=views)
    targets = store.targets()
    answers = predict_rows(predictor, store, split.test, "test galaxies")
    parts = {part: getattr(split, part) for part in ("train", "validation", "test")}
    result: dict[str, Any] = {
        "scheme": run.scheme.kind,
        "views": predictor.views,
        "best_epoch": run.header.best_epoch,
        "test": measure(run.scheme, targets[split.test], answers),
        "validation": None,
        "counts": counts(run.scheme, targets, parts),
    }
    if len(split.validation):
        steering = predict_rows(predictor, store, split.validation, "validation galaxies")
        result["validation"] = measure(run.scheme, targets[split.validation], steering)
    if keep:
        _keep_predictions(run, store, split.test, targets[split.test], answers)
        write_json(run.path / "metrics.json", result)
    return result


def evaluate_elsewhere(run: Run, store: Store, *, views: int | None = None) -> dict[str, Any]:
    """Metrics of a run on every labelled galaxy of another store with the same labels.

    Returns:
        The same document as :func:`evaluate`, with all galaxies as ``test``; nothing is written.

    Raises:
        MorphoscopeError: the store's labels are not the run's, or no galaxy has one.
    """
    if store.need_scheme().output_names != run.scheme.output_names:
        raise MorphoscopeError(
            f"{store.path} has the labels {', '.join(store.need_scheme().output_names[:5])}, ...; the run "
            f"answers {', '.join(run.scheme.output_names[:5])}, ..."
        )
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise MorphoscopeError(f"{store.path} has no labelled galaxy to measure on")
    predictor = Predictor(run, views=views)
    targets = store.targets()
    answers = predict_rows(predictor, store, rows, "galaxies")
    return {
        "scheme": run.scheme.kind,
        "views": predictor.views,
        "best_epoch": run.header.best_epoch,
        "test": measure(run.scheme, targets[rows], answers),
        "validation": None,
        "counts": counts(run.scheme, targets, {"test": rows}),
    }


def predict_rows(predictor: Predictor, store: Store, rows: np.ndarray, what: str) -> np.ndarray:
    """Answers for some rows of a store, (N, K) float32, behind a progress bar."""
    answers = np.empty((len(rows), predictor.scheme.outputs), np.float32)
    with Bar(f"predicting {what}", len(rows), "galaxies") as bar:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            answers[start : start + CHUNK] = predictor.probabilities([store.images[row] for row in part])
            bar.advance(len(part))
    return answers


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


def _keep_predictions(
    run: Run, store: Store, rows: np.ndarray, targets: np.ndarray, answers: np.ndarray
) -> None:
    table = prediction_table(run.scheme, store, rows, targets, answers)
    with files.atomic_file(run.path / "predictions.parquet") as place:
        pq.write_table(table, place)
