"""What somebody who means ill, or mistypes, may ask: each is refused in one sentence, and nothing breaks."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

HUGE = 10**30
IDS = ["a", "../../etc/passwd", "<img src=x onerror=alert(1)>", "d", "e", "f"]
SOURCES = ["0.png", "../secret/s.png", "{secret}", "link.png", "gone.png", "<b>x</b>.png"]
ADDRESSES = [
    *("/../../etc/passwd", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/%00"),
    *("/static//etc/passwd", "/api/nothing", "/api/galaxy/../../x", "/static/%00"),
    *(f"/api/galaxy/{row}" for row in (-1, 6, HUGE, "abc", "1e3", "0x1", "..", "%2e%2e")),
    *(f"/api/image/{row}" for row in (-1, HUGE, "x")),
    *(f"/api/neighbours/{row}" for row in (0, HUGE)),
    *(f"/api/position?row={row}&sort=nothing" for row in (0, HUGE)),
    *(f"/api/thumbnails?rows={rows}" for rows in ("../1", "1;2", "-1", "1&size=7", ",".join("1" * 300))),
    *(f"/api/page?{asked}" for asked in ("sort=x;drop", "count=501", "count=-1", "start=a", "descending=b")),
    *(f"/api/find?id={name}" for name in ("nobody", "", "x" * 10_000)),
    *(f"/api/charts/{chart}" for chart in ("histogram?column=id", "histogram?column=x&bins=99999", "sky")),
    *(f"/api/export?format={kind}" for kind in ("exe", "../x", "csv&filter=x>99")),
    *(f"/api/labels/next?person=a&question={key}" for key in ("../..", "<b>")),
    "/api/labels/export?format=../x&question=a",
    "/api/compare",
]
FILTERS = [
    *("read_csv('/etc/passwd')", "x in (select 1)", "1;drop table galaxies", "x > 0 -- so", "from '/etc'"),
    *("x > 0; attach '/tmp/x'", "read_text('/etc/passwd') like '%root%'", "id = getenv('HOME')"),
    *("x > (select count(*) from read_csv_auto('/etc/passwd'))", "pragma database_list", "'/etc/passwd'"),
    *("copy galaxies to '/tmp/q'", "x = '", "x \u2265 1", "x > " + "(" * 50 + "1" + ")" * 50, "not", "\0"),
    *("<script>alert(1)</script>", '"x""; drop" > 1', "nothing > 1", "feature_x > 1", "umap_x > 1"),
    "x > 1 or " * 5000 + "x > 1",
]
BODIES = [
    *(b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 5000),
    *(
        json.dumps({"token": "t" * 32, "person": "Ada", "question": "class", "row": 0, **changed}).encode()
        for changed in (
            {"kind": "undo"},
            {"kind": "answer", "answer": "<i>"},
            {"kind": "skip", "question": "../x"},
            {"kind": "skip", "row": HUGE},
            {"kind": "skip", "person": "a\nb"},
            {"kind": "skip", "token": "short"},
        )
    ),
]


@pytest.fixture(scope="module")
def explored(client_of: Callable, tmp_path_factory: pytest.TempPathFactory):
    """A catalogue whose ids and sources mean ill."""
    folder = tmp_path_factory.mktemp("ill")
    images, secret = folder / "images", folder / "secret"
    for each in (images, secret):
        each.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(images / "0.png")
    Image.fromarray(pixels).save(secret / "s.png")
    os.symlink(secret / "s.png", images / "link.png")
    sources = [source.format(secret=secret / "s.png") for source in SOURCES]
    columns = {"id": IDS, "source": sources, "x": np.arange(6.0), "predicted": ["A", "<script>"] * 3}
    pq.write_table(pa.table(columns), folder / "c.parquet")
    client = client_of(folder / "c.parquet", images=images, labels=folder / "labels.sqlite")
    yield client
    assert not (folder / "labels.sqlite").exists()  # nothing of it was written


def sentence(answer) -> str:
    """What was said: one line, and no more than a line."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:200])
    said = answer.json()
    assert list(said) == ["error"]
    assert said["error"]
    assert "\n" not in said["error"]
    assert "Traceback" not in said["error"]
    return said["error"]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address[:40])
def test_addresses_that_lead_nowhere(explored, address: str):
    sentence(explored.get(address))


@pytest.mark.parametrize("expression", FILTERS, ids=lambda expression: expression[:30].replace("\0", "0"))
@pytest.mark.parametrize("where", ["page", "charts/histogram", "export", "labels/next"])
def test_filters_that_read_files_or_are_none(explored, expression: str, where: str):
    asked = {"filter": expression, "column": "x", "person": "Ada", "question": "class"}
    said = sentence(explored.get(f"/api/{where}", params=asked))
    assert "root:" not in said


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:24].decode("latin-1"))
def test_clicks_that_cannot_be(explored, body: bytes):
    sentence(explored.post("/api/labels/click", content=body, headers={"content-type": "application/json"}))


def test_images_elsewhere_are_not_read(explored):
    shown = [explored.get(f"/api/image/{row}") for row in range(6)]
    assert shown[0].status_code == 200
    reasons = [sentence(answer) for answer in shown[1:]]
    assert "does not name a file in" in reasons[0]
    assert ["nothing there is read" in reason for reason in reasons[1:3]] == [True, True]
    assert "--images says where it is now" in reasons[3]


def test_names_with_markup_are_found_and_are_text(explored):
    for row, name in enumerate(IDS):
        answer = explored.get("/api/find", params={"id": name})
        assert answer.json() == {"row": row}
        assert explored.get(f"/api/galaxy/{row}").json()["id"] == name
    assert explored.get("/api/subject").headers["content-type"] == "application/json"


@pytest.mark.parametrize("row", [-1, 6, HUGE])
def test_a_place_that_no_galaxy_has(explored, row: int):
    for asked in ({}, {"sort": "x"}):
        found = explored.get("/api/position", params={"row": row, **asked}).json()
        assert (found["position"], found["previous"], found["next"]) == (None, None, None)
    assert explored.get("/api/page", params={"start": HUGE, "sort": "x"}).json()["galaxies"] == []


@pytest.mark.parametrize("options", [["--port", "0"], []], ids=["a missing image folder", "a port in use"])
def test_the_command_ends_in_one_sentence(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import sys

    from morphoscope import cli

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "c.parquet")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        expected = "a folder of images, an archive"
        if not options:
            port = str(taken.getsockname()[1])
            options, expected = ["--port", port], f"port {port} is in use"
        images = ["--images", str(tmp_path / "nowhere")]
        monkeypatch.setattr(
            sys, "argv", ["morphoscope", "serve", str(tmp_path / "c.parquet"), *images, *options]
        )
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
