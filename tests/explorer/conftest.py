"""A store of drawn galaxies, a catalogue of it as the program writes them, and the explorer of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from morphoscope.catalogue.columns import EMBEDDING, OOD_SCORE, catalogue_table
from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes, Column
from morphoscope.metrics.conformal import Sets

pytest.importorskip("fastapi")
pytest.importorskip("duckdb")

COUNT, SIDE, FEATURES = 150, 40, 24
CLASSES = Classes(name="drawn", classes=("Round Smooth", "Edge-on", "<b>Spiral</b>"))
BASE = "http://127.0.0.1:8501"


def drawn(rng: np.random.Generator, kind: int) -> np.ndarray:
    """A round or flat blob, or one with arms, on noisy sky, (SIDE, SIDE, 3) uint8."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / SIDE
    radius = np.hypot(x, y / (0.25 if kind == 1 else 0.9))
    arms = 1 + (kind == 2) * np.cos(2 * np.arctan2(y, x) - 16 * radius)
    light = 220 * np.exp(-radius / 0.12) * arms
    return np.clip(light[:, :, None] * (1, 0.85, 0.7) + rng.normal(12, 5, (SIDE, SIDE, 3)), 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("explored") / "drawn"
    rng = np.random.default_rng(0)
    meta = StoreMeta(scheme=CLASSES, pixel_scale=0.262, source="drawn by the tests")
    with StoreWriter(place, meta, image_shape=(SIDE, SIDE, 3)) as writer:
        for row in range(COUNT):
            where = {"ra": float(rng.uniform(150, 151)), "dec": float(rng.uniform(-2, 2))}
            label = {"label": row % 3 if row % 10 else -1}
            writer.append(drawn(rng, row % 3), {"id": f"g{row}", "source": f"g{row}.png", **where, **label})
    return open_store(place)


def probabilities(store: Store) -> np.ndarray:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (COUNT, 3)) + 2.5 * np.eye(3)[np.arange(COUNT) % 3]
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def catalogue(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sets, OOD scores and features, as ``predict --coverage --embeddings`` writes it."""
    import pyarrow as pa

    path = tmp_path_factory.mktemp("catalogues") / "drawn.parquet"
    rng = np.random.default_rng(2)
    rows = store.table.select(["id", "ra", "dec", "source"]).to_pylist()
    items = [Item(row["source"], lambda: np.zeros(0), row) for row in rows]
    features = rng.normal(0, 0.3, (COUNT, FEATURES)) + np.eye(FEATURES)[np.arange(COUNT) % 3]
    extras = (OOD_SCORE, Column(EMBEDDING, pa.list_(pa.float16(), FEATURES), "features"))
    values = {
        OOD_SCORE.name: rng.gamma(4, 0.2, COUNT).astype(np.float32),
        EMBEDDING: features.astype(np.float16),
    }
    sets = Sets(0.9, False, np.full(3, 0.2))
    table = catalogue_table(CLASSES, items, probabilities(store), sets, extras, values)
    provenance = {
        "source": str(store.path),
        "run": "drawn-run",
        "scheme": CLASSES.model_dump_json(),
        "calibration": "temperature 1.1",
        "stretch": "lupton",
        "weights_sha256": "0" * 64,
    }
    write_catalogue(target_of(path), table, provenance)
    return path


@pytest.fixture(scope="session")
def client_of() -> Iterator[Callable]:
    """A client of the explorer of a request; what it opened is closed at the end."""
    from starlette.testclient import TestClient

    from morphoscope.explorer.app import create_app
    from morphoscope.explorer.server import Request

    closing = []

    def make(source: object, *, token: str = "", framed: bool = False, **options: object):
        app, close = create_app(Request(source, **options), token=token, framed=framed)  # type: ignore[arg-type]
        closing.append(close)
        return TestClient(app, base_url=BASE, raise_server_exceptions=False)

    yield make
    for close in closing:
        close()


@pytest.fixture(scope="session")
def client(client_of: Callable, catalogue: Path):
    return client_of(catalogue)


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory):
    """A small run trained on the store: for maps, dropped images and its own test galaxies."""
    from morphoscope.evaluation.evaluate import evaluate
    from morphoscope.recipes import Augment, Data, Evaluation, Model, Recipe, Training
    from morphoscope.training.fit import fit

    recipe = Recipe(
        name="test/explored",
        data=Data(validation=0.3, test=0.3),
        augment=Augment(size=32, crop=36),
        model=Model(name="test_resnet", pretrained=False),
        training=Training(epochs=1, batch=16, precision="fp32"),
        evaluation=Evaluation(views=1, batch=32),
    )
    out = tmp_path_factory.mktemp("runs") / "explored-run"
    made = fit(recipe, store, out, progress=False)
    evaluate(made, store)
    return made


@pytest.fixture(scope="session")
def run_client(client_of: Callable, run, store: Store, tmp_path_factory: pytest.TempPathFactory):
    """The explorer of the run with a catalogue of it that has features."""
    from morphoscope import api

    out = tmp_path_factory.mktemp("catalogues") / "of-run.parquet"
    api.load(run.path).catalogue(store.path, out, embeddings=True)
    return client_of(run.path, catalogue=out)
