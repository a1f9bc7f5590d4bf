from __future__ import annotations

import numpy as np
import pytest

from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes, VoteFractions
from morphoscope.recipes import Augment, Data, Evaluation, Model, Optimiser, Recipe, Schedule, Training

COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)])


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Ninety noisy blobs in red, green and blue, a class a colour; red is rare."""
    place = tmp_path_factory.mktemp("stores") / "colours"
    draw = np.random.default_rng(7)
    meta = StoreMeta(scheme=Classes(name="colours", classes=("red", "green", "blue")))
    with StoreWriter(place, meta, image_shape=(32, 32, 3)) as writer:
        for number in range(90):
            label = 0 if number % 9 == 0 else 1 + number % 2
            image = draw.integers(0, 40, (32, 32, 3))
            image[10:22, 10:22] += COLOURS[label] - 40
            row = {"id": f"g{number}", "label": label, "source": f"g{number}.png"}
            writer.append(image.clip(0, 255).astype(np.uint8), row)
    return open_store(place)


@pytest.fixture(scope="session")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixty grey images whose two fractions follow from their brightness."""
    place = tmp_path_factory.mktemp("stores") / "brightness"
    draw = np.random.default_rng(8)
    meta = StoreMeta(scheme=VoteFractions(name="brightness", answers=("bright", "dark")))
    with StoreWriter(place, meta, image_shape=(32, 32, 3)) as writer:
        for number in range(60):
            share = draw.uniform()
            image = np.full((32, 32, 3), int(255 * share), np.uint8)
            row = {"id": f"b{number}", "bright": share, "dark": 1 - share, "source": f"b{number}.png"}
            writer.append(image, row)
    return open_store(place)


@pytest.fixture
def tiny() -> Recipe:
    """Seconds of training that still use every moving part."""
    return Recipe(
        name="tiny",
        data=Data(validation=0.2),
        augment=Augment(size=32, noise=4.0, brightness=0.1),
        model=Model(name="test_resnet", pretrained=False, dropout=0.2),
        optimiser=Optimiser(lr=3e-3),
        schedule=Schedule(name="one-cycle", warmup=0.2),
        training=Training(epochs=4, batch=16, ema=0.5, mixup=0.2, cutmix=0.5, precision="fp32"),
        evaluation=Evaluation(batch=32),
    )
