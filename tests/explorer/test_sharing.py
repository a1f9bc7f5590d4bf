"""Views handed on: tables of each format, and another program by SAMP."""

from __future__ import annotations

import contextlib
import io
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from morphoscope.explorer.samp import samp_module

# A hub's thread may still be writing to a program that leaves at the end of a test, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*notification from client")
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


@contextlib.contextmanager
def hub_at(lockfile: Path) -> Iterator[None]:
    samp = samp_module()
    with samp.conf.set_temp("use_internet", False):
        made = samp.SAMPHubServer(web_profile=False, lockfile=str(lockfile), addr="127.0.0.1")
        made.start()
        try:
            yield
        finally:
            made.stop()


@pytest.fixture
def lockfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs look for a hub."""
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    return tmp_path / "hub"


@contextlib.contextmanager
def viewer(name: str) -> Iterator[queue.Queue]:
    """A program that takes tables; the ids of each that it gets."""
    from astropy.table import Table

    samp, got = samp_module(), queue.Queue()

    def receive(private_key, sender_id, message_id, message_type, parameters, extra) -> None:
        path = Path(parameters["url"].removeprefix("file://"))
        got.put(list(Table.read(path, format="votable")["id"]) if path.exists() else None)

    with samp.conf.set_temp("use_internet", False):
        program = samp.SAMPIntegratedClient(name=name, addr="127.0.0.1")
        program.connect()
        program.bind_receive_notification("table.load.votable", receive)
        yield got
        program.disconnect()


def test_another_program_gets_the_table_by_samp(client, lockfile: Path):
    with hub_at(lockfile), viewer("A table viewer") as got:
        for count in (5, 3):
            answer = client.post("/api/samp", params={"filter": f"row < {count}"})
            assert answer.json() == {"programs": ["A table viewer"]}
            assert got.get(timeout=20) == [f"g{row}" for row in range(count)]


def test_a_hub_that_is_slow_still_delivers(client, lockfile: Path, monkeypatch: pytest.MonkeyPatch):
    hub_class = samp_module().SAMPHubServer
    deliver = hub_class._notify_

    def late(self, sender_private_key, recipient_public_id, message) -> None:
        time.sleep(0.3)  # as its thread does on a busy machine
        deliver(self, sender_private_key, recipient_public_id, message)

    monkeypatch.setattr(hub_class, "_notify_", late)
    with hub_at(lockfile), viewer("A table viewer") as got:
        assert client.post("/api/samp", params={"filter": "row < 5"}).status_code == 200
        assert len(got.get(timeout=20)) == 5


def test_a_hub_that_went_and_another_that_came(client, lockfile: Path):
    for name in ("First", "Second"):
        with hub_at(lockfile), viewer(name) as got:
            assert client.post("/api/samp", params={"filter": "row < 2"}).json() == {"programs": [name]}
            assert len(got.get(timeout=20)) == 2
    answer = client.post("/api/samp", params={"filter": "row < 2"})
    assert answer.status_code == 422
    assert "no SAMP hub runs on this machine" in answer.json()["error"]


def test_the_explorer_leaves_the_hub_when_it_ends(tmp_path: Path, lockfile: Path):
    from morphoscope.explorer.samp import Samp

    with hub_at(lockfile), viewer("A table viewer") as got:
        explorer = Samp()
        explorer.send_table(tmp_path / "none.vot", "a table")
        samp = samp_module()
        with samp.conf.set_temp("use_internet", False):
            other = samp.SAMPIntegratedClient(name="Other", addr="127.0.0.1")
            other.connect()
            assert got.get(timeout=20) is None
            before = len(other.get_registered_clients())
            explorer.close()
            assert len(other.get_registered_clients()) == before - 1
            other.disconnect()


def test_nobody_takes_tables(client, lockfile: Path):
    with hub_at(lockfile):
        answer = client.post("/api/samp", params={"filter": "row < 5"})
    assert answer.status_code == 422
    assert "no program that takes tables is connected" in answer.json()["error"]


def test_without_a_hub_it_is_said(client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    answer = client.post("/api/samp", params={"filter": "row < 5"})
    assert answer.status_code == 422
    assert "no SAMP hub runs on this machine" in answer.json()["error"]
