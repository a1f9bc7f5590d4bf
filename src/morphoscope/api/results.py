"""How good a run is, and how it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morphoscope.api.opened import Opened
from morphoscope.data.store import Store


class MeasuresAndShares(Opened):
    """Evaluation and calibration on labelled galaxies; export and publication."""

    def evaluate(self, store: Store | None = None, *, coverage: float = 0.9) -> dict[str, Any]:
        """Metrics on the run's own test split, or on all labelled galaxies of another store.

        Args:
            store: another store; None: the run's own.
            coverage: of the prediction sets.
        """
        from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere

        if len(self.runs) > 1:
            from morphoscope.evaluation.ensemble import Ensemble
            from morphoscope.evaluation.ensemble_evaluate import evaluate_ensemble

            assert isinstance(self.answering, Ensemble)
            return evaluate_ensemble(self.answering, store)
        wanted: dict[str, Any] = {"views": self.views, "calibrated": self.calibrated, "coverage": coverage}
        run = self._computed(self.run)
        if store is None:
            return evaluate(run, run.store(), keep=False, **wanted)
        return evaluate_elsewhere(run, store, **wanted)

    def calibrate(self, store: Store | None = None, *, report: bool = True) -> dict[str, Any]:
        """Fit the calibration and the reference on the run's own galaxies, measure the run anew, and keep
        all.

        Args:
            store: of the training, if it has moved.
            report: write the report and its figures again.

        Returns:
            What :func:`morphoscope.evaluation.evaluate.evaluate` says.
        """
        from morphoscope.evaluation.evaluate import evaluate

        run = self._folder("calibrated")
        store = run.store() if store is None else store
        measured = evaluate(run, store, views=self.views, calibrated=True)
        self._predictor = None
        if report:
            from morphoscope.report.page import write_report

            write_report(run, store)
        return measured

    def export(self, out: Path | str, *, overwrite: bool = False) -> Path:
        """Write the network as ONNX, and a JSON beside it that says how images are prepared.

        See :func:`morphoscope.sharing.onnx_graph.export_onnx`.
        """
        from morphoscope.sharing.onnx_graph import export_onnx

        return export_onnx(self._folder("exported"), out, overwrite=overwrite)

    def publish(
        self,
        to: Path | str,
        *,
        licence: str = "",
        authors: str = "",
        half: bool = False,
        private: bool = False,
        overwrite: bool = False,
    ) -> str:
        """Make a folder that others can load, with a model card, or put it on a hub.

        Args:
            to: a folder to make, or ``hf-hub:owner/name``.
            licence: of the weights, by its short name such as ``cc-by-4.0``.
            authors: whom the card names.
            half: weights of two or more dimensions in half precision, for a folder half as large.
            private: on the hub: only its owner sees it.
            overwrite: replace a published folder that is there.

        Returns:
            The folder, or the address of the hub's page.
        """
        from morphoscope.sharing.card import Wording
        from morphoscope.sharing.publish import publish

        wording = Wording(licence=licence, authors=authors)
        return publish(
            self._folder("published"), to, wording=wording, half=half, private=private, overwrite=overwrite
        )
