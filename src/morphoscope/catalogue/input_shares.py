"""The class shares of a catalogue's input, estimated before its first row is made.

Shape letters: N galaxies, K classes.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.images.source_quality import has_no_class
from morphoscope.images.stream import in_order
from morphoscope.inference.class_shares import ClassShares, class_shares_of, training_shares
from morphoscope.progress import Bar, note

if TYPE_CHECKING:
    from morphoscope.catalogue.rows import RowMaker

SAMPLE = 2000
"""Galaxies at most, evenly spread over the input, so that one that is sorted is represented as a whole."""


def shares_of_input(maker: RowMaker) -> ClassShares:
    """Estimate the class shares from some of the galaxies that the catalogue will have.

    Images that cannot be read, and sources that get no class, are left out.

    Args:
        maker: of the catalogue's rows; the input is opened anew.

    Raises:
        UsageError: too few galaxies, or a run that cannot say (see
            :func:`morphoscope.inference.class_shares.training_shares`).
    """
    training_shares(maker.predictor)  # refuses before anything is read
    opened = maker.open()
    count = opened.count if opened.count is not None else sum(1 for _ in opened.items)
    step = max(1, -(-count // SAMPLE))
    expected = -(-count // step)
    some = islice(maker.open().items, 0, None, step)
    found = [np.empty((0, maker.predictor.scheme.outputs), np.float32)]
    waiting: list[np.ndarray] = []

    def predict() -> None:
        if waiting:
            found.append(maker.predictor.probabilities(waiting))
            waiting.clear()

    with (
        closing(in_order(maker.preprocess, some, maker.workers)) as ready,
        Bar("estimating class shares", expected, "galaxies") as bar,
    ):
        for each in ready:
            bar.advance(1)
            if each.image is not None and not has_no_class(each.item.quality):
                waiting.append(each.image)
            if len(waiting) == maker.batch:
                predict()
        predict()
    predictions_NK = np.concatenate(found)
    shares = class_shares_of(maker.predictor, predictions_NK[np.isfinite(predictions_NK).all(axis=1)])
    note(f"class shares: {shares.description}")
    return shares
