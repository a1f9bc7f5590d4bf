"""Who may ask: pages of this server, and beyond this machine whoever has the token."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from morphoscope.errors import UsageError
from morphoscope.explorer.security import COOKIE
from morphoscope.explorer.server import Request, is_local, listening, serve


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8501"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"host": "[::2]:8501"},
        {"host": "127.0.0.1:1@evil.example"},
        {"host": "localhost:8501/evil"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},  # another server of this machine
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # only the page itself
    ],
)
def test_others_are_refused(client, headers: dict[str, str]):
    for method in ("get", "post"):
        answer = getattr(client, method)("/api/page", headers=headers)
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:1234"},  # through a tunnel
        {"host": "[::1]:8501"},
        {"host": "LOCALHOST"},
        {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    ],
)
def test_its_own_pages_are_answered(client, headers: dict[str, str]):
    assert client.get("/api/page", headers=headers).status_code == 200


def test_a_link_from_elsewhere_opens_the_page_but_nothing_behind_it(client):
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=linked).status_code == 200
    assert client.get("/api/image/0", headers=linked).status_code == 403


def test_every_answer_forbids_the_page_to_ask_others(client):
    answers = [client.get(address) for address in ("/", "/api/page", "/nothing")]
    answers.append(client.get("/", headers={"host": "x"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "connect-src 'self';" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_notebook_of_this_machine_may_frame_it(client_of: Callable, catalogue: Path):
    policy = client_of(catalogue, framed=True).get("/").headers["content-security-policy"]
    assert "frame-ancestors 'self' http://localhost:*" in policy


def test_beyond_this_machine_a_token_is_needed(client_of: Callable, catalogue: Path):
    client = client_of(catalogue, host="192.0.2.7", token="secret")
    base = {"host": "192.0.2.7:8501"}
    for asked in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}=wrong"}, {"cookie": "a=b; ="}):
        answer = client.get("/api/page", headers={**base, **asked})
        assert answer.status_code == 401
        assert "'morphoscope serve' printed" in answer.json()["error"]
    assert client.get("/?token=secre", headers=base).status_code == 401
    assert client.get("/api/page", headers={**base, "authorization": "Bearer secret"}).status_code == 200
    opened = client.get("/?token=secret", headers=base, follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    kept = {**base, "cookie": cookie.partition(";")[0]}
    assert client.get("/api/page", headers=kept).status_code == 200
    assert client.get("/api/page", headers={**kept, "host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("token", ["short", "with a space in it", "semi;colon;semi", "ünïcödé-tökén"])
def test_an_own_token_has_to_fit_and_be_long(catalogue: Path, monkeypatch: pytest.MonkeyPatch, token: str):
    monkeypatch.setenv("MORPHOSCOPE_TOKEN", token)
    with pytest.raises(UsageError, match="MORPHOSCOPE_TOKEN: at least 12 letters, digits, - and _"):
        serve(Request(catalogue, host="0.0.0.0", port=0))


def test_bodies_are_bounded_before_they_are_read(client):
    answer = client.post("/api/samp", headers={"content-length": str(1 << 40)})
    assert answer.status_code == 413
    assert "64 MiB" in answer.json()["error"]


def test_a_port_in_use_is_said_before_anything_is_opened(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use; choose another with --port"):
            serve(Request(tmp_path / "nothing.parquet", port=port))


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("127.0.0.1", 70000, "a number from 0 to 65535"),
        ("192.0.2.7", 0, "cannot listen there"),
        ("no such name", 0, "cannot listen there"),
    ],
)
def test_addresses_that_are_not_this_machines(host: str, port: int, sentence: str):
    with pytest.raises(UsageError, match=sentence), listening(host, port):
        pass


def test_small_answers_are_sent_at_once():
    with listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # asyncio looks at it
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_which_addresses_are_this_machines_alone():
    assert all(map(is_local, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.168.1.2", "example.org")))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone", "does not exist; a run, a catalogue or a store was expected"),
        ("text.txt", "a run, a store or a catalogue (.parquet"),
        ("broken.parquet", "broken.parquet"),
        ("empty", "a folder without Parquet files"),
    ],
)
def test_sources_of_no_known_kind(tmp_path: Path, name: str, sentence: str):
    from morphoscope.errors import MorphoscopeError

    (tmp_path / "text.txt").write_text("a")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MorphoscopeError) as said:
        serve(Request(tmp_path / name, port=0))
    assert sentence in str(said.value)
    assert "\n" not in str(said.value)
