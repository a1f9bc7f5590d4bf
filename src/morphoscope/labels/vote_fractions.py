"""Vote fractions: each galaxy has K fractions of volunteers; squared error.

Outputs become fractions by a sigmoid, by a softmax within each question, or by that softmax times the
fraction of volunteers who reached the question, which satisfies the decision tree's sums by construction.

Shape letters: N galaxies, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.calibrators import Correction, Unchanged, VoteCurves, fit_vote_curves
from morphoscope.labels.columns import numbers
from morphoscope.labels.kind import UNLABELLED, Column, Scheme, label_column
from morphoscope.labels.tree import GALAXY_ZOO_2, SPIRAL_COLUMN, TOLERANCE, DecisionTree, tree_named
from morphoscope.metrics.conformal import SEPARATOR
from morphoscope.metrics.linear_models import binary_cross_entropy
from morphoscope.metrics.regression import (
    compare_regressions,
    fraction_calibration,
    fraction_log_losses,
    regression_metrics,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torchmetrics import Metric

    from morphoscope.metrics.conformal import Sets
    from morphoscope.metrics.linear_models import Loss

_TRUTH = "t_"  # before the name of an answer, in a table of predictions
_PATH = "path"


class VoteFractions(Scheme, frozen=True):
    """Each galaxy has K fractions of volunteers in [0, 1]; the loss is the squared error.

    ``tree`` is the decision tree of the columns ("galaxy-zoo-2"), against which their sums are checked;
    without one the columns are independent fractions. ``outputs_by`` is how a network's outputs become
    fractions: "sigmoid", "softmax" within each question, or "tree", the softmax times the parents' fraction.
    """

    kind: Literal["votes"] = "votes"
    answers: tuple[str, ...] = Field(min_length=1)
    tree: str | None = None
    outputs_by: Literal["sigmoid", "softmax", "tree"] = Field(
        default="sigmoid", exclude_if=lambda value: value == "sigmoid"
    )

    metric: ClassVar[str] = "rmse"
    higher_is_better: ClassVar[bool] = False
    compared_scores: ClassVar[tuple[str, ...]] = ("rmse",)
    noun: ClassVar[str] = "vote fractions"
    output_meaning: ClassVar[str] = "fractions of volunteers"
    log_loss_unit: ClassVar[str] = "nats per answer"
    entropy_note: ClassVar[str] = ", mean over the answers"
    corrections: ClassVar[Mapping[str, type[Correction]]] = {
        "none": Unchanged,
        "tree": VoteCurves,
        "beta": VoteCurves,
        "isotonic": VoteCurves,
    }

    @model_validator(mode="after")
    def _distinct(self) -> VoteFractions:
        if len(set(self.answers)) != len(self.answers):
            raise ValueError("answer columns must differ from one another")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """The answers' column names."""
        return self.answers

    @property
    def decision_tree(self) -> DecisionTree | None:
        """The decision tree of the columns; None for independent fractions.

        Raises:
            MorphoscopeError: the tree is unknown.
        """
        return None if self.tree is None else tree_named(self.tree, f"scheme '{self.name}'")

    @property
    def columns(self) -> tuple[str, ...]:
        """One column per answer."""
        return self.answers

    @property
    def column_type(self) -> pa.DataType:
        """Of a fraction."""
        import pyarrow as pa

        return pa.float32()

    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse a fraction outside [0, 1]."""
        votes = np.array([row.get(answer, np.nan) for answer in self.answers], float)
        wrong = np.flatnonzero((votes < -TOLERANCE) | (votes > 1 + TOLERANCE))
        if len(wrong):
            raise MorphoscopeError(
                f"{name}: {self.answers[wrong[0]]} is {votes[wrong[0]]:g}; "
                "a fraction from 0 to 1 was expected"
            )

    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        """Fractions, float32, checked to lie within [0, 1] and to satisfy the decision tree, if any."""
        fractions = {name: numbers(table[name], where, name) for name in self.answers}
        stacked_NK = np.stack(list(fractions.values()), axis=1)
        tree = self.decision_tree
        if tree is not None:
            try:
                tree.check(stacked_NK, ids)
            except MorphoscopeError as error:
                raise MorphoscopeError(f"{where}: {error}") from error
        outside = np.argwhere((stacked_NK < -TOLERANCE) | (stacked_NK > 1 + TOLERANCE))
        if tree is None and len(outside):
            row, answer = outside[0]
            raise MorphoscopeError(
                f"{where}: galaxy {ids[row]}: '{self.answers[answer]}' is {stacked_NK[row, answer]:g}; "
                "a vote fraction lies between 0 and 1"
            )
        return {name: values.astype(np.float32) for name, values in fractions.items()}

    def targets(self, table: pa.Table) -> np.ndarray:
        """Vote fractions, (N, K) float32; NaN where a galaxy has no votes."""
        columns = [np.asarray(label_column(table, name), dtype=np.float32) for name in self.answers]
        return np.stack(columns, axis=1)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have all their votes, (N,) bool."""
        return np.asarray(np.isfinite(self.targets(table)).all(axis=1))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """The plurality answer to the first question.

        Without a decision tree: the largest fraction; of a single one, whether it reaches one half.
        """
        labelled = np.isfinite(targets).all(axis=1)
        tree = self.decision_tree
        first = np.nan_to_num(targets[:, tree.slices[0]] if tree else targets)
        found = np.argmax(first, axis=1) if first.shape[1] > 1 else (first[:, 0] >= 0.5)
        return np.where(labelled, found, UNLABELLED).astype(np.int64)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The answers, or the two strata of a single one."""
        first, *others = self.answers
        return self.answers if others else (f"{first} < 0.5", f"{first} ≥ 0.5")

    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """The mean of each fraction."""
        means = np.nanmean(targets, axis=0) if len(targets) else []
        return {
            "mean_fractions": {
                name: round(float(mean), 4) for name, mean in zip(self.answers, means, strict=False)
            }
        }

    def with_outputs(
        self, form: str, likelihood: str = "gaussian", degrees_of_freedom: float = 4.0
    ) -> VoteFractions:
        """See :meth:`Scheme.with_outputs`; "softmax" and "tree" need a decision tree."""
        super().with_outputs("sigmoid", likelihood)
        if form not in ("sigmoid", "softmax", "tree"):
            raise UsageError(f"model.votes = {form}: sigmoid, softmax or tree was expected")
        if form != "sigmoid" and self.tree is None:
            raise UsageError(
                f"model.votes = {form} needs labels that follow a decision tree; those of '{self.name}' are "
                "independent fractions"
            )
        return self.model_copy(update={"outputs_by": form})

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean squared error of the fractions over N·K, a scalar (`ng`, section on training)."""
        from torch.nn.functional import mse_loss

        return mse_loss(self.probabilities(outputs_NK), targets.float())

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Fractions in (0, 1), (N, K) float32; for "tree" with the tree's sums to float32 precision."""
        if self.outputs_by == "sigmoid":
            return outputs_NK.float().sigmoid()
        tree = self.decision_tree
        assert tree is not None  # with_outputs sees to it
        return by_softmax(outputs_NK, tree, weighted=self.outputs_by == "tree")

    linear_activation: ClassVar[str] = "Sigmoid"

    def linear_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Loss]:
        """Fractions and their binary cross-entropy: fractional logistic regression."""
        if self.outputs_by != "sigmoid":
            raise UsageError(
                f"a linear probe learns each vote fraction by itself; set model.votes=sigmoid, not "
                f"{self.outputs_by}"
            )
        return np.clip(np.asarray(targets, np.float64), 0, 1), binary_cross_entropy

    def epoch_metric(self) -> Metric:
        """RMSE."""
        from torchmetrics import MeanSquaredError

        return MeanSquaredError(squared=False)

    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.regression.regression_metrics`."""
        tree, questions = self.decision_tree, None
        if tree is not None:
            questions = {
                question.text: tree.columns[piece]
                for question, piece in zip(tree.questions, tree.slices, strict=True)
            }
        return regression_metrics(
            targets, predictions_NK, self.answers, questions, bootstrap=bootstrap, seed=seed
        )

    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.regression.fraction_calibration`."""
        return fraction_calibration(targets, predictions_NK, self.answers, bootstrap=bootstrap, seed=seed)

    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        """See :func:`morphoscope.metrics.regression.fraction_log_losses`."""
        return fraction_log_losses(targets, predictions_NK)

    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        """The entropy of a volunteer's yes or no, averaged over the answers."""
        p = np.asarray(predictions, np.float64)
        yes, no = (-q * np.log(np.where(q > 0, q, 1.0)) for q in (p, 1 - p))
        return (yes + no).mean(axis=-1)

    @property
    def calibrators(self) -> tuple[str, ...]:
        """None, the tree's sums, or curves."""
        return ("none", "tree", "beta", "isotonic") if self.tree else ("none", "beta", "isotonic")

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        """No correction, or :func:`morphoscope.labels.calibrators.fit_vote_curves`."""
        if method == "none":
            return Unchanged()
        return fit_vote_curves(method, self.decision_tree, targets, predictions_NK)

    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        """For each answer ``t_<answer>``, the true fraction, and ``<answer>``, the predicted one."""
        import pyarrow as pa

        columns = {}
        for k, name in enumerate(self.answers):
            columns[_TRUTH + name] = pa.array(targets[:, k], pa.float32())
            columns[name] = pa.array(predictions_NK[:, k], pa.float32())
        return columns

    @classmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        """The answers that also have a column of true fractions."""
        answers = [name.removeprefix(_TRUTH) for name in columns if name.startswith(_TRUTH)]
        return tuple(name for name in answers if name in columns) or None

    @classmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """True and predicted fractions, (N, K) float64 each."""

        def stacked(names: Sequence[str]) -> np.ndarray:
            return np.stack([table.column(name).to_numpy() for name in names], axis=1).astype(np.float64)

        return stacked([_TRUTH + answer for answer in outputs]), stacked(outputs)

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
        """See :func:`morphoscope.metrics.regression.compare_regressions`."""
        return compare_regressions(truth, first, second, outputs, bootstrap=bootstrap, seed=seed)

    def catalogue_columns(self, sets: Sets | None = None) -> list[Column]:
        """One fraction per answer, and the path through the decision tree."""
        import pyarrow as pa

        columns = [
            Column(answer, pa.float32(), "fraction of volunteers, predicted", ucd="src.morph.type;stat.value")
            for answer in self.answers
        ]
        if self.decision_tree is not None:
            meaning = (
                f"plurality answers along the path through the decision tree, from the first question, "
                f"separated by {SEPARATOR}"
            )
            columns.append(Column(_PATH, pa.string(), meaning, ucd="src.morph.type"))
        return columns

    def catalogue_values(self, predictions_NK: np.ndarray, sets: Sets | None = None) -> dict[str, pa.Array]:
        """The values of :meth:`catalogue_columns`."""
        import pyarrow as pa

        columns = {
            answer: pa.array(predictions_NK[:, k], pa.float32()) for k, answer in enumerate(self.answers)
        }
        tree = self.decision_tree
        if tree is not None:
            paths = tree.leaf_paths(predictions_NK)
            columns[_PATH] = pa.array([SEPARATOR.join(path) for path in paths], pa.string())
        return columns

    def output_to_explain(self, test: Mapping[str, Any]) -> str:
        """The spirals of Galaxy Zoo 2, whose arms a map can trace; for other votes the first answer."""
        return SPIRAL_COLUMN if SPIRAL_COLUMN in self.answers else self.answers[0]

    def examples_of(self, targets: np.ndarray, output: int, count: int, seed: int = 0) -> np.ndarray:
        """The galaxies with the highest fraction, highest first."""
        return np.argsort(-targets[:, output], kind="stable")[:count]


def by_softmax(outputs_NK: torch.Tensor, tree: DecisionTree, *, weighted: bool) -> torch.Tensor:
    """Fractions by a softmax within each question, (N, K) float32.

    Args:
        outputs_NK: of a network.
        tree: the questions.
        weighted: times the fraction of those who are asked, so that they are fractions of all volunteers.
    """
    import torch

    by_question: dict[int, torch.Tensor] = {}
    by_column: dict[int, torch.Tensor] = {}
    for number in tree.order:
        piece = tree.slices[number]
        fractions = outputs_NK[:, piece].float().softmax(dim=1)
        parents = tree.weight_columns[number]
        if parents and weighted:
            fractions = fractions * torch.stack([by_column[k] for k in parents]).sum(dim=0)[:, None]
        by_question[number] = fractions
        by_column |= {piece.start + k: fractions[:, k] for k in range(piece.stop - piece.start)}
    return torch.cat([by_question[number] for number in range(len(tree.slices))], dim=1)


GALAXY_ZOO_2_VOTES = VoteFractions(name="galaxy-zoo-2", answers=GALAXY_ZOO_2.columns, tree=GALAXY_ZOO_2.name)
