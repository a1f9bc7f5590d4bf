"""One run or several, opened: the network is loaded when it is first asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from morphoscope.errors import UsageError
from morphoscope.evaluation.predictor import Predictor
from morphoscope.training.run import Run

if TYPE_CHECKING:
    from morphoscope.evaluation.ensemble import Ensemble


class Opened:
    """What all that a loaded run can do rests on; its arguments are those of :class:`LoadedRun`."""

    def __init__(
        self,
        run: Run | Sequence[Run],
        views: int | None = None,
        calibrated: bool | None = None,
        dropout_samples: int = 0,
        engine: str = "torch",
    ) -> None:
        if engine == "onnx" and dropout_samples:
            raise UsageError(
                "--dropout-samples: an ONNX file is the whole network, without its dropout; "
                "use --engine torch"
            )
        self.runs = (run,) if isinstance(run, Run) else tuple(run)
        self.engine = engine
        self.run = self.runs[0]
        self.views = views
        self.calibrated = calibrated
        self.dropout_samples = dropout_samples
        if len(self.runs) > 1:
            from morphoscope.evaluation.ensemble import check_members

            check_members(self.runs)
        self._predictor: Predictor | Ensemble | None = None

    @property
    def predictor(self) -> Predictor:
        """The network and its preparation of images; loaded when first asked for.

        Raises:
            UsageError: there are several.
        """
        if len(self.runs) > 1:
            raise UsageError(
                "this takes one run; several answer together in predict, catalogue, sky and evaluate"
            )
        assert isinstance(self.answering, Predictor)
        return self.answering

    @property
    def answering(self) -> Predictor | Ensemble:
        """The network, or all of them together; loaded when first asked for."""
        if self._predictor is None:
            self._predictor = answering_of(
                [self._computed(run) for run in self.runs], self.views, self.calibrated, self.dropout_samples
            )
        return self._predictor

    def _computed(self, run: Run) -> Run:
        """The run, with the network that the engine asks."""
        if self.engine != "onnx":
            return run
        from morphoscope.sharing.onnx_run import through_onnx

        return through_onnx(run)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each column of the answers stands for."""
        return self.run.scheme.output_names

    def _folder(self, done: str) -> Run:
        """The one run, which has a folder.

        Raises:
            UsageError: there are several, or it is an exported file.
        """
        if len(self.runs) > 1:
            raise UsageError(f"one run after the other is {done}; {len(self.runs)} were given")
        if self.run.path.is_file():
            raise UsageError(
                f"{self.run.path} is an exported file; give the run's folder, which can be {done}"
            )
        return self.run

    def metrics(self) -> dict[str, Any]:
        """What was measured at the end of the training."""
        return self.run.metrics()


def answering_of(
    runs: Sequence[Run], views: int | None, calibrated: bool | None, dropout_samples: int
) -> Predictor | Ensemble:
    """The network of one run, or those of several together."""
    members = [
        Predictor(run, views=views, calibrated=calibrated, dropout_samples=dropout_samples) for run in runs
    ]
    if len(members) == 1:
        return members[0]
    from morphoscope.evaluation.ensemble import Ensemble

    return Ensemble(members)
