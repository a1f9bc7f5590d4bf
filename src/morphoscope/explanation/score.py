"""Scores of maps with intervals: how faithful, how near the truth, and do they depend on the network.

Shape letters: N galaxies, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from morphoscope.data.store import Store
from morphoscope.explanation import faithfulness
from morphoscope.explanation.explain import Explainer, Maps
from morphoscope.images.planes import picture_of
from morphoscope.metrics.bootstrap import resample_counts, with_interval

RESAMPLES = 1000

COMPONENT_OF_CLASS = {
    "Barred Spiral": "bar",
    "Unbarred Tight Spiral": "arms",
    "Unbarred Loose Spiral": "arms",
    "Merging": "companion",
    "Disturbed": "tail",
}
"""The component that makes a simulated galaxy what it is (Galaxy10's classes that have one)."""


def score_maps(
    explainer: Explainer,
    maps: Maps,
    *,
    truth_NHW: np.ndarray | None = None,
    steps: int = faithfulness.STEPS,
    baselines: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores of a method's maps and of the three baselines on the same galaxies.

    Args:
        explainer: that made them.
        maps: of N galaxies.
        truth_NHW: where the component that defines each galaxy's class lies, at the maps' size; none: no
            comparison with a truth.
        steps: of the deletion and insertion curves.
        baselines: scores found before for the same galaxies, output and truth, by another method; they are
            taken over, for the baselines are most of the work.

    Returns:
        Name of the method or baseline → score → ``{"value", "low", "high"}`` and ``n``. Scores: ``deletion``
        (smaller is better), ``insertion`` (larger is better), ``pointing``, ``energy``, ``on_galaxy``, the
        share of the map's energy on the galaxy, ``alignment`` with its long axis, and ``dead``, the share of
        maps that are zero everywhere.
    """
    images = maps.images
    known = baselines or {}
    every = {maps.method: maps.values}
    pictures = np.stack([picture_of(image) for image in images])
    every |= {
        name: faithfulness.baseline(name, pictures) for name in faithfulness.BASELINES if name not in known
    }
    galaxies_NHW = faithfulness.galaxies(pictures)
    answer = _answer(explainer, maps)
    scored = {}
    for name, values in every.items():
        deleted, inserted = faithfulness.curves(images, values, answer, steps)
        found = {"deletion": faithfulness.area(deleted), "insertion": faithfulness.area(inserted)}
        if truth_NHW is not None:
            found["pointing"] = faithfulness.pointing(values, truth_NHW)
            found["energy"] = faithfulness.energy_inside(values, truth_NHW)
        found["on_galaxy"] = faithfulness.energy_inside(values, galaxies_NHW)
        found["alignment"] = faithfulness.alignment(values, galaxies_NHW)
        largest = values.reshape(len(values), -1).max(axis=1)
        found["dead"] = (largest <= 0).astype(float)
        scored[name] = {score: mean_with_interval(per_galaxy) for score, per_galaxy in found.items()}
    return scored | {name: dict(known[name]) for name in faithfulness.BASELINES if name in known}


def component_masks(store: Store, rows: np.ndarray, target: str, explainer: Explainer) -> np.ndarray | None:
    """Where the component that defines a class lies, (N, H, W) bool as the network sees it.

    None for a store without masks (only simulated ones have them) or a class without such a component.
    """
    masks, component = getattr(store, "masks", None), COMPONENT_OF_CLASS.get(target)
    components: tuple[str, ...] = tuple(getattr(store.meta, "mask_components", ()))
    if masks is None or component not in components:
        return None
    bit = 1 << components.index(component)
    stored = [np.where(masks[row] & bit, 255, 0).astype(np.uint8)[:, :, None] for row in rows]
    seen = explainer.predictor.prepared([np.repeat(mask, 3, axis=2) for mask in stored])
    return seen[:, :, :, 0] > 127


def sanity(
    explainer: Explainer,
    images: Sequence[np.ndarray],
    maps: Maps,
    *,
    layer: str | None = None,
    stages: int = 4,
) -> list[dict[str, Any]]:
    """How like the maps of a network with ever more random weights are to those of the trained one.

    Args:
        explainer: of the trained network.
        images: the stored images of ``maps``.
        maps: of the trained network.
        layer: as for the maps.
        stages: of randomisation, from the output down.

    Returns:
        For each stage ``random`` (share of layers) and ``correlation`` (Spearman's, mean over galaxies). A
        map that stays like itself is not about the network.
    """
    rows = []
    for share, network in faithfulness.randomised(explainer.network, stages):
        other = explainer.with_network(network)
        again = other(images, method=maps.method, target=maps.targets, layer=layer)
        found = faithfulness.rank_correlation(maps.values, again.values)
        rows.append({"random": share, "correlation": mean_with_interval(found)})
    return rows


def mean_with_interval(values_N: np.ndarray) -> dict[str, Any]:
    """Mean over the galaxies that have a value, its bootstrap interval, and ``n``."""
    known = np.asarray(values_N, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return {"value": None, "low": None, "high": None, "n": 0}
    means = np.concatenate(
        [counts @ known / len(known) for counts in resample_counts(len(known), RESAMPLES, 0)]
    )
    return with_interval(float(known.mean()), means, len(known)) | {"n": len(known)}


def _answer(explainer: Explainer, maps: Maps) -> faithfulness.Answer:
    """The explained output of images that are at the network's size already."""
    predictor = explainer.predictor
    columns = [predictor.scheme.output_names.index(name) for name in maps.targets]

    @torch.no_grad()
    def answer(images_NHWC: np.ndarray) -> np.ndarray:
        found = []
        for rows in np.array_split(np.arange(len(images_NHWC)), max(1, len(images_NHWC) // 64)):
            pixels = torch.from_numpy(np.ascontiguousarray(images_NHWC[rows])).permute(0, 3, 1, 2)
            with explainer.engine.autocast():
                outputs = explainer.network(pixels.to(explainer.engine.device)).float()
            probabilities = predictor.scheme.probabilities(outputs)
            chosen = torch.tensor([columns[row] for row in rows], device=outputs.device)
            found.append(probabilities.gather(1, chosen[:, None])[:, 0].cpu().numpy())
        return np.concatenate(found)

    return answer
