"""Answers kept within a bound, made once for all who ask."""

from __future__ import annotations

import threading

import pytest

from morphoscope.explorer.kept import Kept


def test_the_values_asked_for_last_are_kept():
    kept: Kept[bytes] = Kept(100, len)
    for name in "abc":
        assert kept.get(name, lambda: bytes(30)) == bytes(30)
    kept.get("a", lambda: pytest.fail("it is kept"))
    kept.get("d", lambda: bytes(30))
    assert [name in kept for name in "abcd"] == [True, False, True, True]
    assert kept.taken == 90


def test_what_is_too_large_is_not_kept():
    kept: Kept[bytes] = Kept(100, len, 50)
    kept.get("small", lambda: b"a")
    assert len(kept.get("large", lambda: bytes(60))) == 60
    assert "large" not in kept
    assert "small" in kept
    alone: Kept[bytes] = Kept(100, len)
    alone.get("a", lambda: b"a")
    alone.get("large", lambda: bytes(200))  # nobody would be helped by making it for every page
    assert ("a" in alone, "large" in alone) == (False, True)


def test_all_who_ask_at_once_wait_for_one_making():
    kept: Kept[bytes] = Kept(100, len)
    made, found, all_there = [], [], threading.Barrier(8)

    def make() -> bytes:
        made.append(1)
        threading.Event().wait(0.05)
        return b"value"

    def ask() -> None:
        all_there.wait()
        found.append(kept.get("key", make))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"value"] * 8
    assert len(made) == 1


def test_a_making_that_fails_is_tried_again():
    kept: Kept[bytes] = Kept(100, len)

    def fail() -> bytes:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        kept.get("key", fail)
    assert kept.get("key", lambda: b"now") == b"now"


def test_what_was_being_made_when_all_is_forgotten_is_not_kept():
    kept: Kept[bytes] = Kept(100, len)

    def make() -> bytes:
        kept.clear()
        return b"old"

    assert kept.get("key", make) == b"old"
    assert kept.get("key", lambda: b"new") == b"new"
    assert "key" in kept
