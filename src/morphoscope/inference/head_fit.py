"""Fit a linear head to features, with the strength of its penalty chosen by cross-validation.

Shape letters: V views, N galaxies, D features, K outputs, F folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morphoscope.data.splits.folds import fold_numbers
from morphoscope.data.splits.split import keep_together
from morphoscope.data.store import Store
from morphoscope.labels.scheme import Scheme
from morphoscope.metrics.linear_models import STRENGTHS, LinearFit, LinearModel
from morphoscope.progress import Bar
from morphoscope.recipes import Recipe

FOLDS = 5
NESTED = 2_000
"""Galaxies up to which each fold chooses its own strength; of more, one choice is as good as exact."""
BALANCE_POWERS = {"none": 0.0, "square-root": 0.5, "oversample": 1.0, "class-weights": 1.0}
"""``data.balance`` of a recipe as :attr:`Labelled.balance`."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled galaxies with their features.

    Attributes:
        features_VND: by view.
        targets: of the scheme, without missing ones.
        groups_N: galaxies with the same number are held out together.
        balance: power of the classes' weights: 0, all galaxies count alike; 1, all classes do.
    """

    features_VND: np.ndarray
    targets: np.ndarray
    groups_N: np.ndarray
    balance: float = 0.0

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Labelled:
        """Some of them."""
        return Labelled(self.features_VND[:, rows], self.targets[rows], self.groups_N[rows], self.balance)


def labelled_galaxies(recipe: Recipe, store: Store, rows: np.ndarray, features_VND: np.ndarray) -> Labelled:
    """Training galaxies of a recipe with their features; copies and neighbours are held out together.

    Args:
        recipe: its split and balance.
        store: with labels.
        rows: of the store.
        features_VND: of these rows.
    """
    together = recipe.data.split != "random"
    groups_N = keep_together(store)[rows] if together else np.arange(len(rows))
    return Labelled(features_VND, store.targets()[rows], groups_N, BALANCE_POWERS[recipe.data.balance])


def over_positions(weight_KD: np.ndarray, width: int) -> np.ndarray:
    """The weights of a head that receives ``width`` numbers, (K, width), for ones of D features.

    A backbone that keeps every position of its last map describes a galaxy by the mean over them.
    """
    positions = width // weight_KD.shape[1]
    return np.repeat(weight_KD / positions, positions, axis=1)


def predicted(model: LinearModel, scheme: Scheme, features_VND: np.ndarray) -> np.ndarray:
    """Predictions of a linear head, (V, N, K) float32."""
    return scheme.linear_predictions(model(features_VND)).astype(np.float32)


def fit_head(labelled: Labelled, scheme: Scheme, strength: float) -> LinearModel:
    """The head of a strength, with all outputs of the network."""

    def held_out() -> np.ndarray:
        targets_NK, _ = scheme.linear_targets(labelled.targets)
        residuals_NK = np.empty_like(targets_NK, np.float64)
        fold_N = _fold_numbers(labelled, scheme, 0)
        for fold in np.unique(fold_N):
            inside, outside = fold_N != fold, fold_N == fold
            outputs_NK = _prepared(labelled.take(inside), scheme)(strength)(
                labelled.features_VND[:, outside].mean(axis=0)
            )
            residuals_NK[outside] = targets_NK[outside] - outputs_NK
        return residuals_NK

    return scheme.linear_head(_prepared(labelled, scheme)(strength), held_out)


def chosen_strength(labelled: Labelled, scheme: Scheme, *, seed: int = 0) -> float:
    """The strength with the least cross-validated log loss of the mean over the views.

    Args:
        labelled: N galaxies. With more than :data:`NESTED` one of the folds is enough.
        scheme: of the targets.
        seed: of the folds.
    """
    fold_N = _fold_numbers(labelled, scheme, seed)
    folds = range(int(fold_N.max()) + 1 if len(labelled) <= NESTED else 1)
    losses = np.zeros(len(STRENGTHS))
    for fold in folds:
        inside, outside = labelled.take(fold_N != fold), labelled.take(fold_N == fold)
        fit = _prepared(inside, scheme)
        for index, strength in enumerate(STRENGTHS):
            losses[index] += scheme.linear_losses(outside.targets, fit(strength)(outside.features_VND)).sum()
    return STRENGTHS[int(np.argmin(losses))]


def held_out_predictions(
    labelled: Labelled, scheme: Scheme, fold_N: np.ndarray, strength: float, *, seed: int = 0
) -> np.ndarray:
    """Predictions of each fold by a head that was fitted to the others, (V, N, K) float32.

    Each chooses its strength from its own galaxies, so that no galaxy has a part in its own prediction; with
    more than :data:`NESTED` galaxies all take ``strength``.
    """
    views, count = labelled.features_VND.shape[:2]
    predictions_VNK = np.empty((views, count, scheme.outputs), np.float32)
    folds = np.unique(fold_N)
    with Bar("cross-validating", len(folds), "folds") as bar:
        for fold in folds:
            inside = labelled.take(fold_N != fold)
            own = strength if count > NESTED else chosen_strength(inside, scheme, seed=seed)
            outside_VND = labelled.features_VND[:, fold_N == fold]
            predictions_VNK[:, fold_N == fold] = predicted(fit_head(inside, scheme, own), scheme, outside_VND)
            bar.advance()
    return predictions_VNK


def _fold_numbers(labelled: Labelled, scheme: Scheme, seed: int) -> np.ndarray:
    strata = scheme.strata(labelled.targets)
    return fold_numbers(strata, labelled.groups_N, min(FOLDS, len(labelled)), seed)


def _prepared(labelled: Labelled, scheme: Scheme) -> LinearFit:
    targets_NK, loss = scheme.linear_targets(labelled.targets)
    if labelled.balance and scheme.class_names is not None:
        sizes_K = targets_NK.sum(axis=0)
        weights_K = np.where(sizes_K > 0, np.maximum(sizes_K, 1.0) ** -labelled.balance, 0.0)
        weighted_NK = targets_NK * weights_K
        targets_NK = weighted_NK * (len(weighted_NK) / weighted_NK.sum())
    # The mean over the views: every view as an example of its own was no better, and took five times as long.
    return LinearFit(labelled.features_VND.mean(axis=0, dtype=np.float64), targets_NK, loss)
