"""An ensemble measured: on galaxies that no member learned from, or on another store.

Shape letters: N galaxies, K outputs.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.evaluation.ensemble import Ensemble, mutual_information
from morphoscope.evaluation.metrics import measure
from morphoscope.progress import Bar

CHUNK = 512  # galaxies between two movements of the progress bar


def evaluate_ensemble(ensemble: Ensemble, store: Store | None = None) -> dict[str, Any]:
    """Metrics of an ensemble, and of its members on the same galaxies.

    Args:
        ensemble: of finished runs.
        store: every labelled galaxy of it; None: those test galaxies of the members' common store that all
            members held out.

    Returns:
        ``scheme``, ``views``, ``test`` (see evaluation/metrics.py), ``members``: name → the same of each,
        ``mutual_ information`` (mean over the galaxies, nats), ``calibration`` and ``sets`` (None: the mean
        of calibrated answers is not calibrated again), ``out_of_distribution`` (None).

    Raises:
        UsageError: without a store, the members were trained on different ones or hold no galaxy out in
            common.
        MorphoscopeError: the store's labels are others, or no galaxy has one.
    """
    store, rows = (_held_out_by_all(ensemble)) if store is None else (store, _labelled(ensemble, store))
    targets = store.targets()[rows]
    answers: list[np.ndarray] = []
    information: list[np.ndarray] = []
    members: list[list[np.ndarray]] = [[] for _ in ensemble.members]
    with Bar("predicting galaxies", len(rows), "galaxies") as bar:
        for start in range(0, len(rows), CHUNK):
            images = [store.images[row] for row in rows[start : start + CHUNK]]
            looks, together = ensemble.look_of_each(images)
            answers.append(together.answers_NK)
            information.append(mutual_information(ensemble.scheme, together.opinions_ONK))
            for gathered, look in zip(members, looks, strict=True):
                gathered.append(look.answers_NK)
            bar.advance(len(images))
    return {
        "scheme": ensemble.scheme.kind,
        "views": ensemble.views,
        "test": measure(ensemble.scheme, targets, np.concatenate(answers)),
        "members": {
            member.run.name: measure(ensemble.scheme, targets, np.concatenate(gathered))
            for member, gathered in zip(ensemble.members, members, strict=True)
        },
        "mutual_information": float(np.concatenate(information).mean()),
        "calibration": None,
        "sets": None,
        "out_of_distribution": None,
    }


def _labelled(ensemble: Ensemble, store: Store) -> np.ndarray:
    if store.need_scheme().output_names != ensemble.scheme.output_names:
        raise MorphoscopeError(f"{store.path} has other labels than the runs answer")
    if store.meta.image_shape[0] != ensemble.input_side:
        raise MorphoscopeError(
            f"{store.path} holds images of {store.meta.image_shape[0]} px; the largest that a member was "
            f"trained on have {ensemble.input_side}"
        )
    rows = np.flatnonzero(store.labelled())
    if not len(rows):
        raise MorphoscopeError(f"{store.path} has no labelled galaxy to measure on")
    return rows


def _held_out_by_all(ensemble: Ensemble) -> tuple[Store, np.ndarray]:
    runs = [member.run for member in ensemble.members]
    if len({run.header.store.path for run in runs}) > 1:
        raise UsageError(
            "the members were trained on different stores, so no galaxy is known to be new to all of them; "
            "give one that is with --store"
        )
    store = runs[0].store()
    rows = reduce(np.intersect1d, [run.split(store).test for run in runs])
    if not len(rows):
        raise UsageError(
            "no galaxy is in the test of every member; train them with the same data.split_seed, or give "
            "another store with --store"
        )
    return store, rows
