"""RMSE of a row by number of views at test time (`ng`, section on test-time augmentation)."""

from __future__ import annotations

from morphoscope.data.store import Store
from morphoscope.recipes import Evaluation
from morphoscope.runs.run import Run
from morphoscope.studies.kept_scores import kept

MOST = 48
METRICS_BY_VIEWS = {1: "rmse_one_view", 16: "rmse_turned_views", MOST: "rmse_scaled_views"}


def view_scores(run: Run, store: Store) -> dict[str, float]:
    """RMSE on the held-out galaxies with 1, 16 and 48 views each (see METRICS in ``published``)."""
    return kept(run, "view_scores.json", {"views": MOST}, lambda: _measured(run, store))


def _measured(run: Run, store: Store) -> dict[str, float]:
    from morphoscope.evaluation.evaluate import predict_views
    from morphoscope.inference.predictor import Predictor, mean_over_views

    test = run.split(store).test
    predictor = Predictor(
        run, views=MOST, calibrated=False, engine="torch", batch=max(MOST, Evaluation().batch)
    )
    predictions_VNK = predict_views(predictor, store, test, f"test galaxies in {MOST} views")
    targets_NK = store.targets()[test]
    scores = {}
    for number, places in predictor.views_within().items():
        if number in METRICS_BY_VIEWS:
            errors_NK = mean_over_views(predictions_VNK[places]) - targets_NK
            scores[METRICS_BY_VIEWS[number]] = float((errors_NK**2).mean() ** 0.5)
    return scores
