"""A store of drawn galaxies, a catalogue of it as the program writes them, and the explorer of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

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
AXE = "axe-core@4.14.1"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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


# A browser, for the tests of the page; each file of tests starts its own.


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A real Chromium (``apt-get install chromium``); the test is skipped where there is none."""
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    found = os.environ.get("MORPHOSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium) -> Iterator[Callable]:
    """Opens pages; in the end every request went to where they are from, and nothing was complained of."""
    contexts, said, asked, hosts = [], [], [], set()

    def opened(
        address: str, *, width: int = 1280, height: int = 860, dark: bool = False, phone: bool = False
    ):
        if phone:
            width, height = 390, 844
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            reduced_motion="reduce",
        )
        contexts.append(context)
        hosts.add(urlsplit(address).netloc)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("main :is(.tile, .card, .drop)")
        page.wait_for_load_state("networkidle")
        return page

    opened.refusals = False  # type: ignore[attr-defined]  # whether the server is made to refuse something
    yield opened
    for context in contexts:
        context.close()
    refused = opened.refusals  # type: ignore[attr-defined]
    assert [text for text in said if not (refused and "Failed to load resource" in text)] == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == hosts


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm; the test is skipped where that cannot be had."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here to fetch axe-core with")
    command = [npm, "install", "--no-save", "--ignore-scripts", "--prefix", str(folder), AXE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip("axe-core cannot be fetched here")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


# In umap's place: the map of features by UMAP without the extra, and in no time.

STAND_IN = """
import time
import numpy as np

class UMAP:
    "Places by the first two components: what the process does around umap can be seen without it."
    def __init__(self, **options):
        self.options = options
    def fit_transform(self, x):
        time.sleep({seconds})
        if {fails}:
            raise ValueError("the stand-in fails")
        return np.asarray(x)[:, :2]
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Puts a stand-in in umap's place, here and in processes that are started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(*, seconds: float = 0, fails: bool = False) -> None:
        folder = tmp_path / "packages"
        (folder / "umap_learn-0.1.dist-info").mkdir(parents=True, exist_ok=True)
        (folder / "umap_learn-0.1.dist-info" / "METADATA").write_text("Name: umap-learn\nVersion: 0.1\n")
        (folder / "umap.py").write_text(STAND_IN.format(seconds=seconds, fails=fails))
        monkeypatch.syspath_prepend(folder)

    monkeypatch.delitem(sys.modules, "umap", raising=False)
    yield put
    sys.modules.pop("umap", None)
