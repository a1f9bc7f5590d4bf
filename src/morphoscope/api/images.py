"""What a run says of images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.api.opened import Opened
from morphoscope.errors import UsageError

if TYPE_CHECKING:
    from morphoscope.catalogue.similar import Neighbour
    from morphoscope.explanation.explain import Maps


class AnswersImages(Opened):
    """Probabilities, features, sets of classes and maps of images; galaxies that look alike."""

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Answers for images in memory.

        Args:
            images: N images (H, W, 3) uint8, of any size; they are fitted to the training's as
                ``catalogue`` does it.

        Returns:
            (N, K) float32: class probabilities that sum to 1, or vote fractions; calibrated, if the run is.
        """
        from morphoscope.catalogue.prepare import fitted

        facts = self.answering.run.header.store
        return self.answering.probabilities([fitted(image, facts) for image in images])

    def embed(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Features of images in memory before the network's head, averaged over the views.

        Args:
            images: as for :meth:`predict`.

        Returns:
            (N, D) float32. Of a network that keeps every place of its last map, the mean over the places.

        Raises:
            UsageError: of several runs, whose features differ in meaning.
        """
        from morphoscope.catalogue.prepare import fitted

        stored = [fitted(image, self.run.header.store) for image in images]
        features = self.predictor.look(stored).features_ND
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

        def embed(image: np.ndarray, views: int | None) -> np.ndarray:
            if views in (None, self.views):
                return self.embed([image])[0]
            return type(self)(self.run, views, self.calibrated, engine=self.engine).embed([image])[0]

        return galaxies_like(EmbeddedCatalogue(catalogue), to, count, run=self.run, embed=embed)

    def predict_sets(
        self, images: Sequence[np.ndarray] | np.ndarray, coverage: float = 0.9, *, per_class: bool = False
    ) -> list[tuple[str, ...]]:
        """For each image the classes it may have, the most probable first.

        Args:
            images: as for :meth:`predict`.
            coverage: share of galaxies, drawn as the training's, whose set holds the truth.
            per_class: within every class, and not only over all galaxies.

        Raises:
            UsageError: the run answers with votes, or is not calibrated.
        """
        from morphoscope.catalogue.sets import sets_of
        from morphoscope.evaluation.conformal import filled_sets, ranked_sets

        sets = sets_of(self.predictor, coverage, per_class=per_class)
        assert sets is not None
        answers = self.predict(images)
        return ranked_sets(answers, filled_sets(answers, sets.least_K), self.classes)

    def adapt(self, images: Sequence[np.ndarray] | np.ndarray | Path | str, count: int = 512) -> None:
        """Give the network's batch normalisation the statistics of images without labels.

        For images of another survey; where classes come in other shares than in the training it does harm,
        so measure it on some labelled ones. It holds for this object and is not written anywhere.

        Args:
            images: N images (H, W, 3) uint8, or what :meth:`catalogue` takes: a folder, glob, table or store.
            count: of a folder, glob, table or store the first so many readable images.

        Raises:
            UsageError: there are fewer than 32 images, or the network has no batch normalisation.
        """
        from morphoscope.catalogue.inputs.read import first_images
        from morphoscope.catalogue.prepare import fitted
        from morphoscope.evaluation.adapt import adapt_batch_norm

        facts = self.predictor.run.header.store
        shown = first_images(images, count, facts.stretch) if isinstance(images, Path | str) else images
        adapt_batch_norm(self.predictor, [fitted(image, facts) for image in shown])

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

        if self.engine == "onnx":
            raise UsageError("maps need gradients, which an ONNX file does not give; load the run itself")
        stored = [fitted(image, self.run.header.store) for image in images]
        return Explainer(self.predictor)(stored, method=method, target=target, layer=layer)
