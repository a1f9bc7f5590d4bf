"""The interface of every engine.

Shape letters: M members (samples of dropout), N images, S × S pixels of the network's input, C channels,
K outputs, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

INPUT = "images"
OUTPUTS = ("probabilities", "logits", "features")
"""Names in a run's graph."""


class Engine(ABC):
    """Computes the predictions of one network for preprocessed images.

    Attributes:
        name: as in ``--engine``.
        member_count: M: samples of Monte-Carlo dropout, or 1.
        feature_count: D.
        quantisation: how far answers in 8 bits are from those in fp32, for provenance; empty otherwise.
    """

    name: ClassVar[str]
    member_count: int = 1
    feature_count: int
    quantisation: str = ""

    @property
    @abstractmethod
    def precision_description(self) -> str:
        """Precision and device, such as "fp32 on cpu", for provenance."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The engine and its version, for provenance."""

    @abstractmethod
    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions before calibration and features of a batch.

        Args:
            images_NSSC: N > 0 images at the network's input size, uint8 grey levels.

        Returns:
            (M, N, K) float32, probabilities or vote fractions, and (N, D) float32.
        """
