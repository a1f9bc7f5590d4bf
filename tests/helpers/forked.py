"""What a process computes that is forked from this one, as users' own pools fork it."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")


def forked(compute: Callable[[], Any]) -> Any:
    """The answer of a forked process, which has a minute for it."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(compute()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads
        child.start()
    try:
        assert here.poll(60), "the forked process waits for what only its parent has"
        return here.recv()
    finally:
        child.kill()
        child.join()
