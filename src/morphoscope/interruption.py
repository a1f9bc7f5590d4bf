"""Ctrl-C and SIGTERM, also where other people's code swallows them.

Python raises KeyboardInterrupt at whatever the main thread is doing. Compiled code may make an error of
another kind of it (an import: ImportError; torch's exporter: its own), and Python itself drops it in a
destructor or a callback from C. Code that then goes on, for instance with another engine, would ignore the
person at the keyboard. So a command remembers that it was asked to end, and :func:`pass_on` is called where
work goes on after an error, and at each step of a progress bar.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_AGAIN = 0.05  # seconds after which a dropped interruption is raised again, at another place

_heeding = _asked = False


def asked() -> bool:
    """Whether the command was asked to end; always False in a library."""
    return _asked


def pass_on() -> None:
    """End the work if that was asked for and something has swallowed it.

    Raises:
        KeyboardInterrupt: it was; in the main thread only, as is Python's own custom.
    """
    if _asked and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM both raise KeyboardInterrupt, and are remembered.

    For commands only: it changes handlers of the process, and restores them. A process that was started to
    ignore Ctrl-C, such as a background job of a shell, still does. A block within another is part of it.
    """
    global _heeding, _asked
    if _heeding:
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            again = threading.Timer(_AGAIN, _thread.interrupt_main, [signal.SIGTERM])
            again.daemon = True
            again.start()
        else:
            hook(unraisable)

    _heeding, _asked = True, False
    if before[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        _heeding = _asked = False
        sys.unraisablehook = hook
        for number, handler in before.items():
            if signal.getsignal(number) is _end:  # others may have replaced it
                signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
