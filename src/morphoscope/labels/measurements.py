"""Measurements: one or more real numbers of each galaxy, with or without errors, such as a redshift.

A network predicts a mean and a standard deviation of each quantity and learns by their likelihood, Gaussian
or Student-t (Nix & Weigend 1994). Quantities are standardised inside; predictions are in the table's units.

Shape letters: N galaxies, T quantities, K = 2T outputs (means, then spreads), S views or networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.calibrators import Correction, Unchanged
from morphoscope.labels.kind import UNLABELLED, Column, ReportPart, Scheme, label_column
from morphoscope.labels.measurement_columns import (
    LARGEST,
    TOO_LARGE,
    Quantity,
    checked_measurements,
    names_fault,
)
from morphoscope.labels.measurement_likelihood import (
    epoch_r2,
    log_spread_outputs,
    measurement_losses,
    predictions,
    spreads_of,
)
from morphoscope.labels.measurement_report import report_parts
from morphoscope.labels.spreads import SpreadFactors, averaged, fit_factors
from morphoscope.metrics.linear_models import LinearModel, squared_error
from morphoscope.metrics.measurements import (
    INTERVAL,
    compare_measurements,
    half_width,
    measurement_calibration,
    measurement_entropies,
    measurement_log_losses,
    measurement_metrics,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torchmetrics import Metric

    from morphoscope.metrics.conformal import Sets
    from morphoscope.metrics.linear_models import Loss

_ERROR, _LOW, _HIGH = "_error", "_low", "_high"  # after the name of a quantity, in a catalogue
# After it in a run's predictions; the truth of a redshift is marked, since its residuals are over 1 + z.
_TRUE, _REDSHIFT, _TRUE_ERROR = "_true", "_redshift", "_true_error"
_PREDICTED, _PREDICTED_ERROR = "_predicted", "_predicted_error"
STRATA = 5
_FEWEST_DIGITS = 1e-5  # spread over centre below which 32-bit numbers, as networks use, lose the differences
_GAUSSIAN_SPREAD = 1.4826 / 2  # of a Gaussian's standard deviation over the range of its middle half


class Measurements(Scheme, frozen=True):
    """Each galaxy has a value of each quantity, or none, and perhaps its error.

    ``centres`` and ``scales``, one a quantity, standardise them; a run's scheme has those of its training
    galaxies, a store's has none. ``degrees_of_freedom`` are those of the Student-t likelihood.
    """

    kind: Literal["measurements"] = "measurements"
    quantities: tuple[Quantity, ...] = Field(min_length=1)
    likelihood: Literal["gaussian", "student-t"] = "gaussian"
    degrees_of_freedom: float = Field(default=4.0, gt=2)
    centres: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()

    metric: ClassVar[str] = "r2"
    higher_is_better: ClassVar[bool] = True
    compared_scores: ClassVar[tuple[str, ...]] = ("r2", "log_loss", "coverage_90")
    noun: ClassVar[str] = "measurements"
    output_meaning: ClassVar[str] = "means and standard deviations of the quantities"
    outputs_alike: ClassVar[bool] = False
    log_loss_unit: ClassVar[str] = "nats per measurement, of standardised quantities"
    changes_of: ClassVar[str] = "predictions, in units of ten predicted errors,"
    entropy_note: ClassVar[str] = ", mean over the quantities"
    corrections: ClassVar[Mapping[str, type[Correction]]] = {"none": Unchanged, "spread": SpreadFactors}

    @model_validator(mode="after")
    def _consistent(self) -> Measurements:
        fault = names_fault(self.names, [each.error for each in self.quantities])
        if fault:
            raise ValueError(fault)
        for numbers in (self.centres, self.scales):
            if numbers and len(numbers) != len(self.quantities):
                raise ValueError("a centre and a scale for each quantity were expected")
        if any(not scale > 0 for scale in self.scales):
            raise ValueError("scales above 0 were expected")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The T quantities."""
        return tuple(each.name for each in self.quantities)

    @property
    def redshifts(self) -> tuple[str, ...]:
        """Those of them that are redshifts."""
        return tuple(each.name for each in self.quantities if each.redshift)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The quantities, then their predicted errors: NAME_error."""
        return (*self.names, *(name + _ERROR for name in self.names))

    @property
    def description(self) -> str:
        """Number and names of the quantities."""
        several = "quantity" if len(self.names) == 1 else "quantities"
        return f"{len(self.names)} {several}: {', '.join(self.names)}"

    def changes(self, expected_NK: np.ndarray, found_NK: np.ndarray) -> np.ndarray:
        """The largest change of a mean or an error in units of ten predicted errors, (N,).

        A tenth of what is uncertain anyway counts as much as a change of a probability by 0.01.
        """
        means, deviations = np.split(np.asarray(expected_NK, np.float64), 2, axis=1)
        change = np.abs(np.asarray(found_NK, np.float64) - np.concatenate([means, deviations], axis=1))
        return (change / np.tile(10 * deviations, 2)).max(axis=1)

    @property
    def output_scales(self) -> np.ndarray:
        """The spread of each quantity among the training galaxies, for means and spreads, (K,)."""
        return np.tile(self.scales or np.ones(len(self.names)), 2)

    def mismatch(self, other: Scheme) -> str:
        """Other quantities, or the same in other units."""
        if (found := super().mismatch(other)) or not isinstance(other, Measurements):
            return found
        for own, others in zip(self.quantities, other.quantities, strict=True):
            if own.unit and others.unit and own.unit != others.unit:
                return f"{own.name} in {own.unit} and in {others.unit}"
            if own.redshift != others.redshift:
                return f"{own.name} as a redshift and as another quantity"
        return ""

    @property
    def _freedom(self) -> float | None:
        return self.degrees_of_freedom if self.likelihood == "student-t" else None

    # Labels in a store's table.

    @property
    def columns(self) -> tuple[str, ...]:
        """Values, then errors where there are any."""
        return (*self.names, *(each.error for each in self.quantities if each.error))

    @property
    def column_type(self) -> pa.DataType:
        """Of values and errors."""
        import pyarrow as pa

        return pa.float64()

    def check_row(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse infinite values and errors that are not above 0."""
        for quantity in self.quantities:
            value = row.get(quantity.name, np.nan)
            if math.isinf(value):
                raise MorphoscopeError(f"{name}: {quantity.name} is {value:g}; a finite number was expected")
            if abs(value) > LARGEST:
                raise MorphoscopeError(f"{name}: {quantity.name} is {value:g}; {TOO_LARGE}")
            if quantity.redshift and value <= -1:
                raise MorphoscopeError(f"{name}: {quantity.name} is {value:g}; a redshift is above -1")
            error = row.get(quantity.error, np.nan) if quantity.error else np.nan
            if error <= 0 or math.isinf(error):
                raise MorphoscopeError(
                    f"{name}: {quantity.error} is {error:g}; an error above 0 was expected"
                )

    def read_columns(
        self, table: pa.Table, columns: Sequence[str], ids: Sequence[object], where: str
    ) -> dict[str, np.ndarray]:
        """Values and errors, float64; see :func:`checked_measurements`."""
        return checked_measurements(table, self.quantities, ids, where)

    def targets(self, table: pa.Table) -> np.ndarray:
        """Values (NaN: none), then errors (0: none), (N, 2T) float32."""
        values = [label_column(table, name) for name in self.names]
        errors = [
            np.nan_to_num(label_column(table, each.error)) if each.error else np.zeros(table.num_rows)
            for each in self.quantities
        ]
        return np.stack([*values, *errors], axis=1).astype(np.float32)

    def labelled(self, table: pa.Table) -> np.ndarray:
        """Which galaxies have a value of any quantity, (N,) bool."""
        return np.asarray(np.isfinite(self.targets(table)[:, : len(self.names)]).any(axis=1))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Fifths of these galaxies by the value of the quantity that most of them have."""
        values, _ = np.split(targets, 2, axis=1)
        known = np.isfinite(values)
        strata = np.where(known.any(axis=1), 0, UNLABELLED).astype(np.int64)
        most = int(known.sum(axis=0).argmax())
        rows = np.flatnonzero(known[:, most])
        if len(rows):
            edges = np.quantile(values[rows, most], np.linspace(0, 1, STRATA + 1)[1:-1])
            strata[rows] = np.searchsorted(edges, values[rows, most], side="right")
        return strata

    @property
    def strata_names(self) -> tuple[str, ...]:
        """From the lowest fifth to the highest."""
        return tuple(f"fifth {number} of {STRATA}" for number in range(1, STRATA + 1))

    def summary(self, targets: np.ndarray) -> dict[str, dict[str, float]]:
        """How many have a value of each quantity, with its median and range."""
        found: dict[str, float] = {}
        for k, name in enumerate(self.names):
            values = targets[np.isfinite(targets[:, k]), k].astype(np.float64)
            found[f"{name}, galaxies"] = len(values)
            if len(values):
                for title, number in (
                    ("lowest", values.min()),
                    ("median", np.median(values)),
                    ("highest", values.max()),
                ):
                    found[f"{name}, {title}"] = float(f"{number:.6g}")
        return {"values": found}

    # Learning.

    def with_outputs(
        self, form: str, likelihood: str = "gaussian", degrees_of_freedom: float = 4.0
    ) -> Measurements:
        """The same quantities, learned by another likelihood."""
        super().with_outputs(form, "gaussian" if likelihood == "student-t" else likelihood)
        return self.model_copy(update={"likelihood": likelihood, "degrees_of_freedom": degrees_of_freedom})

    def fitted(self, targets: np.ndarray, where: str) -> Measurements:
        """The same quantities, standardised by the median and the middle half of the training galaxies.

        These, unlike mean and standard deviation, ignore a few wild values.
        """
        centres, scales = [], []
        for k, name in enumerate(self.names):
            values = targets[np.isfinite(targets[:, k]), k].astype(np.float64)
            if not len(values) or values.min() == values.max():
                found = f"is {values[0]:g} for all" if len(values) else "is known of none"
                raise UsageError(
                    f"{where}: {name} {found} of the {len(targets)} training galaxies, so that nothing can "
                    "be learned about it; leave the column out, or label more galaxies"
                )
            low, centre, high = np.percentile(values, [25, 50, 75])
            scale = _GAUSSIAN_SPREAD * (high - low) or values.std()
            if scale < _FEWEST_DIGITS * abs(centre):
                raise UsageError(
                    f"{where}: values of {name} differ by {scale:.2g} about {centre:.8g}, too little for a "
                    f"network's 32-bit numbers; subtract a constant near {centre:.8g} from the column"
                )
            centres.append(float(centre))
            scales.append(float(scale))
        return self.model_copy(update={"centres": tuple(centres), "scales": tuple(scales)})

    @property
    def unfitted(self) -> Measurements:
        """Without what :meth:`fitted` added."""
        return self.model_copy(update={"centres": (), "scales": ()})

    def loss(
        self,
        outputs_NK: torch.Tensor,
        targets: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """−ln p of the standardised values, mean over galaxies and quantities, a scalar; none counts 0."""
        return measurement_losses(outputs_NK, targets, self._standard, self._freedom).mean()

    @property
    def _standard(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Centres and scales; 0 and 1 before a training."""
        return self.centres or (0.0,) * len(self.names), self.scales or (1.0,) * len(self.names)

    def probabilities(self, outputs_NK: torch.Tensor) -> torch.Tensor:
        """Means, then standard deviations, in the units of the table, (N, 2T) float32."""
        return predictions(outputs_NK, self._standard)

    def linear_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Loss]:
        """Standardised values (NaN: none) and their squared error: ridge regression; errors play no part."""
        centres, scales = self._standard
        values_NT = np.asarray(targets, np.float64)[:, : len(self.names)]
        return (values_NT - centres) / scales, squared_error

    def linear_losses(self, targets: np.ndarray, outputs_VNK: np.ndarray) -> np.ndarray:
        """Squared errors of the means; spreads come with :meth:`linear_head`."""
        residuals_NT = self.linear_targets(targets)[0] - outputs_VNK.mean(axis=0)
        return np.nansum(np.square(residuals_NT), axis=1)

    def linear_head(self, model: LinearModel, held_out: Callable[[], np.ndarray]) -> LinearModel:
        """The same means, with one spread for all galaxies: that of the held-out residuals."""
        spreads_T = np.sqrt(np.nanmean(np.square(held_out()), axis=0))
        biases_K = np.concatenate([model.bias_K, log_spread_outputs(spreads_T)])
        return LinearModel(np.concatenate([model.weight_KD, np.zeros_like(model.weight_KD)]), biases_K)

    def linear_predictions(self, outputs: np.ndarray) -> np.ndarray:
        """As :meth:`probabilities`."""
        centres, scales = map(np.array, self._standard)
        means, logarithms = np.split(outputs, 2, axis=-1)
        return np.concatenate([centres + scales * means, scales * spreads_of(logarithms)], axis=-1)

    def average(self, predictions_SNK: np.ndarray) -> np.ndarray:
        """Mean and standard deviation of the mixture."""
        return averaged(predictions_SNK)

    def epoch_metric(self) -> Metric:
        """R², the mean over the quantities; 0 for one whose values so far are all the same."""
        return epoch_r2(self._standard)

    # Scores and calibration.

    def measure(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.measurements.measurement_metrics`."""
        return measurement_metrics(
            *self._split(targets, predictions_NK),
            self.names,
            redshifts=self.redshifts,
            scales=self._standard[1],
            degrees_of_freedom=self._freedom,
            bootstrap=bootstrap,
            seed=seed,
        )

    def _split(
        self, targets: np.ndarray, predictions_NK: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Values, errors, means and standard deviations, (N, T) each."""
        size, predicted = len(self.names), np.asarray(predictions_NK)
        targets = np.asarray(targets)
        return targets[:, :size], targets[:, size:], predicted[:, :size], predicted[:, size:]

    def calibration_scores(
        self, targets: np.ndarray, predictions_NK: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """See :func:`morphoscope.metrics.measurements.measurement_calibration`."""
        return measurement_calibration(
            *self._split(targets, predictions_NK),
            self.names,
            scales=self._standard[1],
            degrees_of_freedom=self._freedom,
            bootstrap=bootstrap,
            seed=seed,
        )

    def log_losses(self, targets: np.ndarray, predictions_NK: np.ndarray) -> np.ndarray:
        """−ln p of the standardised values in nats, the mean over a galaxy's known quantities."""
        losses = measurement_log_losses(*self._split(targets, predictions_NK), self._freedom)
        known = np.isfinite(losses)
        losses = np.where(known, losses - np.log(self._standard[1]), 0.0)
        return losses.sum(axis=1) / np.maximum(known.sum(axis=1), 1)

    def entropy(self, predictions: np.ndarray) -> np.ndarray:
        """Differential entropy of the standardised quantities, their mean; below 0 for narrow predictions."""
        deviations = np.asarray(predictions, np.float64)[..., len(self.names) :] / self._standard[1]
        return measurement_entropies(deviations, self._freedom).mean(axis=-1)

    @property
    def calibrators(self) -> tuple[str, ...]:
        """None, or a factor for the predicted error of each quantity."""
        return ("none", "spread")

    def fit_calibrator(self, method: str, targets: np.ndarray, predictions_NK: np.ndarray) -> Correction:
        """No correction, or :func:`morphoscope.labels.spreads.fit_factors`."""
        return Unchanged() if method == "none" else fit_factors(targets, predictions_NK, self._freedom)

    # Tables of predictions.

    def prediction_columns(self, targets: np.ndarray, predictions_NK: np.ndarray) -> dict[str, pa.Array]:
        """NAME_true (of a redshift NAME_redshift), NAME_true_error, NAME_predicted, NAME_predicted_error."""
        import pyarrow as pa

        columns = {}
        parts = self._split(targets, predictions_NK)
        for k, quantity in enumerate(self.quantities):
            truth = _REDSHIFT if quantity.redshift else _TRUE
            for after, part in zip((truth, _TRUE_ERROR, _PREDICTED, _PREDICTED_ERROR), parts, strict=True):
                columns[quantity.name + after] = pa.array(part[:, k], pa.float32())
        return columns

    @classmethod
    def outputs_in(cls, columns: Sequence[str]) -> tuple[str, ...] | None:
        """The columns of true values: NAME_true, or NAME_redshift."""
        names = [name.removesuffix(_PREDICTED_ERROR) for name in columns if name.endswith(_PREDICTED_ERROR)]
        return (
            tuple(name + after for name in names for after in (_TRUE, _REDSHIFT) if name + after in columns)
            or None
        )

    @classmethod
    def read_predictions(cls, table: pa.Table, outputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values (NaN: none) and errors, then means and standard deviations, (N, 2T) float64 each."""
        names = [_bare(name) for name in outputs]

        def stacked(columns: Sequence[str]) -> np.ndarray:
            return np.stack([table.column(name).to_numpy() for name in columns], axis=1).astype(np.float64)

        truth = stacked([*outputs, *(name + _TRUE_ERROR for name in names)])
        return truth, stacked([name + after for after in (_PREDICTED, _PREDICTED_ERROR) for name in names])

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
        """See :func:`morphoscope.metrics.measurements.compare_measurements`."""
        size = len(outputs)
        return compare_measurements(
            truth[:, :size],
            first[:, :size],
            second[:, :size],
            [_bare(name) for name in outputs],
            redshifts=[_bare(name) for name in outputs if name.endswith(_REDSHIFT)],
            bootstrap=bootstrap,
            seed=seed,
        )

    def catalogue_columns(self, sets: Sets | None = None) -> list[Column]:
        """Per quantity the mean, its error, and a central interval."""
        import pyarrow as pa

        number, percent = pa.float32(), f"{100 * INTERVAL:.0f} %"
        columns = []
        for each in self.quantities:
            described = {
                "": (f"predicted {each.name}", each.ucd),
                _ERROR: (
                    f"predicted error of {each.name}: standard deviation of its distribution",
                    f"stat.error;{each.ucd}" if each.ucd else "stat.error",
                ),
                _LOW: (
                    f"lower end of the central {percent} interval of {each.name}",
                    _with(each.ucd, "stat.min"),
                ),
                _HIGH: ("upper end of it", _with(each.ucd, "stat.max")),
            }
            for after, (text, ucd) in described.items():
                columns.append(Column(each.name + after, number, text, each.unit, ucd))
        return columns

    def catalogue_values(self, predictions_NK: np.ndarray, sets: Sets | None = None) -> dict[str, pa.Array]:
        """The values of :meth:`catalogue_columns`."""
        import pyarrow as pa

        means, deviations = np.split(np.asarray(predictions_NK, np.float64), 2, axis=1)
        wide = half_width(INTERVAL, self._freedom) * deviations
        parts = {"": means, _ERROR: deviations, _LOW: means - wide, _HIGH: means + wide}
        return {
            name + after: pa.array(values[:, k], pa.float32())
            for k, name in enumerate(self.names)
            for after, values in parts.items()
        }

    # The report and its maps.

    def report_parts(self, test: Mapping[str, Any]) -> list[ReportPart]:
        """See :mod:`morphoscope.labels.measurement_report`."""
        return report_parts({each.name: each.unit for each in self.quantities}, test)

    def output_to_explain(self, test: Mapping[str, Any]) -> str:
        """The quantity with the highest R²."""
        rows = [row for row in test.get("per_quantity") or [] if row["r2"]["value"] is not None]
        return max(rows, key=lambda row: row["r2"]["value"])["name"] if rows else self.names[0]

    def examples_of(self, targets: np.ndarray, output: int, count: int, seed: int = 0) -> np.ndarray:
        """The galaxies with the highest values, highest first."""
        values = targets[:, output % len(self.names)]
        known = np.flatnonzero(np.isfinite(values))
        return known[np.argsort(-values[known], kind="stable")][:count]


def _bare(column: str) -> str:
    """The quantity of a column of true values."""
    return column.removesuffix(_TRUE) if column.endswith(_TRUE) else column.removesuffix(_REDSHIFT)


def _with(ucd: str, word: str) -> str:
    return f"{ucd};{word}" if ucd else ""
