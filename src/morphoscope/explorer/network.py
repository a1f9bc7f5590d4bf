"""The run's network, loaded when it is first needed: predictions of dropped images, maps, features.

One question is computed at a time, so that memory does not grow with the number of people who ask.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.extras import installed
from morphoscope.images.planes import as_shown
from morphoscope.inference.preprocess import framing, load_and_preprocess
from morphoscope.runs.run import Run

if TYPE_CHECKING:
    from morphoscope.explanation.explain import Explainer
    from morphoscope.explorer.pictures import Pictures, Place
    from morphoscope.inference.predictor import Prediction, Predictor

METHODS = ("gradcam", "ablationcam", "saliency")
MAP_PACKAGES = ("torch", "timm", "captum")


@dataclass(frozen=True)
class Map:
    """Where the network looks.

    Attributes:
        values: (H, W) uint8, 255 where it looks most.
        image: (H, W, 3) uint8, what it saw.
        side: of the square that this is in the image that was given, pixels.
        target: the output that is explained.
        dead: it is zero everywhere and tells nothing.
    """

    values: np.ndarray
    image: np.ndarray
    side: float
    target: str
    dead: bool


class Network:
    """The network of a run.

    Args:
        run: a finished run; None: there is none.
    """

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self._predictor: Predictor | None = None
        self._explainer: Explainer | None = None
        self._lock = threading.Lock()

    @property
    def why_not(self) -> str:
        """Why nothing can be predicted; empty if it can."""
        if self.run is None:
            return "the run is not known; serve it with its catalogue: morphoscope serve RUN --catalogue FILE"
        return ""

    @property
    def why_no_maps(self) -> str:
        """Why there are no maps; empty if there are."""
        if self.run is None:
            return self.why_not
        if not (self.run.path / "weights.safetensors").is_file():
            return "maps need the run's weights, and only its graph is here"
        if missing := [name for name in MAP_PACKAGES if not installed(name)]:
            verb = "is" if len(missing) == 1 else "are"
            return (
                f"maps need {' and '.join(missing)}, which {verb} not installed; "
                "install with: pip install 'morphoscope[train]'"
            )
        return ""

    def predict(self, image_HWC: np.ndarray, scale: str | None = None) -> Prediction:
        """Probabilities, features and OOD score of one picture of any size, framed as for :meth:`map`.

        Raises:
            UsageError: there is no run.
        """
        predictor = self._loaded()
        prepared, _ = _prepared(image_HWC, predictor.run, scale)
        with self._lock:
            return predictor.predict([prepared])

    def seen(self, pictures: Pictures, place: Place) -> np.ndarray:
        """A galaxy's image as the network takes it: its picture, or the bands of a network of others."""
        if self.run is None or self.run.header.store.pictures:
            return pictures.load(place)
        return pictures.planes(place, self.run.header.store.bands)

    def map(self, image_HWC: np.ndarray, method: str, target: str, scale: str | None = None) -> Map:
        """Where the network looks on one image of any size.

        Args:
            image_HWC: (H, W, 3) uint8, or the bands that the network takes.
            method: one of :data:`METHODS`.
            target: a class or answer by name, or "predicted".
            scale: how it is framed, "auto" or "trained"; None: as the run's recipe says.

        Raises:
            UsageError: no such method or target.
            MorphoscopeError: the packages or the weights are not here.
        """
        if method not in METHODS:
            raise UsageError(f"there is no map '{method}'{did_you_mean(method, METHODS, 'maps')}")
        if self.why_no_maps:
            raise MorphoscopeError(self.why_no_maps)
        predictor = self._loaded()
        prepared, shown = _prepared(image_HWC, predictor.run, scale)
        with self._lock:
            if self._explainer is None:
                from morphoscope.explanation.explain import Explainer

                self._explainer = Explainer(predictor)
            found = self._explainer([prepared], method=method, target=target)
        values = np.rint(found.scaled()[0] * 255).astype(np.uint8)
        picture = as_shown(found.images[0], predictor.run.header.store)
        side = shown * (predictor.run.recipe.augment.crop or len(prepared)) / len(prepared)
        return Map(values, picture, side, found.targets[0], bool(found.dead[0]))

    def _loaded(self) -> Predictor:
        if self.run is None:
            raise UsageError(self.why_not)
        with self._lock:
            if self._predictor is None:
                from morphoscope.inference.predictor import Predictor

                self._predictor = Predictor(self.run)
            return self._predictor


def _prepared(image_HWC: np.ndarray, run: Run, scale: str | None = None) -> tuple[np.ndarray, int]:
    """An image like the training's, and the side of the square that it shows, pixels."""
    facts, fitted = framing(run, scale)
    prepared, plan, shape = load_and_preprocess(lambda: image_HWC, facts, fitted=fitted)
    return prepared, plan.crop or min(shape[:2])
