"""Views handed on: tables of each format, and another program by SAMP."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from morphoscope.explorer.sharing import samp_module

VIEW = {"filter": "probability > 0.8", "sort": "probability", "descending": True}


@pytest.mark.parametrize("kind", ["parquet", "csv", "votable"])
def test_a_view_as_a_table(client, kind: str):
    answer = client.get("/api/export", params={**VIEW, "format": kind})
    assert answer.status_code == 200
    name = {"parquet": ".parquet", "csv": ".csv", "votable": ".vot"}[kind]
    assert f'filename="drawn-selection{name}"' in answer.headers["content-disposition"]
    if kind == "parquet":
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.schema.field("ra").metadata[b"unit"] == b"deg"
        assert table.schema.metadata[b"morphoscope.selected_by"] == b"probability > 0.8"
        ids, values = table["id"].to_pylist(), table["probability"].to_pylist()
    elif kind == "csv":
        table = pyarrow.csv.read_csv(io.BytesIO(answer.content))
        ids, values = table["id"].to_pylist(), table["probability"].to_pylist()
    else:
        from astropy.table import Table

        read = Table.read(io.BytesIO(answer.content), format="votable")
        ids, values = list(read["id"]), list(read["probability"])
    page = client.get("/api/page", params={**VIEW, "count": 150}).json()
    assert ids == [galaxy["id"] for galaxy in page["galaxies"]]
    assert values == pytest.approx([galaxy["probability"] for galaxy in page["galaxies"]], rel=1e-5)


def test_picked_galaxies_are_a_filter(client):
    answer = client.get("/api/export", params={"filter": "row in (3, 99, 17)", "format": "parquet"})
    assert pq.read_table(io.BytesIO(answer.content))["id"].to_pylist() == ["g3", "g17", "g99"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"format": "xls"}, "no format 'xls'"),
        ({"filter": "probability > 2"}, "no galaxy passes the filter"),
        ({"filter": "probability >"}, "ends too early"),
    ],
)
def test_tables_that_cannot_be(client, asked: dict[str, str], sentence: str):
    answer = client.get("/api/export", params=asked)
    assert answer.status_code in (400, 422)
    assert sentence in answer.json()["error"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    samp = samp_module()
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    with samp.conf.set_temp("use_internet", False):
        made = samp.SAMPHubServer(web_profile=False, lockfile=str(tmp_path / "hub"), addr="127.0.0.1")
        made.start()
        yield
        made.stop()


def test_another_program_gets_the_table_by_samp(client, hub: None):
    from astropy.table import Table

    samp = samp_module()
    got, heard = [], threading.Event()

    def receive(private_key, sender_id, message_id, message_type, parameters, extra) -> None:
        got.append(Table.read(parameters["url"].removeprefix("file://"), format="votable"))
        heard.set()

    with samp.conf.set_temp("use_internet", False):
        program = samp.SAMPIntegratedClient(name="A table viewer", addr="127.0.0.1")
        program.connect()
        program.bind_receive_notification("table.load.votable", receive)
        answer = client.post("/api/samp", params={"filter": "row < 5"})
        assert answer.json() == {"programs": ["A table viewer"]}
        assert heard.wait(20)
        program.disconnect()
    assert list(got[0]["id"]) == [f"g{row}" for row in range(5)]


def test_without_a_hub_it_is_said(client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    answer = client.post("/api/samp", params={"filter": "row < 5"})
    assert answer.status_code == 422
    assert "no SAMP hub runs on this machine" in answer.json()["error"]
