"""An ONNX file in the place of a network.

Shape letters: N galaxies, C channels, S × S pixels, K outputs, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import need
from morphoscope.sharing.preparation import INPUT


class OnnxNetwork(nn.Module):
    """What onnxruntime says on the processor, called as the run's own network is.

    Args:
        place: the ONNX file; loaded at once.

    Raises:
        MorphoscopeError: onnxruntime is not installed, or cannot read the file.
    """

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.head = _Head()
        need(("onnxruntime",), "onnx", "the engine onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                place.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes, one a kind of fault
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MorphoscopeError(f"{place} cannot be read as an ONNX file ({reason})") from error

    def outputs(self, images_NCHW: torch.Tensor, names: Sequence[str]) -> list[np.ndarray]:
        """Some of the file's outputs, float32 arrays (N, …), of images in grey levels of any type."""
        images = images_NCHW.detach().to("cpu", torch.float32).contiguous().numpy()
        return self._session.run(list(names), {INPUT: images})  # type: ignore[return-value]

    def embed(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Features to compare galaxies by, (N, D); ``head`` then has the outputs that belong to them."""
        features, logits = self.outputs(images_NCHW, ("features", "logits"))
        tensors = [torch.from_numpy(each).to(images_NCHW.device) for each in (features, logits)]
        self.head.known = tensors[0], tensors[1]
        return tensors[0]

    def described(self, features_ND: torch.Tensor) -> torch.Tensor:
        """Those of :meth:`embed`, which the file has averaged over the places already."""
        return features_ND

    @property
    def described_width(self) -> int:
        """D."""
        return next(each.shape[1] for each in self._session.get_outputs() if each.name == "features")

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Outputs before the scheme makes probabilities of them, (N, K)."""
        return self.head(self.embed(images_NCHW))


class _Head(nn.Module):
    """Gives the outputs that were computed together with the features: the file has no head apart."""

    known: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, features_ND: torch.Tensor) -> torch.Tensor:
        known, self.known = self.known, None
        if known is None or features_ND is not known[0]:
            raise MorphoscopeError("an ONNX file answers images alone, and no features; load the run itself")
        return known[1]
