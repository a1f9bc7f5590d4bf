"""A small trained run, and a model hub that is served from a folder."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import numpy as np
import pytest

from morphoscope import api
from morphoscope.data.store import Store, StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.labels.scheme import Classes
from morphoscope.recipes import Augment, Data, Evaluation, Model, Recipe, Training
from morphoscope.runs.run import Run

COMMIT = "c0ffee" + "0" * 34
COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)])


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """150 noisy blobs in red, green and blue, a class a colour."""
    place = tmp_path_factory.mktemp("stores") / "colours"
    draw = np.random.default_rng(7)
    meta = StoreMeta(scheme=Classes(name="colours", classes=("red", "green", "blue")), crop=48)
    with StoreWriter(place, meta, image_shape=(40, 40, 3)) as writer:
        for number in range(150):
            image = draw.integers(0, 90, (40, 40, 3))
            image[12:26, 12:26] += COLOURS[number % 3] // 2
            row = {"id": f"g{number}", "label": number % 3, "source": f"g{number}.png"}
            writer.append(image.clip(0, 255).astype(np.uint8), row)
    return open_store(place)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        name="tong/resnet50",  # a study's name, for the card to cite
        data=Data(validation=0.3, test=0.3),
        augment=Augment(size=32, crop=36),
        model=Model(name="test_resnet", pretrained=False),
        training=Training(epochs=2, batch=16, precision="fp32"),
        evaluation=Evaluation(views=2, batch=32),
    )


@pytest.fixture(scope="session")
def run(recipe: Recipe, colours: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A calibrated run with two views."""
    out = tmp_path_factory.mktemp("runs") / "colour-run"
    return api.train(recipe, colours, out, report=False, progress=False).run


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Twelve pictures of another size than the training's."""
    return np.random.default_rng(2).integers(0, 256, (12, 60, 52, 3), np.uint8)


class _Hub(http.server.BaseHTTPRequestHandler):
    """What a Hugging Face hub answers to a reader: one commit of ``owner/name`` in ``root/owner/name``."""

    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.asked.append(path)
        parts = path.split("/")
        if parts[:2] == ["api", "models"] and (self.root / parts[2] / parts[3]).is_dir():
            listing = "/".join(parts[4:5]) == "tree"
            self._json(self._tree(parts[2:4]) if listing else self._info(parts[2:4]))
            return
        place = self.root / "/".join([*parts[:2], *parts[4:]])
        if parts[2:3] != ["resolve"] or not place.is_file():
            known = len(parts) > 2 and (self.root / parts[0] / parts[1]).is_dir()
            self._refuse("EntryNotFound" if known else "RepoNotFound")
            return
        content = place.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _info(self, name: list[str]) -> dict[str, object]:
        names = [each["path"] for each in self._tree(name)]
        return {"id": "/".join(name), "sha": COMMIT, "siblings": [{"rfilename": each} for each in names]}

    def _tree(self, name: list[str]) -> list[dict[str, object]]:
        folder = self.root.joinpath(*name)
        return [
            {"type": "file", "path": each.name, "size": each.stat().st_size, "oid": "1" * 40}
            for each in sorted(folder.iterdir())
        ]

    def _json(self, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving(root: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[list[str]]:
    """A hub at this machine's own address, and an empty cache; yields what it was asked for."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Hub", (_Hub,), {"root": root, "asked": asked})
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    constants = huggingface_hub.constants
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """The folder that a hub serves as ``owner/name/…``, and the paths it was asked for."""
    root = tmp_path / "hub"
    root.mkdir()
    with serving(root, monkeypatch, tmp_path / "cache") as asked:
        yield root, asked


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Cuts the network: the hub's name has no address any more."""
    import socket

    def cut() -> None:
        def no_address(*_: object) -> None:
            raise socket.gaierror("no network")

        monkeypatch.setattr(socket, "getaddrinfo", no_address)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return cut


@pytest.fixture(scope="session")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an ONNX file."""
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    return api.load(run.path).export(tmp_path_factory.mktemp("exported") / "colours.onnx")


@pytest.fixture(scope="session")
def pictures(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve as files, and one that cannot be read."""
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:02}.png"), image[:, :, ::-1])
    (folder / "99.png").write_bytes(b"")
    return folder
