"""The data for a report, read from a run and its store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from morphoscope.errors import MorphoscopeError
from morphoscope.report import examples
from morphoscope.report.tested import Tested

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from morphoscope.data.splits.split import Split
    from morphoscope.data.store import Store
    from morphoscope.runs.run import Run


@dataclass
class ReportContext:
    """The data for a report; ``missing`` lists, as sentences, what could not be found."""

    run: Run
    metrics: dict[str, Any]
    history: dict[str, np.ndarray]
    environment: dict[str, Any]
    predictions: pa.Table | None = None
    store: Store | None = None
    split: Split | None = None
    missing: list[str] = field(default_factory=list)

    @staticmethod
    def of(run: Run, store: Store | None) -> ReportContext:
        """Read a run and check that ``store`` is the one it was trained on."""
        context = ReportContext(run, run.metrics(), run.history(), run.environment())
        try:
            context.predictions = run.predictions()
        except MorphoscopeError:
            context.missing.append("There are no predictions of test galaxies, so none are shown.")
        if store is None:
            context.missing.append("The store was not found, so the report has no images of galaxies.")
            return context
        try:
            context.split = run.split(store)
        except MorphoscopeError as error:
            reason = str(error).rstrip(".")
            context.missing.append(f"The report has no images of galaxies: {reason}.")
            return context
        table = context.predictions
        if table is not None and not examples.same_galaxies(table, store):
            context.missing.append(
                f"The report has no images of galaxies: {store.path.name} does not hold the galaxies of "
                "this run's predictions."
            )
            return context
        context.store = store
        return context

    @property
    def measured_on(self) -> Tested:
        """On which galaxies the metrics were measured."""
        return Tested.of(self.metrics)

    @property
    def tested(self) -> str:
        """The same, as a caption begins."""
        return self.measured_on.caption

    @property
    def test(self) -> dict[str, Any]:
        """Metrics of the test split; empty when nothing was measured."""
        return self.metrics.get("test") or {}
