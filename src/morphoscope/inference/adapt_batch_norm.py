"""Batch normalisation with the statistics of the images at hand, instead of the training's.

Schneider et al. 2020 (arXiv:2006.16971) and Nado et al. 2020 (arXiv:2006.10963): where images differ from the
training's in brightness, colour or noise, means and variances estimated on the new images, without any
label, repair part of the loss. Where classes come in other shares than in the training, they do harm.

Shape letters: N images, H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from morphoscope.errors import UsageError
from morphoscope.inference.predictor import Predictor

FEWEST = 32  # images; the statistics of fewer say more about them than about their kind


def adapt_batch_norm(predictor: Predictor, images: Sequence[np.ndarray]) -> None:
    """Give a network the mean and variance of every layer over some unlabelled images.

    The calibration stays the training's; the predictor is changed, the run's folder is not.

    Args:
        predictor: of one run.
        images: N images (H, W, C) uint8 like the training's stored ones, at least 32; all kinds of galaxies,
            in the shares in which they will be asked.

    Raises:
        UsageError: the network has no batch normalisation, or there are too few images.
    """
    layers = [module for module in predictor.network.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        raise UsageError(
            f"the network of run '{predictor.run.name}' has no batch normalisation that could be adapted"
        )
    if len(images) < FEWEST:
        raise UsageError(f"{len(images)} images are too few to adapt to; give at least {FEWEST}")
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    # Equal batches: each counts alike in the mean, and the last one must not be a handful.
    for rows in np.array_split(np.arange(len(images)), max(1, len(images) // max(FEWEST, predictor.batch))):
        predictor.pass_through([images[row] for row in rows])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    predictor.adapted_to = len(images)
