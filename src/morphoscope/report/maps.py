"""Maps of a run in one call: the galaxies are chosen, explained, scored, and put on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from morphoscope import files
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError
from morphoscope.evaluation.predictor import Predictor
from morphoscope.explanation.choose import choose_galaxies
from morphoscope.explanation.explain import Explainer, check_method
from morphoscope.explanation.score import component_masks, sanity, score_maps
from morphoscope.report.maps_page import write_maps_page
from morphoscope.training.run import Run, open_run, write_json


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
    for method in methods:
        check_method(method)
    if count < 1:
        raise UsageError(f"{count} galaxies to explain; at least one is needed")
    files.refuse_existing(Path(out), overwrite=overwrite)
    opened = open_run(run)
    galaxies = _opened(store, opened)
    rows, target = choose_galaxies(opened, galaxies, which, count)
    images = [galaxies.images[row] for row in rows]
    explainer = Explainer(Predictor(opened, views=1))
    maps, scores, checks = [], {}, {}
    for method in methods:
        at = layer if method.endswith("cam") else None
        maps.append(explainer(images, method=method, target=target, layer=at))
        if score:
            truth = component_masks(galaxies, rows, target, explainer)
            scores[method] = score_maps(explainer, maps[-1], truth_NHW=truth)
            checks[method] = sanity(explainer, images, maps[-1], layer=at)
    page = write_maps_page(opened, maps, Path(out), target=target, scores=scores, sanity=checks)
    np.savez_compressed(
        Path(out) / "maps.npz",
        rows=rows,
        images=maps[0].images,
        **{each.method: each.values for each in maps},
    )
    if score:
        write_json(Path(out) / "scores.json", {"target": target, "scores": scores, "sanity": checks})
    return page


def _opened(store: Store | Path | str | None, run: Run) -> Store:
    if store is None:
        return run.store()
    return store if isinstance(store, Store) else open_store(store)
