"""A run's reference, fitted on its training galaxies and read off held-out ones, and how well it tells
strangers.

Shape letters: V views, N galaxies, D features, H held-out galaxies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from morphoscope.data.split_file import Split
from morphoscope.data.store import Store
from morphoscope.evaluation.auroc import auroc
from morphoscope.evaluation.intervals import wilson_interval
from morphoscope.evaluation.predictor import Predictor, mean_over_views
from morphoscope.evaluation.reference import (
    FEWEST,
    METHOD,
    Reference,
    fit_reference,
    keep_reference,
    kept_distances,
    read_reference,
)
from morphoscope.progress import Bar, note

MOST = 4_000  # training galaxies that a reference is fitted on
CHUNK = 512  # galaxies between two movements of the progress bar
EACH = 25  # simulated non-galaxies of each kind
LEAST = 5  # of each kind; where there would be fewer, none are made
PER_GALAXY = 10  # test galaxies for one non-galaxy of a kind: a small run is not to wait for them
EDGES = np.geomspace(0.2, 20.0, 41)  # of the histogram of strangeness


class HeldOut:
    """Distances of galaxies that pass by, over each number of views that is part of the predictor's.

    A reference is fitted, or taken from the run if there is one already, when the first galaxy passes.

    Args:
        predictor: of the run.
        reference: fitted on training galaxies.
    """

    def __init__(self, predictor: Predictor, reference: Reference) -> None:
        self.reference = reference
        self._places = predictor.views_within()
        self._distances: dict[int, list[np.ndarray]] = {number: [] for number in self._places}

    def __call__(self, features_VND: np.ndarray) -> None:
        """Take in some galaxies."""
        for number, places in self._places.items():
            self._distances[number].append(self.reference.distances(mean_over_views(features_VND[places])))

    def complete(self, alone_H: np.ndarray) -> Reference:
        """The reference with the distances of those galaxies that passed by and are marked in ``alone_H``."""
        fresh = {
            number: kept_distances(np.concatenate(parts)[alone_H])
            for number, parts in self._distances.items()
        }
        return replace(self.reference, held_out={**self.reference.held_out, **fresh})


def held_out_of(predictor: Predictor, store: Store, split: Split) -> HeldOut | None:
    """What validation galaxies are to pass by; None, with a note, where there is nothing to learn from.

    The reference that the run has is used again, so that what it has for other numbers of views stays true.
    """
    alone = int((~np.isin(split.validation, split.test)).sum())
    if min(alone, len(split.train)) < FEWEST:
        note(
            f"no reference of what the training's galaxies look like: {len(split.train)} training galaxies "
            f"and {alone} validation galaxies that are not in the test, and {FEWEST} of each are the fewest"
        )
        return None
    reference = read_reference(predictor.run) or fit_reference(training_features(predictor, store, split))
    if reference is None:
        note("no reference of what the training's galaxies look like: their features are all alike")
        return None
    return HeldOut(predictor, reference)


def finish(predictor: Predictor, held_out: HeldOut, split: Split) -> None:
    """Keep the reference in the run once the validation galaxies have passed, and let the predictor use
    it.
    """
    predictor.reference = held_out.complete(~np.isin(split.validation, split.test))
    keep_reference(predictor.run, predictor.reference)


def training_features(predictor: Predictor, store: Store, split: Split) -> np.ndarray:
    """Features of up to 4,000 training galaxies, drawn by the split's seed, in one view, (N, D) float32."""
    rows = split.train
    if len(rows) > MOST:
        seed = predictor.run.recipe.data.split_seed
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    one = predictor.in_one_view()
    with Bar("features of training galaxies", len(rows), "galaxies") as bar:

        def chunks() -> Iterator[np.ndarray]:
            for start in range(0, len(rows), CHUNK):
                part = [store.images[row] for row in rows[start : start + CHUNK]]
                yield one.answers_and_features(part)[1][0]
                bar.advance(len(part))

        return np.concatenate(list(chunks()))


def strangeness_results(
    predictor: Predictor, distances_N: np.ndarray, store: Store | None = None
) -> dict[str, Any] | None:
    """How strange some galaxies are, and how well strangers are told from them, JSON-able; None without
    reference.

    Args:
        predictor: with the reference.
        distances_N: of galaxies that the reference has not seen.
        store: whose survey's non-galaxies are simulated; None, or one that is not simulated: none are.

    Returns:
        ``method``, ``galaxies`` (training), ``held_out`` (validation galaxies), ``test``: ``n`` and
        ``stranger``, the share beyond the distance within which 95 % of held-out galaxies lie, with its
        Wilson interval; ``histogram``: ``edges`` of strangeness, ``test`` and ``non_galaxies`` counts, what
        lies beyond an end being in the last bin; ``non_galaxies``: for each kind ``name``, ``n``,
        ``stranger``, ``auroc`` with its interval.
    """
    reference = predictor.reference
    if reference is None or not predictor.knows_strangeness:
        return None
    rare = reference.rare_distance(predictor.views)
    test_N = distances_N / rare
    strangers = {} if store is None else _strangers(predictor, store, len(test_N))
    return {
        "method": METHOD,
        "galaxies": reference.galaxies,
        "held_out": len(reference.held_out[predictor.views]),
        "test": {"n": len(test_N), "stranger": _share(test_N)},
        "histogram": {
            "edges": EDGES.tolist(),
            "test": _counts(test_N),
            "non_galaxies": _counts(np.concatenate(list(strangers.values()))) if strangers else [],
        },
        "non_galaxies": [
            {"name": kind, "n": len(values), "stranger": _share(values), "auroc": auroc(test_N, values)}
            for kind, values in strangers.items()
        ],
    }


def _strangers(predictor: Predictor, store: Store, galaxies: int) -> dict[str, np.ndarray]:
    """Strangeness of simulated non-galaxies of the store's survey by their kind."""
    surveys = str(store.meta.options.get("survey", "")).split(",")
    each = min(EACH, galaxies // PER_GALAXY)
    if store.meta.source != "simulator" or not surveys[0] or each < LEAST:
        return {}
    from morphoscope.data.simulation.nongalaxies import KINDS, non_galaxies

    found = {}
    with Bar("simulating non-galaxies", each * len(KINDS), "pictures") as bar:
        for kind in KINDS:
            shares = [each // len(surveys) + (place < each % len(surveys)) for place in range(len(surveys))]
            images = [
                image
                for survey, share in zip(surveys, shares, strict=True)
                for image in non_galaxies(kind, survey.strip(), share, store.meta.image_shape[0])
            ]
            found[kind] = np.asarray(predictor.look(images).strangeness_N)
            bar.advance(each)
    return found


def _share(values_N: np.ndarray) -> dict[str, float | None]:
    hits = int((values_N > 1).sum())
    low, high = wilson_interval(hits, len(values_N)) or (None, None)
    return {"value": hits / len(values_N) if len(values_N) else None, "low": low, "high": high}


def _counts(values_N: np.ndarray) -> list[int]:
    inside = np.clip(values_N, EDGES[0], EDGES[-1])
    return np.histogram(inside, EDGES)[0].tolist()
