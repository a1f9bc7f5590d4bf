"""Scores that only the claims need, of maps and of several views; cached in the folder of the run.

Shape letters: N galaxies, H × W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.files import write_json
from morphoscope.recipes import Evaluation
from morphoscope.runs.run import Run
from morphoscope.studies.claims import error_of
from morphoscope.studies.study import Study


def kept(
    run: Run, file: str, settings: Mapping[str, Any], measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """The scores in a file of the run's folder, measured again if settings or weights have changed.

    Args:
        run: finished.
        file: name of the JSON file.
        settings: what the scores depend on besides the weights; must serialise to JSON.
        measure: returns the scores by name.
    """
    wanted = {**settings, "weights": run.header.weights_sha256}
    place = run.path / file
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if found["of"] == wanted:
            return {name: float(value) for name, value in found["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # missing or unreadable: measure
    scores = measure()
    write_json(place, {"of": wanted, "scores": scores})
    return scores


GALAXIES = 24
BEST_F1 = "best-f1"  # as in explanation.explain, which needs torch


def map_scores(method: str, target: str, run: Run, store: Store) -> dict[str, float]:
    """Mean map metrics over held-out galaxies (see :data:`~.claims.MAP_METRICS`) and their standard errors.

    A map that is zero everywhere is counted as such, and does not show where the network looks.
    Empty if the explained class has no held-out galaxies.

    Args:
        method: of making maps.
        target: the output that is explained.
        run: measured.
        store: its galaxies.
    """
    settings = {"method": method, "target": target, "dead maps": "counted apart", "errors": "standard"}
    return kept(run, "map_scores.json", settings, lambda: _measured_maps(method, target, run, store))


def map_target(study: Study, name: str, runs: Mapping[str, Run]) -> str:
    """The output explained in the maps of a row.

    "best-f1" is the class that the best row of the row's series recognises best: rows are compared on the
    same galaxies.

    Args:
        study: the study.
        name: of the row.
        runs: row → run of one seed.
    """
    if study.map_target != BEST_F1:
        return study.map_target
    series = next((rows for rows in study.map_series if name in rows), (name,))
    measured = [runs[row].metrics().get("test") or {} for row in series if row in runs]
    return runs[name].scheme.output_to_explain(max(measured, key=_accuracy))


def _accuracy(test: Mapping[str, Any]) -> float:
    return float((test.get("accuracy") or {}).get("value") or 0.0)


def _measured_maps(method: str, target: str, run: Run, store: Store) -> dict[str, float]:
    from morphoscope.explanation import faithfulness
    from morphoscope.explanation.explain import Explainer, choose_galaxies
    from morphoscope.inference.predictor import Predictor

    try:
        rows, target = choose_galaxies(run, store, target, GALAXIES)
    except MorphoscopeError:
        return {}
    images = [store.images[row] for row in rows]
    maps = Explainer(Predictor(run, views=1, engine="torch"))(images, method=method, target=target)
    galaxies_NHW = faithfulness.galaxies(maps.images)
    found = galaxies_NHW.any(axis=(1, 2))
    of_maps = {
        "on_galaxy": faithfulness.energy_inside(maps.values, galaxies_NHW),
        "galaxy_area": np.where(found, galaxies_NHW.mean(axis=(1, 2)), np.nan),
        "alignment": faithfulness.alignment(maps.values, galaxies_NHW),
    }
    scores = {name: np.where(maps.dead, np.nan, values) for name, values in of_maps.items()}
    scores["dead_maps"] = maps.dead.astype(float)
    found_scores: dict[str, float] = {}
    for name, values in scores.items():
        known = values[np.isfinite(values)]
        if len(known):
            found_scores[name] = float(known.mean())
        if len(known) > 1:
            found_scores[error_of(name)] = float(known.std(ddof=1) / len(known) ** 0.5)
    return found_scores


MOST = 48
METRICS_BY_VIEWS = {1: "rmse_one_view", 16: "rmse_turned_views", MOST: "rmse_scaled_views"}


def view_scores(run: Run, store: Store) -> dict[str, float]:
    """RMSE on the held-out galaxies with 1, 16 and 48 views each (see METRICS in ``published``)."""
    return kept(run, "view_scores.json", {"views": MOST}, lambda: _measured_views(run, store))


def _measured_views(run: Run, store: Store) -> dict[str, float]:
    from morphoscope.evaluation.evaluate import predict_views
    from morphoscope.inference.predictor import Predictor, mean_over_views

    test = run.split(store).test
    predictor = Predictor(
        run, views=MOST, calibrated=False, engine="torch", batch=max(MOST, Evaluation().batch)
    )
    predictions_VNK = predict_views(predictor, store, test, f"test galaxies in {MOST} views")
    targets_NK = store.targets()[test]
    scores = {}
    for number, within in predictor.views_within().items():
        if number in METRICS_BY_VIEWS:
            errors_NK = mean_over_views(predictions_VNK[within]) - targets_NK
            scores[METRICS_BY_VIEWS[number]] = float((errors_NK**2).mean() ** 0.5)
    return scores
