from __future__ import annotations

import io
import itertools
import json
import sys
import time
import types

import pytest

from morphoscope.cli.options import document
from morphoscope.progress import Bar, note, say, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved: ``clock.now += 3``."""
    hand = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: hand.now)
    return hand


def terminal_in_place_of_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()  # not in a fixture: pytest sets its own sys.stderr once more before the test
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_notes_go_to_stderr(capsys):
    note("three images could not be read")
    assert capsys.readouterr() == ("", "three images could not be read\n")


def test_track_yields_everything_in_order_and_stays_silent_when_quick(capsys):
    assert list(track(range(1000), "counting")) == list(range(1000))
    assert list(track(iter("abc"), "spelling")) == ["a", "b", "c"]
    assert list(track([], "nothing")) == []
    assert capsys.readouterr() == ("", "")


def test_track_is_lazy():
    assert list(itertools.islice(track(itertools.count(), "endless"), 3)) == [0, 1, 2]


def test_a_log_gets_a_line_every_tenth(capsys, clock):
    for _ in track(range(100), "writing", unit="images"):
        clock.now += 0.125
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "writing: 16/100 images (8.0/s, 10 s left)"  # two seconds have passed
    assert lines[1] == "writing: 20/100 images (8.0/s, 10 s left)"
    assert lines[-1] == "writing: 100/100 images (8.0/s, 0 s left)"
    assert len(lines) == 10


def test_a_log_gets_a_line_every_half_minute_however_slow(capsys, clock):
    with Bar("training", total=1000) as bar:
        for _ in range(10):
            clock.now += 7
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["training: 5/1000 (0.1/s, 6965 s left)", "training: 10/1000 (0.1/s, 6930 s left)"]


def test_a_log_hears_of_work_of_unknown_length(capsys, clock):
    def endless():
        yield from range(100)

    for _ in track(endless(), "reading", unit="rows"):
        clock.now += 1
    assert capsys.readouterr().err.splitlines() == [
        "reading: 30 rows (1.0/s)",
        "reading: 60 rows (1.0/s)",
        "reading: 90 rows (1.0/s)",
    ]


def test_more_than_was_announced_does_not_take_negative_time(capsys, clock):
    with Bar("writing", total=2) as bar:
        for _ in range(3):
            clock.now += 5
            bar.advance()
    assert capsys.readouterr().err.splitlines()[-1] == "writing: 3/2 (0.2/s, 0 s left)"


def test_advance_by_many(capsys, clock):
    with Bar("writing", total=100, unit="images") as bar:
        clock.now += 4
        bar.advance(40)
        assert bar.done == 40
    assert capsys.readouterr().err == "writing: 40/100 images (10.0/s, 6 s left)\n"


def test_a_terminal_gets_one_bar(monkeypatch, clock, capsys):
    terminal = terminal_in_place_of_stderr(monkeypatch)
    with Bar("writing store[red]", total=100, unit="images") as bar:
        bar.advance()
        assert terminal.getvalue() == ""  # not yet two seconds
        clock.now += 5
        bar.advance(49)
    shown = terminal.getvalue()
    assert "writing store[red]" in shown
    assert "50/100" in shown
    assert "10 images/s" in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is back
    assert capsys.readouterr().out == ""


def test_a_terminal_is_restored_when_the_work_breaks_off(monkeypatch, clock):
    terminal = terminal_in_place_of_stderr(monkeypatch)

    def work() -> None:
        for _ in track(range(10), "writing"):
            clock.now += 3
            if clock.now > 110:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "writing" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?25h")


def test_notes_hold_no_control_characters(capsys: pytest.CaptureFixture[str]):
    note("a\x1b[2J\x9b\r\u202eb\nα\tis unreadable")
    assert capsys.readouterr().err == "a\\x1b[2J\\x9b\\r\\u202eb\nα\tis unreadable\n"


def test_what_is_printed_holds_no_control_characters(capsys: pytest.CaptureFixture[str]):
    say("a\x1b[2J\nb")
    say(document({"name": "a\x1b[2J\x9b\u202e\x7f\n"}))
    out = capsys.readouterr().out
    assert out.startswith("a\\x1b[2J\nb\n")
    assert out.isascii()
    assert json.loads(out.split("\n", 2)[2]) == {"name": "a\x1b[2J\x9b\u202e\x7f\n"}
