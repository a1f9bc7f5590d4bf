"""Adapt batch normalisation: replace the training's statistics by those of new images.

Schneider et al. 2020 (arXiv:2006.16971) and Nado et al. 2020 (arXiv:2006.10963): where images differ from the
training's in brightness, colour or noise, means and variances of the new images, without any label, recover
part of the lost accuracy. Where the class proportions differ from the training's, they do harm.

Shape letters: N images, H × W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from morphoscope.errors import UsageError
from morphoscope.inference.predictor import Predictor
from morphoscope.progress import note

FEWEST = 32  # images; the statistics of fewer are too noisy


def adapt_batch_norm(predictor: Predictor, images: Sequence[np.ndarray]) -> None:
    """Replace the running means and variances of all layers by those of unlabelled images.

    Changes the predictor, which then uses torch, but not the run's folder. The calibration is unchanged.

    Args:
        predictor: of one run.
        images: at least 32 images (H, W, C) uint8, preprocessed like the training's, with classes in the
            proportions of the galaxies to be predicted.

    Raises:
        UsageError: the network has no batch normalisation, or there are too few images.
    """
    engine = predictor.torch_engine()
    layers = [module for module in engine.network.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        raise UsageError(f"the network of run '{predictor.run.name}' has no batch normalisation to adapt")
    if len(images) < FEWEST:
        raise UsageError(f"{len(images)} images are too few to adapt to; give at least {FEWEST}")
    if engine is not predictor.engine:
        note("torch computes: batch normalisation is adapted in the network itself")
    predictor.engine = engine
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    # Batches of equal size, since all have equal weight in the mean.
    for rows in np.array_split(np.arange(len(images)), max(1, len(images) // max(FEWEST, predictor.batch))):
        predictor.pass_through([images[row] for row in rows])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    predictor.adapted_to = len(images)
