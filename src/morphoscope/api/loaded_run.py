"""A finished run, or an ensemble of several, ready to predict, explain, evaluate and publish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.data.store import Store, as_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.engine.choose import check_dropout, check_int8
from morphoscope.inference.ensemble import load_predictor
from morphoscope.inference.predictor import Predictor
from morphoscope.notebook import notebook_html, spread, with_interval
from morphoscope.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from morphoscope.api.image_inputs import ImagesLike
    from morphoscope.catalogue.columns import FullColumns
    from morphoscope.catalogue.predict import Summary
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.catalogue.similar import Neighbour
    from morphoscope.explanation.explain import Maps
    from morphoscope.inference.ensemble import Ensemble

GRAPHS = ("onnx", "openvino", "mnn")  # engines without the network itself


class LoadedRun:
    """A finished run, or an ensemble of several, ready to predict.

    Args:
        run: the opened folder or exported file, or several.
        views: test-time augmentation, 1, 2, 4, 8, 16, 24 or 48 views; None: as the recipe says.
        calibrated: apply the run's calibration; None: as the recipe says.
        dropout_samples: Monte-Carlo dropout, the mean of so many samples; 0: the whole network.
        engine: as for :func:`~morphoscope.api.load_and_train.load`.
        precision: likewise.

    Raises:
        UsageError: several that do not go together, or samples of dropout from an ONNX file.
    """

    def __init__(
        self,
        run: Run | Sequence[Run],
        views: int | None = None,
        calibrated: bool | None = None,
        dropout_samples: int = 0,
        engine: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.precision = precision
        self.runs = (run,) if isinstance(run, Run) else tuple(run)
        self.engine = engine
        self.run = self.runs[0]
        self.views = views
        self.calibrated = calibrated
        self.dropout_samples = dropout_samples
        for each in self.runs:
            check_dropout(each, self._computing, dropout_samples)
        if precision == "int8":
            check_int8(self._computing, dropout_samples)
        if len(self.runs) > 1:
            from morphoscope.inference.ensemble import check_members

            check_members(self.runs)
        self._predictor: Predictor | Ensemble | None = None

    @property
    def predictor(self) -> Predictor:
        """The network and its preprocessing of images; loaded when first used.

        Raises:
            UsageError: there are several.
        """
        if len(self.runs) > 1:
            raise UsageError("this takes one run; an ensemble can predict, make catalogues and be evaluated")
        assert isinstance(self.predictor_or_ensemble, Predictor)
        return self.predictor_or_ensemble

    @property
    def predictor_or_ensemble(self) -> Predictor | Ensemble:
        """The predictor of one run, or the ensemble of several; loaded when first used."""
        if self._predictor is None:
            self._predictor = load_predictor(
                self.runs, self.views, self.calibrated, self.dropout_samples, self._computing, self.precision
            )
        return self._predictor

    @property
    def _computing(self) -> str:
        """What computes the network, on each worker of a cluster too."""
        return "auto" if self.engine == "ray" else self.engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The class or vote of each column of the predictions."""
        return self.run.scheme.output_names

    def _folder(self, done: str) -> Run:
        """The one run, which has a folder.

        Raises:
            UsageError: there are several, or it is an exported file.
        """
        if len(self.runs) > 1:
            raise UsageError(f"runs are {done} one at a time; {len(self.runs)} were passed")
        if self.run.path.is_file():
            raise UsageError(
                f"{self.run.path} is an exported file; give the run's folder, which can be {done}"
            )
        return self.run

    def metrics(self) -> dict[str, Any]:
        """The metrics measured at the end of training."""
        return self.run.metrics()

    def _repr_html_(self) -> str:
        """HTML for notebooks: classes, metrics and a few test galaxies."""
        measured = self.metrics().get("test", {}) if len(self.runs) == 1 else {}
        facts: list[tuple[str, object]] = [
            ("recipe", ", ".join(dict.fromkeys(run.recipe.name for run in self.runs))),
            ("network", ", ".join(dict.fromkeys(run.recipe.model.name for run in self.runs))),
            ("labels", f"{self.run.scheme.name}: {', '.join(self.classes[:12])}"),
            ("trained on", f"{self.run.header.store.name}, {self.run.header.store.count:,} galaxies"),
            ("test galaxies", measured.get("n")),
        ]
        for name in ("accuracy", "macro_f1", "rmse"):
            if isinstance(measured.get(name), dict) and {"value", "low", "high"} <= measured[name].keys():
                facts.append((name.replace("_", " "), with_interval(measured[name])))
        title = f"Run {', '.join(run.name for run in self.runs)}"
        return notebook_html(title, facts, images=self._test_galaxies())

    def _test_galaxies(self, count: int = 6) -> list[tuple[str, np.ndarray]]:
        """A few test galaxies with their predictions, if the training's store still exists."""
        if len(self.runs) > 1:
            return []
        with contextlib.suppress(MorphoscopeError, OSError):
            store, table = self.run.store(), self.run.predictions()
            names = [name for name in ("row", "id", "predicted") if name in table.column_names]
            ids, found = store.table.column("id"), []
            for each in table.select(names).take(spread(table.num_rows, count)).to_pylist():
                row = each.get("row", len(store))
                if row < len(store) and ids[row].as_py() == each["id"]:
                    label = self.classes[each["predicted"]] if "predicted" in each else ""
                    found.append((f"{each['id']} {label}".strip(), store.pictures[row]))
            return found
        return []

    def predict(
        self, images: ImagesLike, *, scale: str | None = None, estimate_shares: bool = False
    ) -> np.ndarray:
        """Predict images, all held in memory; for many there is :meth:`catalogue`.

        Args:
            images: arrays (H, W, 3) uint8 of any size and paths of image files, mixed as you like; one of
                them; or a folder, glob, archive, table or store. They are preprocessed as for a catalogue.
            scale: "auto": images whose central galaxy is much smaller or larger than the training's are
                cropped or padded so that it is as large; "trained": all are framed as the training's; None:
                as the run's recipe says, which for ``default`` is "auto", except for a store.
            estimate_shares: for the class shares of these images, estimated from the predictions, in place
                of the training's (see :mod:`morphoscope.metrics.class_shares`); at least 200 images.

        Returns:
            (N, K) float32: class probabilities that sum to 1, or vote fractions; calibrated, if the run is.

        Raises:
            UsageError: another scale, a run that does not know how large its training galaxies are, or class
                shares of too few images or of a run without classes.
            MorphoscopeError: an image cannot be read.
        """
        from morphoscope.api.image_inputs import framed_images

        predictor = self.predictor_or_ensemble
        predictions_NK = predictor.probabilities(framed_images(images, predictor.run, scale))
        if estimate_shares:
            from morphoscope.inference.class_shares import class_shares_of

            return class_shares_of(predictor, predictions_NK)(predictions_NK)
        return predictions_NK

    def embed(self, images: ImagesLike, *, scale: str | None = None) -> np.ndarray:
        """Features of images before the network's head, averaged over the views that every galaxy gets.

        Args:
            images: as for :meth:`predict`.
            scale: as for :meth:`predict`.

        Returns:
            (N, D) float32. Of a network that keeps every position of its last map, the mean over them.

        Raises:
            UsageError: of several runs, whose features differ in meaning.
        """
        from morphoscope.api.image_inputs import framed_images

        features = self.predictor.predict(framed_images(images, self.run, scale)).features_ND
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
        from morphoscope.inference.preprocess import framing_of

        embedded = EmbeddedCatalogue(catalogue)
        scale = framing_of(embedded.provenance)

        def embed(image: np.ndarray, views: int | None) -> np.ndarray:
            if views in (None, self.views):
                return self.embed([image], scale=scale)[0]
            again = type(self)(self.run, views, self.calibrated, engine=self.engine, precision=self.precision)
            return again.embed([image], scale=scale)[0]

        return galaxies_like(embedded, to, count, run=self.run, embed=embed)

    def predict_sets(
        self,
        images: ImagesLike,
        coverage: float = 0.9,
        *,
        per_class: bool = False,
        scale: str | None = None,
    ) -> list[tuple[str, ...]]:
        """For each image the classes it may have, the most probable first.

        Args:
            images: as for :meth:`predict`.
            coverage: share of galaxies, drawn as the training's, whose set holds the truth.
            per_class: within every class, and not only over all galaxies.
            scale: as for :meth:`predict`.

        Raises:
            UsageError: the run predicts votes, or is not calibrated.
        """
        from morphoscope.catalogue.columns import sets_of
        from morphoscope.metrics.conformal import filled_sets, ranked_sets

        sets = sets_of(self.predictor, coverage, per_class=per_class)
        assert sets is not None
        probabilities = self.predict(images, scale=scale)
        return ranked_sets(probabilities, filled_sets(probabilities, sets.least_K), self.classes)

    def adapt(
        self, images: ImagesLike, count: int = 512, *, scale: str | None = None, crop: int | None = None
    ) -> None:
        """Give the network's batch normalisation the statistics of images without labels.

        For images of another survey. Where classes come in other shares than in the training it does harm,
        so measure it on some labelled ones. It holds for this object and is not written anywhere.

        Args:
            images: as for :meth:`predict`.
            count: of a folder, glob, archive, table or store the first so many readable images.
            scale: as for :meth:`predict`.
            crop: side of the centre crop of each image, as for a catalogue.

        Raises:
            UsageError: there are fewer than 32 images, the network has no batch normalisation, or the engine
                is "ray", whose workers load the run as it is, or works from a graph.
        """
        if self.engine in GRAPHS or self.run.path.is_file():
            raise UsageError(
                "--adapt changes the network, which an ONNX file does not allow; use --engine torch"
            )
        if self.precision == "int8":
            check_int8(self._computing, adapt=True)
        if self.engine == "ray":
            raise UsageError("--adapt does not reach the workers of --engine ray; leave one of them out")
        from morphoscope.api.image_inputs import first_readable
        from morphoscope.inference.adapt_batch_norm import adapt_batch_norm

        seen = first_readable(images, count, self.predictor.run, scale=scale, crop=crop)
        adapt_batch_norm(self.predictor, seen)

    def explain(
        self,
        images: ImagesLike,
        *,
        method: str = "gradcam",
        target: str | int | Sequence[str | int] = "predicted",
        layer: str | None = None,
        scale: str | None = None,
    ) -> Maps:
        """Which parts of images the network's prediction rests on.

        Args:
            images: as for :meth:`predict`.
            method: saliency, smoothgrad, integrated, gradcam or ablationcam.
            target: a class or vote column such as ``Class4.1``, by name or number; "predicted": each galaxy's
                own; or one for each galaxy.
            layer: dotted name of a module, for gradcam and ablationcam; None: the last feature map.
            scale: as for :meth:`predict`.

        Returns:
            ``values`` (N, H, W), zero or more, at the size of the network's input; ``images``, what it saw;
            ``dead``, which maps are zero everywhere.

        Raises:
            UsageError: no such method, layer or target.
        """
        from morphoscope.api.image_inputs import framed_images
        from morphoscope.explanation.explain import Explainer

        if self.engine in GRAPHS or self.run.path.is_file():
            raise UsageError("maps need gradients, which an ONNX file does not give; load the run itself")
        stored = framed_images(images, self.run, scale)
        return Explainer(self.predictor)(stored, method=method, target=target, layer=layer)

    def catalogue(
        self, source: Path | str | CatalogueRequest, out: Path | str | None = None, **options: Any
    ) -> Summary:
        """Predict every image of a folder, glob, table, archive or store, streamed into a file.

        Args:
            source: the images; or a whole :class:`~morphoscope.catalogue.request.CatalogueRequest`.
            out: Parquet, FITS, VOTable, ECSV or CSV by its ending; a folder of Parquet files without one.
            options: the other fields of the request, such as ``resume=True`` or ``embeddings=True``.

        Raises:
            UsageError: the request is wrong (see :func:`morphoscope.catalogue.predict.predict_catalogue`).
            MorphoscopeError: no image could be read, or the disk is full.
        """
        from morphoscope.catalogue.predict import predict_catalogue
        from morphoscope.catalogue.request import CatalogueRequest

        if isinstance(source, CatalogueRequest):
            if out is not None or options:
                raise UsageError("the request says what is written and how; leave the other arguments out")
            request = source
        elif out is None:
            raise UsageError("the catalogue to write is missing; give its name after the images")
        else:
            request = CatalogueRequest.of(source, out, options)
        where: dict[str, Any] = {}
        if self.engine == "ray":
            from morphoscope.catalogue.distributed.ray import rows_from_cluster
            from morphoscope.extras import need

            if request.estimate_shares:
                raise UsageError(
                    "--estimate-shares does not reach the workers of --engine ray; leave one of them out"
                )
            if request.measure:
                raise UsageError(
                    "--measure does not go with --engine ray; use 'morphoscope measure', and join by id"
                )
            need(("ray",), "ray", "the engine ray")
            runs = [replace(run, path=run.path.resolve()) for run in self.runs]
            load = partial(
                load_predictor,
                runs,
                self.views,
                self.calibrated,
                self.dropout_samples,
                self._computing,
                self.precision,
            )
            where["rows"] = partial(rows_from_cluster, partial(_columns, load, request))
        columns = _columns(lambda: self.predictor_or_ensemble, request)
        return predict_catalogue(self.predictor_or_ensemble, request, columns=columns, **where)

    def sky(
        self,
        picture: Path | str | np.ndarray,
        out: Path | str,
        *,
        bands: str | Sequence[str] | None = None,
        stretch: str | None = None,
        drawn: Path | str | None = None,
        overwrite: bool = False,
        coverage: float | None = None,
        per_class: bool = False,
        adapt: bool = False,
        min_area: int = 150,
        quality: str = "auto",
    ) -> pa.Table:
        """Detect the sources of one picture of the sky, or of a FITS mosaic, and classify each.

        Args:
            picture: an image file, (H, W, 3) uint8, or a FITS mosaic (one per band with ``{band}``).
            bands: of a FITS mosaic, such as ``"g,r,z"``.
            stretch: of a FITS mosaic or a 32-bit TIFF; None: as in the run's training.
            out: the catalogue to write; its format as in :meth:`catalogue`.
            drawn: also draw the picture with its labels, PNG.
            overwrite: replace a catalogue that is there.
            coverage: add the column ``set`` (see :meth:`predict_sets`).
            per_class: as there.
            adapt: :meth:`adapt` to the cutouts of the sources first.
            min_area: least pixels of a source above the sky; hardly any shape can be told on fewer than 150.
            quality: "off": a class even for sources too small or too faint to tell, and for stars.

        Returns:
            The catalogue's table, brightest source first.
        """
        from morphoscope.catalogue.detection.catalogue import classify_sky

        seen = classify_sky(
            self.predictor_or_ensemble,
            picture,
            out,
            bands=bands,
            stretch=stretch,
            overwrite=overwrite,
            coverage=coverage,
            per_class=per_class,
            drawn=drawn is not None,
            adapt=self.adapt if adapt else None,
            min_area=min_area,
            quality=quality,
        )
        if drawn is not None:
            from morphoscope.report.figures.sky_image import draw_sky

            draw_sky(seen, Path(drawn), self.classes)
        return seen.table

    def evaluate(
        self,
        store: Store | Path | str | None = None,
        *,
        coverage: float = 0.9,
        estimate_shares: bool = False,
    ) -> dict[str, Any]:
        """Metrics on the run's own test split, or on all labelled galaxies of another store.

        Args:
            store: another store, or its folder; None: the run's own.
            coverage: of the prediction sets.
            estimate_shares: of one run on another store: predictions for its class shares, as of
                :meth:`predict`.

        Raises:
            UsageError: shares of the run's own galaxies, or of an ensemble.
        """
        from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere

        if estimate_shares and (store is None or len(self.runs) > 1):
            raise UsageError(
                "--estimate-shares is for one run on another store; add --store, or leave it out"
            )
        store = None if store is None else as_store(store)
        if len(self.runs) > 1:
            from morphoscope.evaluation.evaluate import evaluate_ensemble
            from morphoscope.inference.ensemble import Ensemble

            assert isinstance(self.predictor_or_ensemble, Ensemble)
            return evaluate_ensemble(self.predictor_or_ensemble, store)
        wanted: dict[str, Any] = {"views": self.views, "calibrated": self.calibrated, "coverage": coverage}
        wanted |= {"engine": self._computing, "precision": self.precision}
        if store is None:
            return evaluate(self.run, self.run.store(), keep=False, **wanted)
        return evaluate_elsewhere(self.run, store, estimate_shares=estimate_shares, **wanted)

    def calibrate(
        self, store: Store | Path | str | None = None, *, report: bool = True, shifts: bool = False
    ) -> dict[str, Any]:
        """Fit calibration and feature distribution on the run's own galaxies, evaluate it again, and save
        both.

        Args:
            store: of the training, if it has moved.
            report: write the report and its figures again.
            shifts: fit it to shifted images of the validation galaxies, for use on other surveys.

        Returns:
            The result of :func:`morphoscope.evaluation.evaluate.evaluate`.
        """
        from morphoscope.evaluation.evaluate import evaluate

        run = self._folder("calibrated")
        store = run.store() if store is None else as_store(store)
        options: dict[str, Any] = {"calibrated": True, "engine": self._computing, "shifts": shifts}
        measured = evaluate(run, store, views=self.views, **options)
        self._predictor = None
        if report:
            from morphoscope.report.run_report import write_report

            write_report(run, store)
        return measured

    def export(self, out: Path | str, *, overwrite: bool = False) -> Path:
        """Write the network as ONNX, and a JSON beside it that says how images are prepared.

        See :func:`morphoscope.inference.engine.export.export_onnx`.
        """
        from morphoscope.inference.engine.export import export_onnx

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
        from morphoscope.sharing.card import CardDetails
        from morphoscope.sharing.publish import publish

        details = CardDetails(licence=licence, authors=authors)
        return publish(
            self._folder("published"), to, details=details, half=half, private=private, overwrite=overwrite
        )


def _columns(load: Callable[[], Predictor | Ensemble], request: CatalogueRequest) -> FullColumns:
    """What fills the columns of a request; called on each worker of a cluster, too."""
    from morphoscope.catalogue.columns import FullColumns

    return FullColumns(load(), embeddings=request.embeddings, out=Path(request.out))
