"""The gallery and one galaxy: what the page asks."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explorer_helpers import pixels_of
from PIL import Image

from morphoscope.data.store import Store
from morphoscope.explorer.pictures import FilePictures, Place
from morphoscope.explorer.thumbnails import Thumbnails, unpacked

COUNT = 150


def test_what_is_explored(client, store: Store):
    said = client.get("/api/subject").json()
    assert (said["name"], said["kind"], said["rows"]) == ("drawn.parquet", "catalogue", COUNT)
    assert said["classes"] == ["Round Smooth", "Edge-on", "<b>Spiral</b>"]
    columns = {column["name"]: column for column in said["columns"]}
    assert {"predicted", "p_Edge-on", "truth", "correct", "set_size", "out_of_distribution"} <= set(columns)
    assert "embedding" not in columns
    assert columns["ra"]["unit"] == "deg"
    assert said["pictures"]
    assert said["features"]
    assert said["pixelScale"] == pytest.approx(0.262)


def test_a_page_with_labels_of_the_store(client, store: Store):
    found = client.get("/api/page", params={"start": 20, "count": 15}).json()
    assert found["total"] == COUNT
    assert [galaxy["row"] for galaxy in found["galaxies"]] == list(range(20, 35))
    classes = store.need_scheme().class_names
    assert classes is not None
    labels = store.targets()
    for galaxy in found["galaxies"]:
        label = labels[galaxy["row"]]
        assert galaxy["truth"] == (classes[label] if label >= 0 else None)
        assert galaxy["correct"] == (None if label < 0 else galaxy["predicted"] == galaxy["truth"])


def test_a_page_that_is_filtered_and_sorted(client):
    asked = {"filter": "not correct and probability > 0.4", "sort": "entropy", "descending": True}
    found = client.get("/api/page", params=asked).json()
    assert 0 < found["total"] < COUNT / 2
    assert all(g["predicted"] != g["truth"] and g["probability"] > 0.4 for g in found["galaxies"])
    entropies = [galaxy["entropy"] for galaxy in found["galaxies"]]
    assert entropies == sorted(entropies, reverse=True)
    at = client.get("/api/position", params={"row": found["galaxies"][2]["row"], **asked}).json()
    assert (at["position"], at["total"]) == (2, found["total"])
    assert at["previous"] == found["galaxies"][1]["row"]
    assert at["next"] == found["galaxies"][3]["row"]


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/api/page?filter=p_Edge-on > 1", 400, "no column 'p_Edge'"),
        ("/api/page?filter=read_parquet('x')", 400, "no function"),
        ("/api/page?sort=colour", 400, "no column 'colour'"),
        ("/api/page?count=501", 400, "at most 500"),
        ("/api/page?start=first", 400, "start: "),
        ("/api/galaxy/150", 404, "no galaxy 150; the catalogue has 150"),
        ("/api/galaxy/-1", 404, "no galaxy -1"),
        ("/api/galaxy/..%2f..%2fetc", 404, "nothing at this address"),
        ("/api/galaxy/one", 400, "row: "),
        ("/api/image/1?stretch=lupto", 400, "did you mean 'lupton'"),
        ("/api/find?id=../../etc/passwd", 404, "no galaxy with the id '../../etc/passwd'"),
        ("/api/find?id=<script>", 404, "no galaxy"),
        ("/api/thumbnails?rows=1,a", 400, "numbers separated by commas"),
        ("/api/thumbnails?rows=1&size=5000", 400, "one of 64, 128, 256"),
        ("/api/thumbnails?rows=" + ",".join(map(str, range(300))), 400, "at most 240"),
        ("/static/../app.py", 404, ""),
        ("/static/%2e%2e/app.py", 404, ""),
        ("/docs", 404, "nothing at this address"),
        ("/openapi.json", 404, "nothing at this address"),
    ],
)
def test_wrong_questions_are_one_sentence(client, address: str, status: int, sentence: str):
    answer = client.get(address)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


def test_thumbnails_of_a_page_come_together(client, store: Store):
    stream = client.get("/api/thumbnails", params={"rows": "7,3,149,9999", "size": 64})
    found = unpacked(stream.content)
    assert list(found) == [7, 3, 149]
    for row, content in found.items():
        assert isinstance(content, bytes)
        image = pixels_of(content)
        assert image.shape == (64, 64, 3)
        own = np.asarray(Image.fromarray(store.images[row]).resize((64, 64), Image.Resampling.BICUBIC), float)
        assert np.abs(image - own).mean() < 6  # a JPEG


def test_the_image_is_the_stores_own(client, store: Store):
    answer = client.get("/api/image/12")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels_of(answer.content), store.images[12])


def test_one_galaxy(client):
    galaxy = client.get("/api/galaxy/4").json()
    assert galaxy["id"] == "g4"
    assert sum(each["probability"] for each in galaxy["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert set(galaxy["set"]) <= {"Round Smooth", "Edge-on", "<b>Spiral</b>"}
    assert galaxy["calibration"] == "temperature 1.1"
    assert galaxy["votes"] is None
    assert any("legacysurvey.org" in link["address"] for link in galaxy["links"])
    ra = galaxy["values"]["ra"]
    assert all(f"{ra:.6f}" in link["address"] for link in galaxy["links"])
    assert "the run is not known" in galaxy["missing"]["maps"]


def test_galaxies_like_one_have_its_class(client):
    found = client.get("/api/neighbours/3", params={"count": 10}).json()
    rows = [galaxy["row"] for galaxy in found["galaxies"]]
    assert found["exact"]
    assert len(rows) == 10
    assert 3 not in rows
    assert sum(row % 3 == 0 for row in rows) >= 8  # the features say so
    similarities = [galaxy["similarity"] for galaxy in found["galaxies"]]
    assert similarities == sorted(similarities, reverse=True)


def test_a_map_without_a_run_says_what_is_missing(client):
    answer = client.get("/api/map/3")
    assert answer.status_code == 422
    assert "morphoscope serve RUN --catalogue" in answer.json()["error"]


def test_a_catalogue_without_features_says_how_to_get_them(client_of: Callable, store: Store):
    client = client_of(store.path)
    answer = client.get("/api/neighbours/3")
    assert answer.status_code == 400
    assert "--embeddings" in answer.json()["error"]


def test_a_store_is_shown_with_its_labels(client_of: Callable, store: Store):
    client = client_of(store.path)
    said = client.get("/api/subject").json()
    assert (said["kind"], said["rows"]) == ("store", COUNT)
    found = client.get("/api/page", params={"filter": "truth = 'Edge-on'", "count": 5}).json()
    assert [galaxy["row"] for galaxy in found["galaxies"]] == [1, 4, 7, 13, 16]  # 10 has no label


@pytest.mark.parametrize("ending", [".csv", ".fits", ".vot", ".ecsv", ""])
def test_catalogues_of_every_format(client_of: Callable, catalogue: Path, tmp_path: Path, ending: str):
    from morphoscope.catalogue.formats.convert import convert

    plain = tmp_path / "plain.parquet"
    table = pq.read_table(catalogue)
    pq.write_table(table.drop_columns(["embedding"]), plain)
    out = tmp_path / f"other{ending}"
    convert(plain, out)
    client = client_of(out, images=None)
    said = client.get("/api/subject").json()
    assert said["rows"] == COUNT
    found = client.get("/api/page", params={"filter": "probability > 0.9", "sort": "probability"}).json()
    expected = pa.compute.sum(pa.compute.greater(table["probability"], 0.9)).as_py()  # type: ignore[attr-defined]
    assert found["total"] == expected


def test_images_that_are_gone_are_said_on_each_thumbnail(
    client_of: Callable, catalogue: Path, tmp_path: Path
):
    moved = tmp_path / "moved.parquet"
    table = pq.read_table(catalogue)
    metadata = {**(table.schema.metadata or {}), b"morphoscope.source": b"/nowhere/galaxies"}
    pq.write_table(table.replace_schema_metadata(metadata), moved)
    client = client_of(moved)
    said = client.get("/api/subject").json()
    assert not said["pictures"]
    assert "/nowhere/galaxies is not there any more; --images says" in said["picturesNote"]
    found = unpacked(client.get("/api/thumbnails", params={"rows": "0,1"}).content)
    assert all("is not there any more" in str(reason) for reason in found.values())
    assert client.get("/api/image/0").status_code == 404
    assert client.get("/api/page").json()["total"] == COUNT  # the rest works


@pytest.fixture
def folder(tmp_path: Path, store: Store) -> Path:
    inside = tmp_path / "images"
    (inside / "deep").mkdir(parents=True)
    Image.fromarray(store.images[0]).save(inside / "a.png")
    Image.fromarray(store.images[1]).save(inside / "deep" / "b.png")
    Image.fromarray(store.images[2]).save(tmp_path / "secret.png")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "text.png").write_text("no image")
    return inside


def test_pictures_are_read_below_their_folder_alone(folder: Path, store: Store):
    pictures = FilePictures(folder)
    np.testing.assert_array_equal(pictures.load(Place(0, "a", "a.png")), store.images[0])
    np.testing.assert_array_equal(pictures.load(Place(0, "b", "deep/b.png")), store.images[1])
    np.testing.assert_array_equal(pictures.load(Place(0, "a", "elsewhere/a.png")), store.images[0])
    absolute = str(folder / "a.png")
    np.testing.assert_array_equal(pictures.load(Place(0, "a", absolute)), store.images[0])
    sources = {
        "../secret.png": "does not name a file",
        "deep/../../secret.png": "does not name a file",
        "a.png\0": "does not name a file",
        "": "does not name a file",
        str(folder.parent / "secret.png"): "is outside",
        "link.png": "is outside",
        "gone.png": "no such file",
        "text.png": "is not an image",
    }
    found = unpacked(Thumbnails(pictures).pack([Place(k, "x", s) for k, s in enumerate(sources)], 64))
    for reason, expected in zip(found.values(), sources.values(), strict=True):
        assert expected in str(reason)


def test_thumbnails_are_kept_within_a_bound(store: Store):
    from morphoscope.explorer.pictures import StorePictures

    thumbnails = Thumbnails(StorePictures(store), cache_bytes=20_000)
    for row in range(COUNT):
        thumbnails.thumbnail(Place(row, "", ""), 64)
    assert 10_000 < thumbnails.taken <= 20_000
    assert thumbnails.taken == sum(map(len, thumbnails._kept.values()))


def test_the_page_and_its_files_are_there(client):
    page = client.get("/").text
    for address in ("/static/js/main.js", "/static/css/base.css", "/static/icon.svg"):
        assert address in page
        assert client.get(address).status_code == 200
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_an_image_that_is_not_square_is_framed():
    from morphoscope.explorer.thumbnails import jpeg, square

    wide = np.full((10, 40, 3), 200, np.uint8)
    framed = square(wide, 64)
    assert framed.shape == (64, 64, 3)
    assert framed[32, 32].tolist() == [200, 200, 200]
    assert framed[0, 0].tolist() == [0, 0, 0]
    assert Image.open(io.BytesIO(jpeg(framed))).size == (64, 64)
