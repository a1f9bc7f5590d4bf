"""The Python interface: the same nouns and verbs as the command line.

::

    import morphoscope as ms

    store = ms.open_store("my-galaxies")
    run = ms.train("small/own-labels", store, "my-run")
    probabilities = ms.load("my-run").predict(images)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.data.store import Store, open_store
from morphoscope.evaluation.predictor import Predictor
from morphoscope.recipe import Recipe
from morphoscope.studies.registry import find_recipe
from morphoscope.training.run import Run, open_run

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.catalogue.predict import Summary
    from morphoscope.explanation.explain import Maps

__all__ = ["LoadedRun", "load", "open_store", "train"]


class LoadedRun:
    """A finished run, ready to answer.

    Args:
        run: the opened folder.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.
    """

    def __init__(self, run: Run, views: int | None = None, calibrated: bool | None = None) -> None:
        self.run = run
        self.views = views
        self.calibrated = calibrated
        self._predictor: Predictor | None = None

    @property
    def predictor(self) -> Predictor:
        """The network and its preparation of images; loaded when first asked for."""
        if self._predictor is None:
            self._predictor = Predictor(self.run, views=self.views, calibrated=self.calibrated)
        return self._predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """What each column of the answers stands for."""
        return self.run.scheme.output_names

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Answers for images in memory.

        Args:
            images: N images (H, W, 3) uint8, of any size; they are fitted to the training's as
                ``catalogue`` does it.

        Returns:
            (N, K) float32: class probabilities that sum to 1, or vote fractions; calibrated, if the run is.
        """
        from morphoscope.catalogue.prepare import fitted

        return self.predictor.probabilities([fitted(image, self.run.header.store) for image in images])

    def predict_sets(
        self, images: Sequence[np.ndarray] | np.ndarray, coverage: float = 0.9, *, per_class: bool = False
    ) -> list[tuple[str, ...]]:
        """For each image the classes it may have, the most probable first.

        Args:
            images: as for :meth:`predict`.
            coverage: share of galaxies, drawn as the training's, whose set holds the truth.
            per_class: within every class, and not only over all galaxies.

        Raises:
            UsageError: the run answers with votes, or is not calibrated.
        """
        from morphoscope.catalogue.sets import sets_of
        from morphoscope.evaluation.conformal import filled_sets, ranked_sets

        sets = sets_of(self.predictor, coverage, per_class=per_class)
        assert sets is not None
        answers = self.predict(images)
        return ranked_sets(answers, filled_sets(answers, sets.least_K), self.classes)

    def catalogue(self, source: Path | str, out: Path | str, **options: Any) -> Summary:
        """Answers for a folder, glob, table or store, streamed into a file.

        Args:
            source: of the images.
            out: Parquet, FITS, VOTable, ECSV or CSV by its ending; a folder of Parquet files without one.
            options: of :func:`morphoscope.catalogue.predict.predict_catalogue`, such as ``resume=True``.
        """
        from morphoscope.catalogue.predict import predict_catalogue

        return predict_catalogue(self.predictor, source, out, **options)

    def sky(
        self,
        picture: Path | str | np.ndarray,
        out: Path | str,
        *,
        drawn: Path | str | None = None,
        overwrite: bool = False,
        coverage: float | None = None,
        per_class: bool = False,
    ) -> pa.Table:
        """Find the sources of one picture of the sky and classify each.

        Args:
            picture: an image file, or (H, W, 3) uint8.
            out: the catalogue to write; its format as in :meth:`catalogue`.
            drawn: also draw the picture with its labels, PNG.
            overwrite: replace a catalogue that is there.
            coverage: add the column ``set`` (see :meth:`predict_sets`).
            per_class: as there.

        Returns:
            The catalogue's table, brightest source first.
        """
        from morphoscope.catalogue.picture import classify_picture, write_picture_catalogue

        name = "picture" if isinstance(picture, np.ndarray) else Path(picture).name
        wanted: dict[str, Any] = {"coverage": coverage, "per_class": per_class}
        table, sources, image = classify_picture(self.predictor, picture, name=name, **wanted)
        write_picture_catalogue(self.predictor, table, out, name=name, overwrite=overwrite, **wanted)
        if drawn is not None:
            from morphoscope.report.sky_picture import labelled_picture

            labelled_picture(
                image,
                np.stack([sources.x, sources.y, np.asarray(table["cutout"]) / 2], axis=1),
                table["predicted"].to_pylist(),
                np.asarray(table["probability"]),
                Path(drawn),
                classes=self.classes,
            )
        return table

    def evaluate(self, store: Store | None = None, *, coverage: float = 0.9) -> dict[str, Any]:
        """Metrics on the run's own test split, or on all labelled galaxies of another store.

        Args:
            store: another store; None: the run's own.
            coverage: of the prediction sets.
        """
        from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere

        wanted: dict[str, Any] = {"views": self.views, "calibrated": self.calibrated, "coverage": coverage}
        if store is None:
            return evaluate(self.run, self.run.store(), keep=False, **wanted)
        return evaluate_elsewhere(self.run, store, **wanted)

    def calibrate(self, store: Store | None = None, *, report: bool = True) -> dict[str, Any]:
        """Fit the calibration on the run's validation galaxies, measure the run anew, and keep both.

        Args:
            store: of the training, if it has moved.
            report: write the report and its figures again.

        Returns:
            What :func:`morphoscope.evaluation.evaluate.evaluate` says.
        """
        from morphoscope.evaluation.evaluate import evaluate

        store = self.run.store() if store is None else store
        measured = evaluate(self.run, store, views=self.views, calibrated=True)
        self._predictor = None
        if report:
            from morphoscope.report.page import write_report

            write_report(self.run, store)
        return measured

    def explain(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        *,
        method: str = "gradcam",
        target: str | int | Sequence[str | int] = "predicted",
        layer: str | None = None,
    ) -> Maps:
        """Where the network looks in images in memory.

        Args:
            images: N images (H, W, 3) uint8, of any size.
            method: saliency, smoothgrad, integrated, gradcam or ablationcam.
            target: a class or vote column such as ``Class4.1``, by name or number; "predicted": each galaxy's
                own; or one for each galaxy.
            layer: dotted name of a module, for gradcam and ablationcam; None: the last feature map.

        Returns:
            ``values`` (N, H, W), zero or more, at the size of the network's input; ``images``, what it saw;
            ``dead``, which maps are zero everywhere.

        Raises:
            UsageError: no such method, layer or target.
        """
        from morphoscope.catalogue.prepare import fitted
        from morphoscope.explanation.explain import Explainer

        stored = [fitted(image, self.run.header.store) for image in images]
        return Explainer(self.predictor)(stored, method=method, target=target, layer=layer)

    def metrics(self) -> dict[str, Any]:
        """What was measured at the end of the training."""
        return self.run.metrics()


def load(run: Path | str, *, views: int | None = None, calibrated: bool | None = None) -> LoadedRun:
    """Load a finished run.

    Args:
        run: its folder.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.

    Raises:
        UsageError: there is no run.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program.
    """
    return LoadedRun(open_run(run), views, calibrated)


def train(
    recipe: Recipe | str,
    store: Store | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    report: bool = True,
    progress: bool = True,
) -> LoadedRun:
    """Train, calibrate, measure on the held-out galaxies, and write the report.

    Args:
        recipe: a recipe, its name such as ``small/five-class``, or a YAML file.
        store: a store or its folder.
        out: the run folder to make.
        resume: continue a training that was stopped.
        report: write ``report.html`` and the figures.
        progress: show a bar over the steps.
    """
    from morphoscope.evaluation.calibration import read_calibration
    from morphoscope.evaluation.evaluate import calibrate, evaluate
    from morphoscope.training.fit import fit

    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    store = store if isinstance(store, Store) else open_store(store)
    run = fit(recipe, store, out, resume=resume, progress=progress)
    if recipe.data.test == 0:
        if read_calibration(run) is None:
            calibrate(run, store)
    elif not run.metrics():
        evaluate(run, store)
    if report:
        from morphoscope.report.page import write_report

        write_report(run, store)
    return LoadedRun(run)
