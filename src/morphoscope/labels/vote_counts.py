"""Vote counts: how many volunteers gave each answer to the questions of a decision tree.

A network predicts the concentrations of a Dirichlet distribution for each question, and learns by the
Dirichlet-multinomial likelihood of the votes (Walmsley et al. 2022, MNRAS 509, 3966). A question with few
votes weighs little, one without any nothing.

Shape letters: N galaxies, K answers of all questions together, Q questions, S views or networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from morphoscope.errors import MorphoscopeError
from morphoscope.labels.calibrators import Correction, Unchanged
from morphoscope.labels.columns import numbers
from morphoscope.labels.concentrations import ConcentrationScales, averaged, fit_scales
from morphoscope.labels.count_report import report_parts
from morphoscope.labels.kind import UNLABELLED, Column, ReportPart, Scheme, label_column
from morphoscope.labels.tree import DecisionTree
from morphoscope.labels.tree_files import VoteTree, decision_tree
from morphoscope.labels.vote_fractions import by_softmax
from morphoscope.metrics.conformal import SEPARATOR
from morphoscope.metrics.vote_counts import (
    INTERVAL,
    by_question,
    compare_counts,
    count_calibration,
    count_log_losses,
    count_metrics,
    credible_intervals,
    expected_fractions,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torchmetrics import Metric

    from morphoscope.metrics.conformal import Sets

_COUNT, _DIRICHLET = "_count", "_dirichlet"  # after the name of an answer
_PATH = "path"
MOST_VOTES = 1_000_000_000  # for an answer; tables keep 32 bits
_SPIRAL = "has-spiral-arms_yes"
# Zoobot's output layer (Walmsley et al. 2022; zoobot 2.9.0, ScaledSigmoid): from 1 to 101.
# From 1 on a Dirichlet distribution has one peak, and 100 is more than some forty votes can tell from
# certainty, so that no output has to grow without bound.
_LOWEST, _RANGE = 1.0, 100.0
# Ours: outputs of 0 mean concentrations of 5.7 and not of 51, which a new network would have to unlearn.
_SHIFT = 3.0
# Squared error says nothing of the spread: until calibration every question's concentrations add up to this,
# and each answer has at least this fraction, or one vote for what was ruled out would be infinitely unlikely.
_FIXED_SUM, _LEAST = 10.0, 0.002


class VoteCounts(Scheme, frozen=True):
    """Each galaxy has counts of votes for the answers of a decision tree, possibly none at all.

    ``volunteers`` is how many look at a galaxy, for the expected number who are asked a question.
    ``learned_by`` is the loss: the likelihood of the counts or, to compare, the squared error of the
    fractions of all volunteers, as vote fractions are learned.
    """

    kind: Literal["vote-counts"] = "vote-counts"
    tree: VoteTree
    volunteers: int = Field(default=40, ge=1)
    learned_by: Literal["likelihood", "squared-error"] = Field(
        default="likelihood", exclude_if=lambda value: value == "likelihood"
    )

    metric: ClassVar[str] = "log_loss"
    higher_is_better: ClassVar[bool] = False
    compared_scores: ClassVar[tuple[str, ...]] = ("log_loss", "rmse", "coverage_90")
    noun: ClassVar[str] = "vote counts"
    output_meaning: ClassVar[str] = "concentrations of Dirichlet distributions of the votes"
    log_loss_unit: ClassVar[str] = "nats per question"
    entropy_note: ClassVar[str] = ", mean over the questions"
    corrections: ClassVar[Mapping[str, type[Correction]]] = {
        "none": Unchanged,
        "concentrations": ConcentrationScales,
    }

    @property
    def output_names(self) -> tuple[str, ...]:
        """The answers: QUESTION_ANSWER."""
        return self.tree.columns

    @property
    def decision_tree(self) -> DecisionTree:
        """The tree's sums and paths."""
        return decision_tree(self.tree)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Which answers belong to each question."""
        return self.decision_tree.slices

    @property
    def questions(self) -> tuple[str, ...]:
        """The questions' keys."""
        return tuple(question.key for question in self.tree.questions)

    @property
    def description(self) -> str:
        """Number of answers and questions."""
        return f"{self.outputs} {self.noun} of {len(self.questions)} questions"

    # Labels in a store's table.

    @property
    def columns(self) -> tuple[str, ...]:
        """One column of counts per answer."""
        return tuple(name + _COUNT for name in self.output_names)

    @property
    def column_type(self) -> pa.DataType:
        """Of a count."""
        import pyarrow as pa

        return pa.int32()

    @property
    def missing(self) -> int:
        """No votes."""
        return 0

    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse what is no count."""
        for column in self.columns:
            value = row.get(column, 0)
            if not (value >= 0 and value == int(value)):
                raise MorphoscopeError(
                    f"{name}: {column} is {value:g}; a whole number of votes was expected, 0 or more"
                )

    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        """Counts, int32; see :func:`checked_counts`."""
        values = [numbers(table[name], where, name) for name in self.columns]
        counts_NK = checked_counts(np.stack(values, axis=1), self.columns, self.tree, ids, where)
        return {name: counts_NK[:, k] for k, name in enumerate(self.columns)}

    def targets(self, table: pa.Table) -> np.ndarray:
        """Votes for each answer, (N, K) float32."""
        return np.stack([label_column(table, name) for name in self.columns], axis=1).astype(np.float32)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have any votes, (N,) bool."""
        return np.asarray(self.targets(table).sum(axis=1) > 0)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """The plurality answer to the first question."""
        first = targets[:, self.slices[0]]
        return np.where(targets.sum(axis=1) > 0, first.argmax(axis=1), UNLABELLED).astype(np.int64)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The answers to the first question."""
        return self.output_names[self.slices[0]]

    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """The share of each answer among all votes for its question."""
        votes = targets.sum(axis=0)
        pooled = by_question(votes, self.slices)[self.decision_tree.question_of]
        shares = np.divide(votes, pooled, out=np.zeros(len(pooled)), where=pooled > 0)
        return {
            "fractions_of_votes": {
                name: round(share, 4) for name, share in zip(self.output_names, shares.tolist(), strict=True)
            }
        }

    # Learning.

    def with_outputs(
        self, form: str, likelihood: str = "gaussian", degrees_of_freedom: float = 4.0
    ) -> VoteCounts:
        """The same votes, learned by their likelihood or by "squared-error"."""
        squared = likelihood == "squared-error"
        super().with_outputs(form, "gaussian" if squared else likelihood)
        return self.model_copy(update={"learned_by": "squared-error" if squared else "likelihood"})

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Dirichlet-multinomial negative log-likelihood, mean over galaxies and questions, a scalar; or the
        mean squared error of the fractions.
        """
        if self.learned_by == "squared-error":
            return self._squared_error(outputs_NK, targets.float())
        return self._losses(self.probabilities(outputs_NK), targets.float()).mean()

    def _squared_error(self, outputs_NK: torch.Tensor, counts_NK: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the fractions of all volunteers over N·K; galaxies without votes count 0."""
        volunteers_N1 = counts_NK[:, self.slices[0]].sum(dim=1, keepdim=True)
        found_NK = counts_NK / volunteers_N1.clamp(min=1)
        stated_NK = by_softmax(outputs_NK, self.decision_tree, weighted=True)
        return ((stated_NK - found_NK).square() * (volunteers_N1 > 0)).mean()

    def _losses(self, concentrations_NK: torch.Tensor, counts_NK: torch.Tensor) -> torch.Tensor:
        """That of each galaxy, (N,): the sum over the questions divided by Q; unasked ones are 0."""
        import torch

        alpha, counts = concentrations_NK, counts_NK
        asked, total = (
            torch.stack([each[:, piece].sum(dim=1) for piece in self.slices], dim=1)
            for each in (counts, alpha)
        )
        answers = torch.lgamma(counts + alpha) - torch.lgamma(alpha) - torch.lgamma(counts + 1)
        questions = torch.lgamma(asked + 1) + torch.lgamma(total) - torch.lgamma(asked + total)
        return -(answers.sum(dim=1) + questions.sum(dim=1)) / len(self.questions)

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Concentrations, (N, K) float32, between 1 and 101; learned by squared error, of a fixed sum."""
        if self.learned_by == "squared-error":
            fractions_NK = by_softmax(outputs_NK, self.decision_tree, weighted=False)
            of_question_K = self.decision_tree.question_of
            answers_K = np.bincount(of_question_K)[of_question_K]
            rest_K = fractions_NK.new_tensor(1 - _LEAST * answers_K)
            return _FIXED_SUM * (rest_K * fractions_NK + _LEAST)
        return _LOWEST + _RANGE * (outputs_NK.float() - _SHIFT).sigmoid()

    def average(self, predictions_SNK: np.ndarray) -> np.ndarray:
        """The mean expected fractions, with intervals that widen where the S disagree."""
        return averaged(predictions_SNK, self.slices)

    def epoch_metric(self) -> Metric:
        """The log loss per question."""
        from torchmetrics import MeanMetric

        losses = self._losses

        class LogLoss(MeanMetric):
            def update(self, value: Any, weight: Any = None) -> None:
                """With concentrations and counts, as every epoch's metric is."""
                super().update(losses(value.float(), weight.float()))

        return LogLoss()

    # Scores and calibration.

    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.vote_counts.count_metrics`."""
        return count_metrics(
            targets,
            predictions_NK,
            self.questions,
            self.output_names,
            self.slices,
            bootstrap=bootstrap,
            seed=seed,
        )

    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.vote_counts.count_calibration`."""
        return count_calibration(
            targets, predictions_NK, self.output_names, self.slices, bootstrap=bootstrap, seed=seed
        )

    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        """Negative log-likelihood, the mean over the questions, in nats."""
        return count_log_losses(targets, predictions_NK, self.slices).mean(axis=1)

    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        """The entropy of a volunteer's answer, averaged over the questions."""
        p = expected_fractions(predictions, self.slices)
        return by_question(-p * np.log(p), self.slices).mean(axis=-1)

    @property
    def calibrators(self) -> tuple[str, ...]:
        """None, or a factor for the concentrations of each question."""
        return ("none", "concentrations")

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        """No correction, or :func:`morphoscope.labels.concentrations.fit_scales`."""
        return Unchanged() if method == "none" else fit_scales(self.slices, targets, predictions_NK)

    # Tables of predictions.

    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        """For each answer ``<answer>_count``, the votes, and ``<answer>_dirichlet``, the concentration."""
        import pyarrow as pa

        columns = {}
        for k, name in enumerate(self.output_names):
            columns[name + _COUNT] = pa.array(targets[:, k], pa.float32())
            columns[name + _DIRICHLET] = pa.array(predictions_NK[:, k], pa.float32())
        return columns

    @classmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        """The answers that have a concentration and a count."""
        answers = [name.removesuffix(_DIRICHLET) for name in columns if name.endswith(_DIRICHLET)]
        return tuple(name for name in answers if name + _COUNT in columns) or None

    @classmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Votes and concentrations, (N, K) float64 each."""
        votes, concentrations = (
            np.stack([table.column(name + after).to_numpy() for name in outputs], axis=1).astype(np.float64)
            for after in (_COUNT, _DIRICHLET)
        )
        return votes, concentrations

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
        """See :func:`morphoscope.metrics.vote_counts.compare_counts`."""
        return compare_counts(truth, first, second, _grouped(outputs), bootstrap=bootstrap, seed=seed)

    def catalogue_columns(self, sets: Sets | None = None) -> list[Column]:
        """Per answer fractions, interval and concentration; per question how many are asked; the path."""
        import pyarrow as pa

        number, percent = pa.float32(), f"{100 * INTERVAL:.0f} %"
        columns = []
        for name in self.output_names:
            meant = {
                "_fraction": "expected fraction of the volunteers asked this question",
                "_fraction_low": f"lower end of the fraction's central {percent} credible interval",
                "_fraction_high": "upper end of it",
                "_fraction_of_all": "expected fraction of all volunteers, following the decision tree",
                _DIRICHLET: "concentration of the Dirichlet distribution of this question's fractions",
            }
            for after, description in meant.items():
                ucd = "" if after == _DIRICHLET else "src.morph.type;stat.value"
                columns.append(Column(name + after, number, description, ucd=ucd))
        for question in self.questions:
            meaning = f"expected number of volunteers asked, of {self.volunteers}"
            columns.append(Column(f"{question}_asked", number, meaning, ucd="meta.number"))
        meaning = (
            "most probable answers along the path through the decision tree, from the first question, "
            f"separated by {SEPARATOR}"
        )
        return [*columns, Column(_PATH, pa.string(), meaning, ucd="src.morph.type")]

    def catalogue_values(self, predictions_NK: np.ndarray, sets: Sets | None = None) -> dict[str, pa.Array]:
        """The values of :meth:`catalogue_columns`."""
        import pyarrow as pa

        tree = self.decision_tree
        fractions_NK = expected_fractions(predictions_NK, self.slices)
        low_NK, high_NK = credible_intervals(predictions_NK, self.slices)
        of_all_NK = tree.cumulative(fractions_NK)
        columns = {}
        for k, name in enumerate(self.output_names):
            for after, values_NK in {
                "_fraction": fractions_NK,
                "_fraction_low": low_NK,
                "_fraction_high": high_NK,
                "_fraction_of_all": of_all_NK,
                _DIRICHLET: predictions_NK,
            }.items():
                columns[name + after] = pa.array(values_NK[:, k], pa.float32())
        asked_NQ = self.volunteers * tree.expected_sums(of_all_NK)
        for number, question in enumerate(self.questions):
            columns[f"{question}_asked"] = pa.array(asked_NQ[:, number], pa.float32())
        paths = tree.leaf_paths(of_all_NK)
        columns[_PATH] = pa.array([SEPARATOR.join(path) for path in paths], pa.string())
        return columns

    # The report and its maps.

    def report_parts(self, test: Mapping[str, Any]) -> list[ReportPart]:
        """See :mod:`morphoscope.labels.count_report`."""
        return report_parts(self.tree, test)

    def output_to_explain(self, test: Mapping[str, Any]) -> str:
        """Spiral arms, which a map can trace, where they are asked about; otherwise the first answer."""
        return _SPIRAL if _SPIRAL in self.output_names else self.output_names[0]

    def examples_of(self, targets: np.ndarray, output: int, count: int, seed: int = 0) -> np.ndarray:
        """The galaxies with the highest fraction, highest first; of equal ones those with more votes."""
        piece = self.slices[int(self.decision_tree.question_of[output])]
        asked = targets[:, piece].sum(axis=1)
        share = (targets[:, output] + 1) / (asked + (piece.stop - piece.start))
        order = np.argsort(-share, kind="stable")
        return order[targets[order, output] > 0][:count]


def checked_counts(
    counts_NK: np.ndarray, columns: Sequence[str], tree: VoteTree, ids: Sequence[object], where: str
) -> np.ndarray:
    """Votes of a table as whole numbers, (N, K) int32.

    A question without any entry (NaN) was not asked and has 0 votes.

    Args:
        counts_NK: as the table has them.
        columns: names of the K columns, for messages.
        tree: their questions.
        ids: of the galaxies, for messages.
        where: the table's file, for messages.

    Raises:
        MorphoscopeError: a count that is negative, not whole, or missing beside others of its question; a
            question without votes in the whole table.
    """
    counts_NK = np.array(counts_NK, np.float64)
    for question, piece in zip(tree.questions, decision_tree(tree).slices, strict=True):
        missing = np.isnan(counts_NK[:, piece])
        unasked = np.asarray(missing.all(axis=1))
        broken = np.argwhere(missing & ~unasked[:, None])
        if len(broken):
            row, answer = broken[0]
            raise MorphoscopeError(
                f"{where}: galaxy {ids[row]}: '{columns[piece.start + answer]}' is empty (NaN) and other "
                f"answers to '{question.key}' are not; a number of votes was expected"
            )
        counts_NK[unasked, piece] = 0
    wrong = np.argwhere((counts_NK < 0) | (counts_NK != np.floor(counts_NK)) | (counts_NK > MOST_VOTES))
    if len(wrong):
        row, column = wrong[0]
        value = counts_NK[row, column]
        hint = "; fractions are read with the column of their total votes" if 0 < value < 1 else ""
        raise MorphoscopeError(
            f"{where}: galaxy {ids[row]}: '{columns[column]}' is {value:g}; a whole number of votes was "
            f"expected, {f'at most {MOST_VOTES:,}' if value > MOST_VOTES else '0 or more'}{hint}"
        )
    for question, piece in zip(tree.questions, decision_tree(tree).slices, strict=True):
        if len(counts_NK) and not counts_NK[:, piece].any():
            raise MorphoscopeError(
                f"{where}: the question '{question.key}' has no votes in the whole table, so that nothing "
                f"can be learned about it; leave it out (data ingest votes --without {question.key})"
            )
    return counts_NK.astype(np.int32)


def _grouped(outputs: Sequence[str]) -> tuple[slice, ...]:
    """The answers of each question, whose key ends at the first '_' of their names."""
    keys = [name.partition("_")[0] for name in outputs]
    starts = [k for k, key in enumerate(keys) if not k or key != keys[k - 1]]
    return tuple(slice(start, end) for start, end in zip(starts, [*starts[1:], len(keys)], strict=True))
