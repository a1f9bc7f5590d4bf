from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from morphoscope.data.sources.download import (
    GALAXY10_BYTES,
    GALAXY10_SHA256,
    GALAXY10_URL,
    NoConnection,
    download,
    fetch_galaxy10,
)
from morphoscope.errors import MorphoscopeError, UsageError

CONTENT = np.random.default_rng(9).integers(0, 256, 300_000, np.uint8).tobytes()
SHA256, SIZE = hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)


class Server:
    """A file server with the faults that servers have."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.asked: list[str | None] = []  # the Range of every request
        self.breaks_after: list[int] = []  # bytes of an answer after which the connection breaks, per request
        self.answers: list[int] = []  # status codes to answer instead, per request
        self.knows_range = True
        self.says_length = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/files/galaxies.h5"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.answers:
            request.send_error(self.answers.pop(0))
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.knows_range else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        if start:
            request.send_response(206)
            end = len(self.content)
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            request.send_response(200)
        if self.says_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks_after.pop(0)] if self.breaks_after else body)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def get(server: Server, target: Path, **options: object) -> Path:
    settings = {"sha256": SHA256, "length": SIZE, "pause": 0.0, **options}
    return download(server.url, target, **settings)  # type: ignore[arg-type]


def test_a_file_arrives_whole(server: Server, tmp_path: Path):
    target = tmp_path / "new" / "galaxies.h5"
    assert get(server, target) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["galaxies.h5"]


def test_a_broken_connection_is_continued(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server.breaks_after = [100_000, 50_000]
    assert get(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert "trying again (2 of 5)" in capsys.readouterr().err


def test_the_next_call_continues_where_the_last_gave_up(server: Server, tmp_path: Path):
    server.breaks_after = [100_000, 50_000]
    with pytest.raises(
        NoConnection, match=r"2 attempts; 0\.1 of 0\.3 MB are kept, and the same command resumes"
    ):
        get(server, tmp_path / "f", attempts=2)
    assert not (tmp_path / "f").exists()
    assert (tmp_path / "f.part").read_bytes() == CONTENT[:150_000]
    assert len(server.asked) == 2
    assert get(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.asked[2:] == ["bytes=150000-"]


def test_a_server_that_ignores_range_is_read_from_the_start(server: Server, tmp_path: Path):
    server.knows_range = False
    server.breaks_after = [100_000]
    assert get(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_wrong_checksum_leaves_nothing_to_continue(server: Server, tmp_path: Path):
    with pytest.raises(
        MorphoscopeError, match=rf"is not the file that was expected \(sha256 {SHA256}.*deleted"
    ):
        get(server, tmp_path / "f", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_rotten_part_is_found_out(server: Server, tmp_path: Path):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    with pytest.raises(MorphoscopeError, match="is not the file that was expected"):
        get(server, tmp_path / "f")
    assert get(server, tmp_path / "f").read_bytes() == CONTENT


def test_a_file_of_another_length_is_not_downloaded(server: Server, tmp_path: Path):
    with pytest.raises(MorphoscopeError, match=r"file has 300,000 bytes, 299,999 were expected"):
        get(server, tmp_path / "f", length=SIZE - 1)
    assert len(server.asked) == 1
    server.says_length = False
    with pytest.raises(MorphoscopeError, match=r"has 300,000 bytes, 299,999 were expected"):
        get(server, tmp_path / "f", length=SIZE - 1)
    with pytest.raises(MorphoscopeError, match="shorter than the 300,001 bytes"):
        get(server, tmp_path / "f", length=SIZE + 1)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path):
    server.answers = [503, 429]
    assert get(server, tmp_path / "f").read_bytes() == CONTENT
    server.answers = [503] * 9
    with pytest.raises(NoConnection, match="503 Service Unavailable, 3 attempts"):
        get(server, tmp_path / "g", attempts=3)
    assert len(server.answers) == 6


def test_a_server_that_refuses_is_asked_once(server: Server, tmp_path: Path):
    server.answers = [404]
    with pytest.raises(NoConnection, match="the server returned 404 Not Found"):
        get(server, tmp_path / "f")
    assert len(server.asked) == 1


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path):
    waiting = threading.Event()
    server.answer = lambda request: waiting.wait(10)  # type: ignore[method-assign, assignment]
    with pytest.raises(NoConnection, match="timed out"):
        get(server, tmp_path / "f", attempts=1, timeout=0.2)
    waiting.set()


def test_pauses_grow_and_are_bounded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr("morphoscope.data.sources.download.time.sleep", slept.append)
    server.answers = [500] * 4
    with pytest.raises(NoConnection):
        get(server, tmp_path / "f", attempts=4, pause=1.5)
    assert slept == [1.5, 3.0, 6.0]
    with pytest.raises(UsageError, match="attempts 0"):
        get(server, tmp_path / "f", attempts=0)


def test_a_file_that_is_there_is_checked_and_used(server: Server, tmp_path: Path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert get(server, tmp_path / "f") == tmp_path / "f"
    assert server.asked == []
    (tmp_path / "f").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(MorphoscopeError, match=r"is not the file that was expected.*move it away"):
        get(server, tmp_path / "f")
    assert (tmp_path / "f").exists()


def test_ctrl_c_keeps_what_has_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server.breaks_after = [100_000]

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("morphoscope.data.sources.download.time.sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path / "f")
    assert (tmp_path / "f.part").stat().st_size == 100_000


def test_a_full_disk_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MorphoscopeError, match="PB are needed"):
        get(server, tmp_path / "f", length=10**18)
    assert server.asked == []

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("morphoscope.data.sources.download.Bar.advance", full)  # called after each write
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        get(server, tmp_path / "f")


def galaxy10_file() -> bytes:
    with h5py.File.in_memory() as file:
        rng = np.random.default_rng(1)
        file["images"] = rng.integers(0, 256, (12, 16, 16, 3), np.uint8)
        file["ans"] = np.arange(12, dtype=np.uint8) % 10
        file.flush()
        return file.id.get_file_image()


def test_fetched_galaxies_become_a_store(server: Server, tmp_path: Path):
    server.content = galaxy10_file()
    server.breaks_after = [len(server.content) // 2]
    sha256 = hashlib.sha256(server.content).hexdigest()
    expected = {"url": server.url, "sha256": sha256, "length": len(server.content), "pause": 0.0}
    store = fetch_galaxy10(tmp_path / "s", size=8, **expected)
    assert store.images.shape == (12, 8, 8, 3)
    assert store.meta.source_checksum == sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["galaxies.h5", "s"]
    asked = len(server.asked)
    fetch_galaxy10(tmp_path / "t", **expected)  # the file is there already
    assert len(server.asked) == asked
    with pytest.raises(UsageError, match="exists already"):
        fetch_galaxy10(tmp_path / "s", folder=tmp_path / "other", **expected)
    assert len(server.asked) == asked


def test_without_a_network_the_way_by_hand_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server.close()  # now nobody listens at its address
    with pytest.raises(MorphoscopeError) as caught:
        fetch_galaxy10(tmp_path / "s", url=server.url, attempts=2, pause=0.0)
    said = str(caught.value)
    assert server.url in said
    assert "cannot be reached" in said
    assert f"put it at {tmp_path / 'galaxies.h5'}" in said
    assert f"morphoscope data ingest galaxy10 {tmp_path / 'galaxies.h5'} {tmp_path / 's'}" in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(server, "close", lambda: None)


def test_an_address_must_be_one(tmp_path: Path):
    with pytest.raises(UsageError, match="that begins with https"):
        download("galaxies.h5", tmp_path / "f", sha256=SHA256, length=SIZE)


def test_the_official_file_is_the_default():
    assert GALAXY10_URL.endswith("/records/10845026/files/Galaxy10_DECals.h5")
    assert GALAXY10_BYTES == 2_735_267_419
    assert GALAXY10_SHA256.startswith("19aefc477c41bb7f")
    assert len(GALAXY10_SHA256) == 64
