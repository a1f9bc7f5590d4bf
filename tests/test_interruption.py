"""Ctrl-C and SIGTERM end the work also where other code swallows them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from morphoscope import interruption
from morphoscope.progress import track

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that runs the tests in the background has told them to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallowed(number: int) -> None:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        return
    raise AssertionError("the signal did not come")


@SIGNALS
def test_work_does_not_go_on_after_a_swallowed_interruption(number: signal.Signals):
    done = []

    def work() -> None:
        for item in track(range(5), "working"):
            done.append(item)
            if item == 2:
                swallowed(number)

    with interruption.heeded(), pytest.raises(KeyboardInterrupt):
        work()
    assert done == [0, 1, 2]


def test_clean_up_comes_to_its_end():
    with interruption.heeded():
        cleaned = []
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            cleaned += track(range(3), "cleaning")
    assert cleaned == [0, 1, 2]


@SIGNALS
def test_an_interruption_in_a_destructor_comes_again_and_prints_nothing(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
):
    class Resource:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def work() -> None:
        Resource()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)

    with interruption.heeded(), pytest.raises(KeyboardInterrupt):
        work()
    assert capfd.readouterr().err == ""


def test_the_handlers_are_as_before_afterwards_and_a_library_has_none():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruption.heeded(), interruption.heeded():
        swallowed(signal.SIGTERM)
        assert interruption.asked()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_background_job_that_ignores_ctrl_c_goes_on():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.heeded():
            signal.raise_signal(signal.SIGINT)
            assert list(track(range(3), "working")) == [0, 1, 2]
    finally:
        signal.signal(signal.SIGINT, before)
