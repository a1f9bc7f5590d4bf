"""The network that a training starts from."""

from __future__ import annotations

from dataclasses import dataclass

from morphoscope.data.splits.file import Split
from morphoscope.data.store import Store
from morphoscope.labels.scheme import Scheme
from morphoscope.models.build import build
from morphoscope.models.hub import HubBackbone, hub_backbone, is_on_hub
from morphoscope.models.network import Network
from morphoscope.recipes import Recipe
from morphoscope.training.galaxies import planes_of, statistics_of


@dataclass(frozen=True)
class Start:
    """A network with its starting weights.

    Attributes:
        network: on the CPU.
        origin: of its weights, in words.
        hub: the configuration of its backbone, if that is from a hub.
    """

    network: Network
    origin: str
    hub: HubBackbone | None


def network_of(recipe: Recipe, store: Store, split: Split, scheme: Scheme) -> Start:
    """The network of a recipe for the images and labels of a store; random weights as torch is seeded.

    Args:
        recipe: of the training.
        store: whose bands it takes.
        split: whose training galaxies normalise the images, where the recipe or the bands ask for it.
        scheme: of its outputs.

    Raises:
        UsageError: as of :func:`morphoscope.models.build.build`.
        MorphoscopeError: the starting weights cannot be fetched or do not fit.
    """
    planes = planes_of(store, split)
    hub = hub_backbone(recipe.model.name) if is_on_hub(recipe.model.name) else None
    network, origin = build(
        recipe.model,
        scheme.outputs,
        image_size=recipe.augment.size,
        statistics=statistics_of(recipe, store, split, planes),
        hub=hub,
        other_sizes=recipe.augment.train_size,
        planes=planes,
    )
    return Start(network, origin, hub)
