"""A small store of drawn galaxies and run folders with made-up, plausible results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.files import write_json
from morphoscope.labels.scheme import Classes, VoteFractions, probability_column
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Header, Run, open_run, store_facts, write_header, write_history

SIDE = 32
Scheme = Classes | VoteFractions


def drawn_galaxy(rng: np.random.Generator, arms: float) -> np.ndarray:
    """An inclined exponential disc with two arms on noisy sky, (SIDE, SIDE, 3) uint8."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) / SIDE
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.3, 1)
    along, across = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / ratio
    radius = np.hypot(along, across)
    spiral = 1 + arms * np.cos(2 * np.arctan2(across, along) - 14 * radius)
    light = 220 * np.exp(-radius / 0.11) * spiral
    colour = np.array([1.0, 0.85, 0.7 + 0.2 * arms])
    return np.clip(light[:, :, None] * colour + rng.normal(12, 5, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    def build(scheme: Scheme, count: int, name: str = "drawn", **meta: object) -> Store:
        out = tmp_path_factory.mktemp("stores") / name
        rng = np.random.default_rng(count)
        facts = StoreMeta(scheme=scheme, pixel_scale=0.262, source="drawn by the tests", **meta)
        with StoreWriter(out, facts, image_shape=(SIDE, SIDE, 3)) as writer:
            for row in range(count):
                labels: dict[str, object] = {"label": row % scheme.outputs}
                if isinstance(scheme, VoteFractions):
                    labels = dict(zip(scheme.answers, rng.dirichlet(np.ones(scheme.outputs)), strict=True))
                image = drawn_galaxy(rng, arms=(row % scheme.outputs) / scheme.outputs)
                writer.append(image, {"id": f"g{row}", "source": f"g{row}.png", **labels})
        return open_store(out)

    return build


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """A finished run on a store: every file a training leaves but the weights."""

    def build(store: Store, *, epochs: int = 8, name: str = "made-up", **recipe: object) -> Run:
        out = tmp_path_factory.mktemp("runs") / name
        out.mkdir()
        scheme = store.need_scheme()
        settings = Recipe().changed(name="test/made-up", augment={"size": 24}, training={"epochs": epochs})
        settings = settings.changed(**recipe)
        (out / "recipe.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        split = make_split(store, validation=0.2)
        split.save(out / "split.json")
        answers = _answers(scheme, store.targets())
        results = {
            part: scheme.measure(store.targets()[rows], answers[rows], bootstrap=50)
            for part, rows in _parts(split).items()
        }
        write_json(
            out / "metrics.json",
            {
                "scheme": scheme.kind,
                "views": 2,
                "best_epoch": epochs - 1,
                "test": results["test"],
                "validation": results["validation"],
                "counts": _counts(scheme, store, split),
            },
        )
        pq.write_table(
            _predictions(scheme, store, split.test, answers[split.test]), out / "predictions.parquet"
        )
        write_history(out / "history.csv", _history(epochs))
        write_json(out / "environment.json", ENVIRONMENT)
        header = Header(
            state="finished",
            scheme=scheme,
            store=store_facts(store),
            parameters=11_181_642,
            start="from scratch",
            best_epoch=max(epochs - 1, 1),
            program_version="0.1.0",
            created="2026-11-21T10:00:00+00:00",
        )
        write_header(out, header)
        return open_run(out)

    return build


ENVIRONMENT = {
    "python": "3.11.4",
    "platform": "Linux x86_64",
    "versions": {"morphoscope": "0.1.0", "torch": "2.15.0"},
    "processor": "Eight Bit Processor",
    "cores": 2,
    "gpu": None,
    "git_revision": "0db3b03aaaaa-dirty",
    "seed": 3,
    "finished": "2026-11-21T10:12:00+00:00",
    "seconds": 725.0,
    "training_seconds": 700.0,
    "images_per_second": 212.4,
    "peak_memory_gib": 1.84,
}


def _parts(split) -> dict[str, np.ndarray]:
    return {"train": split.train, "validation": split.validation, "test": split.test}


def _answers(scheme: Scheme, targets: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    if isinstance(scheme, VoteFractions):
        return np.clip(targets + rng.normal(0, 0.06, targets.shape), 0, 1).astype(np.float32)
    scores = rng.normal(0, 1.3, (len(targets), scheme.outputs)) + 3 * np.eye(scheme.outputs)[targets]
    shares = np.exp(scores)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _counts(scheme: Scheme, store: Store, split) -> dict[str, dict[str, int]]:
    if isinstance(scheme, VoteFractions):
        return {part: {"galaxies": len(rows)} for part, rows in _parts(split).items()}
    labels = store.targets()
    return {
        part: {name: int((labels[rows] == k).sum()) for k, name in enumerate(scheme.classes)}
        for part, rows in _parts(split).items()
    }


def _predictions(scheme: Scheme, store: Store, rows: np.ndarray, answers: np.ndarray) -> pa.Table:
    targets = store.targets()[rows]
    columns: dict[str, object] = {
        "id": store.table.column("id").take(pa.array(rows)),
        "row": pa.array(rows, pa.int64()),
        "source": store.table.column("source").take(pa.array(rows)),
    }
    if isinstance(scheme, VoteFractions):
        for k, name in enumerate(scheme.answers):
            columns |= {f"t_{name}": targets[:, k], name: answers[:, k]}
        return pa.table(columns)
    columns |= {
        "label": pa.array(targets, pa.int16()),
        "predicted": pa.array(answers.argmax(axis=1), pa.int16()),
        "probability": answers.max(axis=1),
    }
    return pa.table(columns | {probability_column(c): answers[:, k] for k, c in enumerate(scheme.classes)})


def _history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "seconds": 60.0,
            "lr": 1e-3 * (1 - epoch / (epochs + 1)),
            "train_loss": 0.4 + 1.6 * np.exp(-epoch / 5),
            "train_metric": 0.9 - 0.6 * np.exp(-epoch / 5),
            "validation_loss": 0.5 + 1.4 * np.exp(-epoch / 4) + 0.05 * np.sin(3 * epoch),
            "validation_metric": 0.88 - 0.5 * np.exp(-epoch / 4),
        }
        for epoch in range(1, epochs + 1)
    ]


CLASSES = Classes(name="drawn", classes=("Round", "Edge-on & <thin>", "Spiral"))
ANSWERS = VoteFractions(name="own-votes", answers=("bar", "ring", "tail"))


@pytest.fixture(scope="session")
def classes_store(make_store: Callable[..., Store]) -> Store:
    return make_store(CLASSES, 120)


@pytest.fixture(scope="session")
def votes_store(make_store: Callable[..., Store]) -> Store:
    return make_store(ANSWERS, 60)


@pytest.fixture(scope="session")
def classes_run(make_run: Callable[..., Run], classes_store: Store) -> Run:
    return make_run(classes_store)


@pytest.fixture(scope="session")
def votes_run(make_run: Callable[..., Run], votes_store: Store) -> Run:
    return make_run(votes_store)
