"""Classes: each galaxy has one of K; softmax and cross-entropy.

Shape letters: N galaxies, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from morphoscope.errors import MorphoscopeError, did_you_mean
from morphoscope.labels.calibrators import Correction, Temperature, Unchanged, fit_temperature
from morphoscope.labels.columns import is_whole_number, texts
from morphoscope.labels.kind import UNLABELLED, Column, Scheme, label_column
from morphoscope.metrics.classification import classification_metrics, compare_classifications
from morphoscope.metrics.conformal import SEPARATOR, filled_sets, set_names, truth_probabilities
from morphoscope.metrics.linear_models import cross_entropy

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torchmetrics import Metric

    from morphoscope.metrics.conformal import Sets
    from morphoscope.metrics.linear_models import Loss

_PROBABILITY = "p_"
_TINY = 1e-7  # keeps the log loss of a certain and wrong prediction finite


def probability_column(name: str) -> str:
    """The column with the probability of class ``name``; without spaces, which many readers mishandle.

    >>> probability_column("Round Smooth")
    'p_Round_Smooth'
    """
    return _PROBABILITY + "_".join(name.split())


class Classes(Scheme, frozen=True):
    """Each galaxy has one of K classes; the table's label column is the class index (−1: unknown)."""

    kind: Literal["classes"] = "classes"
    classes: tuple[str, ...] = Field(min_length=2)
    column: str = "label"

    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    compared_scores: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "macro_recall", "ece")
    noun: ClassVar[str] = "classes"
    output_meaning: ClassVar[str] = "class probabilities that sum to 1"
    corrections: ClassVar[Mapping[str, type[Correction]]] = {"none": Unchanged, "temperature": Temperature}

    @model_validator(mode="after")
    def _distinct(self) -> Classes:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ from one another")
        if len({probability_column(name) for name in self.classes}) != len(self.classes):
            raise ValueError("class names that differ only in spaces and underscores are the same column")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.classes

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column with the class index."""
        return (self.column,)

    @property
    def column_type(self) -> pa.DataType:
        """Of the class index."""
        import pyarrow as pa

        return pa.int16()

    @property
    def missing(self) -> int:
        """−1."""
        return UNLABELLED

    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse a class index outside the scheme."""
        label = row.get(self.column, UNLABELLED)
        if not UNLABELLED <= label < self.outputs:
            raise MorphoscopeError(
                f"{name}: label {label} is outside scheme '{self.name}'; "
                f"0 to {self.outputs - 1}, or {UNLABELLED} for none, was expected"
            )

    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        """Class indices, int64, from one column of names, or of integers that are class indices."""
        known = {name: index for index, name in enumerate(self.classes)}
        if not any(is_whole_number(name) for name in self.classes):  # numbers are then class indices
            known |= {str(index): index for index in range(self.outputs)} | {"-1": UNLABELLED}
        indices = np.full(len(table), UNLABELLED, dtype=np.int64)
        for row, text in enumerate(texts(table[columns[0]])):
            if text in known:
                indices[row] = known[text]
            elif text:
                hint = did_you_mean(text, self.classes, "classes")
                raise MorphoscopeError(
                    f"{where}: column '{columns[0]}': galaxy {ids[row]} has label '{text}', which is not a "
                    f"class{hint}"
                )
        return {self.column: indices}

    def targets(self, table: pa.Table) -> np.ndarray:
        """Class indices, (N,) int64; −1 where a galaxy has no label."""
        return np.asarray(label_column(table, self.column)).astype(np.int64)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have a label, (N,) bool."""
        return np.greater_equal(self.targets(table), 0)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """The class indices themselves."""
        return np.asarray(targets, dtype=np.int64)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.classes

    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """Galaxies of each class."""
        counts = np.bincount(targets, minlength=self.outputs)
        return {"classes": dict(zip(self.classes, counts.tolist(), strict=True))}

    def counts(self, targets: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
        """Galaxies of each class and part."""
        return {
            part: {name: int((targets[rows] == k).sum()) for k, name in enumerate(self.classes)}
            for part, rows in parts.items()
        }

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean cross-entropy, a scalar; ``targets`` are indices (N,) or, if mixed, probabilities (N, K)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs_NK.float(), targets, weight=class_weights_K, label_smoothing=label_smoothing
        )

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Softmax over the classes, (N, K) float32; each row sums to 1."""
        return outputs_NK.float().softmax(dim=1)

    linear_activation: ClassVar[str] = "Softmax"

    def linear_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Loss]:
        """One-hot classes and cross-entropy: multinomial logistic regression."""
        return np.eye(self.outputs)[np.asarray(targets)], cross_entropy

    def mixable(self, targets: torch.Tensor) -> torch.Tensor:
        """Indices as one-hot vectors, (N, K) float32."""
        from torch.nn.functional import one_hot

        return one_hot(targets, self.outputs).float()

    def epoch_metric(self) -> Metric:
        """Accuracy."""
        from torchmetrics import Accuracy

        return Accuracy(task="multiclass", num_classes=self.outputs)

    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.classification.classification_metrics`."""
        return classification_metrics(targets, predictions_NK, self.classes, bootstrap=bootstrap, seed=seed)

    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """Those of :meth:`measure`, with ``adaptive_ece``."""
        measured = self.measure(targets, predictions_NK, bootstrap=bootstrap, seed=seed)
        return {
            name: measured[name] for name in ("n", "ece", "adaptive_ece", "log_loss", "brier", "reliability")
        }

    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        """−ln p(true class)."""
        p = np.clip(np.asarray(predictions_NK, np.float64), _TINY, 1 - _TINY)
        return -np.log(p[np.arange(len(p)), targets])

    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        """−Σ p ln p: 0 for certainty, ln K for equal probabilities; 0 ln 0 is 0."""
        p = np.asarray(predictions, np.float64)
        return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1) + 0.0  # no negative zero

    @property
    def calibrators(self) -> tuple[str, ...]:
        """None, or a temperature."""
        return ("none", "temperature")

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        """No correction, or the maximum-likelihood temperature."""
        if method == "none":
            return Unchanged()
        return Temperature(temperature=fit_temperature(targets, predictions_NK))

    def conformal_scores(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, list[float]]:
        """See :func:`morphoscope.metrics.conformal.truth_probabilities`."""
        return truth_probabilities(targets, predictions_NK, self.classes)

    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        """``label``, ``predicted`` (class indices), ``probability``, and one probability per class."""
        import pyarrow as pa

        columns = {
            "label": pa.array(targets, pa.int16()),
            "predicted": pa.array(predictions_NK.argmax(axis=1), pa.int16()),
            "probability": pa.array(predictions_NK.max(axis=1), pa.float32()),
        }
        return columns | self._probability_columns(predictions_NK)

    @classmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        """The class names, from their columns."""
        if not {"label", "predicted"} <= set(columns):
            return None
        names = tuple(name.removeprefix(_PROBABILITY) for name in columns if name.startswith(_PROBABILITY))
        return names or None

    @classmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """True and predicted class indices, (N,) int64 each."""
        truth, predicted = (table.column(name).to_numpy().astype(np.int64) for name in ("label", "predicted"))
        return truth, predicted

    @classmethod
    def compare(
        cls,
        truth: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
        outputs: Sequence[str],
        *,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.classification.compare_classifications`."""
        return compare_classifications(truth, first, second, outputs, bootstrap=bootstrap, seed=seed)

    @property
    def decisions(self) -> tuple[str, ...]:
        """The class and its probability; the set and the probabilities of all classes stay."""
        return ("predicted", "probability")

    def catalogue_columns(self, sets: Sets | None = None) -> list[Column]:
        """Predicted class and its probability, probability of every class, entropy, prediction set."""
        import pyarrow as pa

        columns = [
            Column(
                "predicted",
                pa.string(),
                "most probable class; empty where quality rules a class out",
                ucd="src.morph.type;meta.main",
            ),
            Column("probability", pa.float32(), "probability of the predicted class", ucd="stat.probability"),
        ]
        columns += [
            Column(
                probability_column(name), pa.float32(), f"probability of class {name}", ucd="stat.probability"
            )
            for name in self.classes
        ]
        columns.append(Column("entropy", pa.float32(), "entropy of the class probabilities, in nats"))
        if sets is not None:
            meaning = (
                f"prediction set, coverage {sets.description} like the training's, most probable class "
                f"first, separated by {SEPARATOR}"
            )
            columns.append(Column("set", pa.string(), meaning, ucd="src.morph.type"))
        return columns

    def catalogue_values(self, predictions_NK: np.ndarray, sets: Sets | None = None) -> dict[str, pa.Array]:
        """The values of :meth:`catalogue_columns`."""
        import pyarrow as pa

        columns = {
            "predicted": pa.array([self.classes[k] for k in predictions_NK.argmax(axis=1)], pa.string()),
            "probability": pa.array(predictions_NK.max(axis=1), pa.float32()),
            **self._probability_columns(predictions_NK),
            "entropy": pa.array(self.entropy(predictions_NK), pa.float32()),
        }
        if sets is not None:
            chosen = filled_sets(predictions_NK, sets.least_K)
            columns["set"] = pa.array(set_names(predictions_NK, chosen, self.classes), pa.string())
        return columns

    def _probability_columns(self, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        import pyarrow as pa

        return {
            probability_column(name): pa.array(predictions_NK[:, k], pa.float32())
            for k, name in enumerate(self.classes)
        }

    def output_to_explain(self, test: Mapping[str, Any]) -> str:
        """The class with the highest test F1, of equal ones the larger (`cheng`, section 3)."""
        rows = test.get("per_class") or []
        if not rows:
            raise MorphoscopeError("the run has no scores by class; choose a class with --class")
        best = max(rows, key=lambda row: (row.get("f1") or 0.0, row.get("support") or 0))
        return str(best["name"])
