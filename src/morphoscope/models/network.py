"""The network every recipe trains: normalisation, backbone, head.

Shape letters: N galaxies, C channels, H × W pixels, D features, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


class Network(nn.Module):
    """Images in grey levels → K outputs; normalisation is part of the network and saved with its weights.

    Args:
        backbone: a timm model without classifier; maps (N, C, H, W) to (N, D).
        head: maps (N, D) to (N, K).
        mean: per channel, as a fraction of full scale (0..1), as in timm's configurations.
        std: standard deviation, likewise.
        frozen: layers of the backbone that do not learn; their batch normalisation stays in evaluation mode.
        hidden_l2: λ of :meth:`penalty`.
        stretch: from values as measured to levels; None: the images are in grey levels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        frozen: Sequence[nn.Module] = (),
        hidden_l2: float = 0.0,
        stretch: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stretch = stretch
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).mul(255).view(1, -1, 1, 1))
        self.hidden_l2 = hidden_l2
        self._frozen = tuple(frozen)  # a tuple, so that they are not registered twice
        for layer in self._frozen:
            layer.requires_grad_(False)

    def train(self, mode: bool = True) -> Network:
        """Training or evaluation mode; frozen layers stay in evaluation mode, as Keras keeps them (`fu`)."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def penalty(self) -> torch.Tensor:
        """λ Σ ‖W‖² over the hidden layers of the head, without biases (`cheng` and `yan`; Keras' ``l2``)."""
        *hidden, _ = (module for module in self.head.modules() if isinstance(module, nn.Linear))
        squares = [module.weight.float().square().sum() for module in hidden]
        return self.hidden_l2 * torch.stack(squares).sum() if squares else self.mean.new_zeros(())

    def embed(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Pooled features, (N, D), of images in grey levels 0..255 (uint8 or floating point), or in values as
        measured if the network has a stretch.
        """
        return self.backbone((self.levels(images_NCHW) - self.mean) / self.std)

    def levels(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Images in levels, before normalisation, (N, C, H, W) floating point."""
        images_NCHW = images_NCHW.to(self.mean.dtype)
        return images_NCHW if self.stretch is None else self.stretch(images_NCHW)

    def described(self, features_ND: torch.Tensor) -> torch.Tensor:
        """Features for comparing galaxies, (N, C), from those of :meth:`embed`, (N, D).

        Where a backbone keeps every position of its last map (``model.pool=flatten``), their mean is taken:
        the others encode where in the image something lies, and there are tens of thousands of them.
        """
        positions = getattr(self.backbone, "positions", 1)
        if positions == 1:
            return features_ND
        return features_ND.unflatten(1, (-1, positions)).mean(dim=2)

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.mean.shape[1]

    @property
    def described_width(self) -> int:
        """C of :meth:`described`."""
        first = next(module for module in self.head.modules() if isinstance(module, nn.Linear))
        return first.in_features // getattr(self.backbone, "positions", 1)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Outputs before the scheme turns them into probabilities, (N, K)."""
        return self.head(self.embed(images_NCHW))


def parameter_count(network: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of parameters as torch counts them; running statistics are buffers and do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable_only)


def parameter_total(network: nn.Module) -> int:
    """Parameters and the running statistics of batch normalisation: Keras' "Total params"."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return parameter_count(network) + sum(2 * norm.num_features for norm in norms)


def head(features: int, hidden: tuple[int, ...], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers, ReLU between them.

    Dropout follows every hidden layer (`cheng`, Table 1; `yan`, section 2.3); a head without hidden
    layers has it before its only layer.

    Args:
        features: D, width of the pooled features.
        hidden: widths of the hidden layers, possibly none.
        outputs: K.
        dropout: share of units dropped in training.
    """
    layers: list[nn.Module] = []
    for width_in, width in itertools.pairwise((features, *hidden)):
        layers += [nn.Linear(width_in, width), nn.ReLU(), nn.Dropout(dropout)]
    if not hidden:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear((features, *hidden)[-1], outputs))
    return nn.Sequential(*layers)
