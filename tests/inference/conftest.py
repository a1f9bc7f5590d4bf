from __future__ import annotations

import numpy as np
import pytest

from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run
from morphoscope.training.fit import fit

FAST = {
    "model.name": "test_resnet",
    "model.pretrained": False,
    "augment.size": 32,
    "training.epochs": 1,
    "training.batch": 16,
    "training.precision": "fp32",
}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("predictor") / "noise"
    draw = np.random.default_rng(1)
    with StoreWriter(
        place, StoreMeta(scheme=Classes(name="two", classes=("a", "b"))), image_shape=(40, 40, 3)
    ) as writer:
        for number in range(40):
            image = draw.integers(0, 256, (40, 40, 3), np.uint8)
            writer.append(image, {"id": str(number), "label": number % 2, "source": f"{number}.png"})
    return open_store(place)


@pytest.fixture(scope="module")
def run(noise: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(Recipe().changed(FAST), noise, tmp_path_factory.mktemp("predictor") / "run", progress=False)
