"""Everything a report is made from, and sentences on what is not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from morphoscope.errors import MorphoscopeError
from morphoscope.report import examples

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from morphoscope.data.splits.split import Split
    from morphoscope.data.store import Store
    from morphoscope.runs.run import Run


@dataclass
class ReportContext:
    """Everything a report is made from; ``missing`` says in sentences what is not there."""

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
        """Read a run, and check that ``store`` is the one it was trained on."""
        evidence = ReportContext(run, run.metrics(), run.history(), run.environment())
        try:
            evidence.predictions = run.predictions()
        except MorphoscopeError:
            evidence.missing.append("There are no predictions of test galaxies, so none are shown.")
        if store is None:
            evidence.missing.append("The store was not at hand, so the report has no pictures of galaxies.")
            return evidence
        try:
            evidence.split = run.split(store)
        except MorphoscopeError as error:
            reason = str(error).rstrip(".")
            evidence.missing.append(f"The report has no pictures of galaxies: {reason}.")
            return evidence
        table = evidence.predictions
        if table is not None and not examples.same_galaxies(table, store):
            evidence.missing.append(
                f"The report has no pictures of galaxies: {store.path.name} does not hold the galaxies of "
                "this run's predictions."
            )
            return evidence
        evidence.store = store
        return evidence

    @property
    def test(self) -> dict[str, Any]:
        """Metrics of the test split; empty when nothing was measured."""
        return self.metrics.get("test") or {}
