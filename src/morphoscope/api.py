"""The Python interface: the same nouns and verbs as the command line.

::

    import morphoscope as ms

    store = ms.open_store("my-galaxies")
    run = ms.train("small/own-labels", store, "my-run")
    probabilities = ms.load("my-run").predict(images)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    from morphoscope.explanation.explain import Maps
    from morphoscope.studies.results import Results
    from morphoscope.studies.study import Options, Study

__all__ = ["LoadedRun", "StudyDone", "explain", "load", "open_store", "study", "train"]


class LoadedRun:
    """A finished run, ready to answer.

    Args:
        run: the opened folder.
        views: test-time augmentation, 1, 2, 8 or 16 views; None: as the recipe says.
    """

    def __init__(self, run: Run, views: int | None = None) -> None:
        self.run = run
        self.views = views
        self._predictor: Predictor | None = None

    @property
    def predictor(self) -> Predictor:
        """The network and its preparation of images; loaded when first asked for."""
        if self._predictor is None:
            self._predictor = Predictor(self.run, views=self.views)
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
            (N, K) float32: class probabilities that sum to 1, or vote fractions.
        """
        from morphoscope.catalogue.prepare import fitted

        return self.predictor.probabilities([fitted(image, self.run.header.store) for image in images])

    def catalogue(self, source: Path | str, out: Path | str, **options: Any) -> Summary:
        """Answers for a folder, glob, table or store, streamed into a Parquet or CSV file."""
        from morphoscope.catalogue.predict import predict_catalogue

        return predict_catalogue(self.predictor, source, Path(out), **options)

    def sky(
        self,
        picture: Path | str | np.ndarray,
        out: Path | str,
        *,
        drawn: Path | str | None = None,
        overwrite: bool = False,
    ) -> pa.Table:
        """Find the sources of one picture of the sky and classify each.

        Args:
            picture: an image file, or (H, W, 3) uint8.
            out: the catalogue to write, .parquet or .csv.
            drawn: also draw the picture with its labels, PNG.
            overwrite: replace a catalogue that is there.

        Returns:
            The catalogue's table, brightest source first.
        """
        from morphoscope.catalogue.picture import classify_picture, write_picture_catalogue

        name = "picture" if isinstance(picture, np.ndarray) else Path(picture).name
        table, sources, image = classify_picture(self.predictor, picture, name=name)
        write_picture_catalogue(self.predictor, table, out, name=name, overwrite=overwrite)
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

    def evaluate(self, store: Store | None = None) -> dict[str, Any]:
        """Metrics on the run's own test split, or on all labelled galaxies of another store."""
        from morphoscope.evaluation.evaluate import evaluate, evaluate_elsewhere

        if store is None:
            return evaluate(self.run, self.run.store(), views=self.views, keep=False)
        return evaluate_elsewhere(self.run, store, views=self.views)

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


def load(run: Path | str, *, views: int | None = None) -> LoadedRun:
    """Load a finished run.

    Raises:
        UsageError: there is no run.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program.
    """
    return LoadedRun(open_run(run), views)


def train(
    recipe: Recipe | str,
    store: Store | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    report: bool = True,
    progress: bool = True,
) -> LoadedRun:
    """Train, measure on the held-out galaxies, and write the report.

    Args:
        recipe: a recipe, its name such as ``small/five-class``, or a YAML file.
        store: a store or its folder.
        out: the run folder to make.
        resume: continue a training that was stopped.
        report: write ``report.html`` and the figures.
        progress: show a bar over the steps.
    """
    from morphoscope.evaluation.evaluate import evaluate
    from morphoscope.training.fit import fit

    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    store = store if isinstance(store, Store) else open_store(store)
    run = fit(recipe, store, out, resume=resume, progress=progress)
    if not run.metrics() and recipe.data.test > 0:
        evaluate(run, store)
    if report:
        from morphoscope.report.page import write_report

        write_report(run, store)
    return LoadedRun(run)


def explain(
    run: Path | str,
    out: Path | str,
    *,
    store: Store | Path | str | None = None,
    methods: Sequence[str] = ("saliency", "gradcam"),
    which: str = "best-f1",
    count: int = 9,
    layer: str | None = None,
    score: bool = False,
    overwrite: bool = False,
) -> Path:
    """Maps of what a run looks at, as a page, figures and numbers.

    Args:
        run: folder of a finished run.
        out: the folder to make: ``explain.html``, ``figures/``, ``maps.npz`` and ``scores.json``.
        store: labelled galaxies; None: the run's own test galaxies.
        methods: of saliency, smoothgrad, integrated, gradcam, ablationcam.
        which: a class or vote column; "best-f1": the class with the highest F1 of the test.
        count: galaxies.
        layer: for gradcam and ablationcam; None: the last feature map.
        score: also measure how faithful the maps are.
        overwrite: write into a folder that is there.

    Returns:
        The page.

    Raises:
        UsageError: no such method, layer or class, or ``out`` exists.
        MorphoscopeError: the class has no galaxy.
    """
    from morphoscope import files
    from morphoscope.explanation.choose import choose_galaxies
    from morphoscope.explanation.explain import Explainer, check_method
    from morphoscope.explanation.score import component_masks, sanity, score_maps
    from morphoscope.report.maps_page import write_maps_page
    from morphoscope.training.run import write_json

    for method in methods:
        check_method(method)
    if count < 1:
        raise UsageError(f"{count} galaxies to explain; at least one is needed")
    files.refuse_existing(Path(out), overwrite=overwrite)
    loaded = load(run)
    galaxies = (
        loaded.run.store() if store is None else open_store(store) if not isinstance(store, Store) else store
    )
    rows, target = choose_galaxies(loaded.run, galaxies, which, count)
    images = [galaxies.images[row] for row in rows]
    explainer = Explainer(loaded.predictor)
    maps, scores, checks = [], {}, {}
    for method in methods:
        at = layer if method.endswith("cam") else None
        maps.append(explainer(images, method=method, target=target, layer=at))
        if score:
            truth = component_masks(galaxies, rows, target, explainer)
            scores[method] = score_maps(explainer, maps[-1], truth_NHW=truth)
            checks[method] = sanity(explainer, images, maps[-1], layer=at)
    page = write_maps_page(loaded.run, maps, Path(out), target=target, scores=scores, sanity=checks)
    np.savez_compressed(
        Path(out) / "maps.npz",
        rows=rows,
        images=maps[0].images,
        **{each.method: each.values for each in maps},
    )
    if score:
        write_json(Path(out) / "scores.json", {"target": target, "scores": scores, "sanity": checks})
    return page


@dataclass(frozen=True)
class StudyDone:
    """What a study left.

    Attributes:
        results: every number.
        page: ``study.html``.
        lines: published and measured as text.
        not_run: rows without a measurement.
    """

    results: Results
    page: Path
    lines: list[str]
    not_run: list[str]


def study(
    which: Study | str,
    store: Store | Path | str,
    out: Path | str,
    options: Options | None = None,
    *,
    test_images: Path | str | None = None,
    progress: bool = True,
) -> StudyDone:
    """Train every row of a paper and write its page; a study that was interrupted goes on.

    Args:
        which: the study or its short name: cheng, tong, yan, ng or fu.
        store: galaxies with the study's labels.
        out: the study's folder.
        options: see :class:`morphoscope.studies.study.Options`.
        test_images: of ``ng``: Kaggle's test images; a ``submission.csv`` is written for each row.
        progress: show a bar over the steps of each training.

    Raises:
        UsageError: the store's labels are not the study's, an unknown row, or ``out`` was begun otherwise.
        MorphoscopeError: no row could be trained.
    """
    from morphoscope.studies.page import summary, write_study_page
    from morphoscope.studies.run import run_study
    from morphoscope.studies.study import Options, find_study
    from morphoscope.studies.submission import write_submission

    which = find_study(which) if isinstance(which, str) else which
    store = store if isinstance(store, Store) else open_store(store)
    options = options or Options()
    if test_images is not None and which.key != "ng":
        raise UsageError("test images and a submission are for study ng alone")
    results = run_study(which, store, Path(out), options, progress=progress)
    if test_images is not None:
        for row in results.rows.values():
            for run in row.runs()[:1]:
                write_submission(run, test_images, run.path / "submission.csv")
    page = write_study_page(which, results, store, Path(out), options)
    not_run = [name for name, row in results.rows.items() if not row.runs()]
    return StudyDone(results, page, summary(which, results), not_run)
