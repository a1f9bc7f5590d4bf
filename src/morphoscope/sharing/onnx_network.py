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
from morphoscope.sharing.packages import need
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
        """Pooled features, (N, D)."""
        return self._tensor(images_NCHW, "features")

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Outputs before the scheme makes probabilities of them, (N, K)."""
        return self._tensor(images_NCHW, "logits")

    def _tensor(self, images_NCHW: torch.Tensor, name: str) -> torch.Tensor:
        return torch.from_numpy(self.outputs(images_NCHW, (name,))[0]).to(images_NCHW.device)
