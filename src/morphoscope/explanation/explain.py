"""Maps of what a trained run looks at, by name of the method; which galaxies to show, and which output to
explain: a class, a vote column, or each galaxy's own predicted class.

Shape letters: N galaxies, H × W pixels of the network's input, K outputs.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.explanation import attribution
from morphoscope.explanation.attribution import ablation_cam, grad_cam
from morphoscope.explanation.layers import Centres, Layer, centres, find_layer, over_the_image
from morphoscope.inference.predictor import Predictor
from morphoscope.labels.scheme import Scheme
from morphoscope.models.network import Network
from morphoscope.runs.run import Run

BEST_F1 = "best-f1"


def choose_galaxies(run: Run, store: Store, which: str, count: int, seed: int = 0) -> tuple[np.ndarray, str]:
    """Rows of a store to explain, and the output that is explained.

    Args:
        run: a measured run.
        store: the run's own, of which test galaxies are taken, or another labelled one.
        which: a class or vote column, or "best-f1".
        count: how many; fewer where there are not as many.
        seed: of the draw among the class's galaxies.

    Returns:
        Row numbers, and the name of the output. Of a vote column the galaxies with the highest fraction.

    Raises:
        UsageError: the scheme has no such output.
        MorphoscopeError: the class has no galaxy here.
    """
    scheme = run.scheme
    if which == BEST_F1:
        with run.reading_results():
            which = scheme.output_to_explain(run.metrics().get("test") or {})
    index = target_index(scheme, which)
    name = scheme.output_names[index]
    if store.need_scheme().output_names != scheme.output_names:
        raise UsageError(f"{store.path} holds other labels than the run answers")
    rows = _held_out(run, store)
    targets = store.targets()[rows]
    chosen = scheme.examples_of(targets, index, count, seed)
    if not len(chosen):
        raise MorphoscopeError(f"{store.path}: no galaxy of class '{name}' to explain")
    return rows[chosen], name


def _held_out(run: Run, store: Store) -> np.ndarray:
    """The test galaxies of the run's own store, all labelled galaxies of another; of a run that learned from
    every label, those that it learned from.
    """
    try:
        split = run.split(store)
    except MorphoscopeError:
        return np.flatnonzero(store.labelled())
    return split.train if run.recipe.data.folds else split.test


PREDICTED = "predicted"


def target_indices(scheme: Scheme, target: str | int, outputs_NK: torch.Tensor) -> torch.Tensor:
    """The output that is explained for each galaxy, (N,) int64.

    Args:
        scheme: what the outputs mean.
        target: name of a class, vote column or quantity, its number, or "predicted": the largest output, or
            the first where outputs are not alike.
        outputs_NK: of the network.

    Raises:
        UsageError: the scheme has no such target.
    """
    if target == PREDICTED and scheme.outputs_alike:
        return outputs_NK.argmax(dim=1)
    index = 0 if target == PREDICTED else target_index(scheme, target)
    return torch.full((len(outputs_NK),), index, dtype=torch.int64, device=outputs_NK.device)


def target_index(scheme: Scheme, target: str | int) -> int:
    """The number of an output by its name.

    Raises:
        UsageError: the scheme has none of that name or number.
    """
    names = scheme.output_names
    if isinstance(target, str) and target in names:
        return names.index(target)
    if str(target).isdigit() and int(target) < len(names):
        return int(target)
    raise UsageError(f"scheme '{scheme.name}' has no output '{target}'{did_you_mean(str(target), names)}")


AT_PIXELS: dict[str, Callable[[Network, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "saliency": attribution.saliency,
    "smoothgrad": attribution.smoothgrad,
    "integrated": attribution.integrated,
}
AT_A_LAYER: dict[str, Callable[[Network, Layer, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "gradcam": grad_cam,
    "ablationcam": ablation_cam,
}
METHODS = (*AT_PIXELS, *AT_A_LAYER)
BRIGHTEST = 99.5


@dataclass(frozen=True)
class Maps:
    """Maps of some galaxies.

    Attributes:
        method: its name.
        layer: dotted name of the layer; empty for maps at the pixels.
        values: (N, H, W) float32, zero or more, at the size of the network's input.
        images: (N, H, W, C), what the network saw.
        targets: (N,) names of the outputs explained.
        answers: (N, K) float32 probabilities or fractions.
        names: (K,) of the outputs.
    """

    method: str
    layer: str
    values: np.ndarray
    images: np.ndarray
    targets: tuple[str, ...]
    answers: np.ndarray
    names: tuple[str, ...]

    @property
    def dead(self) -> np.ndarray:
        """Which maps are zero everywhere, (N,) bool: they tell nothing (`fu`: "gradient diffusion")."""
        largest = self.values.reshape(len(self.values), -1).max(axis=1)
        return ~(largest > 0)

    def scaled(self) -> np.ndarray:
        """Each map from 0 to 1; a dead one stays 0.

        1 is the map's largest value; at the pixels, where a handful of values stand far out, the 99.5th
        percentile, and what lies above is cut.
        """
        flat = self.values.reshape(len(self.values), -1)
        largest = flat.max(axis=1) if self.layer else np.percentile(flat, BRIGHTEST, axis=1)
        largest = np.where(largest > 0, largest, flat.max(axis=1)).astype(np.float32)[:, None, None]
        scaled = np.divide(self.values, largest, out=np.zeros_like(self.values), where=largest > 0)
        return np.minimum(scaled, 1)


class Explainer:
    """Makes maps with a run's network.

    Args:
        predictor: the run, loaded; its preparation of images is used. Gradients come from torch, whatever
            computes its predictions.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.engine = predictor.torch_engine()
        self.network = self.engine.network.eval()
        self._known_centres: dict[tuple[str, int], Centres] = {}

    def with_network(self, network: Network) -> Explainer:
        """The same with another network of the same structure, such as one with random weights."""
        other = copy.copy(self)
        other.network = network.eval()
        return other

    def __call__(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        *,
        method: str = "gradcam",
        target: str | int | Sequence[str | int] = PREDICTED,
        layer: str | None = None,
        batch: int = 32,
    ) -> Maps:
        """Maps for stored images.

        Args:
            images: N images (H, W, C) that look like the training store's.
            method: one of :data:`METHODS`.
            target: a class, vote column or quantity by name or number, "predicted", or one for each galaxy.
            layer: dotted name, for ``gradcam`` and ``ablationcam``; None: the last feature map.
            batch: galaxies at a time.

        Raises:
            UsageError: no such method, layer or target, or a layer without positions.
        """
        check_method(method)
        if method in AT_PIXELS and layer is not None:
            raise UsageError(f"{method} is made at the pixels; a layer is for {' and '.join(AT_A_LAYER)}")
        side = self.predictor.run.recipe.augment.size
        found_layer = find_layer(self.network, layer, size=side) if method in AT_A_LAYER else None
        wanted = self._wanted(target, len(images))
        found = [
            self._some([images[row] for row in rows], method, found_layer, wanted[rows[0] : rows[-1] + 1])
            for rows in np.array_split(np.arange(len(images)), max(1, -(-len(images) // batch)))
            if len(rows)
        ]
        if not found:
            raise UsageError("no galaxy to explain was given")
        maps, seen, names, answers = (list(parts) for parts in zip(*found, strict=True))
        return Maps(
            method,
            found_layer.name if found_layer else "",
            np.concatenate(maps),
            np.concatenate(seen),
            tuple(name for part in names for name in part),
            np.concatenate(answers),
            self.predictor.scheme.output_names,
        )

    def _wanted(self, target: str | int | Sequence[str | int], count: int) -> list[int | str]:
        each = [target] * count if isinstance(target, str | int) else list(target)
        if len(each) != count:
            raise UsageError(f"{len(each)} targets for {count} galaxies; give one for each, or one for all")
        scheme = self.predictor.scheme
        return [name if name == PREDICTED else target_index(scheme, name) for name in each]

    def _some(
        self, images: list[np.ndarray], method: str, found_layer: Layer | None, wanted: list[int | str]
    ) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
        predictor = self.predictor
        seen = predictor.prepared(images)
        pixels = torch.from_numpy(seen).permute(0, 3, 1, 2).to(self.engine.device).float()
        with self.engine.autocast(), torch.no_grad():
            outputs = self.network(pixels).float()
        own = target_indices(predictor.scheme, PREDICTED, outputs)
        fixed = [own[row].item() if index == PREDICTED else index for row, index in enumerate(wanted)]
        target = torch.tensor(fixed, dtype=torch.int64, device=outputs.device)
        with _weights_at_rest(self.network):
            if found_layer is not None:
                with self.engine.autocast():
                    maps = AT_A_LAYER[method](self.network, found_layer, pixels, target)
            else:
                maps = AT_PIXELS[method](of_levels(self.network), self.network.levels(pixels), target)
        names = [predictor.scheme.output_names[index] for index in target.tolist()]
        answers = predictor.scheme.probabilities(outputs)
        if found_layer is not None:
            where = self._centres(found_layer, seen.shape[1])
            maps = over_the_image(maps.float(), where, seen.shape[1:3])
        return maps.detach().float().cpu().numpy(), seen, names, answers.cpu().numpy()

    def _centres(self, found_layer: Layer, size: int) -> Centres:
        key = (found_layer.name, size)
        if key not in self._known_centres:
            self._known_centres[key] = centres(self.network, found_layer, size)
        return self._known_centres[key]


def of_levels(network: Network) -> Network:
    """The same network without its stretch: maps at the pixels of measured values are made at their levels,
    where a step means as much in every band.
    """
    if network.stretch is None:
        return network
    other = copy.copy(network)
    other._modules = {**network._modules, "stretch": None}
    return other


def check_method(method: str) -> None:
    """Refuse an unknown method with the nearest name.

    Raises:
        UsageError: there is none of that name.
    """
    if method not in METHODS:
        raise UsageError(f"no method '{method}' of making maps{did_you_mean(method, METHODS, 'methods')}")


@contextlib.contextmanager
def _weights_at_rest(network: Network) -> Iterator[None]:
    """No gradients of the weights: only those of pixels and feature maps are asked for."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
