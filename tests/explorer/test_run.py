"""The explorer of a run: its test galaxies, maps, dropped images; two catalogues beside each other."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explorer_helpers import pixels_of
from PIL import Image

from morphoscope.data.store import Store
from morphoscope.explorer import classify


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def fits(*, table: bool = False) -> bytes:
    from astropy.io import fits as astropy_fits

    rng = np.random.default_rng(0)
    hdus = [astropy_fits.PrimaryHDU(None if table else rng.normal(0, 1, (50, 50)).astype(np.float32))]
    if table:
        column = astropy_fits.Column("a", "E", array=np.arange(3))
        hdus.append(astropy_fits.BinTableHDU.from_columns([column]))
    file = io.BytesIO()
    astropy_fits.HDUList(hdus).writeto(file)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that declares 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_the_test_galaxies_of_a_run(client_of: Callable, run, store: Store):
    client = client_of(run.path)
    said = client.get("/api/subject").json()
    split = run.split(store)
    assert (said["kind"], said["rows"], said["run"]) == ("run", len(split.test), run.name)
    names = {column["name"] for column in said["columns"]}
    assert {"predicted", "truth", "correct", "entropy", "ra", "dec"} <= names
    galaxy = client.get("/api/galaxy/0").json()
    row = int(galaxy["id"][1:])
    assert row in split.test
    np.testing.assert_array_equal(pixels_of(client.get("/api/image/0").content), store.images[row])
    assert galaxy["values"]["ra"] == pytest.approx(store.column("ra")[row])
    accuracy = run.metrics()["test"]["accuracy"]["value"]
    right = client.get("/api/page", params={"filter": "correct", "count": 0}).json()["total"]
    assert right / said["rows"] == pytest.approx(accuracy)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "ablationcam"])
def test_maps_are_the_explanations_own(run_client, run, store: Store, method: str):
    from morphoscope import api

    found = run_client.get("/api/map/5", params={"method": method, "target": "Edge-on"}).json()
    assert found["target"] == "Edge-on"
    assert found["map"].startswith("data:image/png;base64,")
    maps = api.load(run.path, engine="torch").explain([store.images[5]], method=method, target="Edge-on")
    import base64

    shown = pixels_of(base64.b64decode(found["map"].partition(",")[2]))[:, :, 0]
    np.testing.assert_allclose(shown, np.rint(maps.scaled()[0] * 255), atol=1)
    np.testing.assert_array_equal(
        pixels_of(base64.b64decode(found["image"].partition(",")[2])), maps.images[0]
    )


@pytest.mark.parametrize("framed", [True, False])
def test_a_map_is_of_what_the_catalogue_was_made_from(client_of: Callable, run, tmp_path: Path, framed: bool):
    """A galaxy three times smaller than usual, which the catalogue enlarged or did not."""
    import base64

    from morphoscope import api

    size = run.header.store.galaxy_size
    assert size is not None
    (tmp_path / "in").mkdir()
    y, x = np.mgrid[:192, :192] - 95.5
    disc = np.where(np.hypot(x, y) <= 192 * size / 6, 220, 20).astype(np.uint8)
    (tmp_path / "in" / "small.png").write_bytes(png(np.repeat(disc[..., None], 3, axis=2)))
    catalogue = tmp_path / "of-run.parquet"
    scale = "auto" if framed else None
    api.load(run.path, engine="torch").catalogue(tmp_path / "in", catalogue, scale=scale, quality="off")
    client = client_of(run.path, catalogue=catalogue, images=tmp_path / "in")
    found = client.get("/api/map/0", params={"method": "saliency"}).json()
    seen = pixels_of(base64.b64decode(found["image"].partition(",")[2]))
    across = np.sqrt((seen[..., 0] > 120).sum() * 4 / np.pi) / len(seen) * 32 / 36  # of the stored side
    assert across == pytest.approx(size if framed else size / 3, rel=0.3)
    shown = client.get("/api/galaxy/0").json()["values"].get("shown_side") or 192
    assert (shown < 192) == framed
    assert found["side"] == pytest.approx(shown * 36 / 40)  # the run's crop of its stored images


def test_a_dropped_image_is_framed_as_those_of_the_catalogue(
    client_of: Callable, run_client, run, store: Store, monkeypatch: pytest.MonkeyPatch
):
    from morphoscope.explorer import network

    asked: list[str | None] = []
    prepared = network._prepared

    def noted(image_HWC: np.ndarray, run: Any, scale: str | None = None) -> tuple[np.ndarray, int]:
        asked.append(scale)
        return prepared(image_HWC, run, scale)

    monkeypatch.setattr(network, "_prepared", noted)
    for client in (run_client, client_of(run.path)):
        answer = client.post("/api/classify", params={"name": "a.png"}, content=png(store.images[4]))
        assert answer.status_code == 200, answer.text
    assert asked == ["trained", None]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [({"method": "gradcamm"}, "did you mean 'gradcam'"), ({"target": "Spiral"}, "no output 'Spiral'")],
)
def test_maps_that_cannot_be(run_client, asked: dict[str, str], sentence: str):
    answer = run_client.get("/api/map/5", params=asked)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_without_torch_a_map_says_what_is_missing(run_client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("morphoscope.explorer.network.installed", lambda name: name != "captum")
    answer = run_client.get("/api/map/5")
    assert answer.status_code == 422
    sentence = "captum, which is not installed; install with: pip install 'morphoscope[train]'"
    assert sentence in answer.json()["error"]
    assert "captum" in run_client.get("/api/galaxy/5").json()["missing"]["maps"]


@pytest.mark.parametrize("kind", ["png", "jpeg", "fits"])
def test_a_dropped_image_is_classified(run_client, run, store: Store, kind: str):
    from morphoscope import api

    content = png(store.images[4]) if kind == "png" else fits()
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(store.images[4]).save(file, "JPEG", quality=95)
        content = file.getvalue()
    answer = run_client.post("/api/classify", content=content, params={"name": "own <b>.png"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["name"] == "own <b>.png"
    shares = [each["probability"] for each in found["probabilities"]]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    if kind == "png":
        expected = api.load(run.path).predict([store.images[4]])[0]
        np.testing.assert_allclose(shares, expected, atol=1e-4)
        assert found["neighbours"][0]["id"] == "g4"  # itself is in the catalogue
        assert found["neighbours"][0]["similarity"] == pytest.approx(1, abs=2e-3)
    map_ = run_client.get(f"/api/classify/map/{found['upload']}", params={"method": "saliency"})
    assert map_.json()["target"] in [each["name"] for each in found["probabilities"]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"no image at all", "is not an image"),
        (png(np.zeros((30, 30, 3), np.uint8))[:40], "bad.png"),
        (bomb(), "declares more than the 67,108,864 pixels"),
        (fits(table=True), "bad.png"),
    ],
)
def test_what_is_no_image_is_one_sentence(run_client, content: bytes, sentence: str):
    answer = run_client.post("/api/classify", content=content, params={"name": "bad.png"})
    assert answer.status_code in (400, 422)
    assert sentence in answer.json()["error"]
    assert "bad.png" in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_an_image_that_is_a_line_or_a_point_is_still_an_image(run_client, shape: tuple[int, int]):
    answer = run_client.post("/api/classify", content=png(np.zeros((*shape, 3), np.uint8)))
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == [shape[1], shape[0]]


def test_an_upload_is_bounded_whatever_it_declares(run_client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classify, "MOST_UPLOADED", 1 << 20)
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(100):
            sent += 1 << 17
            yield bytes(1 << 17)

    for content in (bytes(2 << 20), endless()):
        answer = run_client.post("/api/classify", content=content)
        assert answer.status_code == 413
        assert "larger than 1 MiB" in answer.json()["error"]


def test_few_dropped_images_are_kept(run_client, store: Store):
    names = [
        run_client.post("/api/classify", content=png(store.images[row])).json()["upload"] for row in range(9)
    ]
    assert run_client.get(f"/api/classify/map/{names[0]}").status_code == 404
    assert run_client.get(f"/api/classify/map/{names[-1]}").status_code == 200


def test_a_catalogue_alone_says_what_it_needs_to_classify(client, store: Store):
    assert "morphoscope serve RUN --catalogue" in client.get("/api/classify").json()["missing"]
    answer = client.post("/api/classify", content=png(store.images[0]))
    assert answer.status_code == 400
    assert "morphoscope serve RUN" in answer.json()["error"]


def test_the_catalogue_of_another_network_is_refused(client_of: Callable, run, catalogue: Path):
    from morphoscope.errors import UsageError

    with pytest.raises(UsageError, match="other weights than 'explored-run' has"):
        client_of(run.path, catalogue=catalogue)


@pytest.fixture
def other(catalogue: Path, tmp_path: Path) -> Path:
    """The catalogue in another order, without five galaxies, with twelve other answers."""
    table = pq.read_table(catalogue, columns=["id", "predicted", "probability"])
    predicted = table["predicted"].to_pylist()
    for row in range(20, 32):
        predicted[row] = "Edge-on" if predicted[row] != "Edge-on" else "Round Smooth"
    table = table.set_column(1, "predicted", pa.array(predicted))
    order = np.random.default_rng(0).permutation(np.arange(5, 150))
    pq.write_table(table.take(pa.array(order)), tmp_path / "other.parquet")
    return tmp_path / "other.parquet"


def test_two_catalogues_beside_each_other(client_of: Callable, catalogue: Path, other: Path):
    client = client_of(catalogue, compare=other)
    assert client.get("/api/subject").json()["compared"] == "other.parquet"
    found = client.get("/api/compare").json()
    assert (found["both"], found["missing"], found["differ"]) == (145, 5, 12)
    counts = np.array(found["counts"])
    assert counts.sum() == 145
    assert counts.trace() == 133
    rows = client.get("/api/page", params={"filter": "differs"}).json()["galaxies"]
    assert [galaxy["row"] for galaxy in rows] == list(range(20, 32))
    right = found["right"]
    assert 0 < right["first"] <= 12
    assert 0 < right["p"] <= 1
    only = client.get("/api/page", params={"filter": "correct and not other_correct", "count": 0}).json()
    assert only["total"] == right["first"]


def test_catalogues_that_cannot_be_compared(
    client_of: Callable, catalogue: Path, store: Store, tmp_path: Path
):
    from morphoscope.errors import UsageError

    pq.write_table(pa.table({"id": ["x"], "predicted": ["Edge-on"]}), tmp_path / "else.parquet")
    with pytest.raises(UsageError, match="share no galaxy"):
        client_of(catalogue, compare=tmp_path / "else.parquet")
    with pytest.raises(UsageError, match="share no column of predictions"):
        client_of(catalogue, compare=store.path)


def test_a_notebook_shows_the_page_in_a_frame(catalogue: Path):
    import json
    import urllib.request

    import morphoscope as ms

    with ms.explore(catalogue, height=500) as running:
        html = running._repr_html_()
        assert f'src="{running.address}"' in html
        assert 'height="500"' in html
        with urllib.request.urlopen(running.address + "api/subject") as answer:
            assert json.load(answer)["rows"] == 150
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(running.address)
