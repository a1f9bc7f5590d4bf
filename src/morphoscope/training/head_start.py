"""Start a network's head as a linear probe of its features.

A random head sends large and aimless gradients into the layers below it, which spoil pretrained features
before the head has learned anything; a head that is fitted first does not, and few epochs are left to do
(Kumar et al. 2022, arXiv:2202.10054).

Shape letters: V views, N galaxies, D features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from morphoscope.augment.cpu import Augmenter
from morphoscope.augment.params import views
from morphoscope.data.splits.file import Split, limited
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.head_fit import chosen_strength, fit_head, labelled_galaxies, over_positions
from morphoscope.labels.scheme import Scheme
from morphoscope.models.network import Network
from morphoscope.progress import Bar, note
from morphoscope.recipes import Recipe

TURNED = 500
"""Galaxies up to which the features are the mean over four quarter turns; of more, one view is enough."""
_BATCH = 64


def start_head(
    network: Network, recipe: Recipe, store: Store, split: Split, scheme: Scheme, device: torch.device
) -> str:
    """Replace the head's random weights by those of a linear probe, if the recipe asks for it.

    Args:
        network: with its starting weights; its head has no hidden layers (the recipe checks that).
        recipe: with ``model.head``.
        store: labelled galaxies.
        split: whose training part is fitted.
        scheme: as it is learned.
        device: that computes the features.

    Returns:
        What was done, in words; empty where the head stays random.

    Raises:
        MorphoscopeError: the features are not finite.
    """
    if recipe.model.head != "probe":
        return ""
    try:
        scheme.linear_targets(store.targets()[:0])
    except UsageError:
        note(f"the head starts at random: a linear probe cannot learn {scheme.noun}")
        return ""
    rows = limited(split.train, recipe.data.limit, recipe.seed)
    labelled = labelled_galaxies(recipe, store, rows, _features(network, recipe, store, rows, device))
    strength = chosen_strength(labelled, scheme, seed=recipe.data.split_seed)
    fitted = fit_head(labelled, scheme, strength)
    layer = next(module for module in network.head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(over_positions(fitted.weight_KD, layer.in_features)))
        layer.bias.copy_(torch.from_numpy(fitted.bias_K))
    return f"head: a linear probe of {len(rows)} galaxies, penalty {strength:.2g}"


@torch.no_grad()
def _features(
    network: Network, recipe: Recipe, store: Store, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """Features of some galaxies by view, (V, N, D) float32, of the network as it will predict."""
    augmenter = Augmenter(recipe.augment)
    turned = views(recipe.augment, 4 if len(rows) <= TURNED else 1)
    was_training, kept = network.training, next(network.parameters()).device
    network.eval().to(device)
    found: list[list[np.ndarray]] = [[] for _ in turned]
    try:
        with Bar("features for the head's start", len(rows), "galaxies") as bar:
            for start in range(0, len(rows), _BATCH):
                images = [store.images[row] for row in rows[start : start + _BATCH]]
                for view, features in zip(turned, found, strict=True):
                    batch = torch.from_numpy(augmenter.evaluation(images, view)).to(device)
                    described_ND = network.described(network.embed(batch.permute(0, 3, 1, 2)))
                    features.append(described_ND.float().cpu().numpy())
                bar.advance(len(images))
    finally:
        network.train(was_training).to(kept)
    features_VND = np.stack([np.concatenate(features) for features in found])
    if not np.isfinite(features_VND).all():
        raise MorphoscopeError("the features of the starting weights are not finite; use another start")
    return features_VND
