"""Kinds of label: the interface through which all other packages use labels.

A kind defines its columns in a table, its loss, what the network's outputs mean, and how predictions are
scored, calibrated and written to a catalogue. A new kind is one module with a subclass of :class:`Scheme`,
registered in :mod:`morphoscope.labels.scheme`; see CONTRIBUTING.md.

Shape letters: N galaxies, K outputs of the network, S ensemble members or samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.labels.calibrators import Correction, Unchanged
from morphoscope.labels.charts import Chart, ReportPart
from morphoscope.labels.registry import read_scheme
from morphoscope.metrics.linear_models import LinearModel, sigmoid, softmax

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torchmetrics import Metric

    from morphoscope.metrics.conformal import Sets
    from morphoscope.metrics.linear_models import Loss

__all__ = ["UNLABELLED", "Chart", "Column", "ReportPart", "Scheme", "label_column"]

UNLABELLED = -1
LINEAR_ACTIVATIONS = {"Softmax": softmax, "Sigmoid": sigmoid}


@dataclass(frozen=True)
class Column:
    """One column of a catalogue.

    Attributes:
        name: of the column.
        kind: string, a number, or ``pa.list_(pa.float32(), D)`` for a vector; every format supports these.
        description: one line for people.
        unit: as FITS and the VO write it ("deg", "pixel"); empty for dimensionless numbers and text.
        ucd: unified content descriptor of the Virtual Observatory (UCD1+); empty if none fits.
    """

    name: str
    kind: pa.DataType
    description: str
    unit: str = ""
    ucd: str = ""

    @property
    def field(self) -> pa.Field:
        """The column with description, unit and UCD as metadata."""
        import pyarrow as pa

        metadata = {"description": self.description, "unit": self.unit, "ucd": self.ucd}
        return pa.field(self.name, self.kind, metadata={key: text for key, text in metadata.items() if text})


class Scheme(BaseModel, ABC, frozen=True, extra="forbid"):
    """The labels of a store or a run: their kind, and the names of their classes or answers.

    ``targets`` below are those returned by :meth:`targets`: (N,) or (N, …), of any dtype of torch.
    A field of this type in a saved document is parsed according to its ``kind``.
    """

    name: str
    kind: str

    metric: ClassVar[str]
    """The main score, a key of :meth:`measure`'s result."""
    higher_is_better: ClassVar[bool]
    """Whether a larger ``metric`` is better."""
    compared_scores: ClassVar[tuple[str, ...]]
    """The scores shown when runs are compared."""
    noun: ClassVar[str]
    """What the outputs are called, in the plural: "classes"."""
    output_meaning: ClassVar[str]
    """What the outputs are, for people."""
    outputs_alike: ClassVar[bool] = True
    """Whether outputs can be compared, so that the largest is a galaxy's own."""
    log_loss_unit: ClassVar[str] = "nats per galaxy"
    """Of :meth:`log_losses`."""
    entropy_note: ClassVar[str] = ""
    """A remark on :meth:`entropy`, appended to the description of a column."""
    changes_of: ClassVar[str] = "probabilities"
    """What :meth:`changes` compares, for people."""
    corrections: ClassVar[Mapping[str, type[Correction]]] = {"none": Unchanged}
    """Method name in a run's calibration.json → class that calibrates predictions of this kind."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if BaseModel not in cls.__bases__:  # a kind
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            lambda values: values if isinstance(values, Scheme) else read_scheme(values),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda scheme, info: scheme.model_dump(mode=info.mode), info_arg=True
            ),
        )

    # Outputs.

    @property
    def outputs(self) -> int:
        """K, the number of network outputs per galaxy."""
        return len(self.output_names)

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """What each of the K outputs stands for, in the network's order."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes, if each galaxy has exactly one; None for other kinds of label."""
        return None

    @property
    def description(self) -> str:
        """Number and kind of the outputs, for people: "10 classes"."""
        return f"{self.outputs} {self.noun}"

    def mismatch(self, other: Scheme) -> str:
        """Why labels or predictions of another scheme are not those of this one; empty if they are."""
        if self.kind == other.kind and self.output_names == other.output_names:
            return ""
        shown = (f"{', '.join(each.output_names[:4])}, … ({each.kind})" for each in (self, other))
        return " and ".join(shown)

    # Labels in a store's table.

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The label columns of a store's table."""

    @property
    @abstractmethod
    def column_type(self) -> pa.DataType:
        """The Arrow type of the label columns."""

    @property
    def missing(self) -> Any:
        """The value in a label column of a galaxy without a label."""
        return np.nan

    @abstractmethod
    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        """Check the labels of one galaxy.

        Args:
            row: label columns and others; a missing column is a missing label.
            name: of the galaxy, for messages.

        Raises:
            MorphoscopeError: a label outside the scheme, or a number out of range.
        """

    @abstractmethod
    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        """Convert columns of the user's table to the label columns of a store, and check them.

        Args:
            table: the user's.
            columns: label columns of the table.
            ids: one per row, for messages.
            where: the table's file, for messages.

        Raises:
            MorphoscopeError: an invalid label; the first galaxy is named.
        """

    @abstractmethod
    def targets(self, table: pa.Table) -> np.ndarray:
        """The labels of a store's table as arrays, (N,) or (N, …)."""

    @abstractmethod
    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have a label, (N,) bool."""

    @abstractmethod
    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Strata for stratified splits, (N,) int64 from 0; −1 for a galaxy without labels."""

    @property
    @abstractmethod
    def strata_names(self) -> tuple[str, ...]:
        """The names of the :meth:`strata`."""

    @abstractmethod
    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """Summary of the labels of some labelled galaxies: one title → name → number."""

    def counts(self, targets: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
        """Number of galaxies in each part of a split (name → rows), by class if there are classes."""
        return {part: {"galaxies": len(rows)} for part, rows in parts.items()}

    # Learning.

    @abstractmethod
    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss of a batch, a scalar; ``targets`` may be mixtures of :meth:`mixable` targets."""

    @abstractmethod
    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """The network's outputs as probabilities, fractions or concentrations, (N, K) float32."""

    def average(self, predictions_SNK: np.ndarray) -> np.ndarray:
        """The prediction of S views, samples or networks together, (N, K) float32: their mean."""
        return predictions_SNK.mean(axis=0, dtype=np.float64).astype(np.float32)

    def with_outputs(
        self, form: str, likelihood: str = "gaussian", degrees_of_freedom: float = 4.0
    ) -> Scheme:
        """The same labels, learned with another form of outputs.

        Args:
            form: the recipe's ``model.votes``.
            likelihood: its ``model.likelihood``.
            degrees_of_freedom: its ``model.degrees_of_freedom``.

        Raises:
            UsageError: the kind has no such form.
        """
        if form != "sigmoid":
            raise UsageError(f"model.votes = {form} is for vote fractions; the labels are {self.noun}")
        if likelihood != "gaussian":
            whose = "vote counts" if likelihood == "squared-error" else "measurements"
            raise UsageError(f"model.likelihood = {likelihood} is for {whose}; the labels are {self.noun}")
        return self

    def fitted(self, targets: np.ndarray, where: str) -> Scheme:
        """The labels of a run: with what a kind has to know about those of its training galaxies.

        Args:
            targets: of the training galaxies.
            where: the store, for messages.

        Raises:
            UsageError: nothing can be learned from them.
        """
        return self

    @property
    def unfitted(self) -> Scheme:
        """The labels of a store: without what :meth:`fitted` added."""
        return self

    def changes(self, expected_NK: np.ndarray, found_NK: np.ndarray) -> np.ndarray:
        """How much predictions of less precision differ, (N,): 0.01 is small, 0.2 is a lot."""
        return np.abs(np.asarray(found_NK) - expected_NK).max(axis=1)

    @property
    def output_scales(self) -> np.ndarray:
        """Differences of predictions that count as much as one of 1 between probabilities, (K,) float64."""
        return np.ones(self.outputs)

    # A linear head on features: a linear probe, or the start of a network's head.

    linear_activation: ClassVar[str] = ""
    """The ONNX operator that turns a linear head's outputs into predictions; empty: no single one does."""

    def linear_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Loss]:
        """Targets and the convex loss of a linear model of them.

        Raises:
            UsageError: this kind of label has none.
        """
        raise UsageError(
            "a linear probe learns classes, vote fractions or measurements, and the labels are "
            f"{self.noun}; use another recipe, such as small/own-labels"
        )

    def linear_predictions(self, outputs: np.ndarray) -> np.ndarray:
        """A linear head's outputs (…, K) as predictions, of the same shape."""
        return LINEAR_ACTIVATIONS[self.linear_activation](outputs)

    def linear_losses(self, targets: np.ndarray, outputs_VNK: np.ndarray) -> np.ndarray:
        """The losses of each galaxy by which a penalty is chosen, (N,), of the outputs of all views."""
        return self.log_losses(targets, self.average(self.linear_predictions(outputs_VNK)))

    def linear_head(self, model: LinearModel, held_out: Callable[[], np.ndarray]) -> LinearModel:
        """The head with all outputs of the network, from a model of :meth:`linear_targets`.

        Args:
            model: fitted to all galaxies.
            held_out: computes their targets minus the outputs of models that were fitted without them.
        """
        return model

    def mixable(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets in a form that can be averaged, for mixup and cutmix."""
        return targets

    @abstractmethod
    def epoch_metric(self) -> Metric:
        """``metric`` over the batches of an epoch, updated with :meth:`probabilities` and targets."""

    # Scores and calibration; ``predictions_NK`` are :meth:`probabilities`, perhaps calibrated.

    @abstractmethod
    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """All scores, JSON-able: ``n``, ``notes`` (sentences), scores as ``{"value", "low", "high"}``.

        Args:
            targets: without missing labels.
            predictions_NK: for the same galaxies.
            bootstrap: resamples of the galaxies for the intervals; 0: none.
            seed: of the resampling.

        Raises:
            MorphoscopeError: no galaxies, wrong shapes, invalid values.
        """

    @abstractmethod
    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """How well calibrated predictions are, JSON-able.

        Returns:
            ``n``; ``log_loss`` and, if defined, ``ece``, ``adaptive_ece`` and ``brier``, as ``{"value",
            "low", "high"}``; ``reliability``, the bins of a reliability diagram
            (:func:`morphoscope.metrics.calibration_error.reliability`), if there is one.
        """

    @abstractmethod
    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        """The log loss of each galaxy in nats, (N,) float64, a proper score (Gneiting & Raftery 2007)."""

    @abstractmethod
    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        """The entropy in nats of predictions (…, K), (…) float64."""

    @property
    def calibrators(self) -> tuple[str, ...]:
        """The methods that can calibrate predictions, simplest first; keys of ``corrections``."""
        return ("none",)

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        """Fit one of the :attr:`calibrators` to targets and the network's uncalibrated predictions."""
        return Unchanged()

    def conformal_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray
    ) -> dict[str, list[float]] | None:
        """Class → ascending probabilities of the truth, for prediction sets; None: this kind has no sets."""
        return None

    # Tables of predictions.

    @abstractmethod
    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        """Truth and prediction of test galaxies, as columns of a run's predictions.parquet."""

    @classmethod
    @abstractmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        """The outputs in a table of :meth:`prediction_columns`; None if it is of another kind."""

    @classmethod
    @abstractmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction from such a table, of equal shapes (N,) or (N, K)."""

    @classmethod
    @abstractmethod
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
        """Second minus first on the same galaxies: ``difference`` of ``metric`` as ``{"value", "low",
        "high"}``, and further comparisons of this kind; arrays are those of :meth:`read_predictions`.
        """

    @property
    def decisions(self) -> tuple[str, ...]:
        """The columns of :meth:`catalogue_columns` that are null for a source that gets no class."""
        return ()

    @abstractmethod
    def catalogue_columns(self, sets: Sets | None = None) -> list[Column]:
        """The prediction columns of a catalogue; ``sets``: including prediction sets."""

    @abstractmethod
    def catalogue_values(self, predictions_NK: np.ndarray, sets: Sets | None = None) -> dict[str, pa.Array]:
        """The values of :meth:`catalogue_columns`."""

    # The report and its maps.

    def report_parts(self, test: Mapping[str, Any]) -> list[ReportPart]:
        """Report sections on the test scores, below the table of scores."""
        return []

    def output_to_explain(self, test: Mapping[str, Any]) -> str:
        """The output to show attribution maps of, given the test scores; the name of an output.

        Raises:
            MorphoscopeError: the scores are not enough to choose one.
        """
        return self.output_names[0]

    def examples_of(self, targets: np.ndarray, output: int, count: int, seed: int = 0) -> np.ndarray:
        """Indices of up to ``count`` of N galaxies that are examples of an output, (M,) int64."""
        strata = self.strata(targets)
        members = np.flatnonzero(strata == output)
        return np.sort(np.random.default_rng(seed).permutation(members)[:count])


def label_column(table: pa.Table, name: str) -> np.ndarray:
    """A label column of a store's table.

    Raises:
        MorphoscopeError: the table has no column of that name.
    """
    if name not in table.column_names:
        raise MorphoscopeError(
            f"the table has no label column '{name}'{did_you_mean(name, table.column_names, 'columns')}"
        )
    return table.column(name).to_numpy(zero_copy_only=False)
