"""Measured results of a study's rows over their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run
from morphoscope.studies.claims import class_metric, error_of

_SCORES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "rmse")
_WEIGHTED = ("weighted_precision", "weighted_recall", "weighted_f1")
_NORMAL = 1.96  # standard errors in half a 95 % interval


@dataclass(frozen=True)
class Measured:
    """One training run of one row.

    Attributes:
        seed: of the training run and its split.
        run: the finished run; None if it was not trained.
        failure: why it was not trained, in one sentence.
        same_as: the row whose run this is, if both recipes are the same.
        more: scores of its maps (MAP_METRICS) or of more views (VIEW_METRICS), if a claim needs them.
    """

    seed: int
    run: Run | None = None
    failure: str = ""
    same_as: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def values(self) -> dict[str, float]:
        """The metrics of this run by name; those not measured are left out."""
        if self.run is None:
            return {}
        with self.run.reading_results():
            return self._of_run(self.run)

    def _of_run(self, run: Run) -> dict[str, float]:
        metrics, history = run.metrics(), run.history()
        test = metrics.get("test") or {}
        found: dict[str, float] = {"parameters": float(run.header.parameters)}
        for name in (*_SCORES, *_WEIGHTED):
            if isinstance(test.get(name), Mapping):
                found[name] = float(test[name]["value"])
        if isinstance(test.get("log_loss"), Mapping):
            found["test_loss"] = float(test["log_loss"]["value"])
        if len(history["epoch"]):
            best = int(np.argmin(np.abs(history["epoch"] - (metrics.get("best_epoch") or np.inf))))
            found[f"train_{run.scheme.metric}"] = float(history["train_metric"][best])
            found[f"validation_{run.scheme.metric}"] = float(history["validation_metric"][best])
            for name in ("train_loss", "validation_loss"):
                found[name] = float(history[name][best])
            found["epochs"] = float(len(history["epoch"]))
            found["seconds"] = float(history["seconds"].sum())
            found["seconds_per_epoch"] = float(np.median(history["seconds"]))
            seen = sum(((metrics.get("counts") or {}).get("train") or {}).values())
            if seen and found["seconds_per_epoch"] > 0:
                limit = run.recipe.data.limit or seen
                found["images_per_second"] = min(seen, limit) / found["seconds_per_epoch"]
        for row in test.get("per_class") or []:
            measured = ("precision", "recall", "f1", "support") if row.get("support") else ("support",)
            scores = {name: row.get(name) for name in measured}  # no galaxy, no score, even if predicted
            found |= {
                class_metric(name, row["name"]): float(score)
                for name, score in scores.items()
                if score is not None
            }
        environment = run.environment()
        for name in ("peak_memory", "peak_gpu_memory"):
            if environment.get(f"{name}_gib"):
                found[name] = float(environment[f"{name}_gib"])
        found |= {name: value for name, value in self.more.items() if name not in _errors_in(self.more)}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    @cached_property
    def errors(self) -> dict[str, float]:
        """Standard errors of the metrics that have a 95 % interval, taken as normal, and of maps."""
        if self.run is None:
            return {}
        with self.run.reading_results():
            test = self.run.metrics().get("test") or {}
            intervals = {name: test.get(name) for name in (*_SCORES, *_WEIGHTED)}
            intervals |= {
                class_metric("recall", row["name"]): {"low": row["recall_low"], "high": row["recall_high"]}
                for row in test.get("per_class") or []
                if row.get("support")
            }
            found = {
                name: (each["high"] - each["low"]) / (2 * _NORMAL)
                for name, each in intervals.items()
                if each and each.get("low") is not None and each.get("high") is not None
            }
        return found | {name: self.more[error] for error, name in _errors_in(self.more).items()}


def _errors_in(scores: Mapping[str, float]) -> dict[str, str]:
    """Name of a standard error → of its metric, for the metrics that have one."""
    return {error_of(name): name for name in scores if error_of(name) in scores}


@dataclass
class Row:
    """A row of the study: its recipe and its training runs."""

    recipe: Recipe
    trainings: list[Measured] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    def metrics(self) -> list[str]:
        """The metrics that at least one run has."""
        return list(dict.fromkeys(name for training in self.trainings for name in training.values))

    def runs(self) -> list[Run]:
        """The finished runs."""
        return [training.run for training in self.trainings if training.run is not None]

    def all(self, metric: str) -> np.ndarray:
        """The values of all seeds that have the metric, (S,)."""
        found = [training.values.get(metric) for training in self.trainings]
        return np.array([value for value in found if value is not None], float)

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None if nothing was measured."""
        values = self.all(metric)
        return float(values.mean()) if len(values) else None

    def deviation(self, metric: str) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        values = self.all(metric)
        return float(values.std(ddof=1)) if len(values) > 1 else None

    def errors(self) -> dict[str, float]:
        """Standard errors of the means: from the test galaxies, or from the scatter of seeds if larger."""
        names = dict.fromkeys(name for training in self.trainings for name in training.errors)
        found = {}
        for name in names:
            of_galaxies = [training.errors[name] for training in self.trainings if name in training.errors]
            variances = [float(np.mean(np.square(of_galaxies))), (self.deviation(name) or 0.0) ** 2]
            found[name] = (max(variances) / len(of_galaxies)) ** 0.5
        return found

    def why_not(self) -> str:
        """Why there is no measurement; empty if there is one."""
        if self.runs():
            return ""
        return next((training.failure for training in self.trainings if training.failure), "not requested")


@dataclass
class Results:
    """All rows of a study by name, in the order of its tables."""

    rows: dict[str, Row]

    def measured(self) -> dict[str, dict[str, float]]:
        """Row → metric → mean over seeds, for the rows that were run."""
        table = {
            name: {metric: row.mean(metric) or 0.0 for metric in row.metrics()}
            for name, row in self.rows.items()
        }
        return {name: values for name, values in table.items() if values}

    def errors(self) -> dict[str, dict[str, float]]:
        """Row → metric → standard error of the mean over seeds, where one is known."""
        return {name: row.errors() for name, row in self.rows.items()}

    def of_seed(self, seed: int) -> dict[str, Mapping[str, float]]:
        """Row → metric → value of one seed, of the rows that have it."""
        return {
            name: training.values
            for name, row in self.rows.items()
            for training in row.trainings
            if training.seed == seed and training.values
        }

    def document(self) -> dict[str, Any]:
        """All values by row and seed, for ``results.json``."""
        return {
            name: {
                "about": row.recipe.about,
                "why_not": row.why_not() or None,
                "seeds": [
                    {"seed": t.seed, "failure": t.failure or None, "same_as": t.same_as or None} | t.values
                    for t in row.trainings
                ],
                "mean": {metric: row.mean(metric) for metric in row.metrics()},
                "standard_deviation": {
                    metric: row.deviation(metric) for metric in row.metrics() if len(row.all(metric)) > 1
                },
            }
            for name, row in self.rows.items()
        }
