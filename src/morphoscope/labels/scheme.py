"""Label schemes: names, columns, loss, how outputs become probabilities, which metrics apply.

Shape letters: N galaxies, K outputs of the network.

Three kinds are planned. ``Classes`` (softmax, cross-entropy) and ``VoteFractions`` (fractions of
volunteers, squared error) are here; ``VoteCounts`` (Dirichlet-multinomial) joins :data:`Scheme` as
one more class with the same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from morphoscope.errors import MorphoscopeError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

UNLABELLED = -1


def probability_column(name: str) -> str:
    """The column that holds the probability of class ``name``: no spaces, which many readers stumble over.

    >>> probability_column("Round Smooth")
    'p_Round_Smooth'
    """
    return "p_" + "_".join(name.split())


class _Scheme(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    @property
    def outputs(self) -> int:
        """K, the number of numbers the network gives per galaxy."""
        return len(self.output_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each of the K outputs stands for, in the network's order."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """The label columns of a store's table."""
        raise NotImplementedError


class Classes(_Scheme):
    """Each galaxy has one of K classes; the table's label column holds the class index (−1: unknown)."""

    kind: Literal["classes"] = "classes"
    classes: tuple[str, ...] = Field(min_length=2)
    column: str = "label"

    @model_validator(mode="after")
    def _distinct(self) -> Classes:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ from one another")
        if len({probability_column(name) for name in self.classes}) != len(self.classes):
            raise ValueError("class names must differ in more than spaces against underscores")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.classes

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column with the class index."""
        return (self.column,)

    @property
    def metric(self) -> str:
        """The number a training is judged by (higher is better)."""
        return "accuracy"

    def targets(self, table: pa.Table) -> np.ndarray:
        """Class indices, (N,) int64; −1 where a galaxy has no label."""
        return np.asarray(_column(table, self.column)).astype(np.int64)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have a label, (N,) bool."""
        return np.greater_equal(self.targets(table), 0)

    def index(self, name: str) -> int:
        """The index of a class by its name.

        Raises:
            MorphoscopeError: the scheme has no such class.
        """
        if name not in self.classes:
            raise MorphoscopeError(
                f"no class '{name}' in scheme '{self.name}'{did_you_mean(name, self.classes)}"
            )
        return self.classes.index(name)

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean cross-entropy, a scalar; ``targets`` are indices (N,) or, after mixing, shares (N, K)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs_NK.float(), targets, weight=class_weights_K, label_smoothing=label_smoothing
        )

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Softmax over the classes, (N, K) float32; each row sums to 1."""
        return outputs_NK.float().softmax(dim=1)


class VoteFractions(_Scheme):
    """Each galaxy has K fractions of volunteers in [0, 1], learned by squared error.

    ``tree`` names the decision tree the columns follow ("galaxy-zoo-2"), which then checks their sums;
    without one the columns are independent fractions.
    """

    kind: Literal["votes"] = "votes"
    answers: tuple[str, ...] = Field(min_length=1)
    tree: str | None = None

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
    def columns(self) -> tuple[str, ...]:
        """One column an answer."""
        return self.answers

    @property
    def metric(self) -> str:
        """The number a training is judged by (lower is better)."""
        return "rmse"

    def targets(self, table: pa.Table) -> np.ndarray:
        """Vote fractions, (N, K) float32; NaN where a galaxy has no votes."""
        return np.stack([np.asarray(_column(table, name), dtype=np.float32) for name in self.answers], axis=1)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have all their votes, (N,) bool."""
        return np.asarray(np.isfinite(self.targets(table)).all(axis=1))

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean squared error of the sigmoid outputs over N·K, a scalar (`ng`, section on training)."""
        from torch.nn.functional import mse_loss

        return mse_loss(self.probabilities(outputs_NK), targets.float())

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Fractions in (0, 1), (N, K) float32."""
        return outputs_NK.float().sigmoid()


Scheme = Annotated[Classes | VoteFractions, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Classes | VoteFractions] = TypeAdapter(Scheme)


def scheme_from(values: dict[str, Any], where: str = "scheme") -> Classes | VoteFractions:
    """A scheme from its saved form.

    Raises:
        MorphoscopeError: the kind is unknown (a newer program wrote it) or a field does not fit.
    """
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise MorphoscopeError(f"{where}: label scheme cannot be read: {first['msg']}") from error


def _column(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        raise MorphoscopeError(
            f"the table has no label column '{name}'{did_you_mean(name, table.column_names, 'columns')}"
        )
    return table.column(name).to_numpy(zero_copy_only=False)
