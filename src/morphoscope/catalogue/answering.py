"""What is asked of the network for each batch: the answers, and the values of extra columns with them.

A catalogue with more columns (how unlike the training a galaxy is, how much an ensemble disagrees, the
features) is made by another :class:`Answering`: it names the columns, says what they are for the provenance,
and gives all values of a batch from one pass through the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from morphoscope.catalogue.columns import Extra

if TYPE_CHECKING:
    from morphoscope.evaluation.ensemble import Ensemble
    from morphoscope.evaluation.predictor import Predictor


class Answering(Protocol):
    """How a batch of images is answered."""

    @property
    def extras(self) -> Sequence[Extra]:
        """Columns beyond the usual ones, in their order."""
        ...

    @property
    def provenance(self) -> Mapping[str, str]:
        """What a reader must know about them; part of what a resumed catalogue must have in common."""
        ...

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Answers (N, K) float32, and for each extra column its values, (N,) or (N, D).

        Called in one thread at a time, with N images (H, W, C) uint8 that fit the run.
        """
        ...


class PlainAnswering:
    """The run's answers alone."""

    extras: Sequence[Extra] = ()

    def __init__(self, predictor: Predictor | Ensemble) -> None:
        self.predictor = predictor
        self.provenance: Mapping[str, str] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Answers without extra columns."""
        return self.predictor.probabilities(images), {}
