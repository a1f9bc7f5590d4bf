from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.models.network import Network
from morphoscope.recipes import Model, Recipe
from morphoscope.studies import page_context


@pytest.fixture(scope="session")
def small_meta_network() -> Callable[[Recipe, int], Network]:
    """One small network in place of those of all rows but VGG16."""
    original = page_context.meta_network

    @functools.cache
    def small(outputs: int) -> Network:
        return original(Recipe(model=Model(name="test_resnet", pretrained=False)), outputs)

    def meta_network(recipe: Recipe, outputs: int) -> Network:
        return original(recipe, outputs) if recipe.model.name.startswith("vgg16") else small(outputs)

    return meta_network


@pytest.fixture
def stand_in_networks(
    monkeypatch: pytest.MonkeyPatch, small_meta_network: Callable[[Recipe, int], Network]
) -> None:
    """Pages describe small networks: building the fifty takes half a minute, and test_models.py does it."""
    monkeypatch.setattr(page_context, "meta_network", small_meta_network)


def _classes(place, scheme: Classes, count: int) -> Store:
    draw = np.random.default_rng(3)
    with StoreWriter(place, StoreMeta(scheme=scheme), image_shape=(32, 32, 3)) as writer:
        for number in range(count):
            label = number % scheme.outputs
            image = draw.integers(0, 60, (32, 32, 3))
            image[8:24, 8:24, label % 3] += 20 * (label + 1) % 190
            row = {"id": f"g{number}", "label": label, "source": f"g{number}.png"}
            writer.append(image.clip(0, 255).astype(np.uint8), row)
    return open_store(place)


@pytest.fixture(scope="session")
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A hundred small pictures with Galaxy10's labels."""
    return _classes(tmp_path_factory.mktemp("stores") / "ten", GALAXY10, 100)


@pytest.fixture(scope="session")
def five_classes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Seventy-five small pictures with `tong`'s labels."""
    return _classes(tmp_path_factory.mktemp("stores") / "five", FIVE_CLASS, 75)


@pytest.fixture(scope="session")
def all_votes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Forty small pictures with 37 fractions that obey the tree's sums."""
    place = tmp_path_factory.mktemp("stores") / "votes"
    draw = np.random.default_rng(4)
    with StoreWriter(place, StoreMeta(scheme=GALAXY_ZOO_2_VOTES), image_shape=(32, 32, 3)) as writer:
        for number in range(40):
            conditional = np.concatenate(
                [draw.dirichlet(np.ones(part.stop - part.start)) for part in GALAXY_ZOO_2.slices]
            )
            fractions = GALAXY_ZOO_2.cumulative(conditional[None])[0]
            row = {"id": str(1000 + number), "source": f"{1000 + number}.jpg"}
            row |= dict(zip(GALAXY_ZOO_2.columns, map(float, fractions), strict=True))
            writer.append(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8), row)
    return open_store(place)
