from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.simulation import workers
from morphoscope.simulation.rows import Job, Plan, render_rows
from morphoscope.simulation.survey import DECALS

PLAN = Plan((DECALS,), 32, 0, "galaxy10", tuple(range(10)))


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(pid) for pid in file.read().split()}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="lists processes through /proc")
def test_results_come_in_order_and_breaking_off_ends_the_processes():
    before = _children()
    stream = workers.render((Job(PLAN, row, row + 1) for row in range(10**9)), 2)
    results = [next(stream) for _ in range(6)]
    assert len(_children() - before) == 2
    stream.close()
    assert _children() == before
    assert [chunk[0].values["id"][-7:] for chunk in results] == [f"{n:07d}" for n in range(6)]
    assert np.array_equal(results[5][0].image_HWC, render_rows(Job(PLAN, 5, 6))[0].image_HWC)


@pytest.mark.slow
def test_a_lost_process_is_reported():
    stream = workers.render((Job(PLAN, n, n + 1) for n in range(10**9)), 2)
    next(stream)
    for pid in _children():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(MorphoscopeError, match="simulation process ended"):
        for _ in stream:
            pass


def test_results_come_in_order_until_an_error_in_a_process():
    broken = Plan((DECALS,), 0, 0, "galaxy10", tuple(range(10)))
    stream = workers.render([Job(PLAN, 0, 1), Job(PLAN, 1, 2), Job(broken, 2, 3)], 2)
    assert [next(stream)[0].values["id"][-7:] for _ in range(2)] == ["0000000", "0000001"]
    with pytest.raises(Exception, match="resize"):
        list(stream)
