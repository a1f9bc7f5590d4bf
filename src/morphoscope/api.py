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
from morphoscope.errors import UsageError
from morphoscope.evaluation.predictor import Predictor
from morphoscope.recipe import Recipe
from morphoscope.studies.registry import find_recipe
from morphoscope.training.run import Run, open_run

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.catalogue.predict import Summary
    from morphoscope.catalogue.similar import Neighbour
    from morphoscope.evaluation.ensemble import Ensemble
    from morphoscope.explanation.explain import Maps

__all__ = ["LoadedRun", "load", "open_store", "train"]


class LoadedRun:
    """A finished run, or several that answer as one, ready to answer.

    Args:
        run: the opened folder, or several.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.
        dropout_samples: answer as so many networks with other units left out in each; 0: the whole network.
    """

    def __init__(
        self,
        run: Run | Sequence[Run],
        views: int | None = None,
        calibrated: bool | None = None,
        dropout_samples: int = 0,
    ) -> None:
        self.runs = (run,) if isinstance(run, Run) else tuple(run)
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
            members = [
                Predictor(
                    run, views=self.views, calibrated=self.calibrated, dropout_samples=self.dropout_samples
                )
                for run in self.runs
            ]
            if len(members) > 1:
                from morphoscope.evaluation.ensemble import Ensemble

                self._predictor = Ensemble(members)
            else:
                self._predictor = members[0]
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

        facts = self.answering.run.header.store
        return self.answering.probabilities([fitted(image, facts) for image in images])

    def embed(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Features of images in memory before the network's head, averaged over the views.

        Args:
            images: as for :meth:`predict`.

        Returns:
            (N, D) float32. Of a network that keeps every place of its last map, the mean over the places.

        Raises:
            UsageError: of several runs, whose features differ in meaning.
        """
        from morphoscope.catalogue.prepare import fitted

        stored = [fitted(image, self.run.header.store) for image in images]
        features = self.predictor.look(stored).features_ND
        assert features is not None
        return features

    def similar(
        self, catalogue: Path | str, to: str | Path | np.ndarray, *, count: int = 20
    ) -> list[Neighbour]:
        """The galaxies of a catalogue that look most like one, the most similar first.

        Args:
            catalogue: Parquet, made by this run with ``embeddings=True``.
            to: id or source of a galaxy of the catalogue, an image file, or (H, W, 3) uint8. The galaxy
                itself is left out.
            count: how many.

        Raises:
            UsageError: the catalogue has no features or another network's, or there is no such galaxy.
        """
        from morphoscope.catalogue.similar import EmbeddedCatalogue, galaxies_like

        def embed(image: np.ndarray, views: int | None) -> np.ndarray:
            asked = self if views in (None, self.views) else LoadedRun(self.run, views, self.calibrated)
            return asked.embed([image])[0]

        return galaxies_like(EmbeddedCatalogue(catalogue), to, count, run=self.run, embed=embed)

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

    def adapt(self, images: Sequence[np.ndarray] | np.ndarray | Path | str, count: int = 512) -> None:
        """Give the network's batch normalisation the statistics of images without labels.

        For images of another survey; where classes come in other shares than in the training it does harm,
        so measure it on some labelled ones. It holds for this object and is not written anywhere.

        Args:
            images: N images (H, W, 3) uint8, or what :meth:`catalogue` takes: a folder, glob, table or store.
            count: of a folder, glob, table or store the first so many readable images.

        Raises:
            UsageError: there are fewer than 32 images, or the network has no batch normalisation.
        """
        from morphoscope.catalogue.prepare import fitted
        from morphoscope.catalogue.read import first_images
        from morphoscope.evaluation.adapt import adapt_batch_norm

        facts = self.predictor.run.header.store
        shown = first_images(images, count, facts.stretch) if isinstance(images, Path | str) else images
        adapt_batch_norm(self.predictor, [fitted(image, facts) for image in shown])

    def catalogue(
        self, source: Path | str, out: Path | str, *, embeddings: bool = False, **options: Any
    ) -> Summary:
        """Answers for a folder, glob, table or store, streamed into a file.

        Args:
            source: of the images.
            out: Parquet, FITS, VOTable, ECSV or CSV by its ending; a folder of Parquet files without one.
            embeddings: with the features before the head, for :meth:`similar`.
            options: of :func:`morphoscope.catalogue.predict.predict_catalogue`, such as ``resume=True``.
        """
        from morphoscope.catalogue.predict import predict_catalogue
        from morphoscope.catalogue.unknown import FullAnswering

        full = FullAnswering(self.answering, embeddings=embeddings, out=Path(out))
        return predict_catalogue(self.answering, source, out, answering=full, **options)

    def sky(
        self,
        picture: Path | str | np.ndarray,
        out: Path | str,
        *,
        bands: str | Sequence[str] | None = None,
        drawn: Path | str | None = None,
        overwrite: bool = False,
        coverage: float | None = None,
        per_class: bool = False,
    ) -> pa.Table:
        """Find the sources of one picture of the sky, or of a FITS mosaic, and classify each.

        Args:
            picture: an image file, (H, W, 3) uint8, or a FITS mosaic, with ``{band}`` in its name one a band.
            bands: of a FITS mosaic, such as ``"g,r,z"``.
            out: the catalogue to write; its format as in :meth:`catalogue`.
            drawn: also draw the picture with its labels, PNG.
            overwrite: replace a catalogue that is there.
            coverage: add the column ``set`` (see :meth:`predict_sets`).
            per_class: as there.

        Returns:
            The catalogue's table, brightest source first.
        """
        from morphoscope.catalogue.sky import classify_sky

        seen = classify_sky(
            self.answering,
            picture,
            out,
            bands=bands,
            overwrite=overwrite,
            coverage=coverage,
            per_class=per_class,
            drawn=drawn is not None,
        )
        if drawn is not None:
            from morphoscope.report.sky_picture import labelled_picture

            labelled_picture(
                seen.image(),
                seen.boxes(),
                seen.table["predicted"].to_pylist(),
                np.asarray(seen.table["probability"]),
                Path(drawn),
                classes=self.classes,
            )
        return seen.table

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
        if store is None:
            return evaluate(self.run, self.run.store(), keep=False, **wanted)
        return evaluate_elsewhere(self.run, store, **wanted)

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


def load(
    run: Path | str | Sequence[Path | str],
    *,
    views: int | None = None,
    calibrated: bool | None = None,
    dropout_samples: int = 0,
) -> LoadedRun:
    """Load a finished run, or several that are to answer as one.

    Args:
        run: its folder, or a list of folders: the answers are the mean of theirs.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
        calibrated: correct the answers by the run's calibration; False: the network's own. None: as the
            recipe says.
        dropout_samples: Monte-Carlo dropout, answers averaged over so many networks with other units of the
            head left out in each; 0: the whole network.

    Raises:
        UsageError: there is no run, or several do not go together.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program.
    """
    folders = [run] if isinstance(run, Path | str) else run
    return LoadedRun([open_run(folder) for folder in folders], views, calibrated, dropout_samples)


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
    from morphoscope.evaluation.reference import read_reference
    from morphoscope.training.fit import fit

    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    store = store if isinstance(store, Store) else open_store(store)
    run = fit(recipe, store, out, resume=resume, progress=progress)
    if recipe.data.test == 0:
        if read_calibration(run) is None or read_reference(run) is None:
            calibrate(run, store)
    elif not run.metrics():
        evaluate(run, store)
    if report:
        from morphoscope.report.page import write_report

        write_report(run, store)
    return LoadedRun(run)
